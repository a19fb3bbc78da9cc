"""From raw scores to published prices and bands, one bar after another.

Compiled for the reason that ``ml.kernels.calibration`` gives: one row and a hundred thousand give the same bits.
"""

from __future__ import annotations

import math

from numba import njit

__all__ = ["path_bands"]


@njit(cache=True)
def path_bands(path, now, long, a, b, low_quantile, high_quantile, low, high):
    """Write ``path exp(sigma_k q_k)`` into ``low`` and ``high``, both of the shape (n, s) of ``path``.

    ``sigma_k^2 = a_k now^2 + b_k long^2``; a row with a volatility that is not finite or negative is NaN throughout.
    """
    for i in range(path.shape[0]):
        v = now[i]
        w = long[i]
        known = math.isfinite(v) and math.isfinite(w) and v >= 0.0 and w >= 0.0
        for k in range(path.shape[1]):
            if known:
                sigma = math.sqrt(a[k] * (v * v) + b[k] * (w * w))
                low[i, k] = path[i, k] * math.exp(sigma * low_quantile[k])
                high[i, k] = path[i, k] * math.exp(sigma * high_quantile[k])
            else:
                low[i, k] = math.nan
                high[i, k] = math.nan
