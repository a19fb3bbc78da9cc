"""What a strategy reads of a path: returns at chosen steps, and how high and low it goes."""

from __future__ import annotations

import math

import numba as nb
import numpy as np

__all__ = ["summarise"]


@nb.njit(cache=True, nogil=True)
def summarise(closes, highs, lows, start, steps, out):
    """Write log returns against the close that each path starts from.

    Parameters
    ----------
    closes, highs, lows : float64 arrays, shape (n, m)
        Predicted prices; a path that is not finite throughout is NaN in ``out``.
    start : float64 array, shape (n,)
        Closes of the starting bars.
    steps : int64 array, shape (s,)
        Chosen steps, 1 to m.
    out : float64 array, shape (n, s + 2)
        Receives the returns at the chosen steps, the highest and the lowest of the path.
    """
    count, length = closes.shape
    chosen = steps.shape[0]
    for i in range(count):
        highest, lowest = highs[i, 0], lows[i, 0]
        whole = True
        for j in range(length):
            whole &= math.isfinite(closes[i, j]) and math.isfinite(highs[i, j]) and math.isfinite(lows[i, j])
            highest = max(highest, highs[i, j])
            lowest = min(lowest, lows[i, j])
        if not whole:
            out[i, :] = np.nan
            continue
        for j in range(chosen):
            out[i, j] = math.log(closes[i, steps[j] - 1] / start[i])
        out[i, chosen] = math.log(highest / start[i])
        out[i, chosen + 1] = math.log(lowest / start[i])
