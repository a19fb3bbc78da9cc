"""The robustness battery finds leaks and leaves honest models alone."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import pytest

from ml.dataset import Dataset, build_dataset, purged_walk_forward
from ml.errors import TrainingFailed
from ml.evaluation import evaluate_record
from ml.features.schema import FeatureSchema
from ml.intervals import wilson
from ml.predictors.basic import BasicPredictor
from ml.synthetic import synthetic_candles
from ml.tasks.catalogue import TASKS
from ml.training.gate import BaselineTest, GateDecision
from ml.training.robustness import (
    by_volatility,
    red_flag,
    refused_by_shuffle,
    robustness,
    robustness_lines,
    robustness_table,
    shuffled,
)
from ml.training.walk_forward import walk_forward

FEATURES = ("taker_imbalance_20", "ewma_volatility", "rsi_14", "return_1")
QUICK = {"num_boost_round": 20, "min_data_in_leaf": 50}


def quiet(_fraction: float, _text: str) -> None:
    """Report progress to nobody."""


@cache
def dataset(edge: float = 0.15, bars: int = 9_000, seed: int = 1) -> Dataset:
    """Return a market with a planted edge."""
    candles = synthetic_candles(bars, edge=edge, seed=seed)
    return build_dataset(candles, FeatureSchema.for_candles(candles, FEATURES), 1)


def battery(data: Dataset, predictor: Any = None, seed: int = 0) -> dict[str, Any]:
    """Run the walk forward and the battery."""
    folds = purged_walk_forward(data, folds=5)
    predictor = BasicPredictor(QUICK) if predictor is None else predictor
    record = walk_forward(data, folds, predictor, seed=0, threads=1, progress=quiet)
    return robustness(data, folds, predictor, record, seed=seed, threads=1, progress=quiet)


@cache
def honest() -> dict[str, Any]:
    """Return the battery of a model of the planted market."""
    return battery(dataset())


def test_a_model_of_the_market_keeps_its_skill_under_little_noise_and_loses_it_with_the_labels() -> None:
    found = honest()
    gains = [found["as_it_is"], found["noise"]["0.1"], found["noise"]["0.3"]]
    means = [figures["gain"]["coin"]["mean"] for figures in gains]
    assert means[0] > 0.01
    assert means[0] > means[2]
    assert means[1] > 0.8 * means[0]
    shuffle = found["shuffled_labels"]
    assert len(shuffle["runs"]) == 1
    assert not shuffle["promoted"]
    assert shuffle["runs"][0]["gain"]["coin"]["mean"] < 0.1 * means[0]
    assert 0 <= shuffle["p_value"] <= 1


def test_the_battery_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    again, other = battery(dataset()), battery(dataset(), seed=5)
    assert repr(again) == repr(honest())
    assert other["noise"] != honest()["noise"]
    assert other["as_it_is"]["n"] == honest()["as_it_is"]["n"]


def test_features_that_come_late_are_those_of_the_bar_before() -> None:
    data = dataset()
    late = replace(data, rows=np.vstack([np.full((1, data.rows.shape[1]), np.nan, np.float32), data.rows[:-1]]))
    folds = purged_walk_forward(data, folds=5)
    fitted = BasicPredictor(QUICK).fit(data, folds[1].train, seed=0, threads=1)
    bars = np.concatenate([fold.test for fold in folds[1:]])
    half = len(bars) // 2
    judged = bars[half:][data.scored[bars[half:]] & data.usable[bars[half:] - 1]]
    right = (fitted.scores(late.rows[judged]) >= 0) == (data.returns[judged] > 0)
    assert honest()["one_bar_late"]["n"] == len(judged)
    assert honest()["one_bar_late"]["direction_accuracy"] == pytest.approx(right.mean(), abs=1e-12)


def test_shuffled_labels_are_the_same_labels_in_blocks_at_other_bars() -> None:
    data = dataset()
    places = np.flatnonzero(data.labelled)
    other = shuffled(data, places, seed=3)
    before, after = data.returns[places], other.returns[places]
    assert sorted(before) == sorted(after)
    assert (before == after).mean() < 0.05
    follows = set(pairwise(before))
    kept = np.mean([pair in follows for pair in pairwise(after)])
    assert kept > 0.95
    assert shuffled(data, places, seed=3).returns.tobytes() == other.returns.tobytes()
    rest = np.setdiff1d(np.arange(len(data)), places)
    np.testing.assert_array_equal(other.returns[rest], data.returns[rest])


def test_outcomes_move_with_the_returns() -> None:
    data = dataset()
    both = replace(data, outcome=np.where(data.labelled, 3.0 * data.returns, np.nan))
    other = shuffled(both, np.flatnonzero(both.labelled), seed=1)
    known = both.labelled
    assert other.outcome is not None
    np.testing.assert_array_equal(other.outcome[known], 3.0 * other.returns[known])


class Leaking(BasicPredictor):
    """A family that looks up the label of the bar it scores: what the shuffle must find."""

    title: ClassVar[str] = "A leak"

    def fit(self, data: Dataset, positions: Any, *, seed: int, threads: int) -> Any:
        """Remember every label by its row."""
        known = {row.tobytes(): value for row, value in zip(data.rows, data.returns, strict=True)}

        class Remembers:
            sequence = 1

            def scores(self, rows: Any) -> Any:
                return np.array([np.sign(known.get(row.tobytes(), 0.0)) for row in rows])

        return Remembers()


def test_a_leak_is_refused() -> None:
    found = battery(dataset(0.0), Leaking(QUICK))
    shuffle = found["shuffled_labels"]
    assert len(shuffle["runs"]) == 3
    assert shuffle["promoted"]
    assert shuffle["p_value"] < 1e-6
    test = BaselineTest("coin", 0.1, 0.01, 0.08, passed=True)
    gate = GateDecision(promoted=True, n=5_000, required=1_000, tests=(test,), reason="promoted: it is right")
    verdict = refused_by_shuffle(gate, found)
    assert not verdict.promoted
    assert verdict.reason.startswith("refused: a model that was taught shuffled labels")
    assert refused_by_shuffle(gate, honest()) == gate
    assert refused_by_shuffle(gate, {"skipped": "by the settings"}) == gate


def test_thirds_of_volatility_are_counted_by_hand() -> None:
    data = dataset()
    record = walk_forward(
        data, purged_walk_forward(data, folds=3), BasicPredictor(QUICK), seed=0, threads=1, progress=quiet
    )
    table = by_volatility(record, TASKS["direction"])
    rows = np.flatnonzero(record.counted)
    order = rows[np.argsort(record.sigma[rows], kind="stable")]
    for part, found in zip(np.array_split(order, 3), table, strict=True):
        hits = (record.p_up[part] >= 0.5) == (record.forward_return[part] > 0)
        inside = (record.low[part] <= record.forward_return[part]) & (record.forward_return[part] <= record.high[part])
        assert found["n"] == len(part)
        assert found["from"] == record.sigma[part].min()
        assert found["to"] == record.sigma[part].max()
        assert found["direction_accuracy"] == hits.mean()
        assert (found["direction_accuracy_low"], found["direction_accuracy_high"]) == wilson(int(hits.sum()), len(part))
        assert found["interval_coverage"] == inside.mean()
    assert by_volatility(record_of_none(record), TASKS["direction"]) == []


def record_of_none(record: Any) -> Any:
    """Return the record with nothing counted."""
    return replace(record, scored=np.zeros(len(record), dtype=bool))


def test_too_few_bars_are_said_to_be_too_few() -> None:
    data = dataset()
    found = battery(data.since(int(data.open_ms[len(data) - 280])))
    assert "too few" in found["skipped"]
    assert "as_it_is" not in found
    assert robustness_table({"skipped": "x"}) == []
    assert robustness_lines({"skipped": "x"}) == []


class Fails(BasicPredictor):
    """A family that cannot learn from the second labels that it is given."""

    calls = 0

    def fit(self, data: Dataset, positions: Any, *, seed: int, threads: int) -> Any:
        """Fail at shuffled labels."""
        if not np.array_equal(data.returns, dataset().returns, equal_nan=True):
            raise TrainingFailed("one class only")
        return super().fit(data, positions, seed=seed, threads=threads)


def test_shuffled_labels_that_cannot_be_learnt_refuse_nothing() -> None:
    shuffle = battery(dataset(), Fails(QUICK))["shuffled_labels"]
    assert shuffle["skipped"] == "one class only"
    assert not shuffle["promoted"]
    assert math.isnan(shuffle["p_value"])


@pytest.mark.parametrize(
    ("accuracy", "skill", "expected"),
    [(0.57, 0.019, None), (0.581, 0.0, "58.1 %"), (0.55, 0.021, "2.10 %"), (math.nan, math.nan, None)],
)
def test_figures_too_good_raise_a_flag(accuracy: float, skill: float, expected: str | None) -> None:
    flag = red_flag({"direction_accuracy": accuracy, "log_loss_skill": skill})
    assert flag is None if expected is None else flag is not None and expected in flag
    assert red_flag({"log_loss_skill": 0.3}) is None  # a risk


def test_the_card_shows_every_situation_and_the_flag() -> None:
    table = robustness_table(honest())
    assert len({len(row) for row in table}) == 1
    names = [row[0] for row in table]
    assert names[0] == "as it is"
    gains = honest()["as_it_is"]["gain"]
    assert f"{min(gain['mean'] for gain in gains.values()):+.5f}" in table[0][3]
    assert len([name for name in names if "noise" in name]) == 2
    assert len([name for name in names if "third" in name]) == 3
    assert any("late" in name for name in names)
    assert any("shuffled" in name for name in names)
    lines = robustness_lines({"red_flag": "too good", **honest()})
    assert "Red flag: too good." in lines
    assert sum(line.startswith("|") for line in lines) == len(table) + 2


def test_the_flag_is_raised_by_a_walk_forward_that_is_too_good() -> None:
    data = dataset()
    record = walk_forward(
        data, purged_walk_forward(data, folds=3), BasicPredictor(QUICK), seed=0, threads=1, progress=quiet
    )
    assert red_flag(evaluate_record(record)) is not None
