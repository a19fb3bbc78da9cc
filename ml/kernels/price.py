"""From raw scores to published prices and bands, one bar after another.

Compiled for the reason that ``ml.kernels.calibration`` gives: one row and a hundred thousand give the same bits.
"""

from __future__ import annotations

import math

from numba import njit

from ml.kernels.calibration import probability

__all__ = ["log_odds", "path_bands", "publish_price"]


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


@njit(cache=True)
def _squashed(score, scale):
    return scale * math.tanh(score / scale) if scale > 0.0 else score


@njit(cache=True)
def _at_most(pool, x):
    """Return how many of the ascending numbers are at most x."""
    first = 0
    last = pool.shape[0]
    while first < last:
        middle = (first + last) // 2
        if pool[middle] <= x:
            first = middle + 1
        else:
            last = middle
    return first


@njit(cache=True)
def _log_odds_of_rise(forecast, width, pool):
    """Return the log odds of ``1 - F(0)``, ``F(x) = (1 + #{residual <= (x - forecast) / width}) / (n + 2)``."""
    standard = -forecast / width if width > 0.0 else 0.0
    below = 1.0 + _at_most(pool, standard)
    return math.log((pool.shape[0] + 2.0 - below) / below)


@njit(cache=True)
def log_odds(forecast, width, pool, out):
    """Write the log odds of a rise of n forecasts, before the slope map, into ``out`` (n,).

    ``forecast`` and ``width`` (sigma at the horizon) are float64 (n,), ``pool`` ascending standardised residuals.
    """
    for i in range(forecast.shape[0]):
        out[i] = _log_odds_of_rise(forecast[i], width[i], pool)


@njit(cache=True)
def publish_price(raw, sigma, close, numbers, pool, out):
    """Write the first seven published numbers of each bar into ``out`` (n, 9), in the order of ``PREDICTION_COLUMNS``.

    ``raw``, ``sigma`` (volatility of one bar's log return) and ``close`` are float64 (n,). ``numbers`` holds fields of
    ``ml.price_publisher.PricePublisher``, in this order: return slope, score scale, a and level of the variance, slope and
    scale of the probability, and the lower, middle and upper quantile of ``pool``. A bar with a number that is not finite, a
    negative volatility or a price that is not positive is NaN throughout; risk and volatility always are.
    """
    return_slope, score_scale, variance_now, variance_level, slope, scale, low, middle, high = numbers
    for i in range(raw.shape[0]):
        s = raw[i]
        v = sigma[i]
        c = close[i]
        if not (math.isfinite(s) and math.isfinite(v) and math.isfinite(c)) or v < 0.0 or c <= 0.0:
            out[i, :] = math.nan
            continue
        forecast = v * (return_slope * _squashed(s, score_scale))
        width = math.sqrt(variance_now * (v * v) + variance_level)
        p = probability(_log_odds_of_rise(forecast, width, pool), slope, scale)
        expected = forecast + width * middle
        out[i, 0] = c * math.exp(expected)
        out[i, 1] = expected
        out[i, 2] = 1.0 if p >= 0.5 else -1.0
        out[i, 3] = p if p >= 0.5 else 1.0 - p
        out[i, 4] = p
        out[i, 5] = c * math.exp(forecast + width * low)
        out[i, 6] = c * math.exp(forecast + width * high)
        out[i, 7:] = math.nan
