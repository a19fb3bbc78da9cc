"""What is wrong, or only remarkable, in a series: found in one pass over arrays, never repaired."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import PRICE_COLUMNS
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["FAULTS", "Finding", "Gap", "find_gaps", "inspect_columns", "usual_step"]

FAULTS = ("duplicates", "out_of_order", "ohlc_violations", "bad_values", "taker_exceeds_volume")

_DAY_MS = 86_400_000
_WEEK_MS = 7 * _DAY_MS
_SATURDAY = 5
_JUMP_SIZE = 20.0
_JUMP_WINDOW = 500
_JUMP_LEAST = 50  # bars before a jump is judged


@dataclass(frozen=True)
class Gap:
    """Missing candles between two that are there.

    Attributes
    ----------
    after_ms, before_ms : int
        Open times of the candles on both sides.
    missing : int
        How many candles fit between them.
    closed : bool
        Whether the market is regularly closed then: the gap spans a Saturday of a series that has none, or it is
        shorter than a day and most days have one.
    """

    after_ms: int
    before_ms: int
    missing: int
    closed: bool


@dataclass(frozen=True)
class Finding:
    """Bars that share one remarkable property.

    Attributes
    ----------
    kind : str
        ``duplicates``, ``out_of_order``, ``ohlc_violations``, ``bad_values``, ``taker_exceeds_volume`` (faults: no market
        makes these), ``off_grid``, ``jumps``, ``zero_volume`` (facts of a market).
    rows : int64 array
        Positions of the bars.
    text : str
        What was found, for people.
    """

    kind: str
    rows: Integers
    text: str

    @property
    def fault(self) -> bool:
        """Whether no market makes this."""
        return self.kind in FAULTS


def usual_step(open_ms: Integers) -> int:
    """Return the most frequent distance between neighbouring bars in milliseconds, 0 for fewer than two bars."""
    steps, counts = np.unique(np.diff(open_ms), return_counts=True)
    return int(steps[np.argmax(counts)]) if len(steps) else 0


def find_gaps(open_ms: Integers, step_ms: int) -> list[Gap]:
    """Return the gaps of a sorted series; regular closing times are marked.

    Parameters
    ----------
    open_ms
        Open times, ascending.
    step_ms
        Length of a candle.
    """
    index = (open_ms - (4 * _DAY_MS if step_ms % _WEEK_MS == 0 else 0)) // step_ms
    missing = np.diff(index) - 1
    places = np.flatnonzero(missing > 0)
    lengths = np.diff(open_ms)[places]
    weekdays = (open_ms // _DAY_MS + 3) % 7  # 0 is Monday: 1970-01-01 was a Thursday
    no_saturdays = step_ms <= _DAY_MS and not (weekdays == _SATURDAY).any()
    days = len(np.unique(open_ms // _DAY_MS))
    nights = step_ms < _DAY_MS and 2 * int((lengths < _DAY_MS).sum()) >= days
    gaps = []
    for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
        first, last = int(open_ms[place]), int(open_ms[place + 1])
        closed = nights and length < _DAY_MS
        closed |= no_saturdays and length <= 3 * _DAY_MS and _spans_saturday(first + step_ms, last)
        gaps.append(Gap(first, last, int(missing[place]), closed))
    return gaps


def inspect_columns(timeframe: str, columns: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what is remarkable in raw columns; they need not be valid candles.

    Parameters
    ----------
    timeframe
        Length of a candle.
    columns
        ``open_ms``, the four prices, and perhaps the optional columns; arrays of equal length.
    """
    times = np.asarray(columns["open_ms"], dtype=np.int64)
    step = timeframe_ms(timeframe)
    steps = np.diff(times)
    yield from _found("out_of_order", np.flatnonzero(steps < 0) + 1, "earlier than the bar before")
    yield from _found("duplicates", np.flatnonzero(steps == 0) + 1, "with the open time of the bar before")
    yield from _value_faults(columns)
    origin = 4 * _DAY_MS if step % _WEEK_MS == 0 else 0
    off_grid = np.flatnonzero((times - origin) % step != 0)
    yield from _found("off_grid", off_grid, f"not opened on a multiple of {timeframe}: kept, never traded")
    yield from _found("jumps", _jumps(np.asarray(columns["close"], dtype=np.float64)), _JUMP_TEXT)
    if "volume" in columns:
        yield from _found("zero_volume", np.flatnonzero(columns["volume"] == 0), "without volume")


_JUMP_TEXT = f"moved more than {_JUMP_SIZE:g} times the usual (median) move of the {_JUMP_WINDOW} bars before"


def _value_faults(columns: Mapping[str, Any]) -> Iterator[Finding]:
    bad = np.zeros(len(columns["open_ms"]), dtype=bool)
    for name, column in columns.items():
        if name != "open_ms":
            bad |= ~np.isfinite(column) | (column <= 0 if name in PRICE_COLUMNS else column < 0)
    yield from _found("bad_values", np.flatnonzero(bad), "with a price or volume that is no positive number")
    o, h, l, c = (np.asarray(columns[name]) for name in PRICE_COLUMNS)
    outside = (l > np.minimum(o, c)) | (h < np.maximum(o, c))
    yield from _found("ohlc_violations", np.flatnonzero(outside), "with open or close outside low and high")
    if "volume" in columns and "taker_buy_base" in columns:
        more = np.asarray(columns["taker_buy_base"]) > np.asarray(columns["volume"]) * (1 + 1e-9)
        yield from _found("taker_exceeds_volume", np.flatnonzero(more), "with more taker volume than volume")


def _spans_saturday(start_ms: int, end_ms: int) -> bool:
    days = range(start_ms // _DAY_MS, (end_ms - 1) // _DAY_MS + 1)
    return any((day + 3) % 7 == _SATURDAY for day in days)


def _jumps(close: Floats) -> Integers:
    """Return bars whose log return is far beyond the median size of those before it."""
    import pandas as pd

    usable = np.isfinite(close) & (close > 0)
    if len(close) < _JUMP_LEAST or not usable.all():
        return np.zeros(0, dtype=np.int64)
    moves = np.abs(np.diff(np.log(close)))
    usual = pd.Series(moves).rolling(_JUMP_WINDOW, min_periods=_JUMP_LEAST).median().shift(1).to_numpy()
    with np.errstate(invalid="ignore"):
        return np.flatnonzero((usual > 0) & (moves > _JUMP_SIZE * usual)) + 1


def _found(kind: str, rows: Any, text: str) -> Iterator[Finding]:
    if len(rows):
        yield Finding(
            kind, np.asarray(rows, dtype=np.int64), f"{len(rows)} {'bar' if len(rows) == 1 else 'bars'} {text}"
        )
