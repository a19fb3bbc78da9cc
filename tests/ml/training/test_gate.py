"""The gate: who passes, who does not, and in which words."""

from __future__ import annotations

import json
import math

import pytest
from planted_data import planted_dataset

from ml.training.gate import decide
from ml.training.plan import plan_dataset


@pytest.fixture(scope="module")
def plan():
    return plan_dataset(planted_dataset(3_000), "1h")


def figures(n=2_000, *, coin=(0.002, 0.0004), base_rate=(0.002, 0.0004), last_sign=(0.002, 0.0004)):
    gains = {
        name: {"mean": mean, "standard_error": error, "lower_95": mean - 1.645 * error, "skill": mean / 0.69}
        for name, (mean, error) in {"coin": coin, "base_rate": base_rate, "last_sign": last_sign}.items()
    }
    return {
        "n": n,
        "gain": gains,
        "direction_accuracy": 0.53,
        "direction_accuracy_low": 0.51,
        "direction_accuracy_high": 0.55,
    }


def test_all_three_baselines_beaten_on_enough_bars(plan):
    verdict = decide(figures(), plan)
    assert verdict.promoted
    assert [test.baseline for test in verdict.tests] == ["coin", "base_rate", "last_sign"]
    assert "53.0 % of 2,000 bars" in verdict.reason
    assert "not about profit" in verdict.reason
    json.dumps(verdict.to_dict(), allow_nan=False)


@pytest.mark.parametrize("baseline", ["coin", "base_rate", "last_sign"])
def test_one_baseline_that_is_not_beaten_is_enough_to_refuse(plan, baseline):
    verdict = decide(figures(**{baseline: (0.0006, 0.0004)}), plan)
    assert not verdict.promoted
    assert [test.passed for test in verdict.tests].count(False) == 1
    words = {"coin": "coin toss", "base_rate": "share of rises", "last_sign": "rule of the last sign"}
    assert words[baseline] in verdict.reason
    assert "needs about" in verdict.reason
    assert "more bars" in verdict.reason


def test_a_bound_of_exactly_zero_is_refused(plan):
    assert not decide(figures(coin=(0.0, 0.0)), plan).promoted


def test_the_advice_is_the_sample_size_at_that_gain(plan):
    verdict = decide(figures(coin=(0.0006, 0.0004)), plan)
    scored = plan.scored * (2 * 1.645 * 0.0004 / 0.0006) ** 2
    more = plan.bars_for(math.ceil(scored)) - plan.bars
    said = int(verdict.reason.split("needs about ")[1].split(" ")[0].replace(",", ""))
    assert more <= said <= 1.1 * more


def test_a_gain_that_is_not_there_is_not_promised_with_more_bars(plan):
    verdict = decide(figures(coin=(-0.001, 0.0004), last_sign=(0.0001, 0.0004)), plan)
    assert "it did no better here than a coin toss (0.5 for every bar), so nothing says" in verdict.reason


def test_a_gain_too_small_to_prove(plan):
    assert "no amount of data" in decide(figures(coin=(1e-9, 0.01)), plan).reason


def test_few_bars_are_refused_however_good(plan):
    verdict = decide(figures(n=999), plan)
    assert not verdict.promoted
    assert all(test.passed for test in verdict.tests)
    assert "only 999 bars" in verdict.reason
    assert "more bars" in verdict.reason
    assert decide(figures(n=1_000), plan).promoted


def test_undefined_gains_are_refused(plan):
    nothing = (math.nan, math.nan)
    verdict = decide(figures(coin=nothing, base_rate=nothing, last_sign=nothing), plan)
    assert not verdict.promoted
    assert "coin toss (0.5 for every bar), always stating the share of rises in the training data and the rule" in (
        verdict.reason
    )
