"""Kernel that turns columns into rows."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["publish"]


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
    # Whole rows are written, a tile at a time, so that the columns' cache lines serve all rows of the tile.
    for i in range(lo, hi):
        row = rows[i]
        if valid[i]:
            k = i - base
            for f in range(count):
                row[f] = columns[order[f], k]
        else:
            for f in range(count):
                row[f] = math.nan
