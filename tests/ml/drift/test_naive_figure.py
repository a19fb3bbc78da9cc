"""The naive figure: right, and put in its place."""

from __future__ import annotations

import json
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from ml.drift.naive import naive_figure

HOUR = 3_600_000


def of_day(hits: int, count: int, reference: float):
    came_true = np.arange(count) < hits
    return naive_figure(HOUR * np.arange(count), came_true, reference, HOUR * 24)


@pytest.mark.parametrize(("hits", "count", "reference"), [(8, 24, 0.55), (0, 5, 0.5), (12, 24, 0.53), (24, 24, 0.55)])
def test_the_p_value_is_the_exact_binomial_sum(hits, count, reference):
    p = Fraction(reference)
    exact = sum(comb(count, k) * p**k * (1 - p) ** (count - k) for k in range(hits + 1))
    found = of_day(hits, count, reference)
    assert found.p_value == pytest.approx(float(exact), rel=1e-12)
    assert found.accuracy == hits / count


def test_five_points_are_flagged_only_beyond_five_points():
    assert not of_day(12, 24, 0.55).flag
    assert of_day(12, 24, 0.5501).flag
    assert of_day(11, 24, 0.55).flag
    assert not of_day(20, 24, 0.55).flag


def test_only_the_last_24_hours_count():
    open_ms = HOUR * np.arange(100)
    came_true = np.zeros(100, dtype=bool)
    came_true[76:] = True
    found = naive_figure(open_ms, came_true, 0.5, HOUR * 100)
    assert (found.n, found.hits) == (24, 24)
    assert naive_figure(open_ms, came_true, 0.5, HOUR * 99).hits == 23


def test_a_healthy_model_is_flagged_every_third_day():
    """Exact binomial: at most 11 of 24 where 55 % are right, 24 % of days."""
    rng = np.random.default_rng(0)
    flags = [of_day(int(rng.binomial(24, 0.55)), 24, 0.55).flag for _ in range(4_000)]
    exact = sum(comb(24, k) * 0.55**k * 0.45 ** (24 - k) for k in range(12))
    assert np.mean(flags) == pytest.approx(exact, abs=0.025)
    assert exact > 0.2


def test_the_words_say_how_little_it_means():
    assert "24 of 100 times: by itself it says nothing" in of_day(11, 24, 0.55).words()
    assert "9.2 points under the record's 55.0 %" in of_day(11, 24, 0.55).words()
    assert "hardly chance" in of_day(2, 24, 0.55).words()
    over = of_day(20, 24, 0.55).words()
    assert "28.3 points over" in over
    assert "nothing" not in over


def test_a_day_without_evaluations_is_said():
    found = naive_figure(np.array([0]), np.array([True]), 0.55, HOUR * 1_000)
    assert (found.n, found.flag) == (0, False)
    assert "yet" in found.words()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["accuracy"] is None
    with pytest.raises(ValueError, match="expected 0 to 1"):
        naive_figure(np.array([0]), np.array([True]), 55.0, HOUR)
