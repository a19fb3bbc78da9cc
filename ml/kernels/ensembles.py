"""Pooling of several models' answers, one bar after another: one row and a hundred thousand give the same bits."""

from __future__ import annotations

import math

from numba import njit

from ml.kernels.calibration import probability

__all__ = ["log_returns", "pool_answers", "pool_volatilities", "publish_pool"]

_SMALLEST = 1e-6  # a member may not have the last word by stating 0 or 1


@njit(cache=True)
def _logit(p):
    q = min(max(p, _SMALLEST), 1.0 - _SMALLEST)
    return math.log(q / (1.0 - q))


@njit(cache=True)
def log_returns(prices, close, out):
    """Write ``ln(price / close)`` of float64 ``prices`` (n, K) and ``close`` (n,) into ``out`` (n, K); NaN stays NaN."""
    for i in range(prices.shape[0]):
        for j in range(prices.shape[1]):
            ratio = prices[i, j] / close[i]
            out[i, j] = math.log(ratio) if ratio > 0.0 else math.nan


@njit(cache=True)
def pool_answers(p, expected, low, high, centre, weights, intercept, shares, votes, out):
    """Write score, log return, middle and half width of the band of each bar into ``out`` (n, 4).

    ``p`` (probabilities), ``expected``, ``low`` and ``high`` (log returns) are float64 (n, K), ``centre`` (the log odds of no
    opinion, 0 for a direction) is one number. The score is ``intercept + sum_j weights[j] (logit(p[j]) - centre)``, or with
    ``votes`` the members above the centre less those below, as a share of all; who says the centre itself abstains. The other
    three are means with ``shares``, which sum to 1.
    """
    members = p.shape[1]
    for i in range(p.shape[0]):
        score = intercept
        returned = 0.0
        lower = 0.0
        upper = 0.0
        known = True
        for j in range(members):
            if math.isfinite(p[i, j]):
                odds = _logit(p[i, j]) - centre
                if not votes:
                    score += weights[j] * odds
                elif odds > 0.0:
                    score += 1.0 / members
                elif odds < 0.0:
                    score -= 1.0 / members
            else:
                known = False
            returned += shares[j] * expected[i, j]
            lower += shares[j] * low[i, j]
            upper += shares[j] * high[i, j]
        if votes and abs(score) < 0.5 / members:
            score = 0.0  # a tie, whatever the order of the votes left of rounding
        out[i, 0] = score if known else math.nan
        out[i, 1] = returned
        out[i, 2] = 0.5 * (upper + lower)
        out[i, 3] = 0.5 * (upper - lower)


@njit(cache=True)
def pool_volatilities(forecasts, weights, root, out):
    """Write the weighted geometric mean of float64 ``forecasts`` (n, K), divided by ``root``, into ``out`` (n,)."""
    for i in range(forecasts.shape[0]):
        total = 0.0
        known = True
        for j in range(forecasts.shape[1]):
            if forecasts[i, j] > 0.0:
                total += weights[j] * math.log(forecasts[i, j])
            else:
                known = False
        out[i] = math.exp(total) / root if known else math.nan


@njit(cache=True)
def publish_pool(pooled, close, slope, scale, return_scale, band_low, band_high, out):
    """Write the first seven published numbers of each bar into ``out`` (n, 9), in the order of ``PREDICTION_COLUMNS``.

    ``pooled`` is what ``pool_answers`` wrote, ``close`` float64 (n,). An expected return that contradicts the direction is 0.
    A bar without a finite score, or with a price that is not positive, is NaN throughout.
    """
    for i in range(pooled.shape[0]):
        s = pooled[i, 0]
        c = close[i]
        out[i, :] = math.nan
        if not (math.isfinite(s) and math.isfinite(c)) or c <= 0.0:
            continue
        p = probability(s, slope, scale)
        expected = return_scale * pooled[i, 1]
        if (p > 0.5 and expected < 0.0) or (p < 0.5 and expected > 0.0) or p == 0.5:
            expected = 0.0
        out[i, 0] = c * math.exp(expected)
        out[i, 1] = expected
        out[i, 2] = 1.0 if p >= 0.5 else -1.0
        out[i, 3] = p if p >= 0.5 else 1.0 - p
        out[i, 4] = p
        out[i, 5] = c * math.exp(pooled[i, 2] + band_low * pooled[i, 3])
        out[i, 6] = c * math.exp(pooled[i, 2] + band_high * pooled[i, 3])
