"""From raw scores to published risks and volatilities, one bar after another.

Compiled for the reason that `ml.kernels.calibration` gives: one row and a hundred thousand have the same bits.
"""

from __future__ import annotations

import math

from numba import njit

__all__ = ["publish_risk", "publish_volatility"]

_CONFIDENCE = 3  # columns of PREDICTION_COLUMNS
_RISK = 7
_VOLATILITY = 8


@njit(cache=True)
def _saturated(score, scale):
    """Return ``scale tanh(score / scale)``; a scale of 0 stands for one without end."""
    if scale > 0.0:
        return scale * math.tanh(score / scale)
    return score


@njit(cache=True)
def _sound(score, sigma, close):
    """Return whether a bar may be spoken of: all numbers finite, no negative volatility, a positive price."""
    return math.isfinite(score) and math.isfinite(sigma) and math.isfinite(close) and sigma >= 0.0 and close > 0.0


@njit(cache=True)
def publish_risk(raw, sigma, close, base, slope, scale, out):
    """Write confidence and risk of each bar into ``out`` (n, 9); all else is NaN.

    ``p = sigmoid(base + slope scale tanh(raw / scale))`` with ``base`` in log odds; risk is 100 p, confidence the larger of p
    and 1 - p. ``raw``, ``sigma`` (volatility of one bar's log return) and ``close`` are float64 (n,); a bar with a number
    that is not finite, a negative volatility or a price that is not positive is NaN throughout.
    """
    for i in range(raw.shape[0]):
        out[i, :] = math.nan
        if not _sound(raw[i], sigma[i], close[i]):
            continue
        x = base + slope * _saturated(raw[i], scale)
        if x >= 0.0:
            p = 1.0 / (1.0 + math.exp(-x))
        else:
            e = math.exp(x)
            p = e / (1.0 + e)
        out[i, _CONFIDENCE] = p if p >= 0.5 else 1.0 - p
        out[i, _RISK] = 100.0 * p


@njit(cache=True)
def publish_volatility(raw, sigma, close, root, offset, slope, scale, confidence, out):
    """Write confidence and volatility of each bar into ``out`` (n, 9); all else is NaN.

    ``volatility = sigma root exp(offset + slope scale tanh(raw / scale))`` with ``root`` the square root of the horizon; the
    arrays, and the bars that are NaN throughout, are those of `publish_risk`.
    """
    for i in range(raw.shape[0]):
        out[i, :] = math.nan
        if not _sound(raw[i], sigma[i], close[i]):
            continue
        out[i, _CONFIDENCE] = confidence
        out[i, _VOLATILITY] = sigma[i] * root * math.exp(offset + slope * _saturated(raw[i], scale))
