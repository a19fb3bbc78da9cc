"""Kernels of moving sums over the close: means, deviations, trends, moments of returns.

Sums run over differences to a reference near the window and are taken afresh every ``4 * window`` candles (at least 64) from
the begin of the block, and wherever they have cancelled: no rounding error is carried far. Whether a window is flat is counted
in integers: its deviation is then exactly zero, not a remainder of rounding.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["commodity_channel", "levels", "returns"]


# Sums are taken afresh where less than this share of a square remains after the mean, or of the largest square.
CANCELLED = 1e-7
SPIKED = 1e-4


@njit(cache=True, error_model="numpy")
def _level_sums(close, start, stop, reference):
    """Sum a window afresh: values, squares, position times value, and how many of the newest closes are equal."""
    total = 0.0
    square = 0.0
    weighted = 0.0
    flat = 0
    for k in range(start, stop):
        y = close[k] - reference
        total += y
        square += y * y
        weighted += float(k - start) * y
        flat = flat + 1 if k > start and close[k] == close[k - 1] else 1
    return total, square, weighted, flat


@njit(cache=True, error_model="numpy")
def levels(close, blocks, periods, rows, out, base):
    """Write mean, deviation and trend of the last n closes (see ``table``).

    distance: close / mean - 1; zscore: (close - mean) / sd with the population deviation; upper, lower: mean +- 2 sd,
    position: (close - lower) / (upper - lower), width: (upper - lower) / mean (Bollinger 2001); trend: slope of the least
    squares line a candle, over the mean; trend_fit: its squared correlation. NaN where the deviation divides and is zero.
    """
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        begin = blocks[q, 1]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        for p in range(periods.shape[0]):
            n = periods[p]
            w = float(n)
            r = rows[p]
            step = max(64, 4 * n)
            middle = 0.5 * (w - 1.0)
            spread = w * (w * w - 1.0) / 12.0
            for k in range(r.shape[0]):
                if r[k] >= 0:
                    for i in range(keep, min(end, first + n - 1)):
                        out[r[k], i - base] = math.nan
            for lo in range(begin, end, step):
                hi = min(lo + step, end)
                if hi <= keep:
                    continue
                full = max(lo, first + n - 1)
                reference = 0.0
                total = 0.0
                square = 0.0
                weighted = 0.0
                flat = 0
                for i in range(full, hi):
                    c = close[i]
                    if i == full:
                        reference = c
                        total, square, weighted, flat = _level_sums(close, i - n + 1, i + 1, reference)
                    else:
                        y = c - reference
                        old = close[i - n] - reference
                        weighted += (w - 1.0) * y - (total - old)
                        total += y - old
                        square += y * y - old * old
                        flat = flat + 1 if c == close[i - 1] else 1
                    mean = total / w
                    variance = square / w - mean * mean
                    if flat < n and variance < CANCELLED * mean * mean:
                        reference = c
                        total, square, weighted, flat = _level_sums(close, i - n + 1, i + 1, reference)
                        mean = total / w
                        variance = square / w - mean * mean
                    if i < keep:
                        continue
                    j = i - base
                    level = mean + reference
                    sd = math.sqrt(variance) if variance > 0.0 else math.nan
                    if flat >= n:
                        level = c
                        sd = 0.0
                    per_sd = 1.0 / sd if sd > 0.0 else math.nan
                    if r[0] >= 0:
                        out[r[0], j] = level
                    if r[1] >= 0:
                        out[r[1], j] = (c - level) / level
                    if r[2] >= 0:
                        out[r[2], j] = (c - level) * per_sd
                    if r[3] >= 0:
                        out[r[3], j] = level + 2.0 * sd
                    if r[4] >= 0:
                        out[r[4], j] = level - 2.0 * sd
                    if r[5] >= 0:
                        out[r[5], j] = 0.25 * (c - level) * per_sd + 0.5
                    if r[6] >= 0:
                        out[r[6], j] = 4.0 * sd / level
                    if r[7] >= 0:
                        out[r[7], j] = (weighted - middle * total) / (spread * level) if flat < n else 0.0
                    if r[8] >= 0:
                        covariance = (weighted - middle * total) * per_sd
                        out[r[8], j] = min(1.0, covariance * covariance / (spread * w))


@njit(cache=True, error_model="numpy")
def _return_sums(x, start, stop):
    """Sum a window of returns afresh: powers one to four, the largest square."""
    s1 = 0.0
    s2 = 0.0
    s3 = 0.0
    s4 = 0.0
    peak = 0.0
    for k in range(start, stop):
        z = x[k]
        zz = z * z
        s1 += z
        s2 += zz
        s3 += zz * z
        s4 += zz * zz
        peak = max(peak, zz)
    return s1, s2, s3, s4, peak


@njit(cache=True, error_model="numpy")
def _return_paths(x, start, stop):
    """Sum a window of returns afresh: squares of falls, absolute values, product with the return before, and counts."""
    falls = 0.0
    path = 0.0
    cross = 0.0
    rises = 0
    moves = 0
    same = 0
    for k in range(start, stop):
        z = x[k]
        path += abs(z)
        cross += z * x[k - 1]
        if z < 0.0:
            falls += z * z
            moves += 1
        elif z > 0.0:
            rises += 1
            moves += 1
        same = same + 1 if k > start and z == x[k - 1] else 1
    return falls, path, cross, rises, moves, same


@njit(cache=True, error_model="numpy")
def returns(close, blocks, periods, rows, out, base):
    """Write moments of the last n one-candle log returns x (see ``table``).

    volatility: sample deviation; zscore: (x - mean) / volatility; skew, kurtosis: adjusted sample skewness and excess
    kurtosis (Joanes and Gill 1998, G1 and G2); up_ratio: share of rising closes; downside_ratio: sum of squares of falls
    over the sum of squares; efficiency: |sum of x| over the sum of |x| (Kaufman 1995, in logarithms); autocorrelation:
    correlation of x with the return before it; roll_spread: 2 sqrt(-cov) of those two, sample covariance (Roll 1984), with
    the sign kept where the covariance is positive. NaN where x is constant, or the close never changes.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    x = np.empty(0)
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        begin = blocks[q, 1]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        # x[k - shift] is the return of candle k; the first candle of a slice has none
        shift = max(first, max(begin, keep - max(64, 4 * longest)) - longest - 1)
        if x.shape[0] < end - shift:
            x = np.empty(end - shift)
        x[0] = 0.0
        for k in range(shift + 1, end):
            x[k - shift] = math.log(close[k] / close[k - 1])
        if shift > first:
            x[0] = math.log(close[shift] / close[shift - 1])
        for p in range(periods.shape[0]):
            n = periods[p]
            w = float(n)
            r = rows[p]
            step = max(64, 4 * n)
            moments = (
                r[0] >= 0 or r[1] >= 0 or r[2] >= 0 or r[3] >= 0 or r[5] >= 0 or r[6] >= 0 or r[7] >= 0 or r[8] >= 0
            )
            for k in range(r.shape[0]):
                if r[k] >= 0:
                    for i in range(keep, min(end, first + n)):
                        out[r[k], i - base] = math.nan
            for lo in range(begin, end, step):
                hi = min(lo + step, end)
                if hi <= keep:
                    continue
                full = max(lo, first + n)
                s1 = 0.0
                s2 = 0.0
                s3 = 0.0
                s4 = 0.0
                peak = 0.0
                falls = 0.0
                path = 0.0
                cross = 0.0
                rises = 0
                moves = 0
                same = 0
                for i in range(full, hi):
                    k = i - shift
                    new = x[k]
                    if i == full:
                        s1, s2, s3, s4, peak = _return_sums(x, k - n + 1, k + 1)
                        falls, path, cross, rises, moves, same = _return_paths(x, k - n + 1, k + 1)
                    else:
                        old = x[k - n]
                        square = new * new
                        gone = old * old
                        s1 += new - old
                        s2 += square - gone
                        s3 += square * new - gone * old
                        s4 += square * square - gone * gone
                        peak = max(peak, square)
                        path += abs(new) - abs(old)
                        cross += new * x[k - 1] - old * x[k - n - 1]
                        falls += (square if new < 0.0 else 0.0) - (gone if old < 0.0 else 0.0)
                        rises += (1 if new > 0.0 else 0) - (1 if old > 0.0 else 0)
                        moves += (1 if new != 0.0 else 0) - (1 if old != 0.0 else 0)
                        same = same + 1 if new == x[k - 1] else 1
                    mean = s1 / w
                    central = s2 - s1 * mean
                    if moments and same < n and (central < SPIKED * w * peak or central < CANCELLED * s2):
                        s1, s2, s3, s4, peak = _return_sums(x, k - n + 1, k + 1)
                        falls, path, cross, rises, moves, same = _return_paths(x, k - n + 1, k + 1)
                        mean = s1 / w
                        central = s2 - s1 * mean
                    if i < keep:
                        continue
                    j = i - base
                    sd = 0.0
                    if same < n:
                        sd = math.sqrt(central / (w - 1.0)) if central > 0.0 else math.nan
                    per_sd = 1.0 / sd if sd > 0.0 else math.nan
                    if r[0] >= 0:
                        out[r[0], j] = sd
                    if r[1] >= 0:
                        out[r[1], j] = (new - mean) * per_sd
                    if r[2] >= 0:
                        m3 = s3 - 3.0 * mean * s2 + 2.0 * w * mean * mean * mean
                        out[r[2], j] = w / ((w - 1.0) * (w - 2.0)) * m3 * per_sd * per_sd * per_sd
                    if r[3] >= 0:
                        mm = mean * mean
                        m4 = (
                            (s4 - 4.0 * mean * s3 + 6.0 * mm * s2 - 3.0 * w * mm * mm)
                            * per_sd
                            * per_sd
                            * per_sd
                            * per_sd
                        )
                        scale = w * (w + 1.0) / ((w - 1.0) * (w - 2.0) * (w - 3.0))
                        out[r[3], j] = scale * m4 - 3.0 * (w - 1.0) * (w - 1.0) / ((w - 2.0) * (w - 3.0))
                    if r[4] >= 0:
                        out[r[4], j] = rises / w
                    if r[5] >= 0:
                        out[r[5], j] = min(1.0, max(0.0, falls / s2)) if moves > 0 else math.nan
                    if r[6] >= 0:
                        out[r[6], j] = min(1.0, abs(s1) / path) if moves > 0 else math.nan
                    if r[7] >= 0 or r[8] >= 0:
                        # the window of the returns before: one candle older, from x[k - n] to x[k - 1]
                        covariance = math.nan
                        other = math.nan
                        if i - n > first:
                            before = x[k - n]
                            t1 = s1 - new + before
                            t2 = s2 - new * new + before * before
                            covariance = cross - t1 * mean
                            other = t2 - t1 * t1 / w
                        if r[7] >= 0:
                            value = math.nan
                            if sd > 0.0 and other > 0.0:
                                value = covariance / math.sqrt(central * other)
                            out[r[7], j] = value
                        if r[8] >= 0:
                            covariance /= w - 1.0
                            out[r[8], j] = math.copysign(2.0 * math.sqrt(abs(covariance)), -covariance)


@njit(cache=True, error_model="numpy")
def commodity_channel(high, low, close, blocks, periods, rows, out, base):
    """Write the commodity channel index (Lambert 1980): (t - mean) / (0.015 mean absolute deviation), t = (h + l + c) / 3.

    Each window is summed afresh. NaN for a flat window.
    """
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p, 0]
            for i in range(blocks[q, 2], blocks[q, 3]):
                value = math.nan
                start = i - n + 1
                if start >= first:
                    reference = high[i] + low[i] + close[i]
                    total = 0.0
                    for k in range(start, i):
                        total += high[k] + low[k] + close[k] - reference
                    mean = total / n
                    deviation = abs(mean)
                    for k in range(start, i):
                        deviation += abs(high[k] + low[k] + close[k] - reference - mean)
                    if deviation > 0.0:
                        value = -mean * n / (0.015 * deviation)
                if r >= 0:
                    out[r, i - base] = value
