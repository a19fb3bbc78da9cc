"""The paired test: exact products, the bound that knows the past only, and the same bits however the rows are cut."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.lifecycle.paired_test import BETS, UNITS, PairedTest


def exact(differences, bound: float) -> tuple[float, Fraction, int]:
    """Bound at the end, e-value in exact arithmetic and clipped rows, row by row."""
    wealth = [Fraction(1)] * len(BETS)
    clipped = 0
    for d in differences:
        share = Fraction(float(d)) / Fraction(bound)
        if abs(share) > 1:
            clipped += 1
            share = Fraction(1 if share > 0 else -1)
        wealth = [w * (1 + Fraction(bet) * share) for w, bet in zip(wealth, BETS, strict=True)]
        bound = max(bound, abs(float(d)))
    return bound, sum(wealth, Fraction(0)) / len(BETS), clipped


@pytest.mark.parametrize(("scale", "bound"), [(0.05, 1.0), (2.0, 1.0), (20.0, 30.0)])
def test_the_value_is_the_mean_wealth_of_the_bets(scale, bound):
    differences = np.random.default_rng(1).normal(0.02 * scale, scale, 200)
    found = PairedTest(bound=bound).update(differences)
    end, value, clipped = exact(differences, bound)
    assert found.bound == end
    assert found.clipped == clipped
    assert found.e_value == pytest.approx(float(value), rel=1e-11)
    assert found.mean == pytest.approx(differences.mean())
    assert (found.n, found.value) == (200, found.log_e)


def test_a_record_is_clipped_at_the_record_before():
    test = PairedTest().update(np.array([3.0]))
    won = sum(1 + bet for bet in BETS) / len(BETS)
    assert (test.bound, test.clipped) == (3.0, 1)
    assert test.e_value == pytest.approx(won)
    # the same difference again is inside the bound, so it wins its whole stake once more
    assert test.update(np.array([3.0])).e_value == pytest.approx(sum((1 + bet) ** 2 for bet in BETS) / len(BETS))
    assert test.update(np.array([3.0])).clipped == 1


def test_differences_that_are_as_often_lost_as_won_gain_nothing_on_average():
    sizes, total = np.array([0.05, 0.4, 2.0, 0.9, 1.5, 0.2, 7.0, 3.0]), 0.0
    for signs in product([-1.0, 1.0], repeat=len(sizes)):
        total += PairedTest().update(sizes * np.array(signs)).e_value / 2 ** len(sizes)
    assert total == pytest.approx(1.0, abs=1e-12)


def test_the_better_model_wins_and_the_worse_one_does_not():
    differences = np.random.default_rng(5).normal(0.01, 0.1, 8_000)
    assert PairedTest().update(differences).e_value > 1_000
    assert PairedTest().update(-differences).e_value < 1
    assert PairedTest().update(np.zeros(5_000)).e_value == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 150), max_size=6), scale=st.sampled_from([1e-6, 0.1, 9.0])
)
def test_chunks_give_the_bits_of_single_rows(seed, cuts, scale):
    differences = scale * np.random.default_rng(seed).standard_t(3, 150)
    whole = PairedTest().update(differences)
    parts, rows = PairedTest(), PairedTest()
    for first, last in pairwise([0, *sorted(cuts), 150]):
        parts = PairedTest.from_dict(json.loads(json.dumps(parts.to_dict())))
        parts = parts.update(differences[first:last])
    for row in range(150):
        rows = rows.update(differences[row : row + 1])
    assert whole == parts == rows


def test_the_path_ends_at_the_value():
    differences = np.random.default_rng(6).normal(0.01, 0.2, 3_000)
    test = PairedTest().update(differences[:500])
    path = test.path(differences[500:])
    assert path[-1] == pytest.approx(test.update(differences[500:]).log_e, rel=1e-11)
    assert path[99] == pytest.approx(test.update(differences[500:600]).log_e, rel=1e-11)
    both = PairedTest.average([path, np.zeros(len(path))])
    np.testing.assert_allclose(both, np.log((np.exp(path) + 1) / 2))


def test_years_neither_overflow_nor_vanish():
    won = PairedTest().update(np.ones(50_000))
    assert won.log_e == pytest.approx(50_000 * math.log(1.9) - math.log(len(BETS)), rel=1e-9)
    lost = PairedTest().update(-np.ones(50_000))
    assert lost.log_e == pytest.approx(50_000 * math.log(1 - BETS[-1]) - math.log(len(BETS)), rel=1e-9)
    assert lost.e_value == 0.0


def test_the_unit_sets_the_first_bound():
    assert PairedTest.in_unit("nats").bound == UNITS["nats"] == 1.0
    assert PairedTest.in_unit("QLIKE").bound == UNITS["QLIKE"]
    with pytest.raises(ValueError, match="unknown unit"):
        PairedTest.in_unit("bits")


def test_what_is_no_difference_is_refused():
    with pytest.raises(ValueError, match="difference 1 of losses is not finite"):
        PairedTest().update(np.array([0.1, math.nan]))
    test = PairedTest()
    assert test.update(np.empty(0)) is test
    assert math.isnan(test.mean)


def test_a_state_of_something_else_is_refused():
    state = PairedTest().to_dict()
    for wrong, message in (
        ({"test": "drift"}, "no state of a paired test"),
        ({"bets": [0.5]}, "no state of a paired test"),
        ({"bound": 0.0}, "bound"),
        ({"clipped": 3}, "clipped"),
        ({"mantissas": [0.5], "exponents": [1]}, "expected 6 products"),
    ):
        with pytest.raises(ValueError, match=message):
            PairedTest.from_dict(state | wrong)
