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
        for k in range(size):
            tops[0, k] = high[start + k]
            bottoms[0, k] = low[start + k]
        for level in range(1, depth):
            half = 1 << (level - 1)
            for k in range(half, size):
                a = tops[level - 1, k]
                b = tops[level - 1, k - half]
                tops[level, k] = a if a > b else b
            for k in range(half, size):
                a = bottoms[level - 1, k]
                b = bottoms[level - 1, k - half]
                bottoms[level, k] = a if a < b else b
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
            for k in range(n - 1, size):
                a = tops[level, k]
                b = tops[level, k - rest]
                top[k] = a if a > b else b
            for k in range(n - 1, size):
                a = bottoms[level, k]
                b = bottoms[level, k - rest]
                bottom[k] = a if a < b else b
            for i in range(keep, end):
                j = i - base
                k = i - start
                c = close[i]
                h = top[k]
                l = bottom[k]
                width = h - l
                if r[0] >= 0:
                    out[r[0], j] = h
                if r[1] >= 0:
                    out[r[1], j] = l
                if r[2] >= 0:
                    out[r[2], j] = (c - h) / h
                if r[3] >= 0:
                    out[r[3], j] = (c - l) / l
                if r[4] >= 0:
                    out[r[4], j] = (c - l) / width if width > 0.0 else math.nan
                if r[5] >= 0:
                    out[r[5], j] = 100.0 * (c - l) / width if width > 0.0 else math.nan
                if r[6] >= 0:
                    total = 0.0
                    for lag in range(3):
                        value = math.nan
                        if k >= lag and top[k - lag] > bottom[k - lag]:
                            value = 100.0 * (close[i - lag] - bottom[k - lag]) / (top[k - lag] - bottom[k - lag])
                        total += value
                    out[r[6], j] = total / 3.0
                if r[7] >= 0 or r[8] >= 0 or r[9] >= 0:
                    above = top[k - 1] if k > 0 else math.nan
                    below = bottom[k - 1] if k > 0 else math.nan
                    if r[7] >= 0:
                        out[r[7], j] = (c - above) / above
                    if r[8] >= 0:
                        out[r[8], j] = (c - below) / below
                    if r[9] >= 0:
                        value = math.nan
                        if k > 0 and not math.isnan(above):
                            value = 1.0 if c > above else (-1.0 if c < below else 0.0)
                        out[r[9], j] = value


@njit(cache=True, error_model="numpy")
def ranges(open_, high, low, close, blocks, periods, rows, out, base):
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
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        begin = blocks[q, 1]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = max(first, max(begin, keep - max(64, 4 * longest)) - longest)
        if terms.shape[1] < end - start:
            terms = np.empty((3, end - start))
        u = math.log(high[start - 1] / low[start - 1]) if start > first else 0.0
        for i in range(start, end):
            k = i - start
            before = u
            u = math.log(high[i] / low[i])
            v = math.log(close[i] / open_[i])
            terms[0, k] = u * u
            terms[1, k] = 0.5 * u * u - (2.0 * math.log(2.0) - 1.0) * v * v
            terms[2, k] = 0.0
            if i > first:
                beta = u * u + before * before
                both = math.log(max(high[i], high[i - 1]) / min(low[i], low[i - 1]))
                alpha = (math.sqrt(2.0 * beta) - math.sqrt(beta)) / root - both / math.sqrt(root)
                if alpha > 0.0:
                    growth = math.exp(alpha)
                    terms[2, k] = 2.0 * (growth - 1.0) / (1.0 + growth)
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
