"""The data feed of a backtest: candles as Backtrader lines, loaded by copying whole columns."""

from __future__ import annotations

from array import array
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
import numpy as np

from bot.errors import UsageError
from indicators.lines import close_numbers
from ml.candles import OPTIONAL_COLUMNS, Candles

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["CandleFeed"]

_EXTRA = tuple(name for name in OPTIONAL_COLUMNS if name != "volume")
_UNITS = {
    "s": (bt.TimeFrame.Seconds, 1),
    "m": (bt.TimeFrame.Minutes, 1),
    "h": (bt.TimeFrame.Minutes, 60),
    "d": (bt.TimeFrame.Days, 1),
    "w": (bt.TimeFrame.Weeks, 1),
}


class CandleFeed(bt.feed.DataBase):
    """Serve closed candles; a bar's ``datetime`` is its close.

    The lines are Backtrader's own and one for each of quote_volume, trades, taker_buy_base, taker_buy_quote and
    sentiment that the candles have. Where there is no volume its line is NaN. With ``fromdate``, ``todate``, filters,
    ``preload=False`` or ``exactbars`` the bars are loaded one by one; else the whole columns are copied at once.

    Params
    ------
    candles : Candles
        What to serve.

    Attributes
    ----------
    candles : Candles
        As given.
    asked : tuple of (start_ms, end_ms)
        The intervals that were asked of the source; what lies outside is unknown, not empty.
    """

    params: ClassVar[Any] = (("candles", None),)

    def __init__(self) -> None:
        super().__init__()
        candles = self.p.candles
        if not isinstance(candles, Candles):
            raise UsageError(f"CandleFeed needs candles=Candles(...), got {type(candles).__name__}")
        self.candles = candles
        self.asked = candles.asked
        unit, factor = _UNITS[candles.timeframe[-1]]
        self.p.timeframe, self.p.compression = unit, int(candles.timeframe[:-1]) * factor
        self._extend_lines(tuple(name for name in _EXTRA if getattr(candles, name) is not None))
        self._row = 0

    def start(self) -> None:
        """Begin at the first candle."""
        super().start()
        self._row = 0
        self._times = close_numbers(self.candles.open_ms, self.candles.step_ms)
        columns = self.candles.columns
        self._sources = [
            (getattr(self.lines, name), columns[name]) for name in self.lines.getlinealiases() if name in columns
        ]

    def preload(self) -> None:
        """Copy every column into its line, or load bar by bar where something filters the bars."""
        if self._filters or self.p.fromdate is not None or self.p.todate is not None or self._tzinput:
            super().preload()
            return
        count = len(self.candles)
        given = {id(line): column for line, column in self._sources}
        given[id(self.lines.datetime)] = self._times
        for line in self.lines:
            column = given.get(id(line))
            if column is None:
                column = np.full(count, 0.0 if line is self.lines.openinterest else np.nan)
            values = _packed(column)
            values.extend([float("nan")] * line.extension)
            line.array = values
        self._row = count
        self.home()

    def _load(self) -> bool | None:
        """Put the next candle on the lines; False when there are no more."""
        row = self._row
        if row >= len(self._times):
            return False
        self.lines.datetime[0] = float(self._times[row])
        self.lines.openinterest[0] = 0.0
        for line, column in self._sources:
            line[0] = float(column[row])
        self._row = row + 1
        return True

    def _extend_lines(self, names: tuple[str, ...]) -> None:
        """Give this feed, not its class, lines of these names."""
        if not names:
            return
        first = self.lines.fullsize()
        self.lines.__class__ = _lines_with(names)
        for number, _ in enumerate(names, start=first):
            line = bt.linebuffer.LineBuffer()
            self.lines.lines.append(line)
            setattr(self, f"line{number}", line)
            setattr(self, f"line_{number}", line)


@cache
def _lines_with(names: tuple[str, ...]) -> Any:
    """Return the class of lines that has these after the usual ones."""
    return CandleFeed.lines._derive("_".join(names), names, 0, [])  # noqa: SLF001 - Backtrader's way to declare lines


def _packed(column: npt.NDArray[np.float64]) -> array[float]:
    """Return the column as the kind of array that a line holds."""
    values = array("d")
    values.frombytes(np.ascontiguousarray(column, dtype=np.float64).tobytes())
    return values
