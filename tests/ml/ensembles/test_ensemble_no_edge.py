"""Over many simulated records: an ensemble without an edge is not activated, one with a gain over its members is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from member_rows import member_rows

from ml.ensembles.judging import compare, judge
from ml.ensembles.pooling import METHODS
from ml.ensembles.predictor import _plan, _verdict
from ml.evaluation import evaluate_record
from ml.training.gate import decide


def activated(rows, method):
    """Return whether the gate and the comparison with the best member let an ensemble of these rows pass."""
    judged = judge(rows, method, horizon=1)
    plain = judge(rows, "weighted_avg", horizon=1, given=(1.0,) * len(rows.names))
    gate = decide(evaluate_record(judged.record), _plan(rows, judged, 1))
    return _verdict(gate, compare(rows, judged, plain)).promoted


def without_edge(seed, count=5_000):
    """Return members that state what has nothing to do with what happens, half of it shared."""
    rows = member_rows(count, signals=((0.0,),) * 3, seed=seed)
    generator = np.random.default_rng(seed + 1_000)
    odds = 0.15 * (generator.normal(size=(count, 1)) + generator.normal(size=(count, 3)))
    return replace(rows, stated=1 / (1 + np.exp(-odds)))


@pytest.mark.parametrize("method", METHODS)
def test_no_edge_is_not_activated(method):
    assert not any(activated(without_edge(seed), method) for seed in range(3))


def test_a_gain_over_the_members_is():
    signals = ((0.4, 0.0, 0.0), (0.0, 0.4, 0.0), (0.0, 0.0, 0.4))
    assert all(activated(member_rows(6_000, signals=signals, seed=seed), "weighted_avg") for seed in range(3))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_no_edge_over_many_seeds(method):
    assert sum(activated(without_edge(seed), method) for seed in range(60)) <= 1


@pytest.mark.slow
def test_members_that_are_alike_are_rarely_better_than_the_best_of_them():
    # one source, seen alike by all: whatever is pooled, nothing is gained
    passed = sum(activated(member_rows(5_000, signals=((0.4,),) * 3, seed=seed), "weighted_avg") for seed in range(60))
    assert passed <= 6  # 5 % at the edge of the hypothesis, and chance
