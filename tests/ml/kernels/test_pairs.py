"""Pairs of rows by their bins, against loops over every pair."""

from __future__ import annotations

import numpy as np
import pytest

from ml.kernels.pairs import agreements, pairs_within

SHAPES = [(1, 1, 0), (1, 2, 5), (6, 3, 0), (7, 3, 6), (7, 3, 40), (90, 10, 9), (90, 10, 89)]


@pytest.mark.parametrize(("rows", "bins", "reach"), SHAPES)
def test_every_pair_within_reach_is_counted(rows, bins, reach):
    codes = np.random.default_rng(rows).integers(0, bins, rows).astype(np.int8)
    wanted = np.zeros((bins, bins), dtype=np.int64)
    for t in range(rows):
        for u in range(rows):
            if abs(t - u) <= reach:
                wanted[codes[t], codes[u]] += 1
    np.testing.assert_array_equal(pairs_within(codes, bins, reach), wanted)


@pytest.mark.parametrize(("first", "last"), [(1, 1), (1, 32), (33, 64), (5, 199), (200, 200)])
def test_every_lag_looks_at_the_same_rows(first, last):
    codes = np.random.default_rng(last).integers(0, 4, 200).astype(np.int8)
    wanted = sum(codes[t] == codes[t + lag] for lag in range(first, last + 1) for t in range(200 - last))
    assert agreements(codes, first, last) == wanted
