"""What a path remembers of its candles: smoothers and moving sums, advanced by one candle at a time.

The operations, their order and the places where sums are taken afresh are those of the batch kernels (``smoothers``,
``windows``, ``returns``, ``extremes``); functions of theirs are called where they fit. So a feature has the bits that the
batch gives it on the same candles.

A *tape* is a float64 array, shape (7, width): open, high, low, close, one-candle log return (0 at the first candle of the
slice), and the two terms of the range estimates. ``i`` is a column of it.

A *plan* is a tuple of (periods, rows) in the order of `KERNEL_ORDER`, each as in ``table``; a kernel that is not wanted has
no periods.

The functions of this file are compiled into ``path_rollout`` and cached there.
"""

from __future__ import annotations

import math

from numba import njit

from ml.kernels import returns as moments
from ml.kernels.logarithms import log_ratio
from ml.kernels.smoothers import SLOPE_LAG, VARIANCE_DECAY
from ml.kernels.windows import CANCELLED, level_sums

__all__ = [
    "AVERAGES",
    "CLOSE",
    "DIRECTIONAL",
    "HIGH",
    "KERNEL_ORDER",
    "LEVELS",
    "LOW",
    "OPEN",
    "OSCILLATORS",
    "RANGES",
    "RETURN",
    "RETURNS",
    "STRENGTH",
    "TAPE",
    "advance_smoothers",
    "advance_sums",
    "put_candle",
    "smoothers_size",
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

TAPE = 7
OPEN, HIGH, LOW, CLOSE, RETURN, RANGE_TERM, BODY_TERM = range(TAPE)

# Numbers a period: level, five levels before, the level that left them, three nested averages and the innermost before.
AVERAGE = 11
OSCILLATOR = 5  # fast, slow, line, signal, variance
DIRECTION = 5  # atr, plus, minus, adx, true range
LEVEL = 7  # reference, sum, squares, weighted sum; mean, variance, covariance
MOMENT = 12  # the nine of ``returns``; sum, squares, largest square
RANGE = 4  # total and terms that are not zero, of each estimate


@njit(nogil=True, error_model="numpy")
def smoothers_size(plan):
    """Return how many numbers the smoothers of one slice are."""
    return (
        AVERAGE * plan[AVERAGES][0].shape[0]
        + OSCILLATOR
        + 2 * plan[STRENGTH][0].shape[0]
        + DIRECTION * plan[DIRECTIONAL][0].shape[0]
    )


@njit(nogil=True, error_model="numpy")
def sums_size(plan):
    """Return how many numbers the moving sums of a slice are."""
    return LEVEL * plan[LEVELS][0].shape[0] + MOMENT * plan[RETURNS][0].shape[0] + RANGE * plan[RANGES][0].shape[0]


@njit(nogil=True, error_model="numpy")
def put_candle(tape, i, first, open_, high, low, close, plan):
    """Write a candle into column i of a tape, and what derives from it; ``first`` says that no candle is before it."""
    tape[OPEN, i] = open_
    tape[HIGH, i] = high
    tape[LOW, i] = low
    tape[CLOSE, i] = close
    if first:
        tape[RETURN, i] = 0.0
    else:
        log_ratio(tape[CLOSE, i : i + 1], tape[CLOSE, i - 1 : i], tape[RETURN, i : i + 1])
    if plan[RANGES][0].shape[0] > 0:
        spread = tape[RANGE_TERM, i : i + 1]
        body = tape[BODY_TERM, i : i + 1]
        log_ratio(tape[HIGH, i : i + 1], tape[LOW, i : i + 1], spread)
        log_ratio(tape[CLOSE, i : i + 1], tape[OPEN, i : i + 1], body)
        u = spread[0]
        v = body[0]
        spread[0] = u * u
        body[0] = 0.5 * u * u - (2.0 * math.log(2.0) - 1.0) * v * v


@njit(nogil=True, error_model="numpy")
def _advance_averages(close, count, periods, rows, state):
    for p in range(periods.shape[0]):
        a = 2.0 / (periods[p] + 1.0)
        s = state[AVERAGE * p : AVERAGE * (p + 1)]
        if count == 0:
            s[0] = close
            s[7] = close
            s[8] = close
            s[9] = close
        s[0] += a * (close - s[0])
        if rows[p, 2] >= 0:
            place = 1 + count % SLOPE_LAG
            s[6] = s[place]
            s[place] = s[0]
        if rows[p, 3] >= 0:
            s[10] = s[9]
            s[7] += a * (close - s[7])
            s[8] += a * (s[7] - s[8])
            s[9] += a * (s[8] - s[9])


@njit(nogil=True, error_model="numpy")
def _advance_oscillators(close, log_return, count, state):
    if count == 0:
        state[0] = close
        state[1] = close
        state[3] = 0.0
        state[4] = math.nan
    state[0] += 2.0 / 13.0 * (close - state[0])
    state[1] += 2.0 / 27.0 * (close - state[1])
    state[2] = state[0] - state[1]
    state[3] += 0.2 * (state[2] - state[3])
    if count > 0:
        square = log_return * log_return
        if count == 1:
            state[4] = square
        state[4] += (1.0 - VARIANCE_DECAY) * (square - state[4])


@njit(nogil=True, error_model="numpy")
def _advance_directional(tape, i, count, periods, rows, state):
    high = tape[HIGH, i]
    low = tape[LOW, i]
    for p in range(periods.shape[0]):
        alpha = 1.0 / periods[p]
        s = state[DIRECTION * p : DIRECTION * (p + 1)]
        if count == 0:
            s[0] = high - low
            s[1] = 0.0
            s[2] = 0.0
            s[3] = math.nan
            s[4] = s[0]
            continue
        before = tape[CLOSE, i - 1]
        s[4] = max(high, before) - min(low, before)
        s[0] += alpha * (s[4] - s[0])
        if rows[p, 3] >= 0 or rows[p, 4] >= 0 or rows[p, 5] >= 0:
            up = high - tape[HIGH, i - 1]
            down = tape[LOW, i - 1] - low
            s[1] += alpha * ((up if up > down and up > 0.0 else 0.0) - s[1])
            s[2] += alpha * ((down if down > up and down > 0.0 else 0.0) - s[2])
            total = s[1] + s[2]
            if total > 0.0:
                index = 100.0 * abs(s[1] - s[2]) / total
                if math.isnan(s[3]):
                    s[3] = index
                s[3] += alpha * (index - s[3])


@njit(nogil=True, error_model="numpy")
def advance_smoothers(tape, i, count, plan, state):
    """Take candle i into the smoothers of a slice in which ``count`` candles are before it."""
    close = tape[CLOSE, i]
    averages = plan[AVERAGES]
    strength = plan[STRENGTH]
    directional = plan[DIRECTIONAL]
    _advance_averages(close, count, averages[0], averages[1], state)
    at = AVERAGE * averages[0].shape[0]
    _advance_oscillators(close, tape[RETURN, i], count, state[at:])
    at += OSCILLATOR
    change = close - tape[CLOSE, i - 1] if count > 0 else 0.0
    rise = max(change, 0.0)
    fall = max(-change, 0.0)
    for p in range(strength[0].shape[0]):
        if count == 0:
            state[at] = 0.0
            state[at + 1] = 0.0
        alpha = 1.0 / strength[0][p]
        state[at] += alpha * (rise - state[at])
        state[at + 1] += alpha * (fall - state[at + 1])
        at += 2
    _advance_directional(tape, i, count, directional[0], directional[1], state[at:])


@njit(nogil=True, error_model="numpy")
def _advance_level(close, i, n, fresh, line, s):
    w = float(n)
    part = 1.0 / w
    c = close[i]
    gone = 0.0
    if fresh:
        s[0] = c
        s[1], s[2], s[3] = level_sums(close, i - n + 1, i + 1, c)
    else:
        y = c - s[0]
        gone = close[i - n] - s[0]
        if line:
            s[3] += (w - 1.0) * y - (s[1] - gone)
        s[1] += y - gone
        s[2] += y * y - gone * gone
    mean = s[1] * part
    spread = s[2] * part - mean * mean
    if spread < CANCELLED * mean * mean or spread < CANCELLED * gone * gone:
        s[0] = c
        s[1], s[2], s[3] = level_sums(close, i - n + 1, i + 1, c)
        mean = s[1] * part
        spread = s[2] * part - mean * mean
    s[4] = mean + s[0]
    s[5] = spread
    s[6] = s[3] - 0.5 * (w - 1.0) * s[1]


@njit(nogil=True, error_model="numpy")
def _advance_powers(x, i, n, fresh, s):
    part = 1.0 / n
    if fresh:
        s[9], s[10], s[2], s[3], s[11] = moments.power_sums(x, i - n + 1, i + 1)
    else:
        come = x[i]
        gone = x[i - n]
        square = come * come
        left = gone * gone
        s[9] += come - gone
        s[10] += square - left
        s[11] = max(s[11], square)
        s[2] += square * come - left * gone
        s[3] += square * square - left * left
    m = s[9] * part
    c = s[10] - s[9] * m
    if c < moments.SPIKED * n * s[11] or c < moments.CANCELLED * s[10]:
        s[9], s[10], s[2], s[3], s[11] = moments.power_sums(x, i - n + 1, i + 1)
        m = s[9] * part
        c = s[10] - s[9] * m
        if c < moments.CANCELLED * moments.CANCELLED * s[10]:
            c = 0.0
    s[0] = m
    s[1] = c


@njit(nogil=True, error_model="numpy")
def _advance_path(x, i, n, fresh, s):
    if fresh:
        s[4], s[5], s[6], s[7], s[8] = moments.path_sums(x, i - n + 1, i + 1)
        return
    come = x[i]
    gone = x[i - n]
    s[4] += (come * come if come < 0.0 else 0.0) - (gone * gone if gone < 0.0 else 0.0)
    s[5] += abs(come) - abs(gone)
    s[6] += come * x[i - 1] - gone * x[i - n - 1]
    s[7] += (1.0 if come > 0.0 else 0.0) - (1.0 if gone > 0.0 else 0.0)
    s[8] += (1.0 if come < 0.0 else 0.0) - (1.0 if gone < 0.0 else 0.0)


@njit(nogil=True, error_model="numpy")
def _advance_range(terms, i, n, fresh, s):
    if fresh:
        s[0] = 0.0
        s[1] = 0.0
        for m in range(i - n + 1, i + 1):
            s[0] += terms[m]
            s[1] += 1.0 if terms[m] > 0.0 else 0.0
    else:
        new = terms[i]
        old = terms[i - n]
        s[0] += new - old
        s[1] += (1.0 if new > 0.0 else 0.0) - (1.0 if old > 0.0 else 0.0)


@njit(nogil=True, error_model="numpy")
def _fresh(n, have, count, place):
    """Whether sums over n are taken afresh: where a window is full for the first time, and at fixed places of the block."""
    return count == have or place % max(64, 4 * n) == 0


@njit(nogil=True, error_model="numpy")
def advance_sums(tape, i, count, place, plan, state):
    """Take candle i into the moving sums: ``count`` candles of the slice, ``place`` of the block are before it."""
    close = tape[CLOSE]
    x = tape[RETURN]
    at = 0
    periods = plan[LEVELS][0]
    rows = plan[LEVELS][1]
    for p in range(periods.shape[0]):
        n = periods[p]
        if count >= n - 1:
            line = rows[p, 7] >= 0 or rows[p, 8] >= 0
            _advance_level(close, i, n, _fresh(n, n - 1, count, place), line, state[at : at + LEVEL])
        at += LEVEL
    periods = plan[RETURNS][0]
    for p in range(periods.shape[0]):
        n = periods[p]
        if count >= n:
            fresh = _fresh(n, n, count, place)
            _advance_powers(x, i, n, fresh, state[at : at + MOMENT])
            _advance_path(x, i, n, fresh, state[at : at + MOMENT])
        at += MOMENT
    periods = plan[RANGES][0]
    for p in range(periods.shape[0]):
        n = periods[p]
        if count >= n - 1:
            fresh = _fresh(n, n - 1, count, place)
            _advance_range(tape[RANGE_TERM], i, n, fresh, state[at : at + 2])
            _advance_range(tape[BODY_TERM], i, n, fresh, state[at + 2 : at + RANGE])
        at += RANGE
