"""The features of the newest candle of each path, from what ``path_state`` remembers of the candles before.

The formulas are those of ``smoothers``, ``windows``, ``returns`` and ``extremes``. The functions of this file are compiled
into ``path_rollout`` and cached there.
"""

from __future__ import annotations

import math

from numba import njit

from ml.kernels.calendar import clock
from ml.kernels.path_candles import write_channel, write_lags, write_patterns, write_shapes, write_window_extremes
from ml.kernels.path_state import (
    AVERAGE,
    AVERAGES,
    CLOCK,
    CLOSE,
    DIRECTION,
    DIRECTIONAL,
    LEVEL,
    LEVELS,
    MOMENT,
    OSCILLATOR,
    OSCILLATORS,
    RANGE,
    RANGES,
    RETURN,
    RETURNS,
    STRENGTH,
)
from ml.kernels.returns import CANCELLED
from ml.kernels.smoothers import SLOPE_LAG

__all__ = ["write_features"]


@njit(nogil=True, error_model="numpy")
def _write_averages(close, counts, rows, bounds, state, out):
    at = 0
    for p in range(bounds[AVERAGES], bounds[AVERAGES + 1]):
        for j in range(close.shape[0]):
            e = state[at, j]
            if rows[p, 0] >= 0:
                out[rows[p, 0], j] = e
            if rows[p, 1] >= 0:
                out[rows[p, 1], j] = (close[j] - e) / e
            if rows[p, 2] >= 0:
                before = state[at + 5, j]
                out[rows[p, 2], j] = (e - before) / before if counts[j] >= SLOPE_LAG else math.nan
            if rows[p, 3] >= 0:
                last = state[at + 9, j]
                out[rows[p, 3], j] = (state[at + 8, j] - last) / last if counts[j] > 0 else math.nan
        at += AVERAGE
    return at


@njit(nogil=True, error_model="numpy")
def _write_smoothers(close, rows, bounds, at, state, out):
    """Write oscillators, strength and directional movement; their state begins at ``at``."""
    lanes = close.shape[0]
    for p in range(bounds[OSCILLATORS], bounds[OSCILLATORS + 1]):
        for k in range(6):
            if rows[p, k] < 0:
                continue
            for j in range(lanes):
                line = state[at + 2, j]
                signal = state[at + 3, j]
                value = line if k % 3 == 0 else (signal if k % 3 == 1 else line - signal)
                out[rows[p, k], j] = value if k < 3 else value / close[j]
        if rows[p, 6] >= 0:
            for j in range(lanes):
                out[rows[p, 6], j] = math.sqrt(state[at + 4, j])
    at += OSCILLATOR
    for p in range(bounds[STRENGTH], bounds[STRENGTH + 1]):
        if rows[p, 0] >= 0:
            for j in range(lanes):
                total = state[at, j] + state[at + 1, j]
                out[rows[p, 0], j] = 100.0 * state[at, j] / total if total > 0.0 else math.nan
        at += 2
    for p in range(bounds[DIRECTIONAL], bounds[DIRECTIONAL + 1]):
        for j in range(lanes):
            atr = state[at, j]
            if rows[p, 0] >= 0:
                out[rows[p, 0], j] = atr
            if rows[p, 1] >= 0:
                out[rows[p, 1], j] = atr / close[j]
            if rows[p, 2] >= 0:
                out[rows[p, 2], j] = state[at + 4, j] / atr if atr > 0.0 else math.nan
            if rows[p, 3] >= 0:
                out[rows[p, 3], j] = 100.0 * state[at + 1, j] / atr if atr > 0.0 else math.nan
            if rows[p, 4] >= 0:
                out[rows[p, 4], j] = 100.0 * state[at + 2, j] / atr if atr > 0.0 else math.nan
            if rows[p, 5] >= 0:
                out[rows[p, 5], j] = state[at + 3, j]
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
def _moment_value(k, n, new, old, s, j):
    """Return an output of ``returns`` of lane j from its newest return, the one that left, and its sums."""
    w = float(n)
    sample = w - 1.0
    mean = s[0, j]
    central = s[1, j]
    v = central / sample
    if k == 0:
        return math.sqrt(v) if central >= 0.0 else math.nan
    if k == 1:
        return (new - mean) / math.sqrt(v) if central > 0.0 else math.nan
    if k == 4:
        return s[7, j] / w
    if k in (2, 3, 5):
        s2 = central + w * mean * mean
        if k == 2:
            scale = w / ((w - 1.0) * (w - 2.0))
            cubes = s[2, j] - 3.0 * mean * s2 + 2.0 * w * mean * mean * mean
            return scale * cubes / (v * math.sqrt(v)) if v > 0.0 else math.nan
        if k == 3:
            scale = w * (w + 1.0) / ((w - 1.0) * (w - 2.0) * (w - 3.0))
            normal = 3.0 * (w - 1.0) * (w - 1.0) / ((w - 2.0) * (w - 3.0))
            fours = s[3, j] - 4.0 * mean * s[2, j] + 6.0 * mean * mean * s2 - 3.0 * w * mean * mean * mean * mean
            return scale * fours / (v * v) - normal if v > 0.0 else math.nan
        share = s[4, j] / s2 if s[8, j] > 0.0 else 0.0
        share = 1.0 if share > 1.0 else share
        return share if s[7, j] + s[8, j] > 0.0 else math.nan
    if k == 6:
        share = abs(mean) * w / s[5, j] if s[7, j] + s[8, j] > 0.0 else math.nan
        return 1.0 if share > 1.0 else share
    # the window of the returns before: one candle older
    if k == 7:
        s1 = mean * w
        t1 = s1 - new + old
        t2 = central + s1 * mean - new * new + old * old
        other = t2 - t1 * t1 / w
        scale = central * other if other > CANCELLED * t2 else 0.0
        return (s[6, j] - t1 * mean) / math.sqrt(scale) if scale > 0.0 else math.nan
    t1 = mean * w - new + old
    covariance = (s[6, j] - t1 * mean) / sample
    spread = 2.0 * math.sqrt(abs(covariance))
    return -spread if covariance > 0.0 else spread


@njit(nogil=True, error_model="numpy")
def _write_moments(tape, i, counts, periods, rows, bounds, at, state, out):
    for p in range(bounds[RETURNS], bounds[RETURNS + 1]):
        n = periods[p]
        s = state[at : at + MOMENT]
        for k in range(9):
            r = rows[p, k]
            if r < 0:
                continue
            need = n + 1 if k >= 7 else n  # the return before the oldest one must be in the slice
            for j in range(tape.shape[2]):
                value = _moment_value(k, n, tape[RETURN, i, j], tape[RETURN, max(i - n, 0), j], s, j)
                out[r, j] = value if counts[j] >= need else math.nan
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
        float64, shape (3, lanes): room.
    out
        float32, shape (outputs, lanes): receives each output at the row that the plan names.
    """
    close = tape[CLOSE, i]
    at = _write_averages(close, counts, rows, bounds, smooth, out)
    _write_smoothers(close, rows, bounds, at, smooth, out)
    at = _write_levels(close, counts, periods, rows, bounds, sums, out)
    at = _write_moments(tape, i, counts, periods, rows, bounds, at, sums, out)
    _write_ranges(counts, periods, rows, bounds, at, sums, out)
    write_window_extremes(tape, i, counts, periods, rows, bounds, scratch, out)
    write_channel(tape, i, counts, periods, rows, bounds, out)
    write_shapes(tape, i, counts, periods, rows, alone, bounds, here, out)
    write_patterns(tape, i, counts, periods, rows, alone, bounds, here, out)
    write_lags(tape, i, counts, periods, rows, bounds, out)
    a = bounds[CLOCK]
    b = bounds[CLOCK + 1]
    if a < b:
        clock(open_ms, here, periods[a:b], rows[a:b], out, 0)
