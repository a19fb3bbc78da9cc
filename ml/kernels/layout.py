"""Kernel that turns columns into rows."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["publish"]

_TILE = 16


@njit(cache=True)
def publish(columns, order, valid, base, lo, hi, rows):
    """Copy candles lo to hi of ``columns`` (u, width) into the rows of a matrix (n, F): NaN where a bar is not valid.

    Parameters
    ----------
    columns
        float32, C-contiguous; candle i stands at column ``i - base``.
    order
        int64, shape (F,): the row of ``columns`` that each feature takes.
    valid
        bool, shape (n,).
    rows
        float32, shape (n, F); rows lo to hi are written.
    """
    count = order.shape[0]
    for start in range(lo, hi, _TILE):
        stop = min(start + _TILE, hi)
        for f in range(count):
            u = order[f]
            for i in range(start, stop):
                rows[i, f] = columns[u, i - base] if valid[i] else math.nan
