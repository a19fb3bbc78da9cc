"""Training of models of paths: what was planted is found, noise is not trusted, requests that make no sense are refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from path_models import AT, STEPS, drifting, path_key, path_settings, trained

from ml.errors import InvalidParameter, NotEnoughBars, UnknownFeature
from ml.labels import forward_returns
from ml.paths.dataset import build_path_dataset
from ml.paths.features import default_path_names
from ml.synthetic import synthetic_candles
from ml.training.card import headline
from ml.training.path_trainer import path_feature_names
from ml.training.settings import TrainingSettings
from ml.training.trainer import prepare, train, train_prepared

KINDS = ("autoregressive", "multi_ohlc")


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_drift_is_trusted_for_several_steps(kind):
    result = trained(kind)
    figures = result.metrics["out_of_sample"]
    assert result.gate.promoted
    assert figures["trusted_steps"] >= 3
    assert result.metadata["trusted_steps"] == figures["trusted_steps"] == result.metadata["horizon"]
    assert result.metadata["n_steps_ahead"] == STEPS
    assert 0.3 < figures["shrink"][-1] <= 1.0
    assert f"the first {figures['trusted_steps']} of {STEPS} steps beat no change" in result.gate.reason
    assert figures["direction_accuracy"] > 0.52


@pytest.fixture(scope="module")
def walks():
    """Models of random walks."""
    kind = "autoregressive"
    return [
        train(synthetic_candles(4000, seed=seed), path_key(kind), path_settings(kind), at=AT, code_version="test")
        for seed in range(1, 6)
    ]


def test_random_walks_are_not_trusted(walks):
    promoted = [result for result in walks if result.gate.promoted]
    assert len(promoted) <= 1  # one in twenty is allowed
    result = next(result for result in walks if not result.gate.promoted)
    figures = result.metrics["out_of_sample"]
    assert (figures["trusted_steps"], figures["horizon"], result.metadata["horizon"]) == (0, 1, 1)
    assert "no step of 24 is to be trusted" in result.gate.reason
    assert result.calibration.probabilities(np.array([0.1]), np.array([0.01]), 1).tolist() == [0.5]
    assert "No order may rest on the path at any step" in result.files["README.md"].decode()


def test_a_path_that_stands_still_says_so(walks):
    for result in walks:
        still = result.metrics["out_of_sample"]["shrink"][-1] == 0
        assert still == ("the path stands still" in result.gate.reason)
    assert any("the path stands still" in result.gate.reason for result in walks)


@pytest.mark.parametrize("kind", KINDS)
def test_bands_hold_and_confidence_is_measured(kind):
    figures = trained(kind).metrics["out_of_sample"]
    rows = {row["step"]: row for row in figures["bands"]}
    assert set(rows) == {1, 2, 5, 10, 20}
    assert rows[1]["coverage"] == pytest.approx(0.9, abs=0.06)
    assert [row["step"] for row in figures["confidence"]] == sorted({1, figures["horizon"]})


@pytest.mark.parametrize("kind", KINDS)
def test_the_documents_say_what_was_trained(kind):
    result = trained(kind)
    document = json.loads(result.files["metadata.json"])
    assert (document["task"], document["predictor_type"]) == ("path", kind)
    assert document["lookback_periods"] == [5, 10, 20, 50]
    assert document["trained_until_ms"] == int(drifting().open_ms[-1]) + 3_600_000
    assert document["recipe"]["parameters"]["n_steps_ahead"] == STEPS
    card = result.files["README.md"].decode()
    for text in (
        "how many of those steps deserve trust",
        "| 1 |",
        "paths overlap",
        "No order may rest on the path beyond",
    ):
        assert text in card
    assert next(row[0] for row in headline(result.metrics["out_of_sample"])) == "trusted steps"
    assert set(document["libraries"]) >= {"lightgbm", "numpy", "numba"}


def test_plots_are_drawn():
    settings = replace(path_settings("autoregressive"), plots=True)
    files = train(drifting(), path_key("autoregressive"), settings, at=AT, code_version="test").files
    for name in ("skill_by_step.png", "band_coverage.png", "feature_importance.png"):
        assert files[name].startswith(b"\x89PNG")


def test_labels_are_the_next_candle_and_nothing_further():
    prepared = prepare(drifting(), path_key("multi_ohlc"), path_settings("multi_ohlc"))
    candles, dataset = prepared.candles, prepared.dataset
    assert dataset.returns.tobytes() == forward_returns(candles, 1).tobytes()
    for row in (0, 77, len(candles) - 2):
        now, later = candles.close[row], row + 1
        opened, high, low, close = (getattr(candles, name)[later] for name in ("open", "high", "low", "close"))
        expected = [math.log(opened / now), math.log(high / max(opened, close)), math.log(min(opened, close) / low)]
        assert dataset.next_candle[row] == pytest.approx([*expected, math.log(close / now)], abs=1e-15)
        scaled = math.log(close / now) / dataset.sigma[row] if dataset.sigma[row] > 0 else 0.0
        if np.isfinite(dataset.sigma[row]):
            assert dataset.scaled("close")[row] == pytest.approx(np.clip(scaled, -5, 5))
    assert np.isnan(dataset.next_candle[-1]).all()
    assert (dataset.next_candle[:-1, 1:3] >= 0).all()


def test_a_gap_leaves_no_label_before_it():
    candles = drifting().slice(0, 2000)
    kept = np.delete(np.arange(2000), [1500, 1501])
    parts = {name: column[kept] for name, column in candles.columns.items()}
    dataset = build_path_dataset(
        replace(candles, open_ms=candles.open_ms[kept], **parts),
        prepare(drifting(), path_key("autoregressive"), path_settings("autoregressive")).schema,
    )
    assert np.isnan(dataset.next_candle[1499]).all()
    assert np.isnan(dataset.returns[1499])
    assert np.isfinite(dataset.next_candle[1500]).all()


def test_folds_are_purged_by_the_length_of_a_path():
    from ml.training.path_trainer import _folds

    prepared = prepare(drifting(), path_key("autoregressive"), path_settings("autoregressive"))
    folds = _folds(prepared.dataset, prepared.settings, STEPS)
    k = prepared.dataset.k
    for fold in folds:
        assert k[fold.train].max() + STEPS < k[fold.test[0]]
        assert k[fold.train].max() + STEPS + 1 == k[fold.test[0]]


def test_lookback_periods_choose_the_periods_of_the_default_features():
    everything = path_feature_names("close", "1h", (5, 10, 20, 50))
    assert everything == default_path_names("close", "1h")
    fewer = path_feature_names("close", "1h", (5, 20))
    assert set(fewer) < set(everything)
    assert not any(name.endswith(("_50", "_50_distance")) for name in fewer)
    more = path_feature_names("close", "1h", (5, 10, 20, 33, 50))
    assert set(more) - set(everything) == {
        *("return_33", "sma_33_distance", "zscore_33", "volatility_33", "trend_33"),
    }
    assert all("ewma_volatility" in names for names in (fewer, more))


def test_early_stopping_chooses_fewer_trees_on_noise():
    candles = synthetic_candles(4000, seed=2)
    settings = path_settings("autoregressive", num_boost_round=200, early_stopping_rounds=5, learning_rate=0.2)
    text = train(candles, path_key("autoregressive"), settings, at=AT, code_version="test").files["model.txt"].decode()
    assert text.count("\nTree=") < 100


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n_steps_ahead": 0}, InvalidParameter, "n_steps_ahead is 0, expected a whole number from 1 to 1,000"),
        ({"n_steps_ahead": 2.5}, InvalidParameter, "n_steps_ahead is 2.5, expected a whole number"),
        ({"lookback_periods": "5, x"}, InvalidParameter, "lookback_periods is 'x', expected a whole number"),
        ({"lookback_periods": []}, InvalidParameter, "lookback_periods is empty"),
        ({"objective": "binary"}, InvalidParameter, "a model of paths learns returns"),
        ({"n_step_ahead": 5}, InvalidParameter, "'n_step_ahead' is not a parameter of this model"),
        ({"n_steps_ahead": 900}, NotEnoughBars, "shorten the path with --params n_steps_ahead"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(change, error, message):
    with pytest.raises(error, match=message):
        prepare(drifting(), path_key("autoregressive"), path_settings("autoregressive", **change))


def test_the_seed_s_parameters_are_accepted():
    chosen = {
        "objective": "regression",
        "metric": "rmse",
        "learning_rate": 0.05,
        "num_leaves": 31,
        "max_depth": 7,
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "min_data_in_leaf": 50,
        "lambda_l1": 0.1,
        "lambda_l2": 0.1,
        "lookback_periods": [5, 10, 20, 50],
        "n_steps_ahead": 12,
        "num_boost_round": 5,
        "early_stopping_rounds": 50,
    }
    result = train(
        drifting(), path_key("autoregressive"), path_settings("autoregressive", **chosen), at=AT, code_version="test"
    )
    assert chosen.items() <= result.metadata["hyperparams"].items()


@pytest.mark.parametrize(
    ("kind", "features", "error", "message"),
    [
        ("autoregressive", ("volume_ratio_20",), (InvalidParameter, UnknownFeature), "volume_ratio_20"),
        ("autoregressive", ("atr_14_pct",), InvalidParameter, "atr_14_pct cannot be carried along a path"),
        ("multi_ohlc", ("no_such_feature",), UnknownFeature, "no_such_feature"),
    ],
)
def test_features_that_no_path_carries_are_refused(kind, features, error, message):
    with pytest.raises(error, match=message):
        prepare(drifting(), path_key(kind), replace(path_settings(kind), features=features))


def test_too_few_bars_are_refused():
    with pytest.raises(NotEnoughBars, match="Insufficient data for training"):
        prepare(drifting().slice(0, 300), path_key("autoregressive"), path_settings("autoregressive"))


def test_the_plan_speaks_of_paths():
    prepared = prepare(drifting(), path_key("autoregressive"), path_settings("autoregressive"))
    assert "1,000 paths of 24 steps will be judged" in "\n".join(prepared.plan.lines())
    told = []
    train_prepared(prepared, at=AT, code_version="test", progress=lambda share, text: told.append((share, text)))
    assert told[-1] == (1.0, "done")
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_whatever_horizon_was_given_a_path_goes_one_bar_at_a_time():
    settings = TrainingSettings(
        horizon=5, features=path_settings("autoregressive").features, parameters={"n_steps_ahead": 10}, plots=False
    )
    assert prepare(drifting(), path_key("autoregressive"), settings).dataset.horizon == 1
