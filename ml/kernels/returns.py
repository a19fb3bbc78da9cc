"""Kernel of moments, paths and autocovariance of one-candle log returns.

Sums are taken afresh every ``4 * window`` candles (at least 64) from the begin of the block, and wherever a return that
dwarfed the others has left or the mean has cancelled: no rounding error is carried far.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["CANCELLED", "SPIKED", "path_sums", "power_sums", "returns"]

# Sums are taken afresh where less than this share of a square remains after the mean, or of the largest square.
CANCELLED = 1e-7
SPIKED = 1e-4


@njit(cache=True, error_model="numpy")
def power_sums(x, start, stop):
    """Sum a window of returns afresh: powers one to four, and the largest square."""
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
def _scan_powers(x, n, have, begin, keep, end, shift, shape, sums):
    """Write mean, sum of squares about it and, where ``shape``, sums of cubes and fourth powers of every full window.

    ``x[i - shift]`` is the return of candle i, ``sums[:, i - begin]`` its window. Equal returns have a sum of squares of 0.
    """
    part = 1.0 / n
    step = max(64, 4 * n)
    for lo in range(begin, end, step):
        hi = min(lo + step, end)
        full = max(lo, have)
        if hi <= keep or hi <= full:
            continue
        s1 = 0.0
        s2 = 0.0
        s3 = 0.0
        s4 = 0.0
        peak = 0.0
        head = full - shift
        new = x[head : head + hi - full]
        old = x[head - n + 1 : head - n + 1 + hi - full]  # old[t - 1] leaves when candle full + t comes
        mean = sums[0, full - begin : hi - begin]
        central = sums[1, full - begin : hi - begin]
        third = sums[2, full - begin : hi - begin]
        fourth = sums[3, full - begin : hi - begin]
        for t in range(hi - full):
            if t == 0:
                s1, s2, s3, s4, peak = power_sums(x, head - n + 1, head + 1)
            else:
                come = new[t]
                gone = old[t - 1]
                square = come * come
                left = gone * gone
                s1 += come - gone
                s2 += square - left
                peak = max(peak, square)
                if shape:
                    s3 += square * come - left * gone
                    s4 += square * square - left * left
            m = s1 * part
            c = s2 - s1 * m
            if c < SPIKED * n * peak or c < CANCELLED * s2:
                s1, s2, s3, s4, peak = power_sums(x, head + t - n + 1, head + t + 1)
                m = s1 * part
                c = s2 - s1 * m
                if c < CANCELLED * CANCELLED * s2:
                    c = 0.0
            mean[t] = m
            central[t] = c
            if shape:
                third[t] = s3
                fourth[t] = s4


@njit(cache=True, error_model="numpy")
def path_sums(x, start, stop):
    """Sum a window of returns afresh: squares of falls, absolute values, products with the one before, rises, falls."""
    below = 0.0
    path = 0.0
    cross = 0.0
    rises = 0.0
    falls = 0.0
    for k in range(start, stop):
        z = x[k]
        below += z * z if z < 0.0 else 0.0
        path += abs(z)
        cross += z * x[k - 1]
        rises += 1.0 if z > 0.0 else 0.0
        falls += 1.0 if z < 0.0 else 0.0
    return below, path, cross, rises, falls


@njit(cache=True, error_model="numpy")
def _scan_paths(x, n, have, begin, keep, end, shift, sums):
    """Write the sums of ``path_sums`` of every full window into ``sums[4:, i - begin]``."""
    step = max(64, 4 * n)
    for lo in range(begin, end, step):
        hi = min(lo + step, end)
        full = max(lo, have)
        if hi <= keep or hi <= full:
            continue
        head = full - shift
        below, path, cross, rises, falls = path_sums(x, head - n + 1, head + 1)
        new = x[head - 1 : head + hi - full]
        old = x[head - n : head - n + hi - full]  # old[t] leaves when candle full + t comes
        to_below = sums[4, full - begin : hi - begin]
        to_path = sums[5, full - begin : hi - begin]
        to_cross = sums[6, full - begin : hi - begin]
        to_rises = sums[7, full - begin : hi - begin]
        to_falls = sums[8, full - begin : hi - begin]
        for t in range(hi - full):
            if t > 0:
                come = new[t + 1]
                gone = old[t]
                below += (come * come if come < 0.0 else 0.0) - (gone * gone if gone < 0.0 else 0.0)
                path += abs(come) - abs(gone)
                cross += come * new[t] - gone * old[t - 1]
                rises += (1.0 if come > 0.0 else 0.0) - (1.0 if gone > 0.0 else 0.0)
                falls += (1.0 if come < 0.0 else 0.0) - (1.0 if gone < 0.0 else 0.0)
            to_below[t] = below
            to_path[t] = path
            to_cross[t] = cross
            to_rises[t] = rises
            to_falls[t] = falls


@njit(cache=True, error_model="numpy")
def returns(log_return, blocks, periods, rows, out, base):
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
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        begin = blocks[q, 1]
        end = blocks[q, 3]
        # x[k - shift] is the return of candle k; the first candle of a slice has none
        shift = max(first, max(begin, blocks[q, 2] - max(64, 4 * longest)) - longest - 1)
        x = np.empty(end - shift)
        for k in range(end - shift):
            x[k] = log_return[shift + k]
        if shift == first:
            x[0] = 0.0
        sums = np.empty((9, end - begin))
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            have = first + n
            keep = blocks[q, 2]
            for k in range(r.shape[0]):
                if r[k] >= 0:
                    for i in range(keep, min(end, have)):
                        out[r[k], i - base] = math.nan
            keep = max(keep, have)
            if keep >= end:
                continue
            _scan_powers(x, n, have, begin, keep, end, shift, r[2] >= 0 or r[3] >= 0, sums)
            if r[4] >= 0 or r[5] >= 0 or r[6] >= 0 or r[7] >= 0 or r[8] >= 0:
                _scan_paths(x, n, have, begin, keep, end, shift, sums)
            _write_returns(x[keep - shift - n :], n, sums, keep - begin, r, out, keep - base)
            if keep == have:  # the return before the oldest one of the window is not in the slice
                for k in (7, 8):
                    if r[k] >= 0:
                        out[r[k], keep - base] = math.nan


@njit(cache=True, error_model="numpy")
def _write_returns(x, n, sums, skip, r, out, place):
    """Write what one window says; ``x[t]`` is the return that leaves before candle t, ``x[n + t]`` that of candle t."""
    w = float(n)
    mean = sums[0, skip:]
    central = sums[1, skip:]
    third = sums[2, skip:]
    fourth = sums[3, skip:]
    below = sums[4, skip:]
    path = sums[5, skip:]
    cross = sums[6, skip:]
    rises = sums[7, skip:]
    falls = sums[8, skip:]
    size = mean.shape[0]
    new = x[n:]
    sample = w - 1.0
    if r[0] >= 0:
        to = out[r[0], place : place + size]
        for t in range(size):
            to[t] = math.sqrt(central[t] / sample) if central[t] >= 0.0 else math.nan
    if r[1] >= 0:
        to = out[r[1], place : place + size]
        for t in range(size):
            to[t] = (new[t] - mean[t]) / math.sqrt(central[t] / sample) if central[t] > 0.0 else math.nan
    if r[2] >= 0:
        to = out[r[2], place : place + size]
        scale = w / ((w - 1.0) * (w - 2.0))
        for t in range(size):
            m = mean[t]
            v = central[t] / sample
            s2 = central[t] + w * m * m
            cubes = third[t] - 3.0 * m * s2 + 2.0 * w * m * m * m
            to[t] = scale * cubes / (v * math.sqrt(v)) if v > 0.0 else math.nan
    if r[3] >= 0:
        to = out[r[3], place : place + size]
        scale = w * (w + 1.0) / ((w - 1.0) * (w - 2.0) * (w - 3.0))
        normal = 3.0 * (w - 1.0) * (w - 1.0) / ((w - 2.0) * (w - 3.0))
        for t in range(size):
            m = mean[t]
            v = central[t] / sample
            s2 = central[t] + w * m * m
            fours = fourth[t] - 4.0 * m * third[t] + 6.0 * m * m * s2 - 3.0 * w * m * m * m * m
            to[t] = scale * fours / (v * v) - normal if v > 0.0 else math.nan
    if r[4] >= 0:
        to = out[r[4], place : place + size]
        for t in range(size):
            to[t] = rises[t] / w
    if r[5] >= 0:
        to = out[r[5], place : place + size]
        for t in range(size):
            s2 = central[t] + w * mean[t] * mean[t]
            share = below[t] / s2 if falls[t] > 0.0 else 0.0
            share = 1.0 if share > 1.0 else share
            to[t] = share if rises[t] + falls[t] > 0.0 else math.nan
    if r[6] >= 0:
        to = out[r[6], place : place + size]
        for t in range(size):
            share = abs(mean[t]) * w / path[t] if rises[t] + falls[t] > 0.0 else math.nan
            to[t] = 1.0 if share > 1.0 else share
    # the window of the returns before: one candle older
    if r[7] >= 0:
        to = out[r[7], place : place + size]
        for t in range(size):
            s1 = mean[t] * w
            t1 = s1 - new[t] + x[t]
            t2 = central[t] + s1 * mean[t] - new[t] * new[t] + x[t] * x[t]
            other = t2 - t1 * t1 / w
            scale = central[t] * other if other > CANCELLED * t2 else 0.0
            to[t] = (cross[t] - t1 * mean[t]) / math.sqrt(scale) if scale > 0.0 else math.nan
    if r[8] >= 0:
        to = out[r[8], place : place + size]
        for t in range(size):
            t1 = mean[t] * w - new[t] + x[t]
            covariance = (cross[t] - t1 * mean[t]) / sample
            spread = 2.0 * math.sqrt(abs(covariance))
            to[t] = -spread if covariance > 0.0 else spread
