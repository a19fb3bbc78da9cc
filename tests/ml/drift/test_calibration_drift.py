"""Calibration drift: a window of standard errors, and a sequential test with a known mean time to a false alarm."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from ml.drift.calibration import LEAST_ROWS, WINDOW, OverconfidenceTest, calibration_gap
from ml.errors import BrokenModel
from ml.lifecycle.phases import Phased


def stated_and_outcome(rng, count: int, shrink: float = 1.0, sd: float = 0.3):
    """Return stated probabilities, and outcomes whose log odds are ``shrink`` times as large."""
    logit = np.abs(rng.normal(0.0, sd, count))
    return 1 / (1 + np.exp(-logit)), rng.random(count) < 1 / (1 + np.exp(-shrink * logit))


def test_the_window_is_the_last_500_in_standard_errors():
    rng = np.random.default_rng(0)
    p, y = stated_and_outcome(rng, 1_200)
    found = calibration_gap(p, y)
    variance = sum(each * (1 - each) for each in p[-WINDOW:].tolist())
    assert found.n == WINDOW
    assert found.z == pytest.approx((y[-WINDOW:].sum() - p[-WINDOW:].sum()) / math.sqrt(variance), rel=1e-12)
    assert found.observed == y[-WINDOW:].mean()
    assert found.stated == pytest.approx(p[-WINDOW:].mean())


def test_z_is_standard_normal_where_the_probabilities_are_true():
    rng = np.random.default_rng(1)
    z = np.array([calibration_gap(*stated_and_outcome(rng, WINDOW)).z for _ in range(3_000)])
    assert z.mean() == pytest.approx(0, abs=0.06)
    assert z.std() == pytest.approx(1, abs=0.04)
    alarms = sum(abs(each) > 3.3 for each in z)
    assert alarms <= 10  # 2.9 expected


def test_faults_to_either_side_are_found_and_named():
    half = calibration_gap(np.full(500, 0.60), np.arange(500) % 2 == 0)
    assert half.alarm
    assert half.z == pytest.approx((250 - 300) / math.sqrt(500 * 0.24))
    assert "over-confident (4.6 standard errors)" in half.words()
    shy = calibration_gap(np.full(500, 0.52), np.arange(500) % 10 < 7)
    assert shy.alarm
    assert "under-confident" in shy.words()
    assert "no more apart than chance" in calibration_gap(np.full(500, 0.5), np.arange(500) % 2 == 0).words()


def test_few_rows_raise_no_alarm():
    few = calibration_gap(np.full(LEAST_ROWS - 1, 0.9), np.zeros(LEAST_ROWS - 1, dtype=bool))
    assert not few.alarm
    assert "too few" in few.words()
    none = calibration_gap(np.empty(0), np.empty(0, dtype=bool))
    assert json.loads(json.dumps(none.to_dict(), allow_nan=False))["z"] is None
    with pytest.raises(ValueError, match="do not fit"):
        calibration_gap(np.full(3, 0.5), np.zeros(2, dtype=bool))


def test_the_statistic_is_that_of_its_definition():
    rng = np.random.default_rng(2)
    p, y = stated_and_outcome(rng, 400)
    value = 0.0
    for each, came in zip(p.tolist(), y.tolist(), strict=True):
        logit = 0.5 * math.log(each / (1 - each))
        other = 1 / (1 + math.exp(-logit))
        value = (1 + value) * (other / each if came else (1 - other) / (1 - each))
    found = OverconfidenceTest().update(y, p)
    assert found.statistic == pytest.approx(value, rel=1e-9)
    assert found.n == 400


def test_chunks_rows_and_restarts_give_the_same_bits():
    rng = np.random.default_rng(3)
    p, y = stated_and_outcome(rng, 300)
    p[::7] = 0.5
    whole = OverconfidenceTest().update(y, p)
    single = OverconfidenceTest()
    for row in range(300):
        single = single.update(y[row : row + 1], p[row : row + 1])
        single = OverconfidenceTest.from_dict(json.loads(json.dumps(single.to_dict())))
    assert single == whole
    assert whole.n == np.count_nonzero(p != 0.5)
    assert whole.path(y[:0], p[:0]).tolist() == []
    assert whole.update(y[:0], p[:0]) == whole


def test_a_model_without_an_opinion_never_raises_an_alarm():
    found = OverconfidenceTest().update(np.ones(20_000, dtype=bool), np.full(20_000, 0.5))
    assert (found.statistic, found.n) == (0.0, 0)


def test_the_statistic_grows_by_one_an_evaluation_on_average_where_probabilities_are_true():
    """E[R_k] = k: so the mean time to R >= A is at least A."""
    rng = np.random.default_rng(4)
    p, y = stated_and_outcome(rng, 4_000 * 20)
    ends = [OverconfidenceTest().update(y[a : a + 20], p[a : a + 20]).statistic for a in range(0, len(p), 20)]
    assert np.mean(ends) == pytest.approx(20, rel=0.02)


def test_the_mean_time_to_a_false_alarm_is_at_least_the_level():
    rng = np.random.default_rng(5)
    level, times = 300, []
    for _ in range(300):
        p, y = stated_and_outcome(rng, 4_000)
        times.append(np.argmax(OverconfidenceTest().path(y, p) >= level) + 1)
    assert np.mean(times) + 2 * np.std(times) / math.sqrt(300) >= level


def test_over_confidence_is_found_far_sooner():
    rng = np.random.default_rng(6)
    times = []
    for _ in range(20):
        p, y = stated_and_outcome(rng, 9_000, shrink=0.0)
        times.append(int(np.argmax(OverconfidenceTest().path(y, p) >= 8_760)) + 1)
    assert max(times) < 3_000
    assert np.median(times) < 900


def test_phases_are_averaged_by_the_house_rule():
    rng = np.random.default_rng(7)
    p, y = stated_and_outcome(rng, 90)
    phased = Phased.of(OverconfidenceTest(), 3, 3, 1e9).update(np.arange(90), y, p)
    apart = [OverconfidenceTest().update(y[phase::3], p[phase::3]).statistic for phase in range(3)]
    assert phased.value == pytest.approx(np.mean(apart), rel=1e-12)


def test_a_statistic_stays_a_float_however_large():
    found = OverconfidenceTest().update(np.zeros(30_000, dtype=bool), np.full(30_000, 0.9))
    assert math.isfinite(found.statistic)
    assert OverconfidenceTest.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, math.nan])
def test_a_probability_that_cannot_be_weighed_is_refused(probability):
    with pytest.raises(ValueError, match="cannot be weighed"):
        OverconfidenceTest().update(np.array([True]), np.array([probability]))


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"test": "drift", "statistic": 1.0, "n": 2},
        {"test": "overconfidence", "statistic": -1.0, "n": 2},
        {"test": "overconfidence", "statistic": 1.0, "n": 0},
        {"test": "overconfidence", "statistic": "nan", "n": 1},
        {"test": "overconfidence", "statistic": None, "n": 1},
    ],
)
def test_a_damaged_state_is_refused(damaged):
    with pytest.raises(BrokenModel):
        OverconfidenceTest.from_dict(damaged)
