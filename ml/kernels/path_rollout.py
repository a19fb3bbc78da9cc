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

from ml.kernels.path_candles import hide_neighbours
from ml.kernels.path_state import (
    CLOSE,
    RETURN,
    TAPE,
    advance_smoothers,
    advance_sums,
    complete_candles,
    smoothers_size,
    start_smoothers,
    sums_size,
)
from ml.kernels.path_step import write_features
from ml.kernels.trees import score_row, score_rows

__all__ = ["rollout"]

_LANES = 64  # paths that go forward together
_FEW = 4  # so many rows are scored faster one by one, eight trees at once, than eight rows at once
_SOURCES = (
    "path_candles",
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
def _take(tape, i, counts, periods, rows, bounds, smooth, sums):
    """Take candle i into its own slice, into that of the next block and into the sums; count it."""
    complete_candles(tape, i, i + 1, bounds)
    advance_smoothers(tape, i, i + 1, counts[0], periods, rows, bounds, smooth[0])
    advance_smoothers(tape, i, i + 1, counts[1], periods, rows, bounds, smooth[1])
    advance_sums(tape, i, counts[0], counts[1], periods, rows, bounds, sums)
    counts += 1


@njit(nogil=True, error_model="numpy")
def _cross(tape, i, j, counts, bounds, smooth):
    """Change lane j to the slice of the next block, whose first candle is candle i."""
    smooth[0, :, j] = smooth[1, :, j]
    first = i - counts[1, j]
    if first >= 0:
        tape[RETURN, first, j] = 0.0
    counts[0, j] = counts[1, j]
    counts[1, j] = 0
    start_smoothers(tape, i, j, bounds, smooth[1])


@njit(nogil=True, error_model="numpy")
def _walk_history(candles, past, stop, begin, counts, periods, rows, bounds, smooth, sums):
    """Take the candles of a slice that are not taken yet, up to ``stop``; its block begins at candle ``begin`` of it."""
    start = counts[0, 0]
    past[:4, start:stop, 0] = candles[:, start:stop]
    complete_candles(past, start, stop, bounds)
    if start == 0:
        start_smoothers(past, 0, 0, bounds, smooth[0])
    advance_smoothers(past, start, stop, counts[0], periods, rows, bounds, smooth[0])
    counts[0, 0] = max(start, begin)
    counts[1, 0] = counts[0, 0] - begin
    if counts[1, 0] == 0:
        start_smoothers(past, begin, 0, bounds, smooth[1])
    advance_smoothers(past, counts[0, 0], stop, counts[1], periods, rows, bounds, smooth[1])
    for i in range(counts[0, 0], stop):
        advance_sums(past, i, counts[0], counts[1], periods, rows, bounds, sums)
        counts += 1


@njit(nogil=True, error_model="numpy")
def _begin_lanes(candles, starts, a, m, reach, walked, past, tape, periods, rows, bounds, memory, past_memory):
    """Give lanes 0 to m what is remembered at starts a to a + m; return the begin of the block whose history is walked."""
    position, first, begin = starts
    counts, smooth, sums = memory
    past_counts, past_smooth, past_sums = past_memory
    for j in range(m):
        here = first[a + j]
        if begin[a + j] != walked:
            walked = begin[a + j]
            past_counts[:] = 0
        stop = position[a + j] - here + 1
        _walk_history(
            candles[:, here:], past, stop, walked - here, past_counts, periods, rows, bounds, past_smooth, past_sums
        )
        held = min(reach, stop)
        for k in range(TAPE):
            for i in range(held):
                tape[k, reach - held + i, j] = past[k, stop - held + i, 0]
        smooth[:, :, j] = past_smooth[:, :, 0]
        sums[:, j] = past_sums[:, 0]
        counts[:, j] = past_counts[:, 0]
    return walked


def _compiled(version):
    """Return the kernel. ``version`` enters numba's cache key, which knows this file only, not those that it calls."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def rollout(candles, open_ms, starts, target, index, layout, plan, forest, shrink, order, sizes, out, seen, lo, hi):
        """Write the paths of starts lo to hi, sorted by position.

        Parameters
        ----------
        candles
            float64, shape (4, n): open, high, low, close.
        open_ms
            int64, shape (n,).
        starts
            Three int64 arrays, shape (s,): position of each start, of the first candle of its slice and of its block.
        target, index
            int64, shape (s,): row of ``out``, and absolute index of the start.
        layout
            Milliseconds of a candle, those of index 0, whether weekdays are counted, ``anchor_bars``, ``min_candles``,
            whether whole candles are predicted.
        plan
            ``periods``, ``rows`` and ``bounds`` (see ``path_state``).
        forest
            Arrays of ``score_rows``, of several forests one after the other, with the bounds of their pairs and trees.
        shrink
            float64, shape (forests,).
        order
            int64, shape (F,): the output that each feature of a row takes.
        sizes
            Feature that is sigma, candles that windows reach back, number of outputs.
        out
            float64, shape (rows, steps, 1 or 4); steps that do not exist are left as they are.
        seen
            float32, shape (rows, steps, F), or (0, 0, 0): receives the rows that were scored.
        lo, hi
            Range of starts.
        """
        if version == 0:  # never: it is here so that numba sees the version
            return
        position, first, _ = starts
        step_ms, origin_ms, weekdays, anchor, need, whole = layout
        periods, rows, bounds = plan
        sigma_at, reach, outputs = sizes
        steps = out.shape[1]
        batches = (hi - lo + _LANES - 1) // _LANES
        lanes = (hi - lo + batches - 1) // batches
        numbers = smoothers_size(bounds)
        smooth = np.zeros((2, numbers, lanes))
        sums = np.zeros((sums_size(bounds), lanes))
        counts = np.zeros((2, lanes), dtype=np.int64)
        tape = np.ones((TAPE, reach + steps, lanes))
        longest = 1
        for a in range(lo, hi):
            longest = max(longest, position[a] - first[a] + 1)
        past = np.ones((TAPE, longest, 1))
        past_memory = (np.zeros((2, 1), dtype=np.int64), np.zeros((2, numbers, 1)), np.zeros((sums.shape[0], 1)))
        current = smooth[0]
        before = np.zeros(lanes, dtype=np.int64)
        alive = np.zeros(lanes, dtype=np.bool_)
        features = np.zeros(((lanes + 7) // 8 * 8, order.shape[0]), dtype=np.float32)
        scores = np.zeros((shrink.shape[0], features.shape[0]))
        buffer = np.zeros((outputs, lanes), dtype=np.float32)
        alone = hide_neighbours(rows, bounds)
        scratch = np.zeros((3, lanes))
        here = np.array([[-1, -1, 0, lanes]])
        times = np.zeros(lanes, dtype=np.int64)
        candle = np.empty(4)
        walked = -1  # begin of the block whose history is walked
        for a in range(lo, hi, lanes):
            m = min(lanes, hi - a)
            walked = _begin_lanes(
                candles,
                starts,
                a,
                m,
                reach,
                walked,
                past,
                tape,
                periods,
                rows,
                bounds,
                (counts, smooth, sums),
                past_memory,
            )
            alive[:] = False
            alive[:m] = True
            for step in range(steps):
                i = reach - 1 + step
                living = False
                for j in range(m):
                    times[j] = open_ms[position[a + j]]
                    if step > 0:
                        times[j] = _opens_at(index[a + j] + step, step_ms, origin_ms, weekdays)
                    if counts[0, j] < need:
                        alive[j] = False
                    before[j] = counts[0, j] - 1
                    living = living or alive[j]
                if not living:
                    break
                write_features(
                    tape, i, before, times, periods, rows, alone, bounds, current, sums, here, scratch, buffer
                )
                for j in range(m):
                    for f in range(order.shape[0]):
                        features[j, f] = buffer[order[f], j] if alive[j] else 0.0
                    if seen.shape[0] > 0 and alive[j]:
                        seen[target[a + j], step] = features[j]
                _score(features, m, forest, scores)
                i += 1
                for j in range(m):
                    close = tape[CLOSE, i - 1, j]
                    sigma = np.float64(features[j, sigma_at])
                    if alive[j] and not _next_candle(close, scores, j, shrink, sigma, whole, candle):
                        alive[j] = False
                    if not alive[j]:
                        candle[:] = close  # something finite; nobody sees it
                    elif whole:
                        out[target[a + j], step] = candle
                    else:
                        out[target[a + j], step, 0] = candle[3]
                    for k in range(4):
                        tape[k, i, j] = candle[k]
                    if (index[a + j] + step + 1) % anchor == 0:
                        _cross(tape, i, j, counts, bounds, smooth)
                if step + 1 < steps:
                    _take(tape, i, counts, periods, rows, bounds, smooth, sums)

    return rollout


def _version():
    """Return a number for the source that the kernel is compiled from: another code is another number."""
    state = hashlib.sha256()
    for name in _SOURCES:
        state.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return int.from_bytes(state.digest()[:7], "big") + 1


rollout = _compiled(_version())
