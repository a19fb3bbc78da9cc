"""Kernel of the logarithms that several kernels need: of a candle, or of a candle and the one before it.

They hold no state, so it does not matter where their computation starts. What reaches back one candle is undefined at the
first candle of a slice, and no kernel reads it there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

__all__ = ["log_ratio", "logarithm"]

_SERIES_LIMIT = 0.03


@njit(cache=True, error_model="numpy")
def log_ratio(top, bottom, out):
    """Write ln(top / bottom), arrays of positive float64.

    With z = (top - bottom) / (top + bottom) it is 2 atanh z = 2 z (1 + z^2 / 3 + z^4 / 5 + ...): for |z| <= 0.03 seven terms
    leave less than 1e-21 of it, no digit is lost where both are nearly equal, and a processor does four at a time.
    """
    for t in range(out.shape[0]):
        z = (top[t] - bottom[t]) / (top[t] + bottom[t])
        s = z * z
        series = 1.0 / 9.0 + s * (1.0 / 11.0 + s * (1.0 / 13.0))
        out[t] = 2.0 * z * (1.0 + s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * series))))
    for t in range(out.shape[0]):
        if abs(top[t] - bottom[t]) > _SERIES_LIMIT * (top[t] + bottom[t]):
            out[t] = math.log(top[t] / bottom[t])


def logarithm(name: str, columns: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return a derived column, float64, shape (n,).

    Parameters
    ----------
    name
        ``log_return`` ln(close / close before), ``log_range`` ln(high / low), ``log_body`` ln(close / open), ``log_pair`` ln
        of the highest high over the lowest low of a candle and the one before. NaN at the first candle of the array where
        there is none before.
    columns
        Mapping of the candle columns.
    """
    out: npt.NDArray[np.float64] = np.empty(len(columns["close"]))
    if name == "log_range":
        log_ratio(columns["high"], columns["low"], out)
        return out
    if name == "log_body":
        log_ratio(columns["close"], columns["open"], out)
        return out
    out[:1] = np.nan
    if name == "log_return":
        close = columns["close"]
        log_ratio(close[1:], close[:-1], out[1:])
    else:
        high, low = columns["high"], columns["low"]
        top, bottom = np.maximum(high[1:], high[:-1]), np.minimum(low[1:], low[:-1])
        top.flags.writeable = bottom.flags.writeable = False  # one compiled form: candle columns are read-only
        log_ratio(top, bottom, out[1:])
    return out
