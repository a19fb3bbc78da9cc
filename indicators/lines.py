"""Line buffers: the only place that moves numbers between Backtrader's lines, numpy arrays and candles.

Backtrader stores times as days since the year 1 and, in this project, stamps a bar with its close. Views of a line's
memory never leave the function that made them: a view that lives on makes the next bar fail.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import backtrader as bt
import numpy as np

from indicators.errors import IndicatorError
from ml.candles import GAPPED_COLUMNS, OPTIONAL_COLUMNS, PRICE_COLUMNS, Candles
from registry.names import timeframe_ms

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = [
    "all_candles",
    "bar_step_ms",
    "bar_timeframe",
    "candle_columns",
    "close_numbers",
    "feed_of",
    "fill_line",
    "line_values",
    "milliseconds",
    "newest_candles",
    "open_ms",
    "open_times",
]

_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_EPOCH_DAY = 719_163  # 1970-01-01 as a proleptic ordinal
_UNITS = {bt.TimeFrame.Seconds: "s", bt.TimeFrame.Minutes: "m", bt.TimeFrame.Days: "d", bt.TimeFrame.Weeks: "w"}


def milliseconds(number: float) -> int:
    """Return the milliseconds UTC of a Backtrader time; exact, since a float day resolves 10 microseconds."""
    return round((number - _EPOCH_DAY) * _DAY_MS)


def close_numbers(open_times: Integers, step_ms: int) -> Floats:
    """Return the close times of bars as Backtrader's float days, bit-identical to ``bt.date2num``.

    Parameters
    ----------
    open_times : int64 array, shape (n,)
        Open times, milliseconds UTC.
    step_ms : int
        Length of a bar in milliseconds.

    Returns
    -------
    float64 array, shape (n,)
        ``date2num`` adds day, hour/24 and minute/1440 with ``math.fsum``; two-sum arithmetic gives the same rounding for
        whole minutes, and the few other times go through ``fsum`` themselves.
    """
    days, rest = np.divmod(open_times + step_ms, _DAY_MS)
    hours, rest = np.divmod(rest, 3_600_000)
    minutes, rest = np.divmod(rest, _MINUTE_MS)
    base = (days + _EPOCH_DAY).astype(np.float64)
    part, error = _two_sum(hours / 24.0, minutes / 1440.0)
    numbers, error_of_base = _two_sum(base, part)
    numbers = numbers + (error_of_base + error)
    for row in np.flatnonzero(rest):
        seconds, thousandths = divmod(int(rest[row]), 1000)
        terms = (base[row], hours[row] / 24.0, minutes[row] / 1440.0, seconds / 86400.0, thousandths * 1000 / 86400e6)
        numbers[row] = math.fsum(float(term) for term in terms)
    return numbers


def _two_sum(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Return the rounded sum and its exact error (Knuth, The Art of Computer Programming, volume 2, 4.2.2)."""
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def line_values(line: Any, count: int | None = None) -> Floats:
    """Return a copy of a line's first ``count`` values (default: all that it holds)."""
    held = line.buflen() if count is None else count
    return np.frombuffer(line.array, dtype=np.float64, count=held).copy()


def fill_line(line: Any, values: Floats) -> None:
    """Write the first ``len(values)`` values of a line that is as long already."""
    np.frombuffer(line.array, dtype=np.float64, count=len(values), offset=0)[:] = values


def bar_timeframe(data: Any) -> str:
    """Return the timeframe of a data feed, such as ``1h``.

    Raises
    ------
    IndicatorError
        When the feed counts in ticks, months or years.
    """
    candles = getattr(data, "candles", None)
    if isinstance(candles, Candles):
        return candles.timeframe
    unit, count = _UNITS.get(data._timeframe), int(data._compression)  # noqa: SLF001 - Backtrader's own names
    if unit is None:
        raise IndicatorError(
            f"the data feed {data._name or 'without a name'} has bars of {bt.TimeFrame.TName(data._timeframe)}: "  # noqa: SLF001
            "expected timeframe=bt.TimeFrame.Minutes, Days or Weeks and a compression"
        )
    if unit == "m" and count % 60 == 0:
        return f"{count // 60}h"
    return f"{count}{unit}"


def bar_step_ms(data: Any) -> int:
    """Return the length of a feed's bars in milliseconds."""
    return timeframe_ms(bar_timeframe(data))


def open_ms(data: Any, step_ms: int) -> int:
    """Return the open time of a feed's current bar in milliseconds UTC."""
    return milliseconds(data.lines.datetime[0]) - step_ms


def open_times(data: Any, step_ms: int) -> Integers:
    """Return the open times of all bars of a feed that is loaded completely, int64 milliseconds UTC."""
    return _close_ms(line_values(data.lines.datetime, data.buflen())) - step_ms


def feed_of(source: Any) -> Any:
    """Return the data feed below an indicator, or the feed itself.

    Raises
    ------
    IndicatorError
        When there is none.
    """
    below = source
    while below is not None and "datetime" not in below.lines.getlinealiases():
        below = getattr(below, "data", None)
    if below is None:
        raise IndicatorError(
            f"{type(source).__name__} does not stand on a data feed: the times of its bars are unknown"
        )
    return below


def all_candles(data: Any, timeframe: str) -> Candles:
    """Return the candles of a feed that is loaded completely.

    A feed that holds its candles gives them, with the intervals that were asked of their source; another one's are
    rebuilt from its lines, and what was asked then begins with the first bar.
    """
    count = data.buflen()
    candles = getattr(data, "candles", None)
    if isinstance(candles, Candles) and len(candles) == count:
        return candles
    columns = {name: line_values(getattr(data.lines, name), count) for name in candle_columns(data)}
    return _candles(line_values(data.lines.datetime, count), columns, timeframe, ())


def newest_candles(data: Any, timeframe: str, size: int) -> Candles:
    """Return the newest ``size`` candles of a feed up to its current bar, or as many as there are.

    What was asked reaches back to where the feed's history was asked from, or to the first of these candles when older
    ones were left out.
    """
    length = len(data)
    size = min(size, data.lines.datetime.idx + 1)  # where memory is saved fewer bars are held than there were
    columns = {name: _newest(getattr(data.lines, name), size) for name in candle_columns(data)}
    asked: tuple[tuple[int, int], ...] = getattr(data, "asked", ())
    times = _newest(data.lines.datetime, size)
    if asked:
        end = milliseconds(float(times[-1]))
        start = asked[0][0] if size == length else milliseconds(float(times[0])) - timeframe_ms(timeframe)
        asked = tuple((max(a, start), min(b, end)) for a, b in asked if a < end and b > start)
    return _candles(times, columns, timeframe, asked)


def candle_columns(data: Any) -> list[str]:
    """Return the candle columns that a feed's lines hold."""
    aliases = data.lines.getlinealiases()
    return [name for name in (*PRICE_COLUMNS, *OPTIONAL_COLUMNS) if name in aliases]


def _newest(line: Any, size: int) -> Floats:
    """Return the newest ``size`` values of a line, read-only; the memory is a slice's own, not the line's."""
    held = line.get(size=size)  # an array, or a list where memory is saved
    values = np.array(held) if line.useislice else np.frombuffer(held, dtype=np.float64)
    values.flags.writeable = False  # candles then keep it, and copy nothing once more
    return values


def _candles(times: Floats, columns: dict[str, Floats], timeframe: str, asked: tuple[tuple[int, int], ...]) -> Candles:
    """Build candles from close times and line values; an optional column with NaN is absent, unless it may hold some."""
    whole = (*PRICE_COLUMNS, *GAPPED_COLUMNS)
    kept = {name: values for name, values in columns.items() if name in whole or not np.isnan(values).any()}
    return Candles.from_columns(timeframe, {"open_ms": _close_ms(times) - timeframe_ms(timeframe), **kept}, asked)


def _close_ms(times: Floats) -> Integers:
    """Return Backtrader's float days as milliseconds UTC."""
    closes: Integers = np.rint((times - _EPOCH_DAY) * _DAY_MS).astype(np.int64)
    return closes
