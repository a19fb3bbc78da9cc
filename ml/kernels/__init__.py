"""The only numba code: causal kernels over one-dimensional arrays, cut into slices by absolute time.

Every feature kernel of ``table`` is called ``kernel(*inputs, blocks, periods, rows, out, base)``:

inputs : float64 (or int64 open times), shape (n,)
    Candle columns, and logarithms derived from a candle and the one before; never another feature.
blocks : int64, shape (m, 4)
    Positions of each block: first candle of its slice, first candle of the block, first row to write, one past the last.
    Recursive states start at the first candle of the slice; sums of a finite window start again every ``4 * window``
    candles from the begin of the block, one window earlier. Both are functions of the slice alone, so a row has the same
    bits whatever the start of history, the chunk or the number of rows written.
periods : int64, shape (p,)
    Window lengths or smoothing periods; each is computed on its own.
rows : int64, shape (p, outputs)
    Row of ``out`` for every output of every period, -1 where it is not wanted.
out : float32, shape (rows, width)
    Receives the value of candle i at column ``i - base``: computed in float64, rounded once. NaN while the slice holds fewer
    candles than the window, and where a formula divides by zero.

Inside, ``first`` is the first candle of the slice, ``begin`` of the block, ``keep`` the first row to write, ``end`` one past
the last. No fastmath, no BLAS, no reassociation: the order of every sum is what is written.

numba does not notice when a function of another file changes, so kernels call nothing but ``math`` and their own file.
"""

from __future__ import annotations

import os

# Intel's vector maths rounds a logarithm by its place in a vector: then the bits of a row would depend on its neighbours.
os.environ.setdefault("NUMBA_DISABLE_INTEL_SVML", "1")
