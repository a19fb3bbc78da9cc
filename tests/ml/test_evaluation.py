"""Evaluation against scipy and hand-written sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.baselines import Baselines, fit_baselines
from ml.evaluation import BASELINES, Forecasts, evaluate, log_loss_gain


def forecasts_of(count=4_000, edge=0.08, seed=0):
    generator = np.random.default_rng(seed)
    p_up = 0.5 + edge * np.sign(generator.normal(size=count)) * generator.random(count)
    up = generator.random(count) < p_up
    returns = np.where(up, 1.0, -1.0) * np.abs(generator.normal(0, 0.01, count)) + 1e-9
    return Forecasts(
        p_up=p_up,
        returns=returns,
        base_rate=np.full(count, 0.52),
        last_sign_p=np.where(generator.random(count) < 0.5, 0.53, 0.47),
    )


def test_figures_are_their_definitions():
    f = forecasts_of()
    figures = evaluate(f)
    frame = pd.DataFrame({"p": f.p_up, "up": f.returns > 0, "r": f.returns, "last": f.last_sign_p})
    said = frame.p >= 0.5
    hit = said == frame.up
    assert figures["n"] == 4_000
    assert figures["direction_accuracy"] == pytest.approx(hit.mean())
    interval = stats.binomtest(int(hit.sum()), 4_000).proportion_ci(0.95, method="wilson")
    assert figures["direction_accuracy_low"] == pytest.approx(interval.low)
    assert figures["direction_accuracy_high"] == pytest.approx(interval.high)
    assert figures["majority_baseline"] == pytest.approx(frame.up.mean())
    assert figures["last_sign_baseline"] == pytest.approx(((frame["last"] > 0.5) == frame.up).mean())
    assert figures["mcc"] == pytest.approx(stats.pearsonr(said.astype(float), frame.up.astype(float))[0])
    table = pd.crosstab(said, frame.up)
    assert figures["precision"] == pytest.approx(table.loc[True, True] / table.loc[True].sum())
    assert figures["recall"] == pytest.approx(table.loc[True, True] / table[True].sum())
    assert figures["f1"] == pytest.approx(stats.hmean([figures["precision"], figures["recall"]]))
    own = -np.log(np.where(frame.up, frame.p, 1 - frame.p))
    base = -np.log(np.where(frame.up, 0.52, 0.48))
    assert figures["log_loss"] == pytest.approx(own.mean())
    assert figures["log_loss_skill"] == pytest.approx(1 - own.sum() / base.sum())
    assert figures["gain"]["coin"]["mean"] == pytest.approx(math.log(2) - own.mean())
    assert figures["brier"] == pytest.approx(((frame.p - frame.up) ** 2).mean())
    gross = np.where(said, 1, -1) * (np.exp(frame.r) - 1)
    assert figures["gross_return_per_bet"] == pytest.approx(gross.mean())
    assert figures["gross_return_per_bet_low"] < figures["gross_return_per_bet"] < figures["gross_return_per_bet_high"]
    assert figures["break_even_cost"] == pytest.approx(gross.mean())
    assert figures["mean_confidence"] == pytest.approx(np.maximum(frame.p, 1 - frame.p).mean())


def test_fifths_by_size_hold_every_row_once():
    f = forecasts_of(4_003)
    table = evaluate(f)["by_outcome_size"]
    assert sum(row["n"] for row in table) == 4_003
    assert all(a["to"] <= b["from"] for a, b in itertools.pairwise(table))
    smallest = np.abs(f.returns) <= table[0]["to"]
    assert table[0]["accuracy"] == pytest.approx(f.hits[smallest].mean())


def test_levels_of_confidence():
    f = forecasts_of()
    for row in evaluate(f)["by_confidence"]:
        inside = np.maximum(f.p_up, 1 - f.p_up) >= row["at_least"]
        assert row["n"] == inside.sum()
        if row["n"]:
            assert row["accuracy"] == pytest.approx(f.hits[inside].mean())
            bets = np.where(f.p_up >= 0.5, 1, -1) * np.expm1(f.returns)
            assert row["gross_return_per_bet"] == pytest.approx(bets[inside].mean())
        else:
            assert math.isnan(row["accuracy"])


def test_losing_bets_break_even_at_no_cost():
    f = forecasts_of()
    wrong = Forecasts(1 - f.p_up, f.returns, f.base_rate, f.last_sign_p)
    assert evaluate(wrong)["gross_return_per_bet"] < 0
    assert evaluate(wrong)["break_even_cost"] == 0.0


@pytest.mark.parametrize("baseline", BASELINES)
def test_lower_bound_of_a_worthless_forecast_holds_its_level(baseline):
    generator = np.random.default_rng(17)
    passed = 0
    for _ in range(200):
        rose = generator.random(1_500) < 0.5
        p_up = 0.5 + generator.normal(0, 0.02, 1_500)
        f = Forecasts(p_up, np.where(rose, 0.01, -0.01), np.full(1_500, 0.5), np.full(1_500, 0.5))
        gain = evaluate_gain(f, baseline)
        passed += gain > 0
    assert passed <= 20  # 5 % of 200 would be 10 for a forecast without any loss of its own


def evaluate_gain(f, baseline):
    values = log_loss_gain(f, baseline)
    return values.mean() - 1.645 * values.std() / math.sqrt(len(values))


def test_nothing_to_evaluate_is_undefined_throughout():
    empty = np.empty(0)
    figures = evaluate(Forecasts(empty, empty, empty, empty))
    assert figures["n"] == 0
    for name, value in figures.items():
        if isinstance(value, float):
            assert math.isnan(value), name
    assert figures["by_outcome_size"] == []


def test_one_class_leaves_correlation_undefined():
    f = Forecasts(np.full(50, 0.6), np.full(50, 0.01), np.full(50, 0.6), np.full(50, 0.5))
    figures = evaluate(f)
    assert math.isnan(figures["mcc"])
    assert figures["direction_accuracy"] == 1.0
    assert figures["last_sign_baseline"] == 0.5


def test_certain_and_wrong_forecasts_lose_finitely():
    f = Forecasts(np.zeros(20), np.full(20, 0.01), np.full(20, 0.5), np.full(20, 0.5))
    assert math.isfinite(evaluate(f)["log_loss"])


def test_last_sign_rule_is_chosen_on_training_rows():
    generator = np.random.default_rng(3)
    past = generator.normal(size=5_000)
    reverts = np.where(generator.random(5_000) < 0.54, -np.sign(past), np.sign(past))
    rule = fit_baselines(reverts * 0.01, past)
    same = (np.sign(reverts) == np.sign(past)).mean()
    assert rule.last_sign == "revert"
    assert rule.sign_rate == pytest.approx(1 - same)
    np.testing.assert_allclose(
        rule.last_sign_probability(np.array([0.3, -0.3, 0.0, np.nan])),
        [same, 1 - same, 0.5, 0.5],
    )
    assert fit_baselines(-reverts * 0.01, past).last_sign == "persist"


def test_baselines_of_nothing_say_nothing():
    rule = fit_baselines(np.array([np.nan, 0.0]), np.array([1.0, 1.0]))
    assert rule == Baselines(base_rate=0.5, persists=True, sign_rate=0.5, rows=0)


def test_baselines_that_were_always_right_still_lose_finitely():
    rule = fit_baselines(np.ones(10), np.ones(10))
    assert rule.base_rate == rule.sign_rate == 0.999
