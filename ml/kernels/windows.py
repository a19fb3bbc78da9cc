"""Kernels of moving sums over prices: means, deviations, trends.

Sums run over differences to a reference near the window and are taken afresh every ``4 * window`` candles (at least 64) from
the begin of the block, and wherever they have cancelled: no rounding error is carried far, and the deviation of a flat window
is exactly zero, not a remainder of rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["CANCELLED", "commodity_channel", "level_sums", "levels"]

# Sums are taken afresh where the variance is less than this share of the mean's square, or of the value's that left.
CANCELLED = 1e-7


@njit(cache=True, error_model="numpy")
def level_sums(close, start, stop, reference):
    """Sum a window afresh: values, squares, position times value."""
    total = 0.0
    square = 0.0
    weighted = 0.0
    for k in range(start, stop):
        y = close[k] - reference
        total += y
        square += y * y
        weighted += float(k - start) * y
    return total, square, weighted


@njit(cache=True, error_model="numpy")
def _scan_levels(close, n, have, begin, keep, end, line, level, variance, covariance):
    """Write mean, population variance and, where ``line``, covariance with time of every full window.

    Index i - begin stands for candle i. A flat window has variance 0: it cancels, and afresh its values are all zero.
    """
    w = float(n)
    part = 1.0 / w
    middle = 0.5 * (w - 1.0)
    step = max(64, 4 * n)
    for lo in range(begin, end, step):
        hi = min(lo + step, end)
        full = max(lo, have)
        if hi <= keep or hi <= full:
            continue
        reference = 0.0
        total = 0.0
        square = 0.0
        weighted = 0.0
        gone = 0.0
        new = close[full:hi]
        old = close[full - n + 1 : hi]  # old[t - 1] leaves when candle full + t comes
        to_level = level[full - begin : hi - begin]
        to_variance = variance[full - begin : hi - begin]
        to_covariance = covariance[full - begin : hi - begin]
        for t in range(hi - full):
            c = new[t]
            if t == 0:
                reference = c
                total, square, weighted = level_sums(close, full - n + 1, full + 1, reference)
            else:
                y = c - reference
                gone = old[t - 1] - reference
                if line:
                    weighted += (w - 1.0) * y - (total - gone)
                total += y - gone
                square += y * y - gone * gone
            mean = total * part
            spread = square * part - mean * mean
            if spread < CANCELLED * mean * mean or spread < CANCELLED * gone * gone:
                reference = c
                total, square, weighted = level_sums(close, full + t - n + 1, full + t + 1, reference)
                mean = total * part
                spread = square * part - mean * mean
            to_level[t] = mean + reference
            to_variance[t] = spread
            if line:
                to_covariance[t] = weighted - middle * total


@njit(cache=True, error_model="numpy")
def levels(close, blocks, periods, rows, out, base):
    """Write mean, deviation and trend of the last n closes (see ``table``).

    distance: close / mean - 1; zscore: (close - mean) / sd with the population deviation; upper, lower: mean +- 2 sd,
    position: (close - lower) / (upper - lower), width: (upper - lower) / mean (Bollinger 2001); trend: slope of the least
    squares line a candle, over the mean; trend_fit: its squared correlation. NaN where the deviation divides and is zero.
    """
    for q in range(blocks.shape[0]):
        begin = blocks[q, 1]
        end = blocks[q, 3]
        level = np.empty(end - begin)
        variance = np.empty(end - begin)
        covariance = np.empty(end - begin)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            have = blocks[q, 0] + n - 1
            keep = blocks[q, 2]
            for k in range(r.shape[0]):
                if r[k] >= 0:
                    for i in range(keep, min(end, have)):
                        out[r[k], i - base] = math.nan
            keep = max(keep, have)
            if keep >= end:
                continue
            _scan_levels(close, n, have, begin, keep, end, r[7] >= 0 or r[8] >= 0, level, variance, covariance)
            c = close[keep:end]
            m = level[keep - begin :]
            v = variance[keep - begin :]
            size = end - keep
            if r[0] >= 0:
                to = out[r[0], keep - base : end - base]
                for t in range(size):
                    to[t] = m[t]
            if r[1] >= 0:
                to = out[r[1], keep - base : end - base]
                for t in range(size):
                    to[t] = (c[t] - m[t]) / m[t]
            if r[2] >= 0:
                to = out[r[2], keep - base : end - base]
                for t in range(size):
                    to[t] = (c[t] - m[t]) / math.sqrt(v[t]) if v[t] > 0.0 else math.nan
            if r[3] >= 0:
                to = out[r[3], keep - base : end - base]
                for t in range(size):
                    to[t] = m[t] + 2.0 * math.sqrt(v[t]) if v[t] >= 0.0 else math.nan
            if r[4] >= 0:
                to = out[r[4], keep - base : end - base]
                for t in range(size):
                    to[t] = m[t] - 2.0 * math.sqrt(v[t]) if v[t] >= 0.0 else math.nan
            if r[5] >= 0:
                to = out[r[5], keep - base : end - base]
                for t in range(size):
                    to[t] = (c[t] - m[t]) / (4.0 * math.sqrt(v[t])) + 0.5 if v[t] > 0.0 else math.nan
            if r[6] >= 0:
                to = out[r[6], keep - base : end - base]
                for t in range(size):
                    to[t] = 4.0 * math.sqrt(v[t]) / m[t] if v[t] >= 0.0 else math.nan
            if r[7] >= 0 or r[8] >= 0:
                w = float(n)
                times = w * (w * w - 1.0) / 12.0  # sum of squares of the positions around their mean
                s = covariance[keep - begin :]
                if r[7] >= 0:
                    to = out[r[7], keep - base : end - base]
                    for t in range(size):
                        to[t] = s[t] / (times * m[t])
                if r[8] >= 0:
                    to = out[r[8], keep - base : end - base]
                    for t in range(size):
                        fit = s[t] * s[t] / (times * w * v[t]) if v[t] > 0.0 else math.nan
                        to[t] = 1.0 if fit > 1.0 else fit


@njit(cache=True, error_model="numpy")
def commodity_channel(high, low, close, blocks, periods, rows, out, base):
    """Write the commodity channel index (Lambert 1980): (t - mean) / (0.015 mean absolute deviation), t = (h + l + c) / 3.

    Each window is summed afresh. NaN for a flat window.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = max(first, keep - longest)
        typical = np.empty(end - start)
        for k in range(end - start):
            typical[k] = (high[start + k] + low[start + k] + close[start + k]) / 3.0
        mean = np.empty(end - keep)
        deviation = np.empty(end - keep)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p, 0]
            if r < 0:
                continue
            full = max(keep, min(end, first + n - 1))
            for i in range(keep, full):
                out[r, i - base] = math.nan
            size = end - full
            newest = typical[full - start :]
            for t in range(size):
                mean[t] = 0.0
                deviation[t] = 0.0
            # the windows of all candles at once, one place of the window after the other
            for place in range(n - 1):
                x = typical[full - start - n + 1 + place :]
                for t in range(size):
                    mean[t] += x[t] - newest[t]
            for t in range(size):
                mean[t] /= n  # of the differences to the newest price
            for place in range(n):
                x = typical[full - start - n + 1 + place :]
                for t in range(size):
                    deviation[t] += abs(x[t] - newest[t] - mean[t])
            to = out[r, full - base : end - base]
            for t in range(size):
                to[t] = -mean[t] * n / (0.015 * deviation[t]) if deviation[t] > 0.0 else math.nan
