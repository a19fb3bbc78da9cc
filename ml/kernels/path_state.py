"""What paths remember of their candles: smoothers and moving sums, advanced by one candle at a time, many paths abreast.

The operations, their order and the places where sums are taken afresh are those of the batch kernels (``smoothers``,
``windows``, ``returns``, ``extremes``); functions of theirs are called where they fit. So a feature has the bits that the
batch gives it on the same candles. The last axis of every array is the *lane*: the path. Lanes do not see each other.

A *tape* is a float64 array, shape (7, width, lanes): open, high, low, close, one-candle log return (0 at the first candle of
the slice), and the two terms of the range estimates. ``i`` is its newest candle, the same place in all lanes.

A *plan* is three arrays: ``periods``, int64, shape (p,), of all kernels in the order of `KERNEL_ORDER`; ``rows``, int64,
shape (p, `OUTPUTS`), the row of ``out`` for each output as in ``table``, -1 where it is not wanted; ``bounds``, int64: the
periods of kernel q are those from ``bounds[q]`` to ``bounds[q + 1]``.

The functions of this file are compiled into ``path_rollout`` and cached there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ml.kernels import returns as moments
from ml.kernels.logarithms import log_ratio
from ml.kernels.smoothers import VARIANCE_DECAY
from ml.kernels.windows import CANCELLED, level_sums

__all__ = [
    "AVERAGE",
    "AVERAGES",
    "CHANNEL",
    "CLOCK",
    "CLOSE",
    "DIRECTION",
    "DIRECTIONAL",
    "EXTREMES",
    "HIGH",
    "KERNEL_ORDER",
    "LAGS",
    "LEVEL",
    "LEVELS",
    "LOW",
    "MOMENT",
    "OPEN",
    "OSCILLATOR",
    "OSCILLATORS",
    "OUTPUTS",
    "PATTERNS",
    "RANGE",
    "RANGES",
    "RETURN",
    "RETURNS",
    "SHAPES",
    "STRENGTH",
    "TAPE",
    "advance_smoothers",
    "advance_sums",
    "complete_candles",
    "smoothers_size",
    "start_smoothers",
    "sums_size",
]

KERNEL_ORDER = (
    "averages",
    "oscillators",
    "strength",
    "directional",
    "levels",
    "returns",
    "ranges",
    "extremes",
    "commodity_channel",
    "shapes",
    "patterns",
    "lags",
    "clock",
)
AVERAGES, OSCILLATORS, STRENGTH, DIRECTIONAL, LEVELS, RETURNS, RANGES = range(7)
EXTREMES, CHANNEL, SHAPES, PATTERNS, LAGS, CLOCK = range(7, 13)
OUTPUTS = 11  # of the kernel that has most

TAPE = 7
OPEN, HIGH, LOW, CLOSE, RETURN, RANGE_TERM, BODY_TERM = range(TAPE)

# Numbers a period and lane.
AVERAGE = 10  # level, those of the five candles before; three averages of one another, the last of them a candle before
OSCILLATOR = 5  # fast, slow, line, signal, variance
DIRECTION = 5  # atr, plus, minus, adx, true range
LEVEL = 7  # mean, variance, covariance; reference, sum, squares, weighted sum
MOMENT = 12  # the nine of ``returns``; sum, squares, largest square
RANGE = 4  # total and terms that are not zero, of each estimate


@njit(nogil=True, error_model="numpy")
def smoothers_size(bounds):
    """Return how many numbers the smoothers of one slice are."""
    averages = bounds[AVERAGES + 1] - bounds[AVERAGES]
    strengths = bounds[STRENGTH + 1] - bounds[STRENGTH]
    directions = bounds[DIRECTIONAL + 1] - bounds[DIRECTIONAL]
    return AVERAGE * averages + OSCILLATOR + 2 * strengths + DIRECTION * directions


@njit(nogil=True, error_model="numpy")
def sums_size(bounds):
    """Return how many numbers the moving sums of a slice are."""
    levels = bounds[LEVELS + 1] - bounds[LEVELS]
    returns = bounds[RETURNS + 1] - bounds[RETURNS]
    ranges = bounds[RANGES + 1] - bounds[RANGES]
    return LEVEL * levels + MOMENT * returns + RANGE * ranges


@njit(nogil=True, error_model="numpy")
def complete_candles(tape, start, stop, bounds):
    """Write what derives from the prices of candles start to stop; a candle at place 0 of the tape has none before it."""
    for i in range(start, stop):
        if i > 0:
            log_ratio(tape[CLOSE, i], tape[CLOSE, i - 1], tape[RETURN, i])
        else:
            tape[RETURN, i] = 0.0
    if bounds[RANGES + 1] == bounds[RANGES]:
        return
    for i in range(start, stop):
        log_ratio(tape[HIGH, i], tape[LOW, i], tape[RANGE_TERM, i])
        log_ratio(tape[CLOSE, i], tape[OPEN, i], tape[BODY_TERM, i])
        for j in range(tape.shape[2]):
            u = tape[RANGE_TERM, i, j]
            v = tape[BODY_TERM, i, j]
            tape[RANGE_TERM, i, j] = u * u
            tape[BODY_TERM, i, j] = 0.5 * u * u - (2.0 * math.log(2.0) - 1.0) * v * v


@njit(nogil=True, error_model="numpy")
def start_smoothers(tape, i, j, bounds, state):
    """Begin the slice of lane j at candle i: seed its smoothers, as the first candle finds them."""
    close = tape[CLOSE, i, j]
    at = 0
    for _ in range(bounds[AVERAGES], bounds[AVERAGES + 1]):
        for k in (0, 6, 7, 8):
            state[at + k, j] = close
        at += AVERAGE
    state[at, j] = close
    state[at + 1, j] = close
    state[at + 3, j] = 0.0
    state[at + 4, j] = math.nan
    at += OSCILLATOR
    for _ in range(bounds[STRENGTH], bounds[STRENGTH + 1]):
        state[at, j] = 0.0
        state[at + 1, j] = 0.0
        at += 2
    for _ in range(bounds[DIRECTIONAL], bounds[DIRECTIONAL + 1]):
        state[at, j] = tape[HIGH, i, j] - tape[LOW, i, j]
        state[at + 1, j] = 0.0
        state[at + 2, j] = 0.0
        state[at + 3, j] = math.nan
        state[at + 4, j] = state[at, j]
        at += DIRECTION


@njit(nogil=True, error_model="numpy")
def _advance_averages(tape, start, stop, periods, rows, bounds, state):
    lanes = tape.shape[2]
    at = 0
    for p in range(bounds[AVERAGES], bounds[AVERAGES + 1]):
        a = 2.0 / (periods[p] + 1.0)
        slope = rows[p, 2] >= 0
        triple = rows[p, 3] >= 0
        for i in range(start, stop):
            if slope:
                for k in range(at + 5, at, -1):
                    for j in range(lanes):
                        state[k, j] = state[k - 1, j]
            for j in range(lanes):
                state[at, j] += a * (tape[CLOSE, i, j] - state[at, j])
            if triple:
                for j in range(lanes):
                    state[at + 9, j] = state[at + 8, j]
                    state[at + 6, j] += a * (tape[CLOSE, i, j] - state[at + 6, j])
                    state[at + 7, j] += a * (state[at + 6, j] - state[at + 7, j])
                    state[at + 8, j] += a * (state[at + 7, j] - state[at + 8, j])
        at += AVERAGE


@njit(nogil=True, error_model="numpy")
def _advance_oscillators(tape, start, stop, at, counts, state):
    for i in range(start, stop):
        for j in range(tape.shape[2]):
            close = tape[CLOSE, i, j]
            state[at, j] += 2.0 / 13.0 * (close - state[at, j])
            state[at + 1, j] += 2.0 / 27.0 * (close - state[at + 1, j])
            line = state[at, j] - state[at + 1, j]
            state[at + 2, j] = line
            state[at + 3, j] += 0.2 * (line - state[at + 3, j])
            square = tape[RETURN, i, j] * tape[RETURN, i, j]
            second = counts[j] + i - start == 1
            before = square if second else state[at + 4, j]  # NaN at the first candle, and stays so
            state[at + 4, j] = before + (1.0 - VARIANCE_DECAY) * (square - before)


@njit(nogil=True, error_model="numpy")
def _advance_strength(tape, start, stop, at, counts, periods, bounds, state):
    for p in range(bounds[STRENGTH], bounds[STRENGTH + 1]):
        alpha = 1.0 / periods[p]
        for i in range(start, stop):
            for j in range(tape.shape[2]):
                known = counts[j] + i - start > 0
                change = tape[CLOSE, i, j] - tape[CLOSE, max(i - 1, 0), j] if known else 0.0
                rise = max(change, 0.0)
                fall = max(-change, 0.0)
                state[at, j] += alpha * (rise - state[at, j])
                state[at + 1, j] += alpha * (fall - state[at + 1, j])
        at += 2


@njit(nogil=True, error_model="numpy")
def _advance_directional(tape, start, stop, at, counts, periods, rows, bounds, state):
    for p in range(bounds[DIRECTIONAL], bounds[DIRECTIONAL + 1]):
        alpha = 1.0 / periods[p]
        moves = rows[p, 3] >= 0 or rows[p, 4] >= 0 or rows[p, 5] >= 0
        for i in range(start, stop):
            for j in range(tape.shape[2]):
                if counts[j] + i - start == 0:
                    continue
                before = tape[CLOSE, i - 1, j]
                true_range = max(tape[HIGH, i, j], before) - min(tape[LOW, i, j], before)
                state[at + 4, j] = true_range
                state[at, j] += alpha * (true_range - state[at, j])
                if moves:
                    up = tape[HIGH, i, j] - tape[HIGH, i - 1, j]
                    down = tape[LOW, i - 1, j] - tape[LOW, i, j]
                    state[at + 1, j] += alpha * ((up if up > down and up > 0.0 else 0.0) - state[at + 1, j])
                    state[at + 2, j] += alpha * ((down if down > up and down > 0.0 else 0.0) - state[at + 2, j])
                    total = state[at + 1, j] + state[at + 2, j]
                    if total > 0.0:
                        index = 100.0 * abs(state[at + 1, j] - state[at + 2, j]) / total
                        adx = index if math.isnan(state[at + 3, j]) else state[at + 3, j]
                        state[at + 3, j] = adx + alpha * (index - adx)
        at += DIRECTION


@njit(nogil=True, error_model="numpy")
def advance_smoothers(tape, start, stop, counts, periods, rows, bounds, state):
    """Take candles start to stop into the smoothers of slices in which ``counts`` candles, int64 (lanes,), are before."""
    _advance_averages(tape, start, stop, periods, rows, bounds, state)
    at = AVERAGE * (bounds[AVERAGES + 1] - bounds[AVERAGES])
    _advance_oscillators(tape, start, stop, at, counts, state)
    at += OSCILLATOR
    _advance_strength(tape, start, stop, at, counts, periods, bounds, state)
    at += 2 * (bounds[STRENGTH + 1] - bounds[STRENGTH])
    _advance_directional(tape, start, stop, at, counts, periods, rows, bounds, state)


@njit(nogil=True, error_model="numpy")
def _is_fresh(n, have, count, place):
    """Whether sums over n are taken afresh: where a window is full for the first time, and at fixed places of the block."""
    return count == have or np.uint32(place) % np.uint32(max(64, 4 * n)) == 0


@njit(nogil=True, error_model="numpy")
def _advance_levels(tape, i, at, n, line, counts, places, state):
    w = float(n)
    part = 1.0 / w
    middle = 0.5 * (w - 1.0)
    for j in range(tape.shape[2]):
        if counts[j] < n - 1:
            continue
        c = tape[CLOSE, i, j]
        reference = c
        total = 0.0
        square = 0.0
        weighted = 0.0
        gone = 0.0
        if _is_fresh(n, n - 1, counts[j], places[j]):
            total, square, weighted = level_sums(tape[CLOSE, :, j], i - n + 1, i + 1, reference)
        else:
            reference = state[at + 3, j]
            total = state[at + 4, j]
            weighted = state[at + 6, j]
            y = c - reference
            gone = tape[CLOSE, i - n, j] - reference
            if line:
                weighted += (w - 1.0) * y - (total - gone)
            total += y - gone
            square = state[at + 5, j] + (y * y - gone * gone)
        mean = total * part
        spread = square * part - mean * mean
        if spread < CANCELLED * mean * mean or spread < CANCELLED * gone * gone:
            reference = c
            total, square, weighted = level_sums(tape[CLOSE, :, j], i - n + 1, i + 1, reference)
            mean = total * part
            spread = square * part - mean * mean
        state[at, j] = mean + reference
        state[at + 1, j] = spread
        state[at + 2, j] = weighted - middle * total
        state[at + 3, j] = reference
        state[at + 4, j] = total
        state[at + 5, j] = square
        state[at + 6, j] = weighted


@njit(nogil=True, error_model="numpy")
def _advance_powers(tape, i, at, n, counts, places, state):
    part = 1.0 / n
    for j in range(tape.shape[2]):
        if counts[j] < n:
            continue
        if _is_fresh(n, n, counts[j], places[j]):
            s1, s2, s3, s4, peak = moments.power_sums(tape[RETURN, :, j], i - n + 1, i + 1)
        else:
            come = tape[RETURN, i, j]
            gone = tape[RETURN, i - n, j]
            square = come * come
            left = gone * gone
            s1 = state[at + 9, j] + (come - gone)
            s2 = state[at + 10, j] + (square - left)
            peak = max(state[at + 11, j], square)
            s3 = state[at + 2, j] + (square * come - left * gone)
            s4 = state[at + 3, j] + (square * square - left * left)
        m = s1 * part
        c = s2 - s1 * m
        if c < moments.SPIKED * n * peak or c < moments.CANCELLED * s2:
            s1, s2, s3, s4, peak = moments.power_sums(tape[RETURN, :, j], i - n + 1, i + 1)
            m = s1 * part
            c = s2 - s1 * m
            if c < moments.CANCELLED * moments.CANCELLED * s2:
                c = 0.0
        state[at, j] = m
        state[at + 1, j] = c
        state[at + 2, j] = s3
        state[at + 3, j] = s4
        state[at + 9, j] = s1
        state[at + 10, j] = s2
        state[at + 11, j] = peak


@njit(nogil=True, error_model="numpy")
def _advance_path_sums(tape, i, at, n, counts, places, state):
    for j in range(tape.shape[2]):
        if counts[j] < n:
            continue
        if _is_fresh(n, n, counts[j], places[j]):
            below, path, cross, rises, falls = moments.path_sums(tape[RETURN, :, j], i - n + 1, i + 1)
            state[at + 4, j] = below
            state[at + 5, j] = path
            state[at + 6, j] = cross
            state[at + 7, j] = rises
            state[at + 8, j] = falls
            continue
        come = tape[RETURN, i, j]
        gone = tape[RETURN, i - n, j]
        state[at + 4, j] += (come * come if come < 0.0 else 0.0) - (gone * gone if gone < 0.0 else 0.0)
        state[at + 5, j] += abs(come) - abs(gone)
        state[at + 6, j] += come * tape[RETURN, i - 1, j] - gone * tape[RETURN, i - n - 1, j]
        state[at + 7, j] += (1.0 if come > 0.0 else 0.0) - (1.0 if gone > 0.0 else 0.0)
        state[at + 8, j] += (1.0 if come < 0.0 else 0.0) - (1.0 if gone < 0.0 else 0.0)


@njit(nogil=True, error_model="numpy")
def _advance_range(tape, term, i, at, n, counts, places, state):
    for j in range(tape.shape[2]):
        if counts[j] < n - 1:
            continue
        if _is_fresh(n, n - 1, counts[j], places[j]):
            total = 0.0
            moves = 0.0
            for k in range(i - n + 1, i + 1):
                total += tape[term, k, j]
                moves += 1.0 if tape[term, k, j] > 0.0 else 0.0
            state[at, j] = total
            state[at + 1, j] = moves
        else:
            new = tape[term, i, j]
            old = tape[term, i - n, j]
            state[at, j] += new - old
            state[at + 1, j] += (1.0 if new > 0.0 else 0.0) - (1.0 if old > 0.0 else 0.0)


@njit(nogil=True, error_model="numpy")
def advance_sums(tape, i, counts, places, periods, rows, bounds, state):
    """Take candle i into the moving sums: ``counts`` candles of the slice, ``places`` of the block are before it."""
    at = 0
    for p in range(bounds[LEVELS], bounds[LEVELS + 1]):
        line = rows[p, 7] >= 0 or rows[p, 8] >= 0
        _advance_levels(tape, i, at, periods[p], line, counts, places, state)
        at += LEVEL
    for p in range(bounds[RETURNS], bounds[RETURNS + 1]):
        _advance_powers(tape, i, at, periods[p], counts, places, state)
        for k in range(4, 9):
            if rows[p, k] >= 0:
                _advance_path_sums(tape, i, at, periods[p], counts, places, state)
                break
        at += MOMENT
    for p in range(bounds[RANGES], bounds[RANGES + 1]):
        _advance_range(tape, RANGE_TERM, i, at, periods[p], counts, places, state)
        _advance_range(tape, BODY_TERM, i, at + 2, periods[p], counts, places, state)
        at += RANGE
