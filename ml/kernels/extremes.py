"""Kernels of highs and lows: channels, stochastics, support and resistance, range-based volatility.

The maximum of n candles is the larger of two maxima over the largest power of two that fits, and those come from pairs: no
queue, no branches, and exact, so it does not matter where the computation starts.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["extremes", "ranges"]


@njit(cache=True, error_model="numpy")
def _larger(a, b, out):
    for k in range(a.shape[0]):
        out[k] = a[k] if a[k] > b[k] else b[k]


@njit(cache=True, error_model="numpy")
def _smaller(a, b, out):
    for k in range(a.shape[0]):
        out[k] = a[k] if a[k] < b[k] else b[k]


@njit(cache=True, error_model="numpy")
def _write_extremes(close, top, bottom, lead, r, out, place):
    """Write what one window says of the candles of a block; ``top[lead + t]`` is the extreme up to candle t of them."""
    size = close.shape[0]
    high = top[lead:]
    low = bottom[lead:]
    if r[0] >= 0:
        to = out[r[0], place : place + size]
        for t in range(size):
            to[t] = high[t]
    if r[1] >= 0:
        to = out[r[1], place : place + size]
        for t in range(size):
            to[t] = low[t]
    if r[2] >= 0:
        to = out[r[2], place : place + size]
        for t in range(size):
            to[t] = (close[t] - high[t]) / high[t]
    if r[3] >= 0:
        to = out[r[3], place : place + size]
        for t in range(size):
            to[t] = (close[t] - low[t]) / low[t]
    if r[4] >= 0:
        to = out[r[4], place : place + size]
        for t in range(size):
            to[t] = (close[t] - low[t]) / (high[t] - low[t]) if high[t] > low[t] else math.nan
    if r[5] >= 0:
        to = out[r[5], place : place + size]
        for t in range(size):
            to[t] = 100.0 * (close[t] - low[t]) / (high[t] - low[t]) if high[t] > low[t] else math.nan
    # levels of the candles before: one place earlier; the first candle of a slice has none
    skip = 1 if lead == 0 else 0
    for k in range(7, 10):
        if r[k] < 0:
            continue
        to = out[r[k], place : place + size]
        if skip:
            to[0] = math.nan
        above = top[lead + skip - 1 :]
        below = bottom[lead + skip - 1 :]
        for t in range(size - skip):
            c = close[t + skip]
            if k == 7:
                to[t + skip] = (c - above[t]) / above[t]
            elif k == 8:
                to[t + skip] = (c - below[t]) / below[t]
            else:
                side = 1.0 if c > above[t] else (-1.0 if c < below[t] else 0.0)
                to[t + skip] = math.nan if math.isnan(above[t]) else side


@njit(cache=True, error_model="numpy")
def extremes(high, low, close, blocks, periods, rows, out, base):
    """Write highest highs and lowest lows of n candles and where the close stands (see ``table``).

    max_distance, min_distance: close / extreme - 1; position: (close - min) / (max - min); stochastic: 100 position and its
    mean over 3 candles (Lane 1984); resistance and support: the extremes of the n candles before this one, as close / level
    - 1; breakout: 1 for a close above the resistance, -1 below the support, else 0. NaN where max equals min.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    depth = 1
    while (1 << depth) <= longest:
        depth += 1
    tops = np.empty((depth, 0))
    bottoms = np.empty((depth, 0))
    top = np.empty(0)
    bottom = np.empty(0)
    stochastic = np.empty(0)
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = max(first, keep - longest - 3)
        size = end - start
        if top.shape[0] < size:
            tops = np.empty((depth, size))
            bottoms = np.empty((depth, size))
            top = np.empty(size)
            bottom = np.empty(size)
            stochastic = np.empty(size)
        for k in range(size):
            tops[0, k] = high[start + k]
            bottoms[0, k] = low[start + k]
        for level in range(1, depth):
            half = 1 << (level - 1)
            _larger(tops[level - 1, half:size], tops[level - 1], tops[level, half:size])
            _smaller(bottoms[level - 1, half:size], bottoms[level - 1], bottoms[level, half:size])
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            level = 0
            while (2 << level) <= n:
                level += 1
            rest = n - (1 << level)
            # top[k], bottom[k]: over the n candles up to start + k; NaN until there are so many
            for k in range(min(n - 1, size)):
                top[k] = math.nan
                bottom[k] = math.nan
            if n <= size:
                _larger(tops[level, n - 1 : size], tops[level, n - 1 - rest :], top[n - 1 : size])
                _smaller(bottoms[level, n - 1 : size], bottoms[level, n - 1 - rest :], bottom[n - 1 : size])
            if r[6] >= 0:
                to = out[r[6]]
                for k in range(size):
                    width = top[k] - bottom[k]
                    stochastic[k] = 100.0 * (close[start + k] - bottom[k]) / width if width > 0.0 else math.nan
                for k in range(keep - start, size):
                    value = math.nan
                    if k >= 2:
                        value = (stochastic[k - 2] + stochastic[k - 1] + stochastic[k]) / 3.0
                    to[start + k - base] = value
            _write_extremes(close[keep:end], top[:size], bottom[:size], keep - start, r, out, keep - base)


@njit(cache=True, error_model="numpy")
def ranges(log_range, log_body, log_pair, blocks, periods, rows, out, base):
    """Write estimates from highs and lows over n candles (see ``table``).

    parkinson: sqrt(mean(u^2) / (4 ln 2)), u = ln(high / low) (Parkinson 1980); garman_klass: sqrt(mean(u^2 / 2 - (2 ln 2 -
    1) ln(close / open)^2)) (Garman and Klass 1980); corwin_schultz: mean spread of n pairs of neighbouring candles, negative
    ones as 0 (Corwin and Schultz 2012, equations 14 and 18; no correction for overnight gaps).
    """
    root = 3.0 - 2.0 * math.sqrt(2.0)
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    terms = np.empty((3, 0))
    wide = False
    for p in range(periods.shape[0]):
        wide = wide or rows[p, 2] >= 0
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        begin = blocks[q, 1]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = max(first, max(begin, keep - max(64, 4 * longest)) - longest)
        if terms.shape[1] < end - start:
            terms = np.empty((3, end - start))
        for i in range(start, end):
            u = log_range[i]
            v = log_body[i]
            terms[0, i - start] = u * u
            terms[1, i - start] = 0.5 * u * u - (2.0 * math.log(2.0) - 1.0) * v * v
        if wide:
            lead = 1 if start == first else 0
            terms[2, 0] = 0.0
            for i in range(start + lead, end):
                beta = log_range[i] * log_range[i] + log_range[i - 1] * log_range[i - 1]
                alpha = (math.sqrt(2.0 * beta) - math.sqrt(beta)) / root - log_pair[i] / math.sqrt(root)
                growth = math.exp(alpha) if alpha > 0.0 else 1.0
                terms[2, i - start] = 2.0 * (growth - 1.0) / (1.0 + growth)
        for p in range(periods.shape[0]):
            n = periods[p]
            step = max(64, 4 * n)
            for k in range(3):
                r = rows[p, k]
                if r < 0:
                    continue
                have = first + n - 1 + (1 if k == 2 else 0)  # a pair needs one candle more
                for i in range(keep, min(end, have)):
                    out[r, i - base] = math.nan
                for lo in range(begin, end, step):
                    hi = min(lo + step, end)
                    if hi <= keep:
                        continue
                    full = max(lo, have)
                    total = 0.0
                    moves = 0  # terms that are not zero: an empty window is exactly zero
                    for i in range(full, hi):
                        if i == full:
                            for m in range(i - n + 1 - start, i + 1 - start):
                                total += terms[k, m]
                                moves += 1 if terms[k, m] > 0.0 else 0
                        else:
                            new = terms[k, i - start]
                            old = terms[k, i - n - start]
                            total += new - old
                            moves += (1 if new > 0.0 else 0) - (1 if old > 0.0 else 0)
                        if i < keep:
                            continue
                        mean = max(total, 0.0) / n if moves > 0 else 0.0
                        if k == 0:
                            mean = math.sqrt(mean / (4.0 * math.log(2.0)))
                        elif k == 1:
                            mean = math.sqrt(mean)
                        out[r, i - base] = mean
