"""Kernels of exponential smoothers; every chain starts at the first candle of the slice, composed ones inside it."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = [
    "SLOPE_LAG",
    "VARIANCE_DECAY",
    "averages",
    "directional",
    "oscillators",
    "strength",
]


SLOPE_LAG = 5
VARIANCE_DECAY = 0.94


@njit(cache=True, error_model="numpy")
def _four_averages(x, skip, alpha, level):
    """Write four averages of x from place ``skip`` on: four chains at once, because one waits for its own last step."""
    a0 = alpha[0]
    a1 = alpha[1]
    a2 = alpha[2]
    a3 = alpha[3]
    e0 = x[0]
    e1 = e0
    e2 = e0
    e3 = e0
    for k in range(skip):
        value = x[k]
        e0 += a0 * (value - e0)
        e1 += a1 * (value - e1)
        e2 += a2 * (value - e2)
        e3 += a3 * (value - e3)
    for k in range(level.shape[1]):
        value = x[skip + k]
        e0 += a0 * (value - e0)
        e1 += a1 * (value - e1)
        e2 += a2 * (value - e2)
        e3 += a3 * (value - e3)
        level[0, k] = e0
        level[1, k] = e1
        level[2, k] = e2
        level[3, k] = e3


@njit(cache=True, error_model="numpy")
def averages(close, blocks, periods, rows, out, base):
    """Write exponential moving averages of the close, alpha = 2 / (n + 1) (see ``table``).

    level: the average, seeded with the first close; distance: close / level - 1; slope: level / level 5 candles earlier - 1;
    triple_slope: one-candle change of the average of the average of the average (TRIX, Hutson 1983).
    """
    count = periods.shape[0]
    alpha = np.ones((count + 3) // 4 * 4)
    for p in range(count):
        alpha[p] = 2.0 / (periods[p] + 1.0)
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        size = end - keep
        start = max(first, keep - SLOPE_LAG)
        level = np.empty((alpha.shape[0], end - start))
        for p in range(0, count, 4):
            _four_averages(close[first:end], start - first, alpha[p : p + 4], level[p : p + 4])
        c = close[keep:end]
        for p in range(count):
            r = rows[p]
            e = level[p, keep - start :]
            if r[0] >= 0:
                to = out[r[0], keep - base : end - base]
                for t in range(size):
                    to[t] = e[t]
            if r[1] >= 0:
                to = out[r[1], keep - base : end - base]
                for t in range(size):
                    to[t] = (c[t] - e[t]) / e[t]
            if r[2] >= 0:
                to = out[r[2], keep - base : end - base]
                have = max(0, first + SLOPE_LAG - keep)
                for t in range(min(have, size)):
                    to[t] = math.nan
                before = level[p, max(0, keep - start - SLOPE_LAG) :]
                for t in range(size - have):
                    to[have + t] = (e[have + t] - before[t]) / before[t]
            if r[3] >= 0:
                to = out[r[3], keep - base : end - base]
                a = alpha[p]
                once = close[first]
                twice = once
                thrice = once
                for i in range(first, end):
                    last = thrice
                    once += a * (close[i] - once)
                    twice += a * (once - twice)
                    thrice += a * (twice - thrice)
                    if i >= keep:
                        to[i - keep] = (thrice - last) / last if i > first else math.nan


@njit(cache=True, error_model="numpy")
def oscillators(close, log_return, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write MACD 12/26/9 (Appel 1979) in price and over the close, and EWMA volatility (see ``table``).

    ewma_volatility: square root of v, v += 0.06 (r^2 - v) over the squared one-candle log returns (RiskMetrics 1996,
    lambda 0.94), seeded with the first.
    """
    r = rows[0]
    macd = False
    for k in range(6):
        macd = macd or r[k] >= 0
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        if macd:
            lines = np.empty(end - keep)
            signals = np.empty(end - keep)
            fast = close[first]
            slow = close[first]
            signal = 0.0
            for i in range(first, end):
                x = close[i]
                fast += 2.0 / 13.0 * (x - fast)
                slow += 2.0 / 27.0 * (x - slow)
                line = fast - slow
                signal += 0.2 * (line - signal)
                if i >= keep:
                    lines[i - keep] = line
                    signals[i - keep] = signal
            c = close[keep:end]
            for k in range(6):
                if r[k] < 0:
                    continue
                to = out[r[k], keep - base : end - base]
                for t in range(end - keep):
                    value = lines[t]
                    if k % 3 == 1:
                        value = signals[t]
                    elif k % 3 == 2:
                        value = lines[t] - signals[t]
                    to[t] = value if k < 3 else value / c[t]
        if r[6] >= 0:
            variance = math.nan
            for i in range(first, end):
                if i > first:
                    square = log_return[i] * log_return[i]
                    if i == first + 1:
                        variance = square
                    variance += (1.0 - VARIANCE_DECAY) * (square - variance)
                if i >= keep:
                    out[r[6], i - base] = math.sqrt(variance)


@njit(cache=True, error_model="numpy")
def strength(close, blocks, periods, rows, out, base):
    """Write the relative strength index (Wilder 1978): 100 up / (up + down), alpha = 1 / n (see ``table``).

    up and down are smoothed rises and falls of the close that start at 0 together, so their ratio has no seed. NaN while the
    close has never changed.
    """
    count = periods.shape[0]
    alpha = np.empty(count)
    up = np.empty(count)
    down = np.empty(count)
    for p in range(count):
        alpha[p] = 1.0 / periods[p]
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        for p in range(count):
            up[p] = 0.0
            down[p] = 0.0
        for i in range(first, blocks[q, 3]):
            change = close[i] - close[i - 1] if i > first else 0.0
            rise = max(change, 0.0)
            fall = max(-change, 0.0)
            for p in range(count):
                up[p] += alpha[p] * (rise - up[p])
                down[p] += alpha[p] * (fall - down[p])
            if i >= keep:
                for p in range(count):
                    if rows[p, 0] >= 0:
                        total = up[p] + down[p]
                        out[rows[p, 0], i - base] = 100.0 * up[p] / total if total > 0.0 else math.nan


@njit(cache=True, error_model="numpy")
def directional(high, low, close, blocks, periods, rows, out, base):
    """Write true range and directional movement (Wilder 1978), alpha = 1 / n (see ``table``).

    atr: smoothed true range, seeded with the first high - low; atr_pct: over the close; true_range_ratio: the newest true
    range over atr; plus_di, minus_di: 100 smoothed movement / atr; adx: smoothed 100 |plus - minus| / (plus + minus), a
    candle before any movement does not count.
    """
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        for p in range(periods.shape[0]):
            alpha = 1.0 / periods[p]
            r = rows[p]
            moves = r[3] >= 0 or r[4] >= 0 or r[5] >= 0
            atr = high[first] - low[first]
            plus = 0.0
            minus = 0.0
            adx = math.nan
            true_range = atr
            for i in range(first, blocks[q, 3]):
                if i > first:
                    before = close[i - 1]
                    true_range = max(high[i], before) - min(low[i], before)
                    atr += alpha * (true_range - atr)
                    if moves:
                        up = high[i] - high[i - 1]
                        down = low[i - 1] - low[i]
                        plus += alpha * ((up if up > down and up > 0.0 else 0.0) - plus)
                        minus += alpha * ((down if down > up and down > 0.0 else 0.0) - minus)
                        total = plus + minus
                        if total > 0.0:
                            index = 100.0 * abs(plus - minus) / total
                            if math.isnan(adx):
                                adx = index
                            adx += alpha * (index - adx)
                if i >= keep:
                    j = i - base
                    if r[0] >= 0:
                        out[r[0], j] = atr
                    if r[1] >= 0:
                        out[r[1], j] = atr / close[i]
                    if r[2] >= 0:
                        out[r[2], j] = true_range / atr if atr > 0.0 else math.nan
                    if r[3] >= 0:
                        out[r[3], j] = 100.0 * plus / atr if atr > 0.0 else math.nan
                    if r[4] >= 0:
                        out[r[4], j] = 100.0 * minus / atr if atr > 0.0 else math.nan
                    if r[5] >= 0:
                        out[r[5], j] = adx
