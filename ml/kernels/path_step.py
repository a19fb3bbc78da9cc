"""The features of the newest candle of a path, from what ``path_state`` remembers and from the newest candles themselves.

What needs no memory beyond a few candles (shapes, patterns, lags, the clock, the commodity channel index) is written by the
batch kernels, asked for one row. The functions of this file are compiled into ``path_rollout`` and cached there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ml.kernels.calendar import clock
from ml.kernels.candle import lags, patterns, shapes
from ml.kernels.extremes import write_extremes
from ml.kernels.path_state import (
    AVERAGE,
    AVERAGES,
    CLOSE,
    DIRECTION,
    DIRECTIONAL,
    HIGH,
    LEVEL,
    LEVELS,
    LOW,
    MOMENT,
    OPEN,
    OSCILLATOR,
    OSCILLATORS,
    RANGE,
    RANGES,
    RETURN,
    RETURNS,
    STRENGTH,
)
from ml.kernels.returns import write_returns
from ml.kernels.smoothers import SLOPE_LAG
from ml.kernels.windows import commodity_channel

__all__ = ["write_features"]

_EXTREMES, _CHANNEL, _SHAPES, _PATTERNS, _LAGS, _CLOCK = range(7, 13)


@njit(nogil=True, error_model="numpy")
def _write_averages(close, count, rows, state, out):
    for p in range(rows.shape[0]):
        r = rows[p]
        s = state[AVERAGE * p : AVERAGE * (p + 1)]
        if r[0] >= 0:
            out[r[0], 0] = s[0]
        if r[1] >= 0:
            out[r[1], 0] = (close - s[0]) / s[0]
        if r[2] >= 0:
            out[r[2], 0] = (s[0] - s[6]) / s[6] if count >= SLOPE_LAG else math.nan
        if r[3] >= 0:
            out[r[3], 0] = (s[9] - s[10]) / s[10] if count > 0 else math.nan


@njit(nogil=True, error_model="numpy")
def _write_oscillators(close, rows, state, out):
    for p in range(rows.shape[0]):
        r = rows[p]
        for k in range(6):
            if r[k] < 0:
                continue
            value = state[2]
            if k % 3 == 1:
                value = state[3]
            elif k % 3 == 2:
                value = state[2] - state[3]
            out[r[k], 0] = value if k < 3 else value / close
        if r[6] >= 0:
            out[r[6], 0] = math.sqrt(state[4])


@njit(nogil=True, error_model="numpy")
def _write_directional(close, rows, state, out):
    for p in range(rows.shape[0]):
        r = rows[p]
        s = state[DIRECTION * p : DIRECTION * (p + 1)]
        atr = s[0]
        if r[0] >= 0:
            out[r[0], 0] = atr
        if r[1] >= 0:
            out[r[1], 0] = atr / close
        if r[2] >= 0:
            out[r[2], 0] = s[4] / atr if atr > 0.0 else math.nan
        if r[3] >= 0:
            out[r[3], 0] = 100.0 * s[1] / atr if atr > 0.0 else math.nan
        if r[4] >= 0:
            out[r[4], 0] = 100.0 * s[2] / atr if atr > 0.0 else math.nan
        if r[5] >= 0:
            out[r[5], 0] = s[3]


@njit(nogil=True, error_model="numpy")
def _write_level(c, n, r, s, out):
    m = s[4]
    v = s[5]
    if r[0] >= 0:
        out[r[0], 0] = m
    if r[1] >= 0:
        out[r[1], 0] = (c - m) / m
    if r[2] >= 0:
        out[r[2], 0] = (c - m) / math.sqrt(v) if v > 0.0 else math.nan
    if r[3] >= 0:
        out[r[3], 0] = m + 2.0 * math.sqrt(v) if v >= 0.0 else math.nan
    if r[4] >= 0:
        out[r[4], 0] = m - 2.0 * math.sqrt(v) if v >= 0.0 else math.nan
    if r[5] >= 0:
        out[r[5], 0] = (c - m) / (4.0 * math.sqrt(v)) + 0.5 if v > 0.0 else math.nan
    if r[6] >= 0:
        out[r[6], 0] = 4.0 * math.sqrt(v) / m if v >= 0.0 else math.nan
    if r[7] >= 0 or r[8] >= 0:
        w = float(n)
        times = w * (w * w - 1.0) / 12.0
        if r[7] >= 0:
            out[r[7], 0] = s[6] / (times * m)
        if r[8] >= 0:
            fit = s[6] * s[6] / (times * w * v) if v > 0.0 else math.nan
            out[r[8], 0] = 1.0 if fit > 1.0 else fit


@njit(nogil=True, error_model="numpy")
def _clear(r, out):
    for k in range(r.shape[0]):
        if r[k] >= 0:
            out[r[k], 0] = math.nan


@njit(nogil=True, error_model="numpy")
def _write_sums(tape, i, count, plan, state, out):
    at = 0
    periods = plan[LEVELS][0]
    rows = plan[LEVELS][1]
    for p in range(periods.shape[0]):
        if count >= periods[p] - 1:
            _write_level(tape[CLOSE, i], periods[p], rows[p], state[at : at + LEVEL], out)
        else:
            _clear(rows[p], out)
        at += LEVEL
    periods = plan[RETURNS][0]
    rows = plan[RETURNS][1]
    for p in range(periods.shape[0]):
        n = periods[p]
        r = rows[p]
        if count >= n:
            write_returns(tape[RETURN, i - n : i + 1], n, state[at : at + 9].reshape(9, 1), 0, r, out, 0)
        else:
            _clear(r, out)
        if count == n:  # the return before the oldest one of the window is not in the slice
            _clear(r[7:9], out)
        at += MOMENT
    periods = plan[RANGES][0]
    rows = plan[RANGES][1]
    for p in range(periods.shape[0]):
        n = periods[p]
        for k in range(2):
            if rows[p, k] < 0:
                continue
            value = math.nan
            if count >= n - 1:
                total = state[at + 2 * k]
                mean = max(total, 0.0) / n if state[at + 2 * k + 1] > 0.0 else 0.0
                value = math.sqrt(mean / (4.0 * math.log(2.0))) if k == 0 else math.sqrt(mean)
            out[rows[p, k], 0] = value
        at += RANGE


@njit(nogil=True, error_model="numpy")
def _highest(x, i, n):
    top = x[i]
    for k in range(i - n + 1, i):
        top = x[k] if x[k] > top else top
    return top


@njit(nogil=True, error_model="numpy")
def _lowest(x, i, n):
    bottom = x[i]
    for k in range(i - n + 1, i):
        bottom = x[k] if x[k] < bottom else bottom
    return bottom


@njit(nogil=True, error_model="numpy")
def _write_window_extremes(tape, i, count, periods, rows, out):
    high = tape[HIGH]
    low = tape[LOW]
    close = tape[CLOSE]
    top = np.empty(2)
    bottom = np.empty(2)
    for p in range(periods.shape[0]):
        n = periods[p]
        r = rows[p]
        top[1] = _highest(high, i, n) if count >= n - 1 else math.nan
        bottom[1] = _lowest(low, i, n) if count >= n - 1 else math.nan
        if r[6] >= 0:
            value = math.nan
            if count >= n + 1:
                value = 0.0
                for k in range(i - 2, i + 1):
                    floor = _lowest(low, k, n)
                    width = _highest(high, k, n) - floor
                    part = 100.0 * (close[k] - floor) / width if width > 0.0 else math.nan
                    value = part if k == i - 2 else value + part
                value /= 3.0
            out[r[6], 0] = value
        if count == 0:
            write_extremes(close[i : i + 1], top[1:], bottom[1:], 0, r, out, 0)
            continue
        if r[7] >= 0 or r[8] >= 0 or r[9] >= 0:
            top[0] = _highest(high, i - 1, n) if count >= n else math.nan
            bottom[0] = _lowest(low, i - 1, n) if count >= n else math.nan
        write_extremes(close[i : i + 1], top, bottom, 1, r, out, 0)


@njit(nogil=True, error_model="numpy")
def write_features(tape, i, count, open_ms, plan, smooth, sums, blocks, out):
    """Write the features of candle i, before which ``count`` candles of its slice stand.

    Parameters
    ----------
    tape, plan
        See ``path_state``; every window of the features lies inside the tape.
    open_ms
        int64, shape (1,): when the candle opens.
    smooth, sums
        What is remembered, with candle i taken in.
    blocks
        int64, shape (2, 1, 4): room for the positions that the batch kernels ask for.
    out
        float32, shape (rows, 1): receives each output at the row that the plan names.
    """
    close = tape[CLOSE, i]
    _write_averages(close, count, plan[AVERAGES][1], smooth, out)
    at = AVERAGE * plan[AVERAGES][0].shape[0]
    _write_oscillators(close, plan[OSCILLATORS][1], smooth[at:], out)
    at += OSCILLATOR
    rows = plan[STRENGTH][1]
    for p in range(rows.shape[0]):
        if rows[p, 0] >= 0:
            total = smooth[at] + smooth[at + 1]
            out[rows[p, 0], 0] = 100.0 * smooth[at] / total if total > 0.0 else math.nan
        at += 2
    _write_directional(close, plan[DIRECTIONAL][1], smooth[at:], out)
    _write_sums(tape, i, count, plan, sums, out)
    here = blocks[0]
    here[0, 0] = i - count
    here[0, 1] = i - count
    here[0, 2] = i
    here[0, 3] = i + 1
    if plan[_EXTREMES][0].shape[0] > 0:
        _write_window_extremes(tape, i, count, plan[_EXTREMES][0], plan[_EXTREMES][1], out)
    if plan[_CHANNEL][0].shape[0] > 0:
        commodity_channel(tape[HIGH], tape[LOW], tape[CLOSE], here, plan[_CHANNEL][0], plan[_CHANNEL][1], out, i)
    if plan[_SHAPES][0].shape[0] > 0:
        shapes(tape[OPEN], tape[HIGH], tape[LOW], tape[CLOSE], here, plan[_SHAPES][0], plan[_SHAPES][1], out, i)
    if plan[_PATTERNS][0].shape[0] > 0:
        patterns(tape[OPEN], tape[HIGH], tape[LOW], tape[CLOSE], here, plan[_PATTERNS][0], plan[_PATTERNS][1], out, i)
    if plan[_LAGS][0].shape[0] > 0:
        lags(tape[CLOSE], here, plan[_LAGS][0], plan[_LAGS][1], out, i)
    if plan[_CLOCK][0].shape[0] > 0:
        alone = blocks[1]
        alone[0, 0] = 0
        alone[0, 1] = 0
        alone[0, 2] = 0
        alone[0, 3] = 1
        clock(open_ms, alone, plan[_CLOCK][0], plan[_CLOCK][1], out, 0)
