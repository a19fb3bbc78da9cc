"""Distributions: an index that is right, and a threshold that chance exceeds as rarely as it says."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import chi2

from ml.drift.dependence import dependence, largest_by_chance
from ml.drift.distribution import (
    FALSE_ALARM,
    LEAST_PSI,
    LEAST_ROWS,
    ReferenceDistribution,
    population_stability,
    reference_distribution,
    shift_of,
)
from ml.errors import BrokenModel


def autoregression(rng, count: int, phi: float) -> np.ndarray:
    """Return a stationary AR(1) of variance 1."""
    return lfilter([1.0], [1.0, -phi], rng.standard_normal(count + 1_000))[1_000:] * math.sqrt(1 - phi * phi)


def test_the_index_is_the_sum_over_bins_of_difference_times_log_ratio():
    live, reference = (10, 0, 30), (100, 50, 250)
    total = 0.0
    for a, b in zip(live, reference, strict=True):
        p, q = (a + 0.5) / 41.5, (b + 0.5) / 401.5
        total += (p - q) * math.log(p / q)
    assert population_stability(live, reference) == pytest.approx(total, rel=1e-12)
    assert population_stability(reference, reference) == 0.0
    # large counts of known shares: 0.5 / 0.5 against 0.6 / 0.4
    assert population_stability((500_000, 500_000), (600_000, 400_000)) == pytest.approx(0.1 * math.log(1.5), rel=1e-4)


def test_of_equal_eigenvalues_the_chance_threshold_is_that_of_chi_square():
    for bins, chance in itertools.product((2, 5, 10), (0.05, 1e-3, 1e-5)):
        spread = (bins - 1.0,) * 3
        assert largest_by_chance(spread, chance) == pytest.approx(chi2.isf(chance, bins - 1), rel=1e-9)
    assert largest_by_chance((0.0, 0.0, 0.0), 0.01) == 0.0


def test_of_unequal_eigenvalues_it_agrees_with_drawn_sums():
    rng = np.random.default_rng(3)
    values = np.array([90.0, 20.0, 5.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5])
    drawn = (rng.standard_normal((400_000, 9)) ** 2) @ values
    spread = (values.sum(), (values**2).sum(), (values**3).sum())
    for chance in (0.05, 0.01, 0.001):
        assert largest_by_chance(spread, chance) == pytest.approx(np.quantile(drawn, 1 - chance), rel=0.04)


def test_independent_rows_are_worth_themselves():
    codes = np.random.default_rng(0).integers(0, 10, 40_000)
    _, spread = dependence(codes, 10)
    assert spread[0] == pytest.approx(9.0, rel=0.05)
    assert 9.0 <= spread[2] <= 11.0  # the noise of nine eigenvalues makes their powers larger, never smaller


@pytest.mark.parametrize("phi", [0.5, 0.9, 0.97])
def test_the_sign_of_an_autoregression_is_worth_what_theory_says(phi):
    # the signs of two normals of correlation r agree with correlation 2 / pi asin(r)
    truth = 1 + 2 * sum(2 / math.pi * math.asin(phi**lag) for lag in range(1, 2_000))
    rng = np.random.default_rng(int(1000 * phi))
    found = [dependence((autoregression(rng, 30_000, phi) > 0).astype(np.int64), 2)[1][0] for _ in range(16)]
    assert 0.92 * truth <= np.mean(found) <= 1.2 * truth  # a little above, on the safe side: 5 % of 60 series


def test_an_alternating_series_that_is_dependent_for_long_is_not_taken_for_independent():
    """Differences under clusters of volatility: neighbours disagree, and rows hundreds apart are alike in size."""
    rng = np.random.default_rng(5)
    wild = np.exp(autoregression(rng, 20_000, 0.99))
    noise = rng.standard_normal(20_001)
    reference = reference_distribution(wild * np.diff(noise))
    assert reference.reach > 64
    assert reference.dependence > 5


def test_the_sum_over_pairs_is_that_of_a_plain_loop():
    rng = np.random.default_rng(1)
    codes = np.repeat(rng.integers(0, 3, 150), 3)[:400]
    reach, spread = dependence(codes, 3)
    share = np.bincount(codes) / 400
    total = np.zeros((3, 3))
    pairs = 0
    for row, other in itertools.product(range(400), range(400)):
        if abs(row - other) <= reach:
            one, two = np.eye(3)[codes[row]], np.eye(3)[codes[other]]
            total += np.outer(one, two) - np.outer(share, share)
            pairs += 1
    relative = total / 400 / np.sqrt(np.outer(share, share)) / (1 - pairs / 400**2)
    values = np.maximum(np.linalg.eigvalsh((relative + relative.T) / 2), 0)
    assert spread == pytest.approx((values.sum(), (values**2).sum(), (values**3).sum()), rel=1e-9)


@pytest.mark.parametrize("phi", [0.0, 0.7, 0.95])
def test_chance_exceeds_the_threshold_as_rarely_as_it_says(phi):
    """600 pairs of a reference of 6,000 rows and 720 later ones of the same law."""
    rng = np.random.default_rng(int(100 * phi))
    beyond = np.zeros(3)
    for _ in range(600):
        series = autoregression(rng, 6_720, phi)
        reference = reference_distribution(series[:6_000])
        found = shift_of(reference, series[6_000:])
        index = found.psi / (1 / 720 + 1 / 6_000)
        beyond += [index > largest_by_chance(reference.spread, chance) for chance in (0.05, 0.01)] + [found.shifted]
    assert 0.02 <= beyond[0] / 600 <= 0.08
    assert beyond[1] / 600 <= 0.025
    assert beyond[2] <= 3  # 0.6 expected, and none below the smallest index that matters


def test_a_threshold_for_independent_rows_would_be_wrong_for_clusters():
    """Of returns under slow volatility: chi-square with the effective rows alone raises false alarms."""
    rng = np.random.default_rng(11)
    plain = ours = 0
    for _ in range(200):
        series = np.exp(0.7 * autoregression(rng, 9_480, 0.99)) * rng.standard_normal(9_480)
        reference = reference_distribution(series[:8_760])
        found = shift_of(reference, series[8_760:])
        scale = (1 / 720 + 1 / 8_760) * reference.dependence
        plain += found.psi > max(LEAST_PSI, scale * chi2.isf(0.001, 9))
        ours += found.shifted
    assert ours <= 2
    assert plain >= 10


@pytest.mark.parametrize(("change", "least"), [(lambda x: x + 1.0, 0.5), (lambda x: 2.0 * x, 0.2)])
def test_a_planted_shift_is_found(change, least):
    rng = np.random.default_rng(7)
    reference = reference_distribution(autoregression(rng, 8_760, 0.5))
    found = [shift_of(reference, change(autoregression(rng, LEAST_ROWS, 0.5)), tests=100) for _ in range(50)]
    assert all(each.shifted for each in found)
    assert all(each.psi > least for each in found)


def test_the_distance_between_quantiles_is_in_standard_deviations():
    series = np.random.default_rng(2).normal(5.0, 3.0, 50_000)
    reference = reference_distribution(series)
    found = shift_of(reference, series + 1.5)
    assert found.wasserstein == pytest.approx(0.5, rel=0.01)
    assert found.mean - reference.mean == pytest.approx(1.5, rel=1e-3)


def test_too_few_rows_are_not_judged():
    rng = np.random.default_rng(0)
    reference = reference_distribution(rng.standard_normal(5_000))
    few = shift_of(reference, rng.standard_normal(LEAST_ROWS - 1) + 9)
    assert (few.judged, few.shifted, few.ratio) == (False, False, 0.0)
    assert few.psi > 1
    enough = shift_of(reference, rng.standard_normal(LEAST_ROWS) + 9)
    assert enough.judged
    assert enough.shifted


def test_more_tests_ask_for_more():
    rng = np.random.default_rng(0)
    reference, live = reference_distribution(autoregression(rng, 5_000, 0.9)), autoregression(rng, 720, 0.9)
    thresholds = [shift_of(reference, live, tests=tests).threshold for tests in (1, 10, 100)]
    assert thresholds == sorted(thresholds)
    assert len(set(thresholds)) == 3
    scale = 1 / 720 + 1 / 5_000
    assert thresholds[1] == pytest.approx(scale * largest_by_chance(reference.spread, FALSE_ALARM / 10), rel=1e-12)


def test_a_quantity_of_few_values_gets_a_bin_for_each_and_rare_values_join_a_neighbour():
    values = np.array([0.0] * 900 + [1.0] * 90 + [2.0] * 10)
    reference = reference_distribution(np.random.default_rng(0).permutation(values))
    assert reference.edges == (0.0,)
    assert reference.counts == (900, 100)
    balanced = reference_distribution(np.tile([-1.0, 0.0, 1.0], 1_000))
    assert balanced.edges == (-1.0, 0.0)
    assert balanced.counts == (1_000, 1_000, 1_000)
    assert shift_of(balanced, np.ones(LEAST_ROWS)).shifted


def test_what_never_varies_is_not_judged_but_what_leaves_its_range_is_counted():
    still = reference_distribution(np.full(3_000, 2.5, dtype=np.float32))
    found = shift_of(still, np.concatenate([np.full(800, 2.5), np.full(200, 9.0)]))
    assert not found.judged
    assert math.isnan(found.threshold)
    assert found.outside == pytest.approx(0.2)
    json.dumps(found.to_dict(), allow_nan=False)


def test_missing_values_are_counted_apart():
    rng = np.random.default_rng(4)
    values = rng.standard_normal(4_000)
    values[::4] = np.nan
    reference = reference_distribution(values)
    assert reference.rows == 3_000
    assert reference.missing == pytest.approx(0.25)
    found = shift_of(reference, np.concatenate([rng.standard_normal(900), np.full(100, np.inf)]))
    assert (found.rows, found.missing) == (900, pytest.approx(0.1))
    assert reference_distribution(np.full(10, np.nan)) is None
    empty = shift_of(reference, np.full(10, np.nan))
    assert (empty.rows, empty.judged, empty.missing) == (0, False, 1.0)


def test_most_of_a_heap_at_one_value_leaves_distinct_edges():
    rng = np.random.default_rng(9)
    values = np.where(rng.random(5_000) < 0.6, 0.0, rng.exponential(size=5_000))
    reference = reference_distribution(values)
    assert all(a < b for a, b in itertools.pairwise(reference.edges))
    assert min(reference.counts) >= 0.02 * 5_000
    assert sum(reference.counts) == 5_000


def test_a_reference_survives_its_json_to_the_bit():
    series = np.random.default_rng(6).standard_normal(4_000).astype(np.float32)
    reference = reference_distribution(series)
    again = ReferenceDistribution.from_dict(json.loads(json.dumps(reference.to_dict())))
    assert again == reference
    live = series[:800] * 1.1
    assert shift_of(again, live) == shift_of(reference, live)
    # the bins were counted with the edges as they are written
    counts = np.histogram(series.astype(np.float64), [-np.inf, *np.nextafter(reference.edges, np.inf), np.inf])[0]
    assert tuple(counts) == reference.counts


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"edges": [0.0]}, "edges do not part"),
        ({"edges": [2.0, 1.0], "counts": [1, 1, 1]}, "do not rise"),
        ({"sigma": -1.0}, "negative"),
        ({"mean": float("inf")}, "not finite"),
        ({"spread": [1.0]}, "cannot be read"),
        ({"counts": ["many"]}, "cannot be read"),
    ],
)
def test_a_damaged_reference_is_refused(change, what):
    document = reference_distribution(np.arange(100.0)).to_dict() | change
    with pytest.raises(BrokenModel, match=what):
        ReferenceDistribution.from_dict(document)
