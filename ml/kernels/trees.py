"""Evaluation of gradient-boosted trees that :mod:`ml.lightgbm_text` flattened, bit for bit as LightGBM does it.

A node is three numbers: ``threshold`` (float32), ``feature`` and ``child``. The children of a node lie side by side, so a
step is ``node = child[node] + (x[feature[node]] > threshold[node])``. A leaf has an infinite threshold and is its own
child: stepping on it changes nothing, which lets eight trees, or eight rows, walk in lockstep without a branch.

Why float32 thresholds lose nothing: a row is float32, and ``x <= t`` for a double ``t`` holds exactly when ``x <= t'`` with
``t'`` the largest float32 that is not above ``t``. Why no node asks for missing values: a feature is given to the walk in
some of six variants (`MISSING_LEFT` ...), in which the values that a node sends to its default side are -inf or +inf. Leaf
values are doubles and are added in tree order, which fixes every bit of the sum.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = [
    "MISSING_LEFT",
    "MISSING_RIGHT",
    "ONLY_MISSING_RIGHT",
    "ONLY_ZERO_RIGHT",
    "ZERO_LEFT",
    "ZERO_RIGHT",
    "score_row",
    "score_rows",
]

MISSING_LEFT = 0  # NaN goes left
MISSING_RIGHT = 1
ZERO_LEFT = 2  # NaN and zero go left: LightGBM's zero_as_missing
ZERO_RIGHT = 3
ONLY_MISSING_RIGHT = 4  # the threshold is infinite: NaN goes right, all else left
ONLY_ZERO_RIGHT = 5  # the same for NaN and zero

_BLOCK = 64  # rows; they and one tree stay in the first-level cache
_ZERO = np.float32(1e-35)  # LightGBM takes values up to kZeroThreshold for zero


@nb.njit(cache=True, nogil=True, inline="always")
def _step(node, row, threshold, feature, child):
    return child[node] + nb.int32(row[feature[node]] > threshold[node])


@nb.njit(cache=True, nogil=True)
def _has_nan(rows):
    for i in range(rows.shape[0]):
        found = False
        for j in range(rows.shape[1]):
            found |= np.isnan(rows[i, j])
        if found:
            return True
    return False


@nb.njit(cache=True, nogil=True)
def _expand(rows, source, variant, out):
    """Write each needed (feature, variant) pair of a block into ``out``, shape (rows, pairs)."""
    for j in range(source.shape[0]):
        kind = variant[j]
        side = np.float32(-np.inf) if kind in (MISSING_LEFT, ZERO_LEFT) else np.float32(np.inf)
        zero = kind in (ZERO_LEFT, ZERO_RIGHT, ONLY_ZERO_RIGHT)
        only = kind in (ONLY_MISSING_RIGHT, ONLY_ZERO_RIGHT)
        for i in range(rows.shape[0]):
            x = rows[i, source[j]]
            missing = np.isnan(x) or (zero and -_ZERO <= x <= _ZERO)
            out[i, j] = side if missing else (-side if only else x)


@nb.njit(cache=True, nogil=True)
def _walk_row(row, threshold, feature, child, value, root, depth, shallow):
    """Return the sum of one row over all trees; eight trees walk in lockstep until all have arrived."""
    total = 0.0
    count = root.shape[0]
    t = 0
    while t + 8 <= count:
        deepest = depth[t]
        earliest = shallow[t]
        for k in range(t + 1, t + 8):
            deepest = max(deepest, depth[k])
            earliest = max(earliest, shallow[k])
        a, b, c, d = root[t], root[t + 1], root[t + 2], root[t + 3]
        e, f, g, h = root[t + 4], root[t + 5], root[t + 6], root[t + 7]
        for level in range(deepest):
            a2 = _step(a, row, threshold, feature, child)
            b2 = _step(b, row, threshold, feature, child)
            c2 = _step(c, row, threshold, feature, child)
            d2 = _step(d, row, threshold, feature, child)
            e2 = _step(e, row, threshold, feature, child)
            f2 = _step(f, row, threshold, feature, child)
            g2 = _step(g, row, threshold, feature, child)
            h2 = _step(h, row, threshold, feature, child)
            moved = (a ^ a2) | (b ^ b2) | (c ^ c2) | (d ^ d2) | (e ^ e2) | (f ^ f2) | (g ^ g2) | (h ^ h2)
            if level >= earliest and moved == 0:
                break
            a, b, c, d, e, f, g, h = a2, b2, c2, d2, e2, f2, g2, h2
        for node in (a, b, c, d, e, f, g, h):
            total += value[node]
        t += 8
    while t < count:
        node = root[t]
        for _ in range(depth[t]):
            node = _step(node, row, threshold, feature, child)
        total += value[node]
        t += 1
    return total


@nb.njit(cache=True, nogil=True)
def _walk_block(rows, threshold, feature, child, value, root, depth, shallow, out):
    """Write the sums of a block of rows into ``out``; one tree after the other, eight rows in lockstep."""
    count = rows.shape[0]
    out[:] = 0.0
    for t in range(root.shape[0]):
        start = root[t]
        i = 0
        while i + 8 <= count:
            a = b = c = d = e = f = g = h = start
            for level in range(depth[t]):
                a2 = _step(a, rows[i], threshold, feature, child)
                b2 = _step(b, rows[i + 1], threshold, feature, child)
                c2 = _step(c, rows[i + 2], threshold, feature, child)
                d2 = _step(d, rows[i + 3], threshold, feature, child)
                e2 = _step(e, rows[i + 4], threshold, feature, child)
                f2 = _step(f, rows[i + 5], threshold, feature, child)
                g2 = _step(g, rows[i + 6], threshold, feature, child)
                h2 = _step(h, rows[i + 7], threshold, feature, child)
                moved = (a ^ a2) | (b ^ b2) | (c ^ c2) | (d ^ d2) | (e ^ e2) | (f ^ f2) | (g ^ g2) | (h ^ h2)
                if level >= shallow[t] and moved == 0:
                    break
                a, b, c, d, e, f, g, h = a2, b2, c2, d2, e2, f2, g2, h2
            out[i] += value[a]
            out[i + 1] += value[b]
            out[i + 2] += value[c]
            out[i + 3] += value[d]
            out[i + 4] += value[e]
            out[i + 5] += value[f]
            out[i + 6] += value[g]
            out[i + 7] += value[h]
            i += 8
        while i < count:
            node = start
            for _ in range(depth[t]):
                node = _step(node, rows[i], threshold, feature, child)
            out[i] += value[node]
            i += 1


@nb.njit(cache=True, nogil=True)
def score_rows(rows, out, source, variant, always, feature, column, threshold, child, value, root, depth, shallow):
    """Write the raw scores of many rows into ``out``.

    Parameters
    ----------
    rows : float32 array, shape (n, F), C-contiguous
        Feature rows; NaN is a missing value.
    out : float64 array, shape (n,)
        Receives the sums of leaf values in tree order, as ``lightgbm.Booster.predict(raw_score=True)`` returns them.
    source : int32 array, shape (P,)
        Feature of each (feature, variant) pair that some node needs.
    variant : int8 array, shape (P,)
        Variant of each pair, `MISSING_LEFT` to `ONLY_ZERO_RIGHT`.
    always : bool
        Whether rows without NaN must be expanded too: a node takes zero for missing, or has an infinite threshold.
    feature, column : int32 arrays, shape (nodes,)
        Feature of each node in ``rows``, and its pair in the expanded rows.
    threshold : float32 array, shape (nodes,)
        Values up to the threshold go left; +inf at leaves.
    child : int32 array, shape (nodes,)
        Left child; the right child follows it; a leaf is its own child.
    value : float64 array, shape (nodes,)
        Leaf values, 0 elsewhere.
    root, depth, shallow : int32 arrays, shape (trees,)
        First node, deepest and shallowest leaf of each tree.
    """
    count = rows.shape[0]
    scratch = np.empty((_BLOCK, source.shape[0]), dtype=np.float32)
    for first in range(0, count, _BLOCK):
        last = min(count, first + _BLOCK)
        block = rows[first:last]
        if always or _has_nan(block):
            expanded = scratch[: last - first]
            _expand(block, source, variant, expanded)
            _walk_block(expanded, threshold, column, child, value, root, depth, shallow, out[first:last])
        else:
            _walk_block(block, threshold, feature, child, value, root, depth, shallow, out[first:last])


@nb.njit(cache=True, nogil=True)
def score_row(rows, source, variant, always, feature, column, threshold, child, value, root, depth, shallow):
    """Return the raw score of a lone row, shape (1, F), with the bits that `score_rows` gives it.

    The parameters are those of `score_rows`. Eight trees walk at once where `score_rows` walks eight rows.
    """
    if always or _has_nan(rows):
        expanded = np.empty((1, source.shape[0]), dtype=np.float32)
        _expand(rows, source, variant, expanded)
        return _walk_row(expanded[0], threshold, column, child, value, root, depth, shallow)
    return _walk_row(rows[0], threshold, feature, child, value, root, depth, shallow)
