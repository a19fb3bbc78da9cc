"""What a live feed knew when it started: its bars are computed in one batch, and served as it delivers them.

A live feed may offer ``history``: the candles that were known at its start, which it delivers first, in that order. After a
restart that may be a month of minutes. Computed one by one they would cost a hundred times as much as in a batch; to the
bit the result is the same, since a row depends on a bounded slice of candles alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from indicators.lines import candle_columns, milliseconds
from ml.candles import Candles

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["HistoryRows"]


class HistoryRows:
    """The rows of an indicator for the bars of a feed's history, as long as the feed delivers just these.

    Each bar is compared with its candle: time, every column, and what the source had been asked for by then. After the first
    difference (a revised or a late candle) nothing is served any more, because later bars see that candle too. The batch is
    computed when the first bar asks for its row, and forgotten with the last.

    Parameters
    ----------
    data
        The feed. Without a ``history`` of closed candles of its timeframe nothing is served.
    timeframe : str
        Length of its bars.
    compute
        Returns a row for each candle, float64 (n, m). Where it fails nothing is served: each bar then meets the failure on
        its own.
    """

    def __init__(self, data: Any, timeframe: str, compute: Callable[[Candles], Floats]) -> None:
        self._data = data
        self._timeframe = timeframe
        self._compute: Callable[[Candles], Floats] | None = compute
        self._history: Candles | None = None
        self._rows: Floats | None = None
        self._place = -1

    def current(self) -> list[float] | None:
        """Return the row of the feed's current bar; None where it must be computed from the newest candles."""
        if self._compute is not None:
            self._begin(self._compute)
        history, rows = self._history, self._rows
        if history is None or rows is None:
            return None
        place = len(self._data) - 1
        # a bar that was passed over was not compared; the same one may ask twice, as another feed ticks
        if not self._place <= place <= self._place + 1 or not self._is_delivered(history, place):
            self._forget()
            return None
        self._place = place
        row: list[float] = rows[place].tolist()
        if place == len(history) - 1:
            self._forget()
        return row

    def _begin(self, compute: Callable[[Candles], Floats]) -> None:
        """Compute the rows of the history, where there is one."""
        self._compute = None
        history = getattr(self._data, "history", None)
        if not isinstance(history, Candles) or not len(history) or history.timeframe != self._timeframe:
            return
        names = candle_columns(self._data)
        columns = history.columns
        if any(name not in names for name in columns):
            return  # what the feed does not deliver could not be compared
        nothing = np.broadcast_to(np.float64("nan"), len(history))
        self._columns = [(getattr(self._data.lines, name), columns.get(name, nothing)) for name in names]
        if not self._is_delivered(history, 0):
            return
        try:
            self._rows = compute(history)
        except Exception:  # noqa: BLE001 - a batch fails as a whole; bar by bar the failure is told where it belongs
            return
        self._history = history

    def _is_delivered(self, history: Candles, place: int) -> bool:
        """Tell whether the feed's current bar is that candle of the history, and as much is known before it."""
        end = int(history.open_ms[place]) + history.step_ms
        if milliseconds(self._data.lines.datetime[0]) != end:
            return False
        for line, column in self._columns:
            given, known = line[0], column.item(place)
            if given != known and (given == given or known == known):  # noqa: PLR0124 - NaN is like NaN here
                return False
        asked = getattr(self._data, "asked", ()) or ((int(history.open_ms[0]), end),)
        return _until(asked, end) == _until(history.asked, end)

    def _forget(self) -> None:
        """Free the batch."""
        self._history = self._rows = None
        self._columns = []


def _until(asked: tuple[tuple[int, int], ...], end_ms: int) -> list[tuple[int, int]]:
    """Return the intervals up to a time."""
    return [(start, min(end, end_ms)) for start, end in asked if start < end_ms]
