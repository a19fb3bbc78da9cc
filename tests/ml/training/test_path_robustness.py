"""The battery of path models: figures recomputed by plain numpy, a real drift that survives, labels that teach nothing."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from ml.dataset import purged_walk_forward
from ml.features.schema import FeatureSchema
from ml.paths.dataset import build_path_dataset
from ml.predictors.catalogue import predictor_class
from ml.synthetic import synthetic_candles
from ml.training.path_robustness import path_robustness, shuffled_candles
from ml.training.robustness import robustness_table

NAMES = ("ewma_volatility", "return_5", "sma_20_distance", "zscore_50", "trend_20")
QUICK = {"num_boost_round": 30, "n_steps_ahead": 10, "min_data_in_leaf": 100}


def silent(_fraction, _text):
    pass


@functools.cache
def parts(kind="autoregressive", drift=0.5):
    candles = synthetic_candles(9_000, path_drift=drift, seed=11)
    dataset = build_path_dataset(candles, FeatureSchema.for_candles(candles, NAMES))
    folds = purged_walk_forward(dataset, folds=3, embargo=9)
    return dataset, folds, predictor_class(kind)(QUICK)


@functools.cache
def battery(kind="autoregressive", drift=0.5):
    dataset, folds, predictor = parts(kind, drift)
    return path_robustness(dataset, folds, predictor, seed=1, threads=1, progress=silent)


@pytest.mark.parametrize("kind", ["autoregressive", "multi_ohlc"])
def test_the_figures_are_those_of_plain_numpy(kind):
    dataset, folds, predictor = parts(kind)
    bars = np.concatenate([folds[1].test, folds[2].test])[:12_000]
    calibrate, judged = np.split(bars, [len(bars) // 2])
    fitted = predictor.fit(dataset, folds[1].train, seed=1, threads=1)
    target = np.clip(dataset.returns / dataset.sigma, -5, 5)
    score = fitted.scores(dataset.rows[calibrate])
    known = np.isfinite(target[calibrate])
    shrink = np.clip(score[known] @ target[calibrate][known] / (score[known] @ score[known]), 0, 1)
    came = target[judged]
    said = shrink * fitted.scores(dataset.rows[judged])
    known = np.isfinite(came)

    found = battery(kind)["as_it_is"]

    assert found["n"] == known.sum()
    saved = came[known] ** 2 - (came[known] - said[known]) ** 2
    assert found["gain"]["no_change"]["mean"] == pytest.approx(saved.mean(), rel=1e-9)
    decided = known & (said != 0) & (came != 0)
    assert found["direction_accuracy"] == pytest.approx(np.mean((said > 0)[decided] == (came > 0)[decided]))


def test_a_drift_is_seen_and_noise_and_delay_cost_skill():
    found = battery()
    gain = found["as_it_is"]["gain"]["no_change"]
    assert gain["lower_95"] > 0
    assert found["noise"]["0.3"]["gain"]["no_change"]["mean"] < gain["mean"]
    assert found["one_bar_late"]["gain"]["no_change"]["mean"] < gain["mean"]


def test_shuffled_candles_teach_nothing():
    assert battery()["shuffled_labels"]["promoted"] is False
    assert battery(drift=0.0)["shuffled_labels"]["promoted"] is False


def test_shuffling_moves_whole_candles_in_blocks():
    dataset, _, _ = parts()
    positions = np.flatnonzero(dataset.labelled)
    other = shuffled_candles(dataset, positions, seed=3)
    assert not np.array_equal(other.returns[positions], dataset.returns[positions])
    np.testing.assert_array_equal(np.sort(other.returns[positions]), np.sort(dataset.returns[positions]))
    np.testing.assert_array_equal(other.returns[positions], other.next_candle[positions, 3])
    assert other.rows is dataset.rows


def test_thirds_of_volatility_hold_all_judged_bars():
    found = battery()
    assert sum(row["n"] for row in found["by_volatility"]) == found["as_it_is"]["n"]
    edges = [(row["from"], row["to"]) for row in found["by_volatility"]]
    assert edges == sorted(edges)


def test_the_table_has_a_row_for_each_situation():
    assert [row[0] for row in robustness_table(battery())][:4] == [
        "as it is",
        "noise of 0.1 deviations on every feature",
        "noise of 0.3 deviations on every feature",
        "features one bar late",
    ]


def test_the_same_seed_gives_the_same_battery():
    dataset, folds, predictor = parts()
    assert path_robustness(dataset, folds, predictor, seed=1, threads=1, progress=silent) == battery()


def test_too_few_bars_are_said():
    dataset, folds, predictor = parts()
    few = [folds[0], type(folds[1])(1, folds[1].train, folds[1].test[:50])]
    assert "too few" in path_robustness(dataset, few, predictor, seed=1, threads=1, progress=silent)["skipped"]
