"""From raw scores to published numbers, one bar after another.

Compiled, so that one row and a hundred thousand give the same bits: numpy's vectorised ``exp`` follows another path than its
scalar one on some processors, this loop calls the C library for each bar.
"""

from __future__ import annotations

import math

from numba import njit

__all__ = ["calibrated_probability", "probability", "publish"]


@njit(cache=True)
def _sigmoid(x):
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


@njit(cache=True)
def probability(score, slope, scale):
    """Return ``sigmoid(slope scale tanh(score / scale))``; a ``scale`` of 0 stands for one without end."""
    if scale > 0.0:
        return _sigmoid(slope * (scale * math.tanh(score / scale)))
    return _sigmoid(slope * score)


@njit(cache=True)
def calibrated_probability(raw, slope, scale, out):
    """Write ``sigmoid(slope scale tanh(raw / scale))`` of float64 ``raw`` (n,) into ``out`` (n,); NaN stays NaN.

    A ``scale`` of 0 stands for one without end: ``sigmoid(slope raw)``.
    """
    for i in range(raw.shape[0]):
        out[i] = probability(raw[i], slope, scale) if math.isfinite(raw[i]) else math.nan


@njit(cache=True)
def publish(raw, sigma, close, slope, scale, return_per_edge, low, high, out):
    """Write the first seven published numbers of each bar into ``out`` (n, 9), in the order of ``PREDICTION_COLUMNS``.

    ``raw``, ``sigma`` (volatility of one bar's log return) and ``close`` are float64 (n,). A bar with a number that is not
    finite, a negative volatility or a price that is not positive is NaN throughout; risk and volatility always are.
    """
    for i in range(raw.shape[0]):
        s = raw[i]
        v = sigma[i]
        c = close[i]
        if not (math.isfinite(s) and math.isfinite(v) and math.isfinite(c)) or v < 0.0 or c <= 0.0:
            out[i, :] = math.nan
            continue
        p = probability(s, slope, scale)
        expected = v * (return_per_edge * (2.0 * p - 1.0))
        out[i, 0] = c * math.exp(expected)
        out[i, 1] = expected
        out[i, 2] = 1.0 if p >= 0.5 else -1.0
        out[i, 3] = p if p >= 0.5 else 1.0 - p
        out[i, 4] = p
        out[i, 5] = c * math.exp(expected + v * low)
        out[i, 6] = c * math.exp(expected + v * high)
        out[i, 7:] = math.nan
