"""Deflation: held against scipy, brute force, simulation, and the worked example of its authors."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from ml.deflation import (
    SharpeFigures,
    deflated_sharpe,
    effective_trials,
    expected_maximum,
    mean_correlation,
    overfitting_probability,
    probabilistic_sharpe,
    sharpe_figures,
)


def test_moments_are_those_of_scipy_and_the_kurtosis_of_a_normal_law_is_three():
    returns = np.random.default_rng(0).standard_t(5, 4_000) * 0.01 + 0.001
    found = sharpe_figures(returns)
    assert found.ratio == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert found.skew == pytest.approx(stats.skew(returns))
    assert found.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))
    assert sharpe_figures(np.random.default_rng(1).normal(size=200_000)).kurtosis == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("returns", [[], [0.1], [0.1, 0.1, 0.1], [0.0] * 50])
def test_without_variation_there_is_no_ratio(returns):
    found = sharpe_figures(np.array(returns))
    assert math.isnan(found.ratio)
    assert math.isnan(probabilistic_sharpe(found))


def test_the_worked_example_of_bailey_and_lopez_de_prado():
    # 2014, section "a numerical example": SR 2.5 a year over 1,250 days, skew -3, kurtosis 10, N = 100, V = 1/2 (annual)
    figures = SharpeFigures(2.5 / math.sqrt(250), -3.0, 10.0, 1_250)
    assert expected_maximum(0.5 / 250, 100) == pytest.approx(0.1132, abs=1e-4)
    assert deflated_sharpe(figures, 0.5 / 250, 100) == pytest.approx(0.9004, abs=1e-4)
    assert deflated_sharpe(figures, 0.5 / 250, 46) == pytest.approx(0.9505, abs=1e-4)
    normal = SharpeFigures(2.5 / math.sqrt(250), 0.0, 3.0, 1_250)
    assert deflated_sharpe(normal, 0.5 / 250, 88) == pytest.approx(0.9505, abs=1e-3)


def test_the_error_of_a_sharpe_ratio_of_skewed_fat_tails_is_the_simulated_one():
    generator = np.random.default_rng(2)
    sample = np.concatenate([generator.normal(0.1, 1, (4_000, 500)), generator.normal(-1.5, 3, (4_000, 60))], axis=1)
    flat = sample.ravel()
    truth = flat.mean() / flat.std()
    count = sample.shape[1]
    drawn = flat[generator.integers(0, len(flat), (4_000, count))]
    ratios = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
    figures = SharpeFigures(truth, float(stats.skew(flat)), float(stats.kurtosis(flat, fisher=False)), count)
    error = float(ratios.std())
    # where the formula puts 84.13 %, one simulated error above the benchmark must lie
    assert probabilistic_sharpe(figures, truth - error) == pytest.approx(float(stats.norm.cdf(1)), abs=0.01)
    wrong = SharpeFigures(figures.ratio, figures.skew, figures.kurtosis - 3.0, count)
    large = SharpeFigures(1.0, 0.0, 3.0, 100)
    assert probabilistic_sharpe(wrong, truth - error) != probabilistic_sharpe(figures, truth - error)
    assert probabilistic_sharpe(large, 0.8) == pytest.approx(float(stats.norm.cdf(0.2 * math.sqrt(99 / 1.5))))


@pytest.mark.parametrize("trials", [5, 20, 100, 1_000])
def test_the_expected_maximum_is_that_of_simulated_trials(trials):
    drawn = np.random.default_rng(3).normal(0, 0.3, (4_000, trials)).max(axis=1)
    assert expected_maximum(0.09, trials) == pytest.approx(float(drawn.mean()), rel=0.03)


def test_one_look_costs_nothing():
    figures = SharpeFigures(0.05, 0.0, 3.0, 1_000)
    assert expected_maximum(0.5, 1) == 0.0
    assert deflated_sharpe(figures, 0.5, 1) == probabilistic_sharpe(figures)
    assert expected_maximum(0.5, 1.0001) == 0.0  # never a reward for looking
    for wrong in ((-1.0, 5), (1.0, 0)):
        with pytest.raises(ValueError, match="at least one trial"):
            expected_maximum(*wrong)


def test_under_no_skill_the_deflated_ratio_is_rarely_convinced_while_the_plain_one_is():
    generator = np.random.default_rng(4)
    plain = deflated = 0
    for _ in range(200):
        returns = generator.normal(0, 0.01, (250, 40))
        figures = [sharpe_figures(column) for column in returns.T]
        ratios = np.array([each.ratio for each in figures])
        best = figures[int(ratios.argmax())]
        plain += probabilistic_sharpe(best) >= 0.95
        deflated += deflated_sharpe(best, float(ratios.var(ddof=1)), 40) >= 0.95
    assert plain >= 160  # four searches in five would announce a discovery
    assert deflated <= 10


def test_a_true_edge_survives_its_deflation():
    generator = np.random.default_rng(5)
    kept = 0
    for _ in range(50):
        returns = generator.normal(0, 0.01, (2_000, 40))
        returns[:, 7] += 0.0015
        figures = [sharpe_figures(column) for column in returns.T]
        ratios = np.array([each.ratio for each in figures])
        # the variance of luck: that of the trials without the edge
        kept += deflated_sharpe(figures[7], float(np.delete(ratios, 7).var(ddof=1)), 40) >= 0.95
    assert kept >= 45


def test_effective_trials_go_from_all_to_one():
    assert effective_trials(40, 0.0) == 40
    assert effective_trials(40, 1.0) == 1
    assert effective_trials(40, 0.5) == 20.5
    assert effective_trials(40, -0.3) == 40
    assert effective_trials(40, math.nan) == 40


def test_the_mean_correlation_is_that_of_all_pairs():
    scores = np.random.default_rng(6).normal(size=(30, 7))
    scores[:, 1] = scores[:, 0] + 0.1 * scores[:, 1]
    scores[:, 6] = 2.0  # one that does not vary is no trial of anything
    table = np.corrcoef(scores[:, :6].T)
    assert mean_correlation(scores) == pytest.approx(table[np.triu_indices(6, 1)].mean())
    assert math.isnan(mean_correlation(scores[:, 6:]))


def brute_force(scores, pieces):
    """Return the probability of overfitting by counting ranks one split at a time."""
    parts = np.array_split(np.arange(len(scores)), pieces)
    bad, splits = 0.0, list(combinations(range(pieces), pieces // 2))
    for chosen in splits:
        first = np.mean([scores[parts[i]].mean(axis=0) for i in chosen], axis=0)
        second = np.mean([scores[parts[i]].mean(axis=0) for i in range(pieces) if i not in chosen], axis=0)
        rank = stats.rankdata(second)[int(first.argmax())] / (scores.shape[1] + 1)
        bad += 1.0 if rank < 0.5 - 1e-9 else 0.5 if abs(rank - 0.5) < 1e-9 else 0.0
    return bad / len(splits)


@pytest.mark.parametrize(("trials", "pieces"), [(2, 4), (5, 6), (9, 8), (4, 10)])
def test_the_probability_of_overfitting_is_the_count_of_all_splits(trials, pieces):
    generator = np.random.default_rng(trials)
    scores = generator.normal(size=(pieces * 3, trials)) + 0.4 * np.arange(trials)
    assert overfitting_probability(scores, pieces) == pytest.approx(brute_force(scores, pieces))


def test_overfitting_is_a_coin_toss_among_equals_and_rare_with_a_true_winner():
    generator = np.random.default_rng(7)
    none = [overfitting_probability(generator.normal(size=(160, 20))) for _ in range(30)]
    assert np.mean(none) == pytest.approx(0.5, abs=0.12)
    winner = generator.normal(size=(160, 20))
    winner[:, 3] += 2.0
    assert overfitting_probability(winner) < 0.01
    # what is best in one half of the time is worst in the other
    half = np.concatenate([np.arange(8.0)[None, :].repeat(8, 0), -np.arange(8.0)[None, :].repeat(8, 0)])
    assert overfitting_probability(half + generator.normal(0, 1e-3, half.shape)) > 0.7


def test_equal_trials_are_neither_good_nor_bad():
    same = np.random.default_rng(8).normal(size=(16, 1)).repeat(5, axis=1)
    assert overfitting_probability(same) == 0.5


def test_too_little_to_say():
    assert math.isnan(overfitting_probability(np.zeros((16, 1))))
    assert math.isnan(overfitting_probability(np.zeros((3, 5))))
    for blocks in (7, 0, 18):
        with pytest.raises(ValueError, match="even number of blocks"):
            overfitting_probability(np.zeros((16, 3)), blocks)
