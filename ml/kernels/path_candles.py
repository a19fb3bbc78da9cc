"""The features of the newest candle of each path that need no memory but the newest candles themselves.

Lanes lie side by side as the candles of a series do in the batch, so what reads one candle alone is written by the batch
kernels ``shapes`` and ``patterns``; the formulas of the rest are those of ``candle``, ``extremes`` and ``windows``. The
functions of this file are compiled into ``path_rollout`` and cached there.
"""

from __future__ import annotations

import math

from numba import njit

from ml.kernels.candle import STREAK_CAP, patterns, shapes
from ml.kernels.path_state import CHANNEL, CLOSE, EXTREMES, HIGH, LAGS, LOW, OPEN, PATTERNS, SHAPES

__all__ = [
    "hide_neighbours",
    "write_channel",
    "write_lags",
    "write_patterns",
    "write_shapes",
    "write_window_extremes",
]


@njit(nogil=True, error_model="numpy")
def hide_neighbours(rows, bounds):
    """Return ``rows`` without the outputs that read the candle before: those that the batch kernels cannot write by lanes."""
    alone = rows.copy()
    for p in range(bounds[SHAPES], bounds[SHAPES + 1]):
        alone[p, 9:11] = -1
    for p in range(bounds[PATTERNS], bounds[PATTERNS + 1]):
        alone[p, 5:10] = -1
    return alone


@njit(nogil=True, error_model="numpy")
def _find_extremes(tape, i, n, top, bottom):
    """Write highest high and lowest low of the n candles up to candle i."""
    lanes = tape.shape[2]
    start = max(i - n + 1, 0)
    if lanes == 1:
        high = tape[HIGH, i, 0]
        low = tape[LOW, i, 0]
        for k in range(start, i):
            high = tape[HIGH, k, 0] if tape[HIGH, k, 0] > high else high
            low = tape[LOW, k, 0] if tape[LOW, k, 0] < low else low
        top[0] = high
        bottom[0] = low
        return
    for j in range(lanes):
        top[j] = tape[HIGH, i, j]
        bottom[j] = tape[LOW, i, j]
    for k in range(start, i):
        for j in range(lanes):
            top[j] = tape[HIGH, k, j] if tape[HIGH, k, j] > top[j] else top[j]
            bottom[j] = tape[LOW, k, j] if tape[LOW, k, j] < bottom[j] else bottom[j]


@njit(nogil=True, error_model="numpy")
def _stochastic(c, top, bottom):
    return 100.0 * (c - bottom) / (top - bottom) if top > bottom else math.nan


@njit(nogil=True, error_model="numpy")
def _extreme_value(k, c, top, bottom):
    """Return an output of ``extremes``; from 7 on, top and bottom are those of the candles before."""
    if k == 0:
        return top
    if k == 1:
        return bottom
    if k in (2, 7):
        return (c - top) / top
    if k in (3, 8):
        return (c - bottom) / bottom
    if k == 4:
        return (c - bottom) / (top - bottom) if top > bottom else math.nan
    if k == 5:
        return _stochastic(c, top, bottom)
    return 1.0 if c > top else (-1.0 if c < bottom else 0.0)


@njit(nogil=True, error_model="numpy")
def write_window_extremes(tape, i, counts, periods, rows, bounds, scratch, out):
    """Write the outputs of ``extremes``; ``scratch`` is float64, shape (3, lanes)."""
    lanes = tape.shape[2]
    top = scratch[0]
    bottom = scratch[1]
    total = scratch[2]
    for p in range(bounds[EXTREMES], bounds[EXTREMES + 1]):
        n = periods[p]
        for k in range(10):
            r = rows[p, k]
            if k == 0:
                _find_extremes(tape, i, n, top, bottom)
            elif k == 7 and (r >= 0 or rows[p, 8] >= 0 or rows[p, 9] >= 0):
                _find_extremes(tape, max(i - 1, 0), n, top, bottom)
            if r < 0 or k == 6:
                continue
            need = n if k >= 7 else n - 1
            for j in range(lanes):
                value = _extreme_value(k, tape[CLOSE, i, j], top[j], bottom[j])
                out[r, j] = value if counts[j] >= need else math.nan
        if rows[p, 6] < 0:
            continue
        total[:] = 0.0
        for k in range(max(i - 2, 0), i + 1):
            _find_extremes(tape, k, n, top, bottom)
            for j in range(lanes):
                part = _stochastic(tape[CLOSE, k, j], top[j], bottom[j])
                total[j] = total[j] + part if k > i - 2 else part
        for j in range(lanes):
            out[rows[p, 6], j] = total[j] / 3.0 if counts[j] >= n + 1 else math.nan


@njit(nogil=True, error_model="numpy")
def write_channel(tape, i, counts, periods, rows, bounds, out):
    """Write the output of ``commodity_channel``."""
    for p in range(bounds[CHANNEL], bounds[CHANNEL + 1]):
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
def write_shapes(tape, i, counts, periods, rows, alone, bounds, here, out):
    """Write the outputs of ``shapes``; ``here`` is the block of the lanes, ``alone`` what ``hide_neighbours`` returns."""
    a = bounds[SHAPES]
    b = bounds[SHAPES + 1]
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
def write_patterns(tape, i, counts, periods, rows, alone, bounds, here, out):
    """Write the outputs of ``patterns``; the parameters are those of ``write_shapes``."""
    a = bounds[PATTERNS]
    b = bounds[PATTERNS + 1]
    if a == b:
        return
    if alone[a].max() >= 0:
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
def write_lags(tape, i, counts, periods, rows, bounds, out):
    """Write the outputs of ``lags``."""
    for p in range(bounds[LAGS], bounds[LAGS + 1]):
        n = periods[p]
        for j in range(tape.shape[2]):
            new = tape[CLOSE, i, j]
            old = tape[CLOSE, max(i - n, 0), j]
            if rows[p, 0] >= 0:
                out[rows[p, 0], j] = (new - old) / old if counts[j] >= n else math.nan
            if rows[p, 1] >= 0:
                out[rows[p, 1], j] = math.log(new / old) if counts[j] >= n else math.nan
            if rows[p, 2] >= 0:
                older = tape[CLOSE, max(i - 2 * n, 0), j]
                out[rows[p, 2], j] = (new - old) / old - (old - older) / older if counts[j] >= 2 * n else math.nan
