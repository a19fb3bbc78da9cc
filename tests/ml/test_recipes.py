"""Recipes: what they refuse, what their digest depends on, and that they train."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import random
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import InvalidRecipe
from ml.predictors.catalogue import PREDICTORS
from ml.recipes import Recipe, normalise_features
from ml.synthetic import synthetic_candles
from ml.tasks.catalogue import PATH
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

HOUR = 3_600_000
DAY = 24 * HOUR
PLAIN = {"name": "btc", "symbol": "BTCUSDT", "model_type": "basic", "timeframe": "1h", "horizon": 1}


def recipe(**changes) -> Recipe:
    return Recipe(**{**PLAIN, **changes})


def refused(**changes) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(InvalidRecipe) as caught:
        recipe(**changes)
    assert caught.value.exit_code == 2
    assert all(message in str(caught.value) for _, message in caught.value.problems)
    return list(caught.value.problems)


def test_a_recipe_knows_its_key_its_task_and_its_settings():
    made = recipe(
        features=("price", "rsi_9"), parameters={"num_leaves": 7}, window_ms=365 * DAY, seed=3, folds=4, threads=2
    )
    assert made.key == ModelKey("BTCUSDT", "basic", "1h")
    assert made.task == "direction"
    assert made.settings(123, "binance", 17) == TrainingSettings(
        horizon=1,
        features=("price", "rsi_9"),
        parameters={"num_leaves": 7},
        folds=4,
        seed=3,
        threads=2,
        plots=False,
        robustness=False,
        exchange="binance",
        searched_trials=17,
        first_ms=123,
    )


@pytest.mark.parametrize("family", PREDICTORS, ids=lambda family: f"{family.type_name}-{family.architecture}")
def test_every_family_makes_a_recipe_but_those_of_paths(family):
    changes = {"model_type": family.type_name, "architecture": family.architecture}
    if family.task == PATH:
        ((where, message),) = refused(**changes)
        assert where == ("model_type",)
        assert "whole paths" in message
        return
    made = recipe(**changes)
    assert made.task == family.task
    assert made.reads_sentiment == (family.type_name == "sentiment")


@pytest.mark.parametrize(
    "changes, where, words",
    [
        ({"name": "BTC basic"}, ("name",), "'BTC basic' is not a name for a recipe"),
        ({"name": "-btc"}, ("name",), "is not a name"),
        ({"name": ""}, ("name",), "is not a name"),
        ({"name": "a" * 65}, ("name",), "up to 64"),
        ({"symbol": "BTC/USDT"}, ("symbol",), "is not canonical"),
        ({"symbol": "B T C"}, ("symbol",), "is not a symbol"),
        ({"timeframe": "1 hour"}, ("timeframe",), "is not a timeframe"),
        ({"model_type": "bsic"}, ("model_type",), "did you mean 'basic'?"),
        ({"model_type": "ensemble"}, ("model_type",), "made of registered models"),
        ({"architecture": "gmb"}, ("architecture",), "did you mean 'gbm'?"),
        ({"parameters": {"num_leafs": 7}}, ("parameters", "num_leafs"), "did you mean 'num_leaves'?"),
        ({"parameters": {"num_leaves": 1}}, ("parameters", "num_leaves"), "at least 2 and at most 1024"),
        ({"parameters": {"num_leaves": None}}, ("parameters", "num_leaves"), "expected a whole number"),
        ({"parameters": {"num_leaves": [7]}}, ("parameters", "num_leaves"), "expected a whole number"),
        ({"parameters": {"eta": 0.1, "learning_rate": 0.1}}, ("parameters", "learning_rate"), "are the same parameter"),
        ({"features": ("rsi14",)}, ("features", 0), "did you mean 'rsi_14'?"),
        ({"features": ("price", "tecnical")}, ("features", 1), "did you mean 'technical'?"),
        ({"features": ()}, ("features",), "no feature is named"),
        ({"horizon": 0}, ("horizon",), "expected 1 to 10000"),
        ({"model_type": "momentum", "horizon": 2_000}, ("horizon",), "no feature looks back so far"),
        ({"folds": 1}, ("folds",), "expected 2 to 50"),
        ({"seed": -1}, ("seed",), "expected 0 to 2147483647"),
        ({"threads": 0}, ("threads",), "expected 1 to 1024"),
        ({"sentiment": "fear_and_greed"}, ("sentiment",), "is not read by basic"),
        (
            {"window_ms": 20 * DAY},
            ("window_ms",),
            "a window of 20d holds 480 bars of 1h: training asks for at least 500",
        ),
        ({"window_ms": -1}, ("window_ms",), "holds 0 bars"),
        ({"every_ms": HOUR // 2}, ("every_ms",), "a refit every 30m is too often"),
        ({"expires_after_ms": 6 * HOUR}, ("expires_after_ms",), "would expire after 6h, before its next refit"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_place(changes, where, words):
    ((found, message),) = refused(**changes)
    assert found == where
    assert words in message


def test_everything_that_is_wrong_is_told_at_once():
    problems = refused(name="A", folds=1, features=("prce", "rsi14"), parameters={"num_leafs": 7, "num_leaves": 0})
    assert [where for where, _ in problems] == [
        ("name",),
        ("folds",),
        ("parameters", "num_leafs"),
        ("parameters", "num_leaves"),
        ("features", 0),
        ("features", 1),
    ]


def test_the_shortest_window_is_that_of_training():
    assert recipe(window_ms=500 * HOUR).window_ms == 500 * HOUR
    assert recipe(timeframe="1m", window_ms=1_000 * 60_000, horizon=5).key.timeframe == "1m"


@pytest.mark.parametrize(
    "told, kept",
    [
        (("default",), None),
        (("all",), None),
        (("all", "default"), None),
        (("price, rsi_9",), ("price", "rsi_9")),
        ((" price ", "rsi_9 price"), ("price", "rsi_9")),
        (("rsi_9", "price"), ("rsi_9", "price")),
        (("all", "sentiment"), ("default", "sentiment")),
        (("",), ()),
    ],
)
def test_features_are_kept_as_written_in_one_spelling(told, kept):
    assert normalise_features(told) == kept


def test_sentiment_is_read_where_a_name_or_a_group_asks_for_it():
    assert not recipe(features=("default", "price")).reads_sentiment
    assert recipe(features=("default", "sentiment"), sentiment="fear_and_greed").reads_sentiment
    assert recipe(features=("price", "sentiment_level")).reads_sentiment
    assert recipe(model_type="sentiment", sentiment="fear_and_greed").settings(None, "x").sentiment == "fear_and_greed"


DECIDING = {
    "symbol": "ETHUSDT",
    "model_type": "sentiment",
    "timeframe": "4h",
    "horizon": 2,
    "exchange": "binance",
    "architecture": "tcn",
    "features": ("price",),
    "parameters": {"num_leaves": 16},
    "window_ms": 365 * DAY,
    "folds": 6,
    "seed": 1,
    "threads": 2,
}
FREE = {"name": "other", "every_ms": 24 * HOUR, "expires_after_ms": 48 * HOUR}
WITH_SENTIMENT = {"sentiment": "fear_and_greed"}  # needs features that read it


def test_each_field_either_decides_what_is_learnt_or_is_free():
    fields = {field.name for field in dataclasses.fields(Recipe)}
    assert fields == {*DECIDING, *FREE, *WITH_SENTIMENT}
    digests = {recipe(**{name: value}).digest for name, value in DECIDING.items()}
    assert len(digests | {recipe().digest}) == len(DECIDING) + 1
    assert {recipe(**{name: value}).digest for name, value in FREE.items()} == {recipe().digest}
    reader = {"features": ("default", "sentiment")}
    assert recipe(**reader, sentiment="fear_and_greed").digest != recipe(**reader).digest


def test_the_digest_is_that_of_canonical_json():
    """By other code: sorted keys, no spaces, every parameter with its value."""
    document = {
        "architecture": "svm",
        "exchange": "binance",
        "features": ["price"],
        "folds": 5,
        "horizon": 1,
        "model_type": "momentum",
        "parameters": {"C": 2.0, "gamma": 0.0, "max_rows": 5000},
        "seed": 0,
        "sentiment": None,
        "symbol": "BTCUSDT",
        "threads": 1,
        "timeframe": "1h",
        "window_ms": 31_536_000_000,
    }
    text = json.dumps(document, separators=(",", ":"))
    made = recipe(
        model_type="momentum", exchange="binance", features=("price",), parameters={"C": "2"}, window_ms=365 * DAY
    )
    assert made.digest == hashlib.sha256(text.encode()).hexdigest()


@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "num_leaves": st.integers(2, 1_024),
            "learning_rate": st.floats(0.001, 1),
            "lambda_l2": st.integers(0, 1_000),
            "num_boost_round": st.integers(1, 10_000),
        },
    ),
    spelling=st.sampled_from([str, float, lambda number: f"{number!r:>30}", lambda number: number]),
    shuffle=st.randoms(use_true_random=False),
)
@settings(max_examples=60, deadline=None)
def test_the_digest_knows_neither_order_nor_spelling(values, spelling, shuffle: random.Random):
    names = list(values)
    shuffle.shuffle(names)
    alias = {
        "num_leaves": "num_leaves",
        "learning_rate": "eta",
        "lambda_l2": "reg_lambda",
        "num_boost_round": "num_trees",
    }
    respelt = {alias[name]: spelling(values[name]) for name in names}
    assert recipe(parameters=respelt).digest == recipe(parameters=values).digest


def test_a_default_that_is_written_down_is_the_same_recipe():
    assert recipe(architecture="gbm", parameters={"num_leaves": 15}).digest == recipe().digest
    # bagging switches itself on unless it is told not to: these two learn different trees
    sampled = recipe(parameters={"bagging_fraction": 0.5})
    assert sampled.digest == recipe(parameters={"bagging_fraction": 0.5, "bagging_freq": 1}).digest
    assert sampled.digest != recipe(parameters={"bagging_fraction": 0.5, "bagging_freq": 0}).digest


def test_the_digest_is_the_same_in_another_process():
    code = (
        "from ml.recipes import Recipe\n"
        "print(Recipe('btc', 'BTCUSDT', 'basic', '1h', 1, parameters={'num_leaves': 7, 'lambda_l2': 1}).digest)"
    )
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        )
        assert run.stdout.strip() == recipe(parameters={"lambda_l2": 1.0, "num_leaves": "7"}).digest


def test_a_recipe_is_a_value():
    given_parameters = {"num_leaves": 7}
    made = recipe(parameters=given_parameters)
    given_parameters["num_leaves"] = 99
    assert made.parameters == {"num_leaves": 7}
    assert made == recipe(parameters={"num_leaves": 7})
    assert hash(made) == hash(recipe(parameters={"num_leaves": 7}))
    assert made != recipe()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.seed = 1
    assert json.loads(json.dumps(made.to_dict())) == made.to_dict()
    assert Recipe(**{**made.to_dict(), "features": None}) == made


def test_recipes_and_their_errors_travel_to_other_processes():
    made = recipe(parameters={"num_leaves": 7})
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(InvalidRecipe) as caught:
        recipe(folds=1, seed=-1)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.problems, str(copy)) == (caught.value.problems, str(caught.value))


def test_a_recipe_trains_a_version():
    made = Recipe(
        "synth", "SYNTH", "basic", "1h", 1, parameters={"num_boost_round": 20}, window_ms=90 * DAY, features=("price",)
    )
    candles = synthetic_candles(3_000, seed=1)
    first_ms = int(candles.open_ms[-1]) + candles.step_ms - made.window_ms
    result = train(
        candles, made.key, made.settings(first_ms, "synth"), at=datetime(2026, 1, 1, tzinfo=UTC), code_version="test"
    )
    assert result.metadata["hyperparams"]["num_boost_round"] == 20
    assert result.plan.bars == 90 * 24
    assert not any(name.endswith(".png") for name in result.files)
