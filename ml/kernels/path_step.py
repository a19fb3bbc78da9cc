"""The features of the newest candle of each path, from what ``path_state`` remembers and from the newest candles.

Lanes lie side by side as the candles of a series do in the batch, so whatever reads one candle alone (shapes, patterns, the
clock), or sums and extremes that are already known, is written by the functions of the batch kernels. The functions of this
file are compiled into ``path_rollout`` and cached there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ml.kernels.calendar import clock
from ml.kernels.candle import STREAK_CAP, patterns, shapes
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
from ml.kernels.returns import CANCELLED, write_returns
from ml.kernels.smoothers import SLOPE_LAG

__all__ = ["hide_neighbours", "write_features"]

_EXTREMES, _CHANNEL, _SHAPES, _PATTERNS, _LAGS, _CLOCK = range(7, 13)


@njit(nogil=True, error_model="numpy")
def hide_neighbours(rows, bounds):
    """Return ``rows`` without the outputs that read the candle before: those that the batch kernels cannot write by lanes."""
    alone = rows.copy()
    for p in range(bounds[RETURNS], bounds[RETURNS + 1]):
        alone[p, 7:9] = -1
    for p in range(bounds[_EXTREMES], bounds[_EXTREMES + 1]):
        alone[p, 6:10] = -1
    for p in range(bounds[_SHAPES], bounds[_SHAPES + 1]):
        alone[p, 9:11] = -1
    for p in range(bounds[_PATTERNS], bounds[_PATTERNS + 1]):
        alone[p, 5:10] = -1
    return alone


@njit(nogil=True, error_model="numpy")
def _write_averages(close, counts, rows, bounds, state, out):
    at = 0
    for p in range(bounds[AVERAGES], bounds[AVERAGES + 1]):
        r = rows[p]
        for j in range(close.shape[0]):
            e = state[at, j]
            if r[0] >= 0:
                out[r[0], j] = e
            if r[1] >= 0:
                out[r[1], j] = (close[j] - e) / e
            if r[2] >= 0:
                before = state[at + 5, j]
                out[r[2], j] = (e - before) / before if counts[j] >= SLOPE_LAG else math.nan
            if r[3] >= 0:
                last = state[at + 9, j]
                out[r[3], j] = (state[at + 8, j] - last) / last if counts[j] > 0 else math.nan
        at += AVERAGE
    return at


@njit(nogil=True, error_model="numpy")
def _write_smoothers(close, rows, bounds, at, state, out):
    """Write oscillators, strength and directional movement; their state begins at ``at``."""
    lanes = close.shape[0]
    for p in range(bounds[OSCILLATORS], bounds[OSCILLATORS + 1]):
        r = rows[p]
        for k in range(6):
            if r[k] < 0:
                continue
            for j in range(lanes):
                line = state[at + 2, j]
                signal = state[at + 3, j]
                value = line if k % 3 == 0 else (signal if k % 3 == 1 else line - signal)
                out[r[k], j] = value if k < 3 else value / close[j]
        if r[6] >= 0:
            for j in range(lanes):
                out[r[6], j] = math.sqrt(state[at + 4, j])
    at += OSCILLATOR
    for p in range(bounds[STRENGTH], bounds[STRENGTH + 1]):
        if rows[p, 0] >= 0:
            for j in range(lanes):
                total = state[at, j] + state[at + 1, j]
                out[rows[p, 0], j] = 100.0 * state[at, j] / total if total > 0.0 else math.nan
        at += 2
    for p in range(bounds[DIRECTIONAL], bounds[DIRECTIONAL + 1]):
        r = rows[p]
        for j in range(lanes):
            atr = state[at, j]
            if r[0] >= 0:
                out[r[0], j] = atr
            if r[1] >= 0:
                out[r[1], j] = atr / close[j]
            if r[2] >= 0:
                out[r[2], j] = state[at + 4, j] / atr if atr > 0.0 else math.nan
            if r[3] >= 0:
                out[r[3], j] = 100.0 * state[at + 1, j] / atr if atr > 0.0 else math.nan
            if r[4] >= 0:
                out[r[4], j] = 100.0 * state[at + 2, j] / atr if atr > 0.0 else math.nan
            if r[5] >= 0:
                out[r[5], j] = state[at + 3, j]
        at += DIRECTION


@njit(nogil=True, error_model="numpy")
def _level_value(k, n, c, m, v, s):
    """Return an output of ``levels`` from the close, mean, variance and covariance of one window."""
    if k == 0:
        return m
    if k == 1:
        return (c - m) / m
    if k == 2:
        return (c - m) / math.sqrt(v) if v > 0.0 else math.nan
    if k == 3:
        return m + 2.0 * math.sqrt(v) if v >= 0.0 else math.nan
    if k == 4:
        return m - 2.0 * math.sqrt(v) if v >= 0.0 else math.nan
    if k == 5:
        return (c - m) / (4.0 * math.sqrt(v)) + 0.5 if v > 0.0 else math.nan
    if k == 6:
        return 4.0 * math.sqrt(v) / m if v >= 0.0 else math.nan
    w = float(n)
    times = w * (w * w - 1.0) / 12.0
    if k == 7:
        return s / (times * m)
    fit = s * s / (times * w * v) if v > 0.0 else math.nan
    return 1.0 if fit > 1.0 else fit


@njit(nogil=True, error_model="numpy")
def _write_levels(close, counts, periods, rows, bounds, state, out):
    at = 0
    for p in range(bounds[LEVELS], bounds[LEVELS + 1]):
        n = periods[p]
        for k in range(9):
            if rows[p, k] < 0:
                continue
            for j in range(close.shape[0]):
                value = _level_value(k, n, close[j], state[at, j], state[at + 1, j], state[at + 2, j])
                out[rows[p, k], j] = value if counts[j] >= n - 1 else math.nan
        at += LEVEL
    return at


@njit(nogil=True, error_model="numpy")
def _write_moments(tape, i, counts, periods, rows, alone, bounds, at, state, scratch, out):
    """Write the outputs of ``returns``; 7 and 8 take the window of the returns before, one candle older."""
    lanes = tape.shape[2]
    for p in range(bounds[RETURNS], bounds[RETURNS + 1]):
        n = periods[p]
        r = rows[p]
        scratch[n : n + lanes] = tape[RETURN, i]
        write_returns(scratch[: n + lanes], n, state[at : at + 9], 0, alone[p], out, 0)
        w = float(n)
        sample = w - 1.0
        for j in range(lanes):
            if r[7] >= 0 or r[8] >= 0:
                mean = state[at, j]
                central = state[at + 1, j]
                cross = state[at + 6, j]
                new = tape[RETURN, i, j]
                old = tape[RETURN, i - n, j] if counts[j] > n else 0.0
            if r[7] >= 0:
                s1 = mean * w
                t1 = s1 - new + old
                t2 = central + s1 * mean - new * new + old * old
                other = t2 - t1 * t1 / w
                scale = central * other if other > CANCELLED * t2 else 0.0
                value = (cross - t1 * mean) / math.sqrt(scale) if scale > 0.0 else math.nan
                out[r[7], j] = value if counts[j] > n else math.nan
            if r[8] >= 0:
                t1 = mean * w - new + old
                covariance = (cross - t1 * mean) / sample
                spread = 2.0 * math.sqrt(abs(covariance))
                spread = -spread if covariance > 0.0 else spread
                out[r[8], j] = spread if counts[j] > n else math.nan
            if counts[j] < n:
                for k in range(7):
                    if r[k] >= 0:
                        out[r[k], j] = math.nan
        at += MOMENT
    return at


@njit(nogil=True, error_model="numpy")
def _write_ranges(counts, periods, rows, bounds, at, state, out):
    for p in range(bounds[RANGES], bounds[RANGES + 1]):
        n = periods[p]
        for k in range(2):
            if rows[p, k] < 0:
                continue
            for j in range(counts.shape[0]):
                total = state[at + 2 * k, j]
                mean = max(total, 0.0) / n if state[at + 2 * k + 1, j] > 0.0 else 0.0
                value = math.sqrt(mean / (4.0 * math.log(2.0))) if k == 0 else math.sqrt(mean)
                out[rows[p, k], j] = value if counts[j] >= n - 1 else math.nan
        at += RANGE


@njit(nogil=True, error_model="numpy")
def _find_extremes(tape, i, n, counts, top, bottom):
    """Write highest high and lowest low of the n candles up to candle i; NaN where the slice has fewer."""
    start = max(i - n + 1, 0)
    lanes = tape.shape[2]
    for j in range(lanes):
        top[j] = tape[HIGH, i, j]
        bottom[j] = tape[LOW, i, j]
    for k in range(start, i):
        for j in range(lanes):
            top[j] = tape[HIGH, k, j] if tape[HIGH, k, j] > top[j] else top[j]
            bottom[j] = tape[LOW, k, j] if tape[LOW, k, j] < bottom[j] else bottom[j]
    for j in range(lanes):
        if counts[j] < n - 1:
            top[j] = math.nan
            bottom[j] = math.nan


@njit(nogil=True, error_model="numpy")
def _write_window_extremes(tape, i, counts, periods, rows, alone, bounds, scratch, out):
    lanes = tape.shape[2]
    close = tape[CLOSE, i]
    top = scratch[:lanes]
    bottom = scratch[lanes : 2 * lanes]
    for p in range(bounds[_EXTREMES], bounds[_EXTREMES + 1]):
        n = periods[p]
        r = rows[p]
        _find_extremes(tape, i, n, counts, top, bottom)
        write_extremes(close, top, bottom, 0, alone[p], out, 0)
        if r[6] >= 0:
            total = np.zeros(lanes)
            for k in range(max(i - 2, 0), i + 1):
                _find_extremes(tape, k, n, counts, top, bottom)
                for j in range(lanes):
                    width = top[j] - bottom[j]
                    part = 100.0 * (tape[CLOSE, k, j] - bottom[j]) / width if width > 0.0 else math.nan
                    total[j] = total[j] + part if k > i - 2 else part
            for j in range(lanes):
                out[r[6], j] = total[j] / 3.0 if counts[j] >= n + 1 else math.nan
        if r[7] >= 0 or r[8] >= 0 or r[9] >= 0:
            _find_extremes(tape, max(i - 1, 0), n, counts, top, bottom)
            for j in range(lanes):
                known = counts[j] >= n
                c = close[j]
                if r[7] >= 0:
                    out[r[7], j] = (c - top[j]) / top[j] if known else math.nan
                if r[8] >= 0:
                    out[r[8], j] = (c - bottom[j]) / bottom[j] if known else math.nan
                if r[9] >= 0:
                    side = 1.0 if c > top[j] else (-1.0 if c < bottom[j] else 0.0)
                    out[r[9], j] = side if known else math.nan


@njit(nogil=True, error_model="numpy")
def _write_channel(tape, i, counts, periods, rows, bounds, out):
    for p in range(bounds[_CHANNEL], bounds[_CHANNEL + 1]):
        n = periods[p]
        for j in range(tape.shape[2]):
            value = math.nan
            if counts[j] >= n - 1:
                newest = (tape[HIGH, i, j] + tape[LOW, i, j] + tape[CLOSE, i, j]) / 3.0
                mean = 0.0
                for k in range(i - n + 1, i):
                    mean += (tape[HIGH, k, j] + tape[LOW, k, j] + tape[CLOSE, k, j]) / 3.0 - newest
                mean /= n
                deviation = 0.0
                for k in range(i - n + 1, i + 1):
                    deviation += abs((tape[HIGH, k, j] + tape[LOW, k, j] + tape[CLOSE, k, j]) / 3.0 - newest - mean)
                value = -mean * n / (0.015 * deviation) if deviation > 0.0 else math.nan
            out[rows[p, 0], j] = value


@njit(nogil=True, error_model="numpy")
def _write_shapes(tape, i, counts, periods, rows, alone, bounds, here, out):
    a = bounds[_SHAPES]
    b = bounds[_SHAPES + 1]
    if a == b:
        return
    close = tape[CLOSE, i]
    shapes(tape[OPEN, i], tape[HIGH, i], tape[LOW, i], close, here, periods[a:b], alone[a:b], out, 0)
    r = rows[a]
    if r[9] < 0 and r[10] < 0:
        return
    for j in range(close.shape[0]):
        before = tape[CLOSE, max(i - 1, 0), j]
        if r[9] >= 0:
            out[r[9], j] = (tape[OPEN, i, j] - before) / before if counts[j] > 0 else math.nan
        if r[10] >= 0:
            top = tape[HIGH, i, j] if tape[HIGH, i, j] > before else before
            bottom = tape[LOW, i, j] if tape[LOW, i, j] < before else before
            out[r[10], j] = (top - bottom) / close[j] if counts[j] > 0 else math.nan


@njit(nogil=True, error_model="numpy")
def _streak(tape, i, j, count):
    """Return how many closes in a row moved as the newest one did, signed, `STREAK_CAP` at most."""
    if count < STREAK_CAP:
        return math.nan
    streak = 0
    for k in range(i, i - STREAK_CAP, -1):
        new = tape[CLOSE, k, j]
        old = tape[CLOSE, k - 1, j]
        if new > old and streak >= 0:
            streak += 1
        elif new < old and streak <= 0:
            streak -= 1
        else:
            break
    return float(streak)


@njit(nogil=True, error_model="numpy")
def _write_patterns(tape, i, counts, periods, rows, alone, bounds, here, out):
    a = bounds[_PATTERNS]
    b = bounds[_PATTERNS + 1]
    if a == b:
        return
    patterns(tape[OPEN, i], tape[HIGH, i], tape[LOW, i], tape[CLOSE, i], here, periods[a:b], alone[a:b], out, 0)
    r = rows[a]
    k = max(i - 1, 0)
    for j in range(tape.shape[2]):
        o, h, l, c = tape[OPEN, i, j], tape[HIGH, i, j], tape[LOW, i, j], tape[CLOSE, i, j]
        po, ph, pl, pc = tape[OPEN, k, j], tape[HIGH, k, j], tape[LOW, k, j], tape[CLOSE, k, j]
        if r[5] >= 0:
            out[r[5], j] = 1.0 if (pc < po) & (c > o) & (o <= pc) & (c >= po) else 0.0
        if r[6] >= 0:
            out[r[6], j] = 1.0 if (pc > po) & (c < o) & (o >= pc) & (c <= po) else 0.0
        if r[7] >= 0:
            out[r[7], j] = 1.0 if (h <= ph) & (l >= pl) else 0.0
        if r[8] >= 0:
            out[r[8], j] = 1.0 if (h > ph) & (l < pl) else 0.0
        if r[9] >= 0:
            out[r[9], j] = _streak(tape, i, j, counts[j])
        if counts[j] == 0:
            for q in range(5, 9):
                if r[q] >= 0:
                    out[r[q], j] = math.nan


@njit(nogil=True, error_model="numpy")
def _write_lags(tape, i, counts, periods, rows, bounds, out):
    for p in range(bounds[_LAGS], bounds[_LAGS + 1]):
        n = periods[p]
        r = rows[p]
        for j in range(tape.shape[2]):
            new = tape[CLOSE, i, j]
            old = tape[CLOSE, max(i - n, 0), j]
            if r[0] >= 0:
                out[r[0], j] = (new - old) / old if counts[j] >= n else math.nan
            if r[1] >= 0:
                out[r[1], j] = math.log(new / old) if counts[j] >= n else math.nan
            if r[2] >= 0:
                older = tape[CLOSE, max(i - 2 * n, 0), j]
                out[r[2], j] = (new - old) / old - (old - older) / older if counts[j] >= 2 * n else math.nan


@njit(nogil=True, error_model="numpy")
def write_features(tape, i, counts, open_ms, periods, rows, alone, bounds, smooth, sums, here, scratch, out):
    """Write the features of candle i of every lane, before which ``counts`` candles of its slice stand.

    Parameters
    ----------
    tape, periods, rows, bounds
        See ``path_state``; every window of the features lies inside the tape.
    alone
        What ``hide_neighbours`` returns.
    open_ms
        int64, shape (lanes,): when the candles open.
    smooth, sums
        What is remembered, with candle i taken in.
    here
        int64, shape (1, 4): -1, -1, 0, lanes: the block that the batch kernels see.
    scratch
        float64: room for the longest window and the lanes, and for the lanes twice.
    out
        float32, shape (outputs, lanes): receives each output at the row that the plan names.
    """
    close = tape[CLOSE, i]
    at = _write_averages(close, counts, rows, bounds, smooth, out)
    _write_smoothers(close, rows, bounds, at, smooth, out)
    at = _write_levels(close, counts, periods, rows, bounds, sums, out)
    at = _write_moments(tape, i, counts, periods, rows, alone, bounds, at, sums, scratch, out)
    _write_ranges(counts, periods, rows, bounds, at, sums, out)
    _write_window_extremes(tape, i, counts, periods, rows, alone, bounds, scratch, out)
    _write_channel(tape, i, counts, periods, rows, bounds, out)
    _write_shapes(tape, i, counts, periods, rows, alone, bounds, here, out)
    _write_patterns(tape, i, counts, periods, rows, alone, bounds, here, out)
    _write_lags(tape, i, counts, periods, rows, bounds, out)
    a = bounds[_CLOCK]
    b = bounds[_CLOCK + 1]
    if a < b:
        clock(open_ms, here, periods[a:b], rows[a:b], out, 0)
