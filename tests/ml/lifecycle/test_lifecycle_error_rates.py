"""Error rates of the sequential tests on streams of known hit rates; `bench_drift` has the long versions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from drift_simulations import (
    YEAR,
    calibrated_alarm,
    delay,
    equally_good,
    evidence_delay,
    naive_alarms,
    overlapping_hits,
    pair,
    paired_delay,
    time_to_alarm,
    years_to_overlapping_alarm,
)
from scipy.stats import binom

from ml.lifecycle.drift_test import DriftTest, reference_rate
from ml.lifecycle.paired_test import PairedTest


def found_within(delays, bound: int) -> float:
    known = [value for value in delays if not math.isnan(value)]
    return sum(value <= bound for value in known) / len(known)


@pytest.mark.parametrize("rate", [0.53, 0.55])
def test_a_healthy_model_is_left_in_peace_for_a_year_on_average(rate):
    rng = np.random.default_rng(11)
    times = [time_to_alarm(rng, DriftTest.of_hit_rate(rate, YEAR), rate, 12 * YEAR) or 12 * YEAR for _ in range(150)]
    assert np.mean(times) >= YEAR * (1 - 2 / math.sqrt(150))


def test_a_healthy_model_with_a_measured_reference_is_left_in_peace():
    rng = np.random.default_rng(12)
    alarms = 0
    for _ in range(200):
        p0 = reference_rate(int(rng.binomial(YEAR, 0.54)), YEAR)
        alarms += DriftTest.of_hit_rate(p0, YEAR).update(rng.random(YEAR) < 0.54).alarm
    assert alarms / 200 <= 1 - math.exp(-1)


@pytest.mark.parametrize(
    ("before", "after", "record", "bound"),
    [
        (0.55, 0.50, None, 1_250),
        (0.55, 0.45, None, 450),
        (0.55, 0.50, YEAR, 1_700),
        (0.55, 0.45, YEAR, 500),
        (0.54, 0.50, YEAR, 2_500),
    ],
)
def test_falls_are_found_in_time(before, after, record, bound):
    rng = np.random.default_rng([13, bound])
    delays = [delay(rng, before, after, record, healthy=YEAR // 8) for _ in range(250)]
    # 95 % with the error of so many runs
    assert found_within(delays, bound) >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / 250)


def test_an_improvement_raises_hardly_an_alarm():
    """In 120 years of models that became better; equally good ones would raise 120."""
    rng = np.random.default_rng(14)
    tests = [DriftTest.of_hit_rate(0.53, YEAR).update(rng.random(3 * YEAR) < 0.56) for _ in range(40)]
    assert sum(test.alarm for test in tests) <= 5


def test_lost_skill_shows_in_stated_probabilities():
    rng = np.random.default_rng(15)
    healthy = [calibrated_alarm(rng, 3 * YEAR) or 3 * YEAR for _ in range(30)]
    lost = [calibrated_alarm(rng, 3 * YEAR, skill=0.0) or 3 * YEAR for _ in range(30)]
    assert np.mean(healthy) >= 0.7 * YEAR
    assert max(lost) <= 1_500


def test_labels_that_overlap_raise_no_more_alarms():
    rng = np.random.default_rng(16)
    bars = [years_to_overlapping_alarm(rng, 24, 0.55, 0.55, 24, 4) or 4 * YEAR for _ in range(40)]
    assert np.mean(bars) >= 0.75 * YEAR
    # counted as if they were independent, the same labels alarm within days
    careless = DriftTest.of_hit_rate(0.55, YEAR).update(overlapping_hits(rng, YEAR, 24, 0.55))
    assert careless.alarm_at < YEAR // 4


def test_a_good_model_is_told_from_a_coin():
    rng = np.random.default_rng(17)
    assert found_within([evidence_delay(rng, 0.54, 20, 20_000) for _ in range(250)], 3_500) >= 0.95 - 0.0276
    coins = sum(evidence_delay(rng, 0.5, 20, YEAR) < math.inf for _ in range(250))
    assert coins <= binom.ppf(0.99, 250, 0.05)


@pytest.mark.parametrize("kind", ["noise", "bold", "wild", "rare", "volatility"])
def test_equal_models_stay_tied_however_often_one_looks(kind):
    rng, crossed = np.random.default_rng(18), np.zeros(2, dtype=int)
    test = PairedTest.in_unit("QLIKE" if kind == "volatility" else "nats")
    for _ in range(80):
        differences = equally_good(rng, YEAR, kind)
        crossed += [bool(test.path(sign * differences).max() >= math.log(20)) for sign in (1, -1)]
    assert crossed.max() <= binom.ppf(0.99, 80, 0.05)


def test_a_better_model_is_told_from_a_worse_one():
    rng = np.random.default_rng(19)
    delays = [paired_delay(rng, lambda g, n: pair(g, n, 0.55, 0.52, 0.5), 20, 60_000) for _ in range(40)]
    assert max(delays) < math.inf
    assert np.median(delays) < 6_000


def test_the_naive_rule_cries_wolf():
    """Last 24 bars more than 5 points under the backtest, every 12 bars: by the binomial law, and in the stream."""
    asked = binom.cdf(math.ceil(24 * 0.5) - 1, 24, 0.55) * (YEAR / 12)
    rng = np.random.default_rng(20)
    measured = np.mean([naive_alarms(rng, 0.55, YEAR) for _ in range(100)])
    assert measured == pytest.approx(asked, rel=0.05)
    assert measured > 150


@pytest.mark.slow
def test_a_thousand_healthy_years():
    rng = np.random.default_rng(21)
    for rate in (0.53, 0.54, 0.55):
        times = [
            time_to_alarm(rng, DriftTest.of_hit_rate(rate, YEAR), rate, 20 * YEAR) or 20 * YEAR for _ in range(1_000)
        ]
        assert np.mean(times) >= YEAR * (1 - 2 / math.sqrt(1_000))
