"""Candles of a higher timeframe, from closed candles of a lower one, by absolute index.

A function of the base candles alone: an interval gives the same bits whatever came before or after it, so a higher
timeframe may be computed inside an indicator, in a backtest and live, from any window that reaches far enough back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import GAPPED_COLUMNS, OPTIONAL_COLUMNS, Candles
from registry.errors import InvalidName
from registry.names import timeframe_ms

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["aggregate"]

_MONDAY_MS = 345_600_000  # weeks begin on Mondays, as in ml.candles


def aggregate(candles: Candles, timeframe: str) -> Candles:
    """Return the complete candles of a higher timeframe.

    The interval of index ``K`` takes every base candle that opens in it: first open, highest high, lowest low, last
    close, the sums of the optional columns, and the last sentiment. It is complete when a base candle's close has reached
    its end or a later base candle exists, and when the source was asked for all of it; missing base candles inside are
    facts of the market. An incomplete interval (the forming one, or one that history only begins in) gives no candle.

    Parameters
    ----------
    candles : Candles
        Closed base candles, n of them.
    timeframe : str
        A whole multiple of the base timeframe, such as ``4h`` for ``1h``.

    Returns
    -------
    Candles
        At most n candles that open on multiples of ``timeframe``. What was asked is cut to whole intervals.

    Raises
    ------
    InvalidName
        When the timeframe is not a whole multiple of the base's.
    """
    step, base = timeframe_ms(timeframe), candles.step_ms
    if step % base or step < base:
        raise InvalidName(f"{timeframe} is not a whole multiple of {candles.timeframe}: it cannot be built from it")
    origin = _MONDAY_MS if step % 604_800_000 == 0 else 0
    n = len(candles)
    if step == base or n == 0:
        return Candles.from_columns(timeframe, {"open_ms": candles.open_ms, **candles.columns}, candles.asked)

    group = (candles.open_ms - origin) // step
    starts = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
    opens = group[starts] * step + origin
    complete = _inside(opens, opens + step, _joined(candles))
    complete[-1] &= int(candles.open_ms[-1]) + base >= int(opens[-1]) + step
    last = np.append(starts[1:], n) - 1
    columns: dict[str, Any] = {
        "open_ms": opens,
        "open": candles.open[starts],
        "high": np.maximum.reduceat(candles.high, starts),
        "low": np.minimum.reduceat(candles.low, starts),
        "close": candles.close[last],
    }
    for name in OPTIONAL_COLUMNS:
        column = getattr(candles, name)
        if column is not None:
            columns[name] = column[last] if name in GAPPED_COLUMNS else np.add.reduceat(column, starts)
    last_end = int(opens[complete][-1]) + step if complete.any() else 0
    whole = ((-(-(a - origin) // step) * step + origin, (b - origin) // step * step + origin) for a, b in candles.asked)
    asked = tuple((a, min(b, last_end)) for a, b in whole if a < min(b, last_end))
    return Candles.from_columns(timeframe, {name: column[complete] for name, column in columns.items()}, asked)


def _joined(candles: Candles) -> npt.NDArray[np.int64]:
    """Return the asked intervals, shape (m, 2); the last one reaches to the last candle's close."""
    asked = np.array(candles.asked, dtype=np.int64).reshape(-1, 2)
    asked[-1, 1] = max(asked[-1, 1], int(candles.open_ms[-1]) + candles.step_ms)
    return asked


def _inside(
    first: npt.NDArray[np.int64], end: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which of the intervals ``[first, end)`` lie in one asked interval; the last one may still be forming."""
    place = np.searchsorted(asked[:, 0], first, side="right") - 1
    known: npt.NDArray[np.bool_] = place >= 0
    known &= (end <= asked[place, 1]) | (place == len(asked) - 1)
    return known
