"""Rows that lie in the same bin as the row some lags before, against a count in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from ml.kernels.agreement import agreements


@pytest.mark.parametrize(("rows", "bins", "first", "lags"), [(200, 10, 1, 32), (97, 3, 17, 40), (5, 2, 1, 4)])
def test_agreements_are_what_counting_gives(rows, bins, first, lags):
    codes = np.random.default_rng(rows).integers(0, bins, rows).astype(np.int8)
    out = np.full(lags, -1, dtype=np.int64)
    agreements(codes, first, out)
    plain = codes.tolist()
    expected = [sum(a == b for a, b in zip(plain[lag:], plain, strict=False)) for lag in range(first, first + lags)]
    assert out.tolist() == expected
