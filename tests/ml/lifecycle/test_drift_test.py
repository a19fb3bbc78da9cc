"""The drift test: exact enumeration of its martingale, exact fractions, the same bits however the rows are cut."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from ml.lifecycle.drift_test import ONE_SIDED_85, DriftTest, reference_rate

YEAR = 8_760


def exact(hits, p0: Fraction, alternatives, start: Fraction) -> list[Fraction]:
    """Mean of the recursions after each row, in exact arithmetic."""
    values, path = [start] * len(alternatives), []
    for hit in hits:
        values = [
            (1 + r) * (p1 / p0 if hit else (1 - p1) / (1 - p0)) for r, p1 in zip(values, alternatives, strict=True)
        ]
        path.append(sum(values, Fraction(0)) / len(values))
    return path


@pytest.mark.parametrize(
    ("p0", "alternatives"), [("0.55", ("0.5", "0.5")), ("0.53", ("0.48", "0.5")), ("0.61", ("0.5", "0.56"))]
)
def test_the_statistic_is_the_mean_of_both_recursions(p0, alternatives):
    hits = np.random.default_rng(1).random(200) < 0.5
    test = DriftTest.of_hit_rate(float(p0), 400.0)
    assert test.alternatives == pytest.approx([float(p1) for p1 in alternatives])
    path = exact(hits.tolist(), Fraction(p0), [Fraction(p1) for p1 in alternatives], Fraction(10))
    np.testing.assert_allclose(test.path(hits), [float(value) for value in path], rtol=1e-11)
    after = test.update(hits)
    assert after.statistic == pytest.approx(float(path[-1]), rel=1e-11)
    assert (after.n, after.hits) == (200, int(hits.sum()))


def drift_of(test: DriftTest, truth: float, rows: int) -> float:
    """Expected statistic after all sequences of rows, less the rows and the start."""
    total = 0.0
    for hits in product([False, True], repeat=rows):
        total += math.prod(truth if hit else 1 - truth for hit in hits) * test.update(np.array(hits)).statistic
    return total - rows - test.statistic


def test_it_grows_by_one_an_evaluation_while_nothing_fell():
    """R - n is a martingale at p0 and falls above it: the bound on false alarms is nothing else."""
    test = DriftTest.of_hit_rate(0.57, YEAR)
    assert drift_of(test, 0.57, 9) == pytest.approx(0.0, abs=1e-9)
    assert drift_of(test, 0.60, 9) < -1
    assert drift_of(test, 0.52, 9) > 1


def test_stated_probabilities_are_tested_against_the_null_rate():
    stated, null = np.array([0.1, 0.35, 0.7, 0.2, 0.5, 0.9, 0.4, 0.33]), 0.3
    test, total = DriftTest.of_probabilities(200.0), 0.0
    for came in product([False, True], repeat=len(stated)):
        chance = math.prod(p if hit else 1 - p for hit, p in zip(came, stated.tolist(), strict=True))
        found, r = test.update(np.array(came), stated, null), 5.0
        for hit, p in zip(came, stated.tolist(), strict=True):
            r = (1 + r) * (null / p if hit else (1 - null) / (1 - p))
        assert found.statistic == pytest.approx(r, rel=1e-12)
        total += chance * found.statistic
    assert total - len(stated) - test.statistic == pytest.approx(0.0, abs=1e-9)


def test_the_alarm_keeps_the_evaluation_that_raised_it():
    hits = np.concatenate([np.random.default_rng(2).random(500) < 0.56, np.zeros(200, dtype=bool)])
    test = DriftTest.of_hit_rate(0.55, YEAR)
    assert test.level == pytest.approx(YEAR * 1.075)
    row = int(np.argmax(test.path(hits) >= test.level))
    assert 500 < row < 700
    after = test.update(hits)
    assert (after.alarm, after.alarm_at) == (True, row)
    assert not test.update(hits[:row]).alarm
    assert test.update(hits[: row - 1]).update(hits[row - 1 :]).alarm_at == row
    calm = after.update(np.ones(2_000, dtype=bool))
    assert not calm.warning
    assert calm.alarm_at == row


def test_a_warning_comes_before_the_alarm():
    hits = np.zeros(200, dtype=bool)
    test = DriftTest.of_hit_rate(0.55, YEAR)
    warned = next(row for row in range(200) if test.update(hits[:row]).warning)
    assert 0 < warned < test.update(hits).alarm_at
    assert test.path(hits)[warned - 1] >= test.level / 10 > test.path(hits)[warned - 2]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 150), max_size=6),
    rate=st.sampled_from([0.1, 0.5, 0.6]),
    stated=st.booleans(),
)
def test_chunks_give_the_bits_of_single_rows(seed, cuts, rate, stated):
    rng = np.random.default_rng(seed)
    columns = [rng.random(150) < rate]
    start = DriftTest.of_probabilities(60.0) if stated else DriftTest.of_hit_rate(0.541, 60.0)
    if stated:
        columns += [rng.uniform(0, 1, 150), rng.uniform(0.2, 0.4, 150)]
    whole, parts, rows = start.update(*columns), start, start
    for first, last in pairwise([0, *sorted(cuts), 150]):
        parts = DriftTest.from_dict(json.loads(json.dumps(parts.to_dict())))
        parts = parts.update(*(column[first:last] for column in columns))
    for row in range(150):
        rows = rows.update(*(column[row : row + 1] for column in columns))
    assert whole == parts == rows


def test_years_after_an_alarm_stay_numbers():
    lost = DriftTest.of_hit_rate(0.55, YEAR).update(np.zeros(50_000, dtype=bool))
    assert lost.statistic == 1e300
    assert DriftTest.from_dict(json.loads(json.dumps(lost.to_dict(), allow_nan=False))) == lost
    won = DriftTest.of_hit_rate(0.55, YEAR).update(np.ones(50_000, dtype=bool))
    assert 0 < won.statistic < 20


def test_a_model_without_skill_has_none_to_lose():
    for p0 in (0.5, 0.4, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"above 0\.5"):
            DriftTest.of_hit_rate(p0, YEAR)
    with pytest.raises(ValueError, match="mean time"):
        DriftTest.of_hit_rate(0.55, 0.0)


def test_columns_that_do_not_belong_are_refused():
    hits, half = np.array([True, False]), np.array([0.5, 0.5])
    with pytest.raises(ValueError, match="reads no probabilities"):
        DriftTest.of_hit_rate(0.55, YEAR).update(hits, half, half)
    with pytest.raises(ValueError, match="reads what was stated"):
        DriftTest.of_probabilities(YEAR).update(hits)
    with pytest.raises(ValueError, match="null rate lies between"):
        DriftTest.of_probabilities(YEAR).update(hits, half, math.nan)
    with pytest.raises(ValueError, match="stated probability lies between"):
        DriftTest.of_probabilities(YEAR).update(hits, np.array([0.5, 1.5]), 0.5)
    # a certainty that fails costs much, not everything
    assert DriftTest.of_probabilities(YEAR).update(hits, np.array([0.0, 1.0]), half).statistic < 1e9
    test = DriftTest.of_hit_rate(0.55, YEAR)
    assert test.update(np.empty(0, dtype=bool)) is test


def test_a_state_of_something_else_is_refused():
    state = DriftTest.of_hit_rate(0.55, YEAR).to_dict()
    for wrong, message in (
        ({"test": "hit_rate"}, "no state of a drift test"),
        ({"statistics": [1.0]}, "statistics are two"),
        ({"statistics": [1.0, math.inf]}, "statistics are two"),
        ({"hits": 4}, "hits lie between"),
    ):
        with pytest.raises(ValueError, match=message):
            DriftTest.from_dict(state | wrong)


def test_the_reference_is_the_lower_wilson_bound():
    share, n, z = 0.55, 8_760, ONE_SIDED_85
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    assert reference_rate(4_818, 8_760) == pytest.approx((centre - half) / (1 + z * z / n), abs=1e-12)
    assert reference_rate(4_818 * 24, 8_760 * 24, horizon=24) == pytest.approx(reference_rate(4_818, 8_760))
    assert math.isnan(reference_rate(0, 0))
    assert norm.cdf(ONE_SIDED_85) == pytest.approx(0.85, abs=1e-15)
