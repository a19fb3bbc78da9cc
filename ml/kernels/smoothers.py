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
def averages(close, blocks, periods, rows, out, base):
    """Write exponential moving averages of the close, alpha = 2 / (n + 1) (see ``table``).

    level: the average, seeded with the first close; distance: close / level - 1; slope: level / level 5 candles earlier - 1;
    triple_slope: one-candle change of the average of the average of the average (TRIX, Hutson 1983).
    """
    count = periods.shape[0]
    alpha = np.empty(count)
    e1 = np.empty(count)
    e2 = np.empty(count)
    e3 = np.empty(count)
    past = np.empty((count, 8))
    triple = False
    for p in range(count):
        alpha[p] = 2.0 / (periods[p] + 1.0)
        triple = triple or rows[p, 3] >= 0
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        for p in range(count):
            e1[p] = close[first]
            e2[p] = close[first]
            e3[p] = close[first]
        for i in range(first, blocks[q, 3]):
            x = close[i]
            slot = i & 7
            for p in range(count):
                e1[p] += alpha[p] * (x - e1[p])
                past[p, slot] = e1[p]
            if i >= keep:
                j = i - base
                for p in range(count):
                    if rows[p, 0] >= 0:
                        out[rows[p, 0], j] = e1[p]
                    if rows[p, 1] >= 0:
                        out[rows[p, 1], j] = (x - e1[p]) / e1[p]
                    if rows[p, 2] >= 0:
                        before = past[p, (i - SLOPE_LAG) & 7]
                        out[rows[p, 2], j] = (e1[p] - before) / before if i - first >= SLOPE_LAG else math.nan
            if triple:
                for p in range(count):
                    if rows[p, 3] >= 0:
                        before = e3[p]
                        e2[p] += alpha[p] * (e1[p] - e2[p])
                        e3[p] += alpha[p] * (e2[p] - e3[p])
                        if i >= keep:
                            out[rows[p, 3], i - base] = (e3[p] - before) / before if i > first else math.nan


@njit(cache=True, error_model="numpy")
def oscillators(close, blocks, periods, rows, out, base):
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
                    j = i - base
                    per_close = 1.0 / x
                    if r[0] >= 0:
                        out[r[0], j] = line
                    if r[1] >= 0:
                        out[r[1], j] = signal
                    if r[2] >= 0:
                        out[r[2], j] = line - signal
                    if r[3] >= 0:
                        out[r[3], j] = line * per_close
                    if r[4] >= 0:
                        out[r[4], j] = signal * per_close
                    if r[5] >= 0:
                        out[r[5], j] = (line - signal) * per_close
        if r[6] >= 0:
            variance = math.nan
            for i in range(first, end):
                if i > first:
                    change = math.log(close[i] / close[i - 1])
                    square = change * change
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
