"""Refits: the model of a whole training, published by the record of the recipe alone."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from recipe_versions import BARS, HOUR, TRAINED, close_time, recipe_key, recipe_settings, version_files
from small_models import market

from ml.bundles import open_files, open_runner
from ml.engine import PredictionEngine
from ml.errors import InvalidRecord, NotEnoughBars, UnsupportedTask
from ml.features.history import FeatureHistory
from ml.lifecycle.scoring import score_version
from ml.predictions import Status
from ml.record import concat_records, record_class
from ml.synthetic import synthetic_candles
from ml.tasks.catalogue import TASKS
from ml.training.refit import refit
from ml.training.settings import TrainingSettings
from ml.training.trainer import prepare, train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KINDS = ("basic", "risk", "volatility")
RECIPE = {"name": "btc-small-1h", "expires_after_ms": 48 * HOUR}
STEP = 120


def record_of(kind):
    """Return the record of a recipe after its first version has met STEP bars more."""
    files = version_files(kind)
    task = json.loads(files["metadata.json"])["task"]
    first = record_class(task).from_parquet(files["oos_predictions.parquet"])
    later = score_version(files, market(BARS).slice(0, TRAINED + STEP), since_ms=0, version_number=3)
    return concat_records([first, later])


def refitted(kind, record=None, bars=TRAINED + STEP, **changes):
    candles = market(BARS).slice(0, bars)
    given = {"at": close_time(candles), "code_version": "test", "recipe": RECIPE} | changes
    settings = recipe_settings(kind, first_ms=given.pop("first_ms", None))
    return refit(candles, recipe_key(kind), settings, record_of(kind) if record is None else record, **given)


@pytest.fixture(scope="module")
def results():
    return {kind: refitted(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_the_one_that_a_whole_training_ends_with(results, kind):
    candles = market(BARS).slice(0, TRAINED + STEP)
    whole = train(candles, recipe_key(kind), recipe_settings(kind), at=close_time(candles), code_version="test")
    for name in {"model.txt", "model.onnx", "feature_schema.json"} & set(whole.files):
        assert results[kind].files[name] == whole.files[name]
    assert results[kind].metrics["baselines"] == whole.metrics["baselines"]
    assert results[kind].metadata["trained_until_ms"] == whole.metadata["trained_until_ms"]
    assert results[kind].metadata["recipe_digest"] == whole.metadata["recipe_digest"]
    assert set(results[kind].files) == set(whole.files)


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_alone_calibrates_and_measures(results, kind):
    result, record, task = results[kind], record_of(kind), TASKS[results[kind].metadata["task"]]
    kept = record_class(task.name).from_parquet(result.files["oos_predictions.parquet"])
    assert kept.to_parquet() == record.to_parquet() == result.files["oos_predictions.parquet"]
    assert (record.fold == 3).sum() >= STEP - 4
    metrics = json.loads(result.files["metrics.json"])
    figures = task.evaluate(record)
    assert metrics["out_of_sample"]["n"] == figures["n"] == int(record.counted.sum())
    assert metrics["out_of_sample"]["last_ms"] > json.loads(version_files(kind)["metadata.json"])["trained_until_ms"]
    baselines = task.read_baselines(metrics["baselines"])
    expected = task.fit_publisher(record.scored_columns(), baselines, horizon=result.metadata["horizon"])
    assert json.loads(result.files["calibration.json"]) == json.loads(json.dumps(expected.to_dict()))


def test_rows_whose_outcome_was_not_known_do_not_calibrate(results):
    record = record_of("basic")
    # the bar before the last closes one hour before the last; its label is known when the last candle closes
    at = close_time(market(BARS).slice(0, TRAINED + STEP)) - timedelta(hours=24)
    late = record.open_ms + 2 * HOUR > int(at.timestamp() * 1000)
    assert late.sum() == 24
    changed = replace(record, forward_return=np.where(late, -record.forward_return, record.forward_return))
    kept, moved = refitted("basic", record, at=at), refitted("basic", changed, at=at)
    assert kept.files["calibration.json"] == moved.files["calibration.json"]
    assert kept.files["calibration.json"] != results["basic"].files["calibration.json"]
    one_earlier = replace(
        record, forward_return=np.where(np.roll(late, -1), -record.forward_return, record.forward_return)
    )
    assert refitted("basic", one_earlier, at=at).files["calibration.json"] != kept.files["calibration.json"]


def test_what_the_bundle_says_of_itself(results):
    document = json.loads(results["basic"].files["metadata.json"])
    assert document["refit"] is True
    assert document["recipe_name"] == "btc-small-1h"
    assert document["expires_after_ms"] == 48 * HOUR
    assert document["training"]["validation"] == "prequential record of the recipe, 1 refit"
    assert document["training"]["validation_ratio"] is None
    assert document["training"]["plan"]["scored"] == results["basic"].gate.n
    assert document["trained_until_ms"] == int(market(BARS).open_ms[TRAINED + STEP])
    assert "skipped" in results["basic"].metrics["robustness"]
    card = results["basic"].files["README.md"].decode()
    assert "refit of the recipe btc-small-1h (prequential record of the recipe, 1 refit)" in card
    assert not [name for name in results["basic"].files if name.endswith(".png")]
    never = refitted("basic", recipe={"name": "other", "expires_after_ms": None})
    assert never.metadata["expires_after_ms"] is None


def test_a_first_version_says_whose_it_is_and_is_otherwise_the_same(results):
    candles = market(BARS).slice(0, TRAINED)
    key, settings = recipe_key("basic"), recipe_settings("basic")
    plain = train(candles, key, settings, at=close_time(candles), code_version="test")
    ours = train(candles, key, settings, at=close_time(candles), code_version="test", recipe=RECIPE)
    assert ours.metadata["refit"] is False
    assert {name for name in plain.files if plain.files[name] != ours.files[name]} == {"metadata.json", "README.md"}
    assert {
        **plain.metadata,
        "recipe_name": RECIPE["name"],
        "recipe_stream": None,
        "expires_after_ms": 48 * HOUR,
        "refit": False,
    } == ours.metadata
    assert "first version of the recipe btc-small-1h" in ours.files["README.md"].decode()


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_registers_and_predicts(results, tmp_path, kind):
    registry = PredictionModelRegistry(tmp_path, open_runner=open_runner)
    candles = market(BARS).slice(0, TRAINED + STEP)
    model = registry.register(recipe_key(kind), results[kind].files, at=close_time(candles))
    assert list(registry.validate()) == []
    batch = PredictionEngine(model).predict_batch(candles)
    assert (batch.status == Status.OK).sum() > 2_000


def test_the_same_arguments_give_the_same_bytes_with_and_without_a_history():
    """Windows that move, as those of cycles do; one history goes along, and its rows are the ones computed anew."""
    history, record = FeatureHistory(), record_of("basic")
    for cycle in range(4):
        bars = TRAINED + STEP + 12 * cycle
        first_ms = int(market(BARS).open_ms[400 + 12 * cycle])
        arguments = {"bars": bars, "first_ms": first_ms}
        plain = refitted("basic", record, **arguments)
        assert refitted("basic", record, **arguments).files == plain.files
        assert refitted("basic", record, features=history, **arguments).files == plain.files
    assert history.computed < 3_200 + 3 * 12 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_rows_cut_out_of_a_longer_history_train_the_same_model(kind):
    candles = market(BARS)
    history = FeatureHistory()
    history.matrix(candles, prepare(candles, recipe_key(kind), recipe_settings(kind)).schema)
    computed = history.computed
    cut = refitted(kind, first_ms=int(candles.open_ms[500]), features=history)
    assert history.computed == computed
    assert cut.files == refitted(kind, first_ms=int(candles.open_ms[500])).files


def test_what_cannot_be_refitted_is_named():
    record = record_of("basic")
    with pytest.raises(UnsupportedTask, match="recipes of whole paths are not refitted by the pipeline"):
        refit(
            market(BARS),
            ModelKey("BTCUSDT", "autoregressive", "1h"),
            TrainingSettings(),
            record,
            at=close_time(market(BARS)),
            code_version="test",
            recipe=RECIPE,
        )
    with pytest.raises(InvalidRecord, match="the record of btc-small-1h is a RiskRecord, models of direction"):
        refitted("basic", record_of("risk"))
    twice = record.rows(np.r_[0:10, 9 : len(record)])
    with pytest.raises(InvalidRecord, match=r"the record of btc-small-1h: row 11 .* stands twice"):
        refitted("basic", twice)
    with pytest.raises(NotEnoughBars, match="got 300 rows"):
        refitted("basic", record, bars=300)


def test_progress_only_rises_to_one():
    told = []
    refitted("basic", progress=lambda fraction, _text: told.append(fraction))
    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] == 1.0


def test_a_first_version_and_its_refits_share_a_history():
    candles = synthetic_candles(4_000, edge=0.1, seed=2)
    key, settings = (
        ModelKey("SYNTH", "basic", "1h"),
        TrainingSettings(plots=False, robustness=False, parameters={"num_boost_round": 3}),
    )
    history = FeatureHistory()
    first = train(
        candles.slice(0, 3_988),
        key,
        settings,
        at=close_time(candles),
        code_version="t",
        recipe=RECIPE,
        features=history,
    )
    done = history.computed
    result = refit(
        candles,
        key,
        settings,
        first.record,
        at=close_time(candles),
        code_version="t",
        recipe=RECIPE,
        features=history,
    )
    assert history.computed - done == 12
    assert open_files(result.files).horizon == 1
