"""From predicted candles to what is published of a path, one path after another.

Compiled for the reason that ``ml.kernels.calibration`` gives: one path and a hundred thousand give the same bits.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ml.kernels.calibration import probability

__all__ = ["publish_paths", "rise_probabilities", "summarise"]


@njit(cache=True, nogil=True)
def summarise(closes, highs, lows, start, steps, trusted, out):
    """Write log returns against the close that each path starts from.

    Parameters
    ----------
    closes, highs, lows : float64 arrays, shape (n, m)
        Predicted prices; a path that is not finite throughout is NaN in ``out``.
    start : float64 array, shape (n,)
        Closes of the starting bars.
    steps : int64 array, shape (s,)
        Chosen steps, 1 to m.
    trusted : int
        Trusted steps; the peak is looked for among them.
    out : float64 array, shape (n, s + 4)
        Receives the returns at the chosen steps, the highest and the lowest of the path, the highest close among the trusted
        steps and its step (NaN and 0 where none is trusted).
    """
    count, length = closes.shape
    chosen = steps.shape[0]
    for i in range(count):
        highest, lowest = highs[i, 0], lows[i, 0]
        peak, peak_step = closes[i, 0], 1
        whole = True
        for j in range(length):
            whole &= math.isfinite(closes[i, j]) and math.isfinite(highs[i, j]) and math.isfinite(lows[i, j])
            highest = max(highest, highs[i, j])
            lowest = min(lowest, lows[i, j])
            if j < trusted and closes[i, j] > peak:
                peak, peak_step = closes[i, j], j + 1
        if not whole:
            out[i, :] = np.nan
            continue
        for j in range(chosen):
            out[i, j] = math.log(closes[i, steps[j] - 1] / start[i])
        out[i, chosen] = math.log(highest / start[i])
        out[i, chosen + 1] = math.log(lowest / start[i])
        out[i, chosen + 2] = math.log(peak / start[i]) if trusted > 0 else math.nan
        out[i, chosen + 3] = peak_step if trusted > 0 else 0


@njit(cache=True)
def rise_probabilities(returns, sigma, step, slopes, scales, out):
    """Write the probability of a rise up to a step into ``out`` (n,): 0.5 beyond the steps that have a slope.

    ``returns`` and ``sigma`` are float64 (n,), ``step`` int64 (n,) counted from 1, ``slopes`` and ``scales`` float64 (t,). A
    row whose numbers are not finite, or whose volatility is not positive, is NaN.
    """
    for i in range(returns.shape[0]):
        if not (math.isfinite(returns[i]) and math.isfinite(sigma[i])) or sigma[i] <= 0.0:
            out[i] = math.nan
        elif step[i] < 1 or step[i] > slopes.shape[0]:
            out[i] = 0.5
        else:
            out[i] = probability(returns[i] / sigma[i], slopes[step[i] - 1], scales[step[i] - 1])


@njit(cache=True)
def publish_paths(raw, p_up, close, low, high, out):
    """Write the first seven published numbers of each bar into ``out`` (n, 9), in the order of ``PREDICTION_COLUMNS``.

    ``raw`` (predicted log return), ``p_up``, ``close``, ``low`` and ``high`` (factors of the predicted price) are float64
    (n,). A bar with a number that is not finite is NaN throughout; risk and volatility always are.
    """
    for i in range(raw.shape[0]):
        p = p_up[i]
        price = close[i] * math.exp(raw[i])
        if not (math.isfinite(price) and math.isfinite(p) and math.isfinite(low[i]) and math.isfinite(high[i])):
            out[i, :] = math.nan
            continue
        out[i, 0] = price
        out[i, 1] = raw[i]
        out[i, 2] = 1.0 if raw[i] >= 0.0 else -1.0
        out[i, 3] = p if p >= 0.5 else 1.0 - p
        out[i, 4] = p
        out[i, 5] = price * low[i]
        out[i, 6] = price * high[i]
        out[i, 7:] = math.nan
