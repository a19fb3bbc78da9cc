"""One test a phase and their mean, against separate tests kept by hand."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.lifecycle.drift_test import DriftTest
from ml.lifecycle.hit_rate_test import HitRateTest
from ml.lifecycle.paired_test import PairedTest
from ml.lifecycle.phases import Phased, evaluations_a_year, phases_counted


def gappy(rng, count: int) -> np.ndarray:
    """Absolute indices with a bar in ten missing."""
    return 5_000 + np.flatnonzero(rng.random(count) > 0.1)


def test_a_year_has_so_many_evaluations():
    assert evaluations_a_year("1h", 1) == 8_760
    assert evaluations_a_year("1m", 5) == 105_120
    assert evaluations_a_year("1h", 24) == 365
    assert evaluations_a_year("1h", 2, trading_share=0.5) == 2_190
    with pytest.raises(ValueError, match="horizon"):
        evaluations_a_year("1h", 0)
    with pytest.raises(ValueError, match="share"):
        evaluations_a_year("1h", 1, trading_share=0.0)


def test_every_phase_counts_only_where_one_is_too_few():
    assert phases_counted("1h", 17) == 1  # 515 a year
    assert phases_counted("1h", 18) == 18  # 487
    assert phases_counted("1d", 1) == 1
    assert phases_counted("1d", 5) == 5
    assert phases_counted("1h", 13, trading_share=5 / 7) == 13


def test_one_phase_is_the_test_on_thinned_rows():
    rng = np.random.default_rng(1)
    k = gappy(rng, 900)
    hits = rng.random(len(k)) < 0.6
    phased = Phased.of(HitRateTest(), 4).update(k, hits)
    assert phased.tests == (HitRateTest().update(hits[k % 4 == 0]),)
    assert phased.n == int((k % 4 == 0).sum())
    assert phased.value == phased.tests[0].log_e
    assert phased.last_k == k[-1]


@pytest.mark.parametrize("kind", ["hit rate", "paired", "drift"])
def test_the_mean_is_that_of_separate_tests(kind):
    rng = np.random.default_rng(2)
    k = gappy(rng, 600)
    test, column, linear = {
        "hit rate": (HitRateTest(), rng.random(len(k)) < 0.58, lambda t: t.e_value),
        "paired": (PairedTest(), rng.normal(0.02, 0.3, len(k)), lambda t: t.e_value),
        "drift": (DriftTest.of_hit_rate(0.55, 100.0), rng.random(len(k)) < 0.5, lambda t: t.statistic),
    }[kind]
    by_hand, means = [test] * 6, []
    for row, index in enumerate(k.tolist()):
        by_hand[index % 6] = by_hand[index % 6].update(column[row : row + 1])
        means.append(sum(linear(one) for one in by_hand) / 6)
    phased = Phased.of(test, 6, 6)
    counted, path = phased.path(k, column)
    assert counted.tolist() == list(range(len(k)))
    np.testing.assert_allclose(path if kind == "drift" else np.exp(path), means, rtol=1e-10)
    after = phased.update(k, column)
    assert after.tests == tuple(by_hand)
    value = after.value if kind == "drift" else math.exp(after.value)
    assert value == pytest.approx(means[-1], rel=1e-12)
    assert after.n == len(k)
    above = path >= test.level if kind == "drift" else np.zeros(len(k), dtype=bool)
    assert after.alarm == above.any() == (kind == "drift")
    assert after.alarm_k == (k[np.argmax(above)] if above.any() else None)


def test_further_columns_go_to_each_phase():
    rng = np.random.default_rng(3)
    k = gappy(rng, 300)
    hits, nulls = rng.random(len(k)) < 0.55, rng.choice([0.5, 0.52], len(k))
    phased = Phased.of(HitRateTest(), 3, 3).update(k, hits, nulls)
    for phase, test in enumerate(phased.tests):
        assert test == HitRateTest().update(hits[k % 3 == phase], nulls[k % 3 == phase])


def drift(horizon: int, phases: int) -> Phased[DriftTest]:
    return Phased.of(DriftTest.of_hit_rate(0.55, 60.0), horizon, phases)


def test_the_alarm_names_the_bar():
    rng = np.random.default_rng(4)
    k = gappy(rng, 1_500)
    hits = rng.random(len(k)) < 0.45
    for phases in (1, 5):
        start = drift(5, phases)
        counted, path = start.path(k, hits)
        first = k[counted[np.argmax(path >= start.threshold)]]
        after = start.update(k, hits)
        assert after.alarm
        assert after.alarm_k == first
        assert after.update(np.array([k[-1] + 1]), np.array([True])).alarm_k == first
        assert not start.update(k[k < first], hits[k < first]).alarm
    assert (k[counted] == k).all()


def test_the_level_is_that_of_the_test_unless_given():
    test = DriftTest.of_hit_rate(0.55, 60.0)
    assert Phased.of(test, 5, 5).threshold == test.level
    assert Phased.of(test, 5, 5, threshold=99.0).threshold == 99.0
    assert Phased.of(HitRateTest(), 5, 5).threshold is None
    assert Phased.of(PairedTest(), 5, 5).threshold is None


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 200), max_size=5), phases=st.sampled_from([1, 4]))
def test_chunks_give_the_bits_of_single_rows(seed, cuts, phases):
    rng = np.random.default_rng(seed)
    k = gappy(rng, 220)
    hits = rng.random(len(k)) < 0.47
    start = drift(4, phases)
    whole, parts, rows = start.update(k, hits), start, start
    for first, last in pairwise([0, *sorted(min(cut, len(k)) for cut in cuts), len(k)]):
        parts = Phased.from_dict(json.loads(json.dumps(parts.to_dict())), DriftTest.from_dict)
        parts = parts.update(k[first:last], hits[first:last])
    for row in range(len(k)):
        rows = rows.update(k[row : row + 1], hits[row : row + 1])
    assert whole == parts == rows


def test_a_bar_counts_once():
    phased = Phased.of(HitRateTest(), 2, 2).update(np.array([10, 11, 13]), np.array([True, True, False]))
    for again in ([13], [14, 14], [15, 14], [3]):
        with pytest.raises(ValueError, match="is not after bar"):
            phased.update(np.array(again), np.ones(len(again), dtype=bool))
    assert phased.update(np.empty(0, dtype=np.int64), np.empty(0, dtype=bool)) is phased
    assert phased.update(np.array([14]), np.array([True])).n == 4


def test_a_wrong_number_of_phases_is_refused():
    with pytest.raises(ValueError, match="expected 1 or 4 tests"):
        Phased.of(HitRateTest(), 4, 2)
    with pytest.raises(ValueError, match="expected 1 or 0 tests"):
        Phased.of(HitRateTest(), 0)
