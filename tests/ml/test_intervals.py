"""Intervals against scipy and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ml.intervals import bars_to_see, block_weights, hac_standard_error, mean_interval, wilson


@pytest.mark.parametrize(("hits", "count"), [(0, 7), (7, 7), (53, 100), (1_234, 2_500), (1, 1)])
def test_wilson_is_scipys(hits, count):
    expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert wilson(hits, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_undefined():
    assert all(math.isnan(bound) for bound in wilson(0, 0))


def test_hac_of_independent_values_is_the_plain_error():
    values = np.random.default_rng(5).normal(3, 2, 20_000)
    assert hac_standard_error(values) == pytest.approx(2 / math.sqrt(20_000), rel=0.08)


def test_hac_knows_autocorrelation():
    generator = np.random.default_rng(11)
    noise, means, errors = 0.5, [], []
    for _ in range(200):
        shocks = generator.normal(size=2_200)
        series = np.empty(2_200)
        series[0] = shocks[0]
        for i in range(1, 2_200):
            series[i] = noise * series[i - 1] + shocks[i]
        means.append(series[200:].mean())
        errors.append(hac_standard_error(series[200:]))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)  # the plain error would be 1.7 times too small


def test_alternating_series_falls_back_to_a_positive_error():
    assert hac_standard_error(np.array([1.0, -1.0] * 50)) > 0


def test_mean_interval_bounds():
    values = np.random.default_rng(1).normal(1, 1, 400)
    interval = mean_interval(values)
    z = stats.norm.ppf([0.95, 0.975])
    assert interval.lower_one_sided == pytest.approx(interval.mean - z[0] * interval.standard_error)
    assert interval.high - interval.mean == pytest.approx(z[1] * interval.standard_error)
    assert math.isnan(mean_interval(np.empty(0)).mean)
    assert math.isnan(mean_interval(np.array([1.0])).standard_error)


def test_sample_sizes_of_the_design():
    assert [bars_to_see(p) for p in (0.53, 0.54, 0.55)] == [3_001, 1_686, 1_077]


@pytest.mark.parametrize("rate", [0.53, 0.55])
def test_sample_size_has_the_power_it_claims(rate):
    count = bars_to_see(rate)
    critical = stats.binom.isf(0.05, count, 0.5)
    assert stats.binom.sf(critical, count, rate) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("rate", [0.5, 0.4, 1.0])
def test_sample_size_of_no_skill_is_refused(rate):
    with pytest.raises(ValueError, match=r"above 0\.5"):
        bars_to_see(rate)


def test_block_weights_draw_as_many_blocks_as_there_are():
    weights = block_weights(12, 50, seed=3)
    assert weights.shape == (50, 12)
    assert (weights.sum(axis=1) == 12).all()
    np.testing.assert_array_equal(weights, block_weights(12, 50, seed=3))
