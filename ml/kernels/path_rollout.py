"""The kernel of forecast paths: features of the newest candle, trees, next candle, until the path is long enough.

Starts of one block share their history: it is walked once, and each start takes a copy of what is remembered there. 64 paths
go forward together, so that a tree is read once for all of them; no path sees another, so the bits of a path are the same
alone and among others. The kernel needs no interpreter lock.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numba import njit

from ml.kernels.path_state import (
    CLOSE,
    RETURN,
    TAPE,
    advance_smoothers,
    advance_sums,
    put_candle,
    smoothers_size,
    sums_size,
)
from ml.kernels.path_step import write_features
from ml.kernels.trees import score_row, score_rows

__all__ = ["rollout"]

_LANES = 64  # paths that go forward together
_FEW = 4  # so many rows are scored faster one by one, eight trees at once, than eight rows at once
_SOURCES = (
    "path_state",
    "path_step",
    "calendar",
    "candle",
    "extremes",
    "logarithms",
    "returns",
    "smoothers",
    "trees",
    "windows",
)
_DAY_MS = 86_400_000
_MONDAY = 4  # days from 1970-01-01 to the first Monday


@njit(nogil=True, error_model="numpy")
def _opens_at(k, step_ms, origin_ms, weekdays):
    """When index k begins: ``ml.features.blocks.index_start_ms``."""
    if not weekdays:
        return k * step_ms + origin_ms
    week = k // 5
    return (7 * week + (k - 5 * week) + _MONDAY) * _DAY_MS


@njit(nogil=True, error_model="numpy")
def _score(rows, count, forest, scores):
    """Write the raw scores of the first ``count`` rows, shape (forests, lanes)."""
    source, variant, always, feature, column, threshold, child, value, root, depth, shallow, pairs, trees = forest
    padded = (count + 7) // 8 * 8  # lanes beyond the last path hold old rows: eight at once are faster than a rest
    for f in range(always.shape[0]):
        s = source[pairs[f] : pairs[f + 1]]
        v = variant[pairs[f] : pairs[f + 1]]
        r = root[trees[f] : trees[f + 1]]
        d = depth[trees[f] : trees[f + 1]]
        h = shallow[trees[f] : trees[f + 1]]
        if count <= _FEW:
            for j in range(count):
                scores[f, j] = score_row(
                    rows[j : j + 1], s, v, always[f], feature, column, threshold, child, value, r, d, h
                )
        else:
            score_rows(
                rows[:padded], scores[f, :padded], s, v, always[f], feature, column, threshold, child, value, r, d, h
            )


@njit(nogil=True, error_model="numpy")
def _next_candle(close, scores, j, shrink, sigma, whole, candle):
    """Write open, high, low, close of the next candle; return whether all are finite and positive."""
    if whole:
        candle[0] = close * math.exp(shrink[0] * scores[0, j] * sigma)
        candle[3] = close * math.exp(shrink[3] * scores[3, j] * sigma)
        up = max(shrink[1] * scores[1, j] * sigma, 0.0)
        down = max(shrink[2] * scores[2, j] * sigma, 0.0)
        candle[1] = max(candle[0], candle[3]) * math.exp(up)
        candle[2] = min(candle[0], candle[3]) * math.exp(-down)
    else:
        candle[0] = close
        candle[3] = close * math.exp(shrink[0] * scores[0, j] * sigma)
        candle[1] = max(candle[0], candle[3])
        candle[2] = min(candle[0], candle[3])
    sound = True
    for k in range(4):
        sound = sound and math.isfinite(candle[k]) and candle[k] > 0.0
    return sound


@njit(nogil=True, error_model="numpy")
def _take(tape, i, counts, plan, smooth, sums):
    """Take candle i into both slices, its own and the next one's, and into the sums; count it."""
    advance_smoothers(tape, i, counts[0], plan, smooth[0])
    if counts[1] >= 0:
        advance_smoothers(tape, i, counts[1], plan, smooth[1])
        advance_sums(tape, i, counts[0], counts[1], plan, sums)
    counts[0] += 1
    counts[1] += 1


@njit(nogil=True, error_model="numpy")
def _cross(tape, i, counts, smooth):
    """Change to the slice of the next block, whose first candle is candle i."""
    smooth[0] = smooth[1]
    first = i - counts[1]
    if first >= 0:
        tape[RETURN, first] = 0.0
    counts[0] = counts[1]
    counts[1] = 0


def _compiled(version):
    """Return the kernel. ``version`` enters numba's cache key, which knows this file only, not those that it calls."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def rollout(columns, starts, layout, plan, forest, shrink, order, sizes, out, seen, lo, hi):
        if version == 0:  # never: it is here so that numba sees the version
            return
        open_, high, low, close, open_ms = columns
        position, target, first, begin, index = starts
        step_ms, origin_ms, weekdays, anchor, need, whole = layout
        sigma_at, reach, steps, count_out = sizes
        lanes = min(_LANES, hi - lo)
        room = (lanes + 7) // 8 * 8
        state_size = smoothers_size(plan)
        smooth = np.zeros((lanes, 2, state_size))
        sums = np.zeros((lanes, sums_size(plan)))
        tape = np.ones((lanes, TAPE, reach + steps))
        counts = np.zeros((lanes, 2), dtype=np.int64)
        alive = np.zeros(lanes, dtype=np.bool_)
        rows = np.zeros((room, order.shape[0]), dtype=np.float32)
        scores = np.zeros((shrink.shape[0], room))
        buffer = np.zeros((count_out, 1), dtype=np.float32)
        blocks = np.zeros((2, 1, 4), dtype=np.int64)
        time = np.zeros(1, dtype=np.int64)
        candle = np.empty(4)
        longest = 1
        for a in range(lo, hi):
            longest = max(longest, position[a] - first[a] + 1)
        past = np.ones((TAPE, longest))
        past_smooth = np.zeros((2, state_size))
        past_sums = np.zeros(sums.shape[1])
        past_counts = np.zeros(2, dtype=np.int64)
        walked = -1  # begin of the block whose history is walked
        for a in range(lo, hi, _LANES):
            m = min(_LANES, hi - a)
            for j in range(m):
                here = first[a + j]
                if begin[a + j] != walked:
                    walked = begin[a + j]
                    past_counts[0] = 0
                    past_counts[1] = here - walked  # below zero until the block begins
                for i in range(past_counts[0], position[a + j] - here + 1):
                    k = here + i
                    put_candle(past, i, i == 0, open_[k], high[k], low[k], close[k], plan)
                    _take(past, i, past_counts, plan, past_smooth, past_sums)
                newest = past_counts[0] - 1
                held = min(reach, newest + 1)
                tape[j, :, reach - held : reach] = past[:, newest + 1 - held : newest + 1]
                smooth[j] = past_smooth
                sums[j] = past_sums
                counts[j] = past_counts
                alive[j] = True
            for step in range(steps):
                living = 0
                for j in range(m):
                    if alive[j] and counts[j, 0] < need:
                        alive[j] = False
                        rows[j] = 0.0
                    if not alive[j]:
                        continue
                    living += 1
                    time[0] = open_ms[position[a + j]]
                    if step > 0:
                        time[0] = _opens_at(index[a + j] + step, step_ms, origin_ms, weekdays)
                    i = reach - 1 + step
                    write_features(tape[j], i, counts[j, 0] - 1, time, plan, smooth[j, 0], sums[j], blocks, buffer)
                    row = rows[j]
                    for f in range(order.shape[0]):
                        row[f] = buffer[order[f], 0]
                    if seen.shape[0] > 0:
                        seen[target[a + j], step] = row
                if living == 0:
                    break
                _score(rows, m, forest, scores)
                for j in range(m):
                    if not alive[j]:
                        continue
                    i = reach + step
                    sigma = np.float64(rows[j, sigma_at])
                    if not _next_candle(tape[j, CLOSE, i - 1], scores, j, shrink, sigma, whole, candle):
                        alive[j] = False
                        rows[j] = 0.0
                        continue
                    if whole:
                        out[target[a + j], step] = candle
                    else:
                        out[target[a + j], step, 0] = candle[3]
                    if step + 1 == steps:
                        continue
                    if (index[a + j] + step + 1) % anchor == 0:
                        _cross(tape[j], i, counts[j], smooth[j])
                    put_candle(tape[j], i, counts[j, 0] == 0, candle[0], candle[1], candle[2], candle[3], plan)
                    _take(tape[j], i, counts[j], plan, smooth[j], sums[j])

    return rollout


def _version():
    """Return a number for the source that the kernel is compiled from: another code is another number."""
    state = hashlib.sha256()
    for name in _SOURCES:
        state.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return int.from_bytes(state.digest()[:7], "big") + 1


rollout = _compiled(_version())
