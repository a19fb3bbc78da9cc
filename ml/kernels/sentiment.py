"""Kernel of a side series of sentiment that stands beside the candles, one value a day, on a scale from 0 to 100."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["mood"]

_DAY_MS = 86_400_000
_MIDDLE = 50.0
_FEAR = 25.0
_GREED = 75.0


@njit(cache=True, error_model="numpy")
def _at_or_before(open_ms, first, last, wanted):
    """Return the position of the newest candle of first..last that opens at or before ``wanted``, first - 1 if none."""
    low = first - 1
    high = last
    while low < high:
        middle = (low + high + 1) // 2
        if open_ms[middle] <= wanted:
            low = middle
        else:
            high = middle - 1
    return low


@njit(cache=True, error_model="numpy")
def mood(open_ms, sentiment, blocks, periods, rows, out, base):
    """Write the level in [-1, 1], its change and its distance from the mean over n days, and flags of extremes.

    Days are counted back in time, not in candles: the value of d days before is that of the newest candle of the slice
    that opened at least so long before. The mean is of the values 0 to n - 1 days before, added in that order. NaN where
    one of the values is missing.
    """
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            for i in range(keep, end):
                value = sentiment[i]
                known = not math.isnan(value)
                if r[0] >= 0:
                    out[r[0], i - base] = (value - _MIDDLE) / _MIDDLE
                if r[3] >= 0:
                    out[r[3], i - base] = (1.0 if value <= _FEAR else 0.0) if known else math.nan
                if r[4] >= 0:
                    out[r[4], i - base] = (1.0 if value > _GREED else 0.0) if known else math.nan
            if r[1] >= 0 and keep < end:
                place = _at_or_before(open_ms, first, keep, open_ms[keep] - n * _DAY_MS)
                for i in range(keep, end):
                    while open_ms[place + 1] <= open_ms[i] - n * _DAY_MS:
                        place += 1
                    earlier = sentiment[place] if place >= first else math.nan
                    out[r[1], i - base] = (sentiment[i] - earlier) / _MIDDLE
            if r[2] >= 0 and keep < end:
                places = np.empty(n, dtype=np.int64)
                for d in range(n):
                    places[d] = _at_or_before(open_ms, first, keep, open_ms[keep] - d * _DAY_MS)
                for i in range(keep, end):
                    total = 0.0
                    for d in range(n):
                        while places[d] < i and open_ms[places[d] + 1] <= open_ms[i] - d * _DAY_MS:
                            places[d] += 1
                        total += sentiment[places[d]] if places[d] >= first else math.nan
                    out[r[2], i - base] = (sentiment[i] - total / n) / _MIDDLE
