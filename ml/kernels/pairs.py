"""Kernels over the bins of successive rows: which of them lie near one another. Whole numbers, so exact in any order."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["agreements", "pairs_within"]


@njit(cache=True)
def agreements(codes, first, last):
    """Return how many rows lie in the bin of the one ``lag`` before, summed over the lags ``first`` to ``last``.

    Parameters
    ----------
    codes : int8 array, shape (m,)
        Bin of each row, in time order.
    first, last
        Lags; the same rows, those with one before them at the last lag, are looked at for each.
    """
    both = codes.shape[0] - last
    earlier = codes[:both]
    found = 0
    for lag in range(first, last + 1):
        later = codes[lag : lag + both]  # a view of its own lets the processor compare many rows at a time
        for t in range(both):
            found += earlier[t] == later[t]
    return found


@njit(cache=True)
def pairs_within(codes, bins, reach):
    """Return how many rows of each bin lie within ``reach`` rows of those of each, themselves included.

    Parameters
    ----------
    codes : int8 array, shape (m,)
        Bin of each row, in time order.
    bins, reach
        How many bins there are; rows on either side.

    Returns
    -------
    int64 array, shape (bins, bins)
    """
    count = codes.shape[0]
    pairs = np.zeros((bins, bins), dtype=np.int64)
    near = np.zeros(bins, dtype=np.int64)
    for t in range(min(reach, count)):
        near[codes[t]] += 1
    for t in range(count):
        if t + reach < count:
            near[codes[t + reach]] += 1
        if t > reach:
            near[codes[t - reach - 1]] -= 1
        row = pairs[codes[t]]
        for other in range(bins):
            row[other] += near[other]
    return pairs
