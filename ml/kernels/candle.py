"""Kernels of single candles and of fixed lags: shapes, patterns, returns."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["STREAK_CAP", "lags", "patterns", "shapes"]


STREAK_CAP = 10


@njit(cache=True, error_model="numpy")
def shapes(open_, high, low, close, blocks, periods, rows, out, base):
    """Write the shape of each candle: prices, range, body, wicks, gap (see ``table``).

    Shares are of high - low (NaN for a candle without range); gap is open / previous close - 1; the true range (Wilder
    1978) is max(high, previous close) - min(low, previous close), here over the close.
    """
    r = rows[0]
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        for i in range(blocks[q, 2], blocks[q, 3]):
            j = i - base
            o = open_[i]
            h = high[i]
            l = low[i]
            c = close[i]
            width = h - l
            share = 1.0 / width if width > 0.0 else math.nan
            if r[0] >= 0:
                out[r[0], j] = c
            if r[1] >= 0:
                out[r[1], j] = width
            if r[2] >= 0:
                out[r[2], j] = width / c
            if r[3] >= 0:
                out[r[3], j] = c - o
            if r[4] >= 0:
                out[r[4], j] = (c - o) / o
            if r[5] >= 0:
                out[r[5], j] = abs(c - o) * share
            if r[6] >= 0:
                out[r[6], j] = (h - max(o, c)) * share
            if r[7] >= 0:
                out[r[7], j] = (min(o, c) - l) * share
            if r[8] >= 0:
                out[r[8], j] = ((c - l) - (h - c)) * share
            if r[9] >= 0:
                out[r[9], j] = (o - close[i - 1]) / close[i - 1] if i > first else math.nan
            if r[10] >= 0:
                out[r[10], j] = (max(h, close[i - 1]) - min(l, close[i - 1])) / c if i > first else math.nan


@njit(cache=True, error_model="numpy")
def patterns(open_, high, low, close, blocks, periods, rows, out, base):
    """Write candlestick patterns as 1 or 0 and the streak of closes (see ``table``).

    bullish: close > open; bearish: close < open; doji: body <= range / 10; hammer: lower wick >= 2 bodies, upper wick <= a
    tenth of the range, range > 0; shooting star: its mirror; engulfing: this body covers the opposite body before it (Nison
    1991); inside, outside: high and low within, or beyond both, of the candle before. The streak counts consecutive closes in
    one direction, signed, from -10 to 10; an unchanged close is 0.
    """
    r = rows[0]
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        for i in range(blocks[q, 2], blocks[q, 3]):
            j = i - base
            o = open_[i]
            h = high[i]
            l = low[i]
            c = close[i]
            width = h - l
            body = abs(c - o)
            upper = h - max(o, c)
            lower = min(o, c) - l
            if r[0] >= 0:
                out[r[0], j] = 1.0 if c > o else 0.0
            if r[1] >= 0:
                out[r[1], j] = 1.0 if c < o else 0.0
            if r[2] >= 0:
                out[r[2], j] = 1.0 if 10.0 * body <= width else 0.0
            if r[3] >= 0:
                out[r[3], j] = 1.0 if width > 0.0 and lower >= 2.0 * body and 10.0 * upper <= width else 0.0
            if r[4] >= 0:
                out[r[4], j] = 1.0 if width > 0.0 and upper >= 2.0 * body and 10.0 * lower <= width else 0.0
            if i == first:
                for k in range(5, 9):
                    if r[k] >= 0:
                        out[r[k], j] = math.nan
            else:
                po = open_[i - 1]
                pc = close[i - 1]
                if r[5] >= 0:
                    out[r[5], j] = 1.0 if pc < po and c > o and o <= pc and c >= po else 0.0
                if r[6] >= 0:
                    out[r[6], j] = 1.0 if pc > po and c < o and o >= pc and c <= po else 0.0
                if r[7] >= 0:
                    out[r[7], j] = 1.0 if h <= high[i - 1] and l >= low[i - 1] else 0.0
                if r[8] >= 0:
                    out[r[8], j] = 1.0 if h > high[i - 1] and l < low[i - 1] else 0.0
            if r[9] >= 0:
                streak = math.nan
                if i - first >= STREAK_CAP:
                    streak = 0.0
                    if c != close[i - 1]:
                        up = c > close[i - 1]
                        k = i
                        while k > i - STREAK_CAP and close[k] != close[k - 1] and (close[k] > close[k - 1]) == up:
                            k -= 1
                        streak = float(i - k) if up else float(k - i)
                out[r[9], j] = streak


@njit(cache=True, error_model="numpy")
def lags(close, blocks, periods, rows, out, base):
    """Write changes over n candles (see ``table``).

    change: c[i] / c[i-n] - 1; log_change: ln(c[i] / c[i-n]); acceleration: the change over the last n candles minus the
    change over the n before.
    """
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        for p in range(periods.shape[0]):
            n = periods[p]
            change = rows[p, 0]
            log_change = rows[p, 1]
            acceleration = rows[p, 2]
            for i in range(blocks[q, 2], blocks[q, 3]):
                j = i - base
                have = i - n >= first
                if change >= 0:
                    out[change, j] = (close[i] - close[i - n]) / close[i - n] if have else math.nan
                if log_change >= 0:
                    out[log_change, j] = math.log(close[i] / close[i - n]) if have else math.nan
                if acceleration >= 0:
                    value = math.nan
                    if i - 2 * n >= first:
                        before = close[i - n]
                        value = (close[i] - before) / before - (before - close[i - 2 * n]) / close[i - 2 * n]
                    out[acceleration, j] = value
