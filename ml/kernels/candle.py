"""Kernels of single candles and of fixed lags: shapes, patterns, returns."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["STREAK_CAP", "lags", "patterns", "shapes"]

STREAK_CAP = 10


@njit(cache=True, error_model="numpy")
def shapes(open_, high, low, close, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write the shape of each candle: prices, range, body, wicks, gap (see ``table``).

    Shares are of high - low (NaN for a candle without range); gap is open / previous close - 1; the true range (Wilder
    1978) is max(high, previous close) - min(low, previous close), here over the close.
    """
    r = rows[0]
    for q in range(blocks.shape[0]):
        keep = blocks[q, 2]
        end = blocks[q, 3]
        size = end - keep
        o = open_[keep:end]
        h = high[keep:end]
        l = low[keep:end]
        c = close[keep:end]
        if r[0] >= 0:
            to = out[r[0], keep - base : end - base]
            for t in range(size):
                to[t] = c[t]
        if r[1] >= 0:
            to = out[r[1], keep - base : end - base]
            for t in range(size):
                to[t] = h[t] - l[t]
        if r[2] >= 0:
            to = out[r[2], keep - base : end - base]
            for t in range(size):
                to[t] = (h[t] - l[t]) / c[t]
        if r[3] >= 0:
            to = out[r[3], keep - base : end - base]
            for t in range(size):
                to[t] = c[t] - o[t]
        if r[4] >= 0:
            to = out[r[4], keep - base : end - base]
            for t in range(size):
                to[t] = (c[t] - o[t]) / o[t]
        if r[5] >= 0:
            to = out[r[5], keep - base : end - base]
            for t in range(size):
                to[t] = abs(c[t] - o[t]) / (h[t] - l[t]) if h[t] > l[t] else math.nan
        if r[6] >= 0:
            to = out[r[6], keep - base : end - base]
            for t in range(size):
                top = o[t] if o[t] > c[t] else c[t]
                to[t] = (h[t] - top) / (h[t] - l[t]) if h[t] > l[t] else math.nan
        if r[7] >= 0:
            to = out[r[7], keep - base : end - base]
            for t in range(size):
                bottom = o[t] if o[t] < c[t] else c[t]
                to[t] = (bottom - l[t]) / (h[t] - l[t]) if h[t] > l[t] else math.nan
        if r[8] >= 0:
            to = out[r[8], keep - base : end - base]
            for t in range(size):
                to[t] = ((c[t] - l[t]) - (h[t] - c[t])) / (h[t] - l[t]) if h[t] > l[t] else math.nan
        for k in (9, 10):
            if r[k] < 0:
                continue
            to = out[r[k], keep - base : end - base]
            skip = 0
            if keep == blocks[q, 0]:  # the first candle of a slice has none before it
                to[0] = math.nan
                skip = 1
            before = close[keep + skip - 1 : end - 1]
            for t in range(before.shape[0]):
                p = before[t]
                if k == 9:
                    to[t + skip] = (o[t + skip] - p) / p
                else:
                    top = h[t + skip] if h[t + skip] > p else p
                    bottom = l[t + skip] if l[t + skip] < p else p
                    to[t + skip] = (top - bottom) / c[t + skip]


@njit(cache=True, error_model="numpy")
def patterns(open_, high, low, close, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write candlestick patterns as 1 or 0 and the streak of closes (see ``table``).

    bullish: close > open; bearish: close < open; doji: body <= range / 10; hammer: lower wick >= 2 bodies, upper wick <= a
    tenth of the range, range > 0; shooting star: its mirror; engulfing: this body covers the opposite body before it (Nison
    1991); inside, outside: high and low within, or beyond both, of the candle before. The streak counts consecutive closes in
    one direction, signed, from -10 to 10; an unchanged close is 0.
    """
    r = rows[0]
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        size = end - keep
        o = open_[keep:end]
        h = high[keep:end]
        l = low[keep:end]
        c = close[keep:end]
        if r[0] >= 0:
            to = out[r[0], keep - base : end - base]
            for t in range(size):
                to[t] = 1.0 if c[t] > o[t] else 0.0
        if r[1] >= 0:
            to = out[r[1], keep - base : end - base]
            for t in range(size):
                to[t] = 1.0 if c[t] < o[t] else 0.0
        if r[2] >= 0:
            to = out[r[2], keep - base : end - base]
            for t in range(size):
                to[t] = 1.0 if 10.0 * abs(c[t] - o[t]) <= h[t] - l[t] else 0.0
        for k in (3, 4):
            if r[k] >= 0:
                to = out[r[k], keep - base : end - base]
                for t in range(size):
                    top = h[t] - (o[t] if o[t] > c[t] else c[t])
                    bottom = (o[t] if o[t] < c[t] else c[t]) - l[t]
                    long = bottom if k == 3 else top
                    short = top if k == 3 else bottom
                    width = h[t] - l[t]
                    body = abs(c[t] - o[t])
                    to[t] = 1.0 if (width > 0.0) & (long >= 2.0 * body) & (10.0 * short <= width) else 0.0
        skip = 1 if keep == first else 0  # the first candle of a slice has none before it
        for k in range(5, 9):
            if r[k] < 0:
                continue
            to = out[r[k], keep - base : end - base]
            if skip:
                to[0] = math.nan
            for t in range(skip, size):
                i = keep + t
                po = open_[i - 1]
                pc = close[i - 1]
                if k == 5:
                    found = (pc < po) & (c[t] > o[t]) & (o[t] <= pc) & (c[t] >= po)
                elif k == 6:
                    found = (pc > po) & (c[t] < o[t]) & (o[t] >= pc) & (c[t] <= po)
                elif k == 7:
                    found = (h[t] <= high[i - 1]) & (l[t] >= low[i - 1])
                else:
                    found = (h[t] > high[i - 1]) & (l[t] < low[i - 1])
                to[t] = 1.0 if found else 0.0
        if r[9] >= 0:
            streak = 0
            for i in range(max(first + 1, keep - STREAK_CAP), end):
                if close[i] > close[i - 1]:
                    streak = min(max(streak, 0) + 1, STREAK_CAP)
                elif close[i] < close[i - 1]:
                    streak = max(min(streak, 0) - 1, -STREAK_CAP)
                else:
                    streak = 0
                if i >= keep:
                    out[r[9], i - base] = float(streak) if i - first >= STREAK_CAP else math.nan
            if skip:
                out[r[9], keep - base] = math.nan


@njit(cache=True, error_model="numpy")
def lags(close, blocks, periods, rows, out, base):
    """Write changes over n candles (see ``table``).

    change: c[i] / c[i-n] - 1; log_change: ln(c[i] / c[i-n]); acceleration: the change over the last n candles minus the
    change over the n before.
    """
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        for p in range(periods.shape[0]):
            n = periods[p]
            for k in range(3):
                if rows[p, k] < 0:
                    continue
                start = max(keep, min(end, first + (2 * n if k == 2 else n)))
                for i in range(keep, start):
                    out[rows[p, k], i - base] = math.nan
                if start == end:
                    continue
                to = out[rows[p, k], start - base : end - base]
                new = close[start:end]
                old = close[start - n : end - n]
                if k == 0:
                    for t in range(end - start):
                        to[t] = (new[t] - old[t]) / old[t]
                elif k == 1:
                    for t in range(end - start):
                        to[t] = math.log(new[t] / old[t])
                else:
                    older = close[start - 2 * n : end - 2 * n]
                    for t in range(end - start):
                        to[t] = (new[t] - old[t]) / old[t] - (old[t] - older[t]) / older[t]
