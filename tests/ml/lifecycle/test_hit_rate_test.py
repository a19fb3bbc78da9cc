"""The hit-rate test: exact enumeration, exact fractions, and the same bits however the rows are cut."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.lifecycle.hit_rate_test import ALTERNATIVES, HitRateTest
from ml.lifecycle.wealth import Products, log_mean


def exact(hits, nulls) -> Fraction:
    """The e-value in exact arithmetic of the decimal rates."""
    total = Fraction(0)
    for step in range(1, 9):
        value = Fraction(1)
        for hit, q in zip(hits, nulls, strict=True):
            q = Fraction(str(q))
            rate = min(q + Fraction(step, 100), (1 + q) / 2)
            value *= rate / q if hit else (1 - rate) / (1 - q)
        total += value
    return total / 8


@pytest.mark.parametrize("null", [0.5, 0.53, 0.1, 0.9, 0.99])
def test_the_value_is_the_mixture_of_likelihood_ratios(null):
    rng = np.random.default_rng(3)
    hits = rng.random(150) < null + 0.04
    found = HitRateTest().update(hits, null)
    assert found.e_value == pytest.approx(float(exact(hits.tolist(), [null] * 150)), rel=1e-12)
    assert (found.n, found.hits) == (150, int(hits.sum()))


def test_each_row_has_its_own_null_rate():
    rng = np.random.default_rng(4)
    hits, nulls = rng.random(80) < 0.6, rng.choice([0.5, 0.51, 0.55], 80)
    assert HitRateTest().update(hits, nulls).e_value == pytest.approx(float(exact(hits, nulls.tolist())), rel=1e-12)


def expectation(truth: float, null: float, rows: int) -> float:
    total = 0.0
    for hits in product([False, True], repeat=rows):
        chance = math.prod(truth if hit else 1 - truth for hit in hits)
        total += chance * HitRateTest().update(np.array(hits), null).e_value
    return total


def test_nobody_gains_under_the_null_on_average():
    assert expectation(0.5, 0.5, 9) == pytest.approx(1.0, abs=1e-12)
    assert expectation(0.45, 0.5, 9) < 1.0
    assert expectation(0.56, 0.5, 9) > 1.0


def test_a_look_after_every_row_keeps_the_level():
    """All sequences of 11 evaluations at a null rate of 0.1, where few hits already weigh much."""
    null, rows, crossed = 0.1, 11, 0.0
    for hits in product([False, True], repeat=rows):
        if HitRateTest().path(np.array(hits), null).max() >= math.log(4.0):
            crossed += math.prod(null if hit else 1 - null for hit in hits)
    assert 0.001 < crossed <= 0.25


cuts = st.lists(st.integers(0, 200), max_size=6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), cuts=cuts, null=st.sampled_from([0.5, 0.514, 0.31, None]))
def test_chunks_give_the_bits_of_single_rows(seed, cuts, null):
    rng = np.random.default_rng(seed)
    hits = rng.random(200) < rng.uniform(0.2, 0.9)
    nulls = rng.uniform(0.3, 0.7, 200) if null is None else np.full(200, null)
    whole = HitRateTest().update(hits, nulls)
    parts, rows = HitRateTest(), HitRateTest()
    for first, last in pairwise([0, *sorted(cuts), 200]):
        parts = HitRateTest.from_dict(json.loads(json.dumps(parts.to_dict())))
        parts = parts.update(hits[first:last], nulls[first:last])
    for row in range(200):
        rows = rows.update(hits[row : row + 1], nulls[row : row + 1])
    assert whole == parts == rows
    assert whole.log_e == rows.log_e


def test_a_null_rate_may_be_one_number():
    hits = np.random.default_rng(1).random(300) < 0.55
    assert HitRateTest().update(hits, 0.52) == HitRateTest().update(hits, np.full(300, 0.52))


def test_the_path_ends_at_the_value():
    hits = np.random.default_rng(2).random(5_000) < 0.55
    test = HitRateTest().update(hits[:1_000])
    path = test.path(hits[1_000:])
    assert path[-1] == pytest.approx(test.update(hits[1_000:]).log_e, rel=1e-12)
    assert path[1_499] == pytest.approx(test.update(hits[1_000:2_500]).log_e, rel=1e-12)
    assert HitRateTest.average([path]) == pytest.approx(path)


def test_decades_neither_overflow_nor_vanish():
    won = HitRateTest().update(np.ones(100_000, dtype=bool))
    assert won.log_e == pytest.approx(100_000 * math.log(1.16) - math.log(8), rel=1e-9)
    assert won.e_value == math.exp(700)
    lost = HitRateTest().update(np.zeros(100_000, dtype=bool))
    assert lost.log_e == pytest.approx(100_000 * math.log(0.98) - math.log(8), rel=1e-9)
    assert lost.e_value == 0.0


def test_nothing_changes_nothing():
    test = HitRateTest()
    assert test.update(np.empty(0, dtype=bool)) is test
    assert (test.log_e, test.e_value, test.value) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("null", [0.0, 1.0, math.nan, -0.1])
def test_a_rate_out_of_range_is_refused(null):
    with pytest.raises(ValueError, match="null rate lies between"):
        HitRateTest().update(np.array([True]), null)


def test_a_state_of_something_else_is_refused():
    state = HitRateTest().to_dict()
    with pytest.raises(ValueError, match="no state of a hit-rate test"):
        HitRateTest.from_dict(state | {"test": "paired"})
    with pytest.raises(ValueError, match="no state of a hit-rate test"):
        HitRateTest.from_dict(state | {"alternatives": [0.1] * len(ALTERNATIVES)})
    with pytest.raises(ValueError, match="expected 8 products"):
        HitRateTest.from_dict(state | {"mantissas": [0.5], "exponents": [1]})
    with pytest.raises(ValueError, match="mantissa"):
        HitRateTest.from_dict(state | {"mantissas": [1.5] * 8})
    with pytest.raises(ValueError, match="as many mantissas"):
        Products((0.5,), (1, 1))
    with pytest.raises(ValueError, match="hits lie between"):
        HitRateTest(n=1, hits=2)
    with pytest.raises(ValueError, match="2 null rates"):
        HitRateTest().update(np.array([True]), np.array([0.5, 0.5]))


def test_means_of_logarithms_do_not_overflow():
    assert log_mean((1_000.0, 1_000.0)) == pytest.approx(1_000.0)
    assert log_mean((0.0, math.log(3.0))) == pytest.approx(math.log(2.0))
