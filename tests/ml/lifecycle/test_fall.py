"""The moment of a fall against every other moment, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import xlogy

from ml.intervals import wilson
from ml.lifecycle.fall import estimate_fall


def likelihood(part, p0) -> float:
    n, hits = len(part), int(part.sum())
    rate = hits / n
    if rate >= p0:
        return 0.0
    return float(xlogy(hits, rate / p0) + xlogy(n - hits, (1 - rate) / (1 - p0)))


@pytest.mark.parametrize("seed", range(6))
def test_the_moment_of_a_fall_is_the_likeliest_one(seed):
    rng = np.random.default_rng(seed)
    hits = np.concatenate([rng.random(400) < 0.56, rng.random(300) < 0.45])
    every = [likelihood(hits[row:], 0.55) for row in range(len(hits))]
    found = estimate_fall(hits, 0.55)
    assert found.since == int(np.argmax(every))
    assert found.log_ratio == pytest.approx(max(every))
    after = hits[found.since :]
    assert (found.n, found.hits) == (len(after), int(after.sum()))
    assert (found.low, found.high) == wilson(found.hits, found.n)
    assert found.before == pytest.approx(hits[: found.since].mean())
    assert found.low < found.rate < found.high


def test_the_moment_is_near_the_true_one():
    """Falls from 55 to 45 % after 2,000 rows, seen 500 rows later."""
    rng, off = np.random.default_rng(7), []
    for _ in range(60):
        hits = np.concatenate([rng.random(2_000) < 0.55, rng.random(500) < 0.45])
        off.append(estimate_fall(hits, 0.55).since - 2_000)
    assert abs(float(np.median(off))) < 60
    assert float(np.quantile(np.abs(off), 0.8)) < 350


def test_where_nothing_fell_there_is_no_moment():
    assert estimate_fall(np.ones(50, dtype=bool), 0.55) is None
    assert estimate_fall(np.empty(0, dtype=bool), 0.55) is None
    all_lost = estimate_fall(np.zeros(40, dtype=bool), 0.55)
    assert (all_lost.since, all_lost.n, all_lost.rate) == (0, 40, 0.0)
    assert math.isnan(all_lost.before)
    assert all_lost.to_dict()["before"] is None


def test_overlapping_rows_tell_less():
    hits = np.repeat(np.random.default_rng(3).random(200) < 0.4, 4)
    all_rows, thinned = estimate_fall(hits, 0.55), estimate_fall(hits, 0.55, horizon=4)
    assert thinned.since == all_rows.since
    assert thinned.log_ratio == pytest.approx(all_rows.log_ratio / 4)
    assert (thinned.low, thinned.high) == wilson(thinned.hits / 4, thinned.n / 4)
