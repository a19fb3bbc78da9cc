"""Predictions against what came true: the figures of the evaluation, of every task, wherever the record is kept."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest
from path_models import register_path
from recipe_versions import close_time, recipe_key, version_files
from small_models import AT, KEY, bundle_files, market, register
from small_recipes import Works

from bot.errors import DataError, UsageError
from bot.home import Home
from bot.pipeline.records import Records
from bot.pipeline.store import PipelineStore
from bot.service.views.pipeline import accuracy
from ml.calibration import calibration_error, reliability
from ml.candles import format_ms
from ml.evaluation import Forecasts, counted_forecasts, evaluate, evaluate_record
from ml.lifecycle.evaluations import evaluations_of
from ml.record import RECORD_FILE, OutOfSample, record_class
from registry.errors import InvalidName, ModelNotFound
from registry.store import PredictionModelRegistry


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def part(said: Forecasts, rows: slice) -> dict:
    """Return the evaluation of some of the forecasts."""
    return evaluate(Forecasts(said.p_up[rows], said.returns[rows], said.base_rate[rows], said.last_sign_p[rows]))


def same(shown, figures):
    assert shown["n"] == figures["n"]
    for name, other in (("accuracy", "direction_accuracy"), ("stated", "mean_confidence")):
        assert shown[name] == pytest.approx(figures[other], rel=1e-12)
    assert (shown["low"], shown["high"]) == pytest.approx(
        (figures["direction_accuracy_low"], figures["direction_accuracy_high"]), rel=1e-12
    )
    assert shown["baselines"] == pytest.approx(
        {"majority": figures["majority_baseline"], "last_sign": figures["last_sign_baseline"]}, rel=1e-12
    )


def test_a_model_made_by_hand_is_judged_by_its_walk_forward(home):
    register(home.models)
    shown = accuracy(home, "btc/usdt", "price", "1h", 400)
    record = OutOfSample.from_parquet(bundle_files()[RECORD_FILE])
    said = counted_forecasts(record)
    times = record.open_ms[record.counted]
    assert (shown["source"], shown["recipe"], shown["champion"]) == ("walk_forward", None, False)
    assert (shown["symbol"], shown["type"], shown["rows"]) == ("BTC_USDT", "basic", len(times))
    same(shown["overall"], evaluate_record(record))
    assert len(shown["rolling"]) == 300
    for point in (*shown["rolling"][:3], shown["rolling"][150], shown["rolling"][-1]):
        end = int(np.searchsorted(times, _ms(point["time"]))) + 1
        same(point, part(said, slice(max(0, end - 400), end)))
    assert shown["rolling"][0]["n"] == 30
    assert shown["rolling"][-1]["time"] == format_ms(int(times[-1]))
    assert shown["calibration"] == evaluate_record(record)["reliability"]
    assert shown["calibration_error"]["value"] == evaluate_record(record)["calibration_error"]
    assert not home.pipeline_db.exists()
    json.dumps(shown, allow_nan=False)


def _ms(text: str) -> int:
    return int(np.datetime64(text.rstrip("Z"), "ms").astype(np.int64))


def test_the_champion_is_shown_before_what_is_newer(home):
    register(home.models)
    registry = PredictionModelRegistry(home.models)
    first = registry.list_bundles()[0].version_id
    registry.promote(KEY, first, at=AT, reason="good")
    registry.register(KEY, bundle_files(trees=5), at=AT + timedelta(days=1))
    shown = accuracy(home, "BTCUSDT", "basic", "1h")
    assert (shown["version"], shown["champion"]) == (first, True)


def test_a_recipe_is_judged_by_what_its_versions_said_before_the_fact(tmp_path):
    works = Works(tmp_path)
    works.recipe("one")
    version = works.cycle(6_000).decisions[0]["version"]
    works.cycle(6_011)
    shown = accuracy(works.home, "BTCUSDT", "basic", "1h", 200)
    with PipelineStore(works.home.pipeline_db) as store:
        records, (stream,) = Records(store.state), store.known_recipes()
        record, sources = records.read(stream, "direction"), records.sources(stream)
    assert {source for _, source, *_ in sources} == {"walk_forward", "prequential"}
    assert (shown["source"], shown["recipe"], shown["version"]) == ("prequential", stream, version)
    assert shown["prequential_from"] == "2018-09-08T00:00:00Z"
    same(shown["overall"], evaluate_record(record))
    same(shown["rolling"][-1], part(counted_forecasts(record), slice(-200, None)))


def test_a_damaged_record_is_an_error_that_says_how_to_mend_it(tmp_path):
    works = Works(tmp_path)
    works.recipe("one")
    works.cycle(6_000)
    with PipelineStore(works.home.pipeline_db) as store:
        store.state.execute("UPDATE record_direction SET p_up = 0.9 WHERE open_ms % 36000000 = 0")
    with pytest.raises(DataError, match="bot pipeline repair"):
        accuracy(works.home, "BTCUSDT", "basic", "1h")


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_other_tasks_are_judged_by_what_they_state(home, kind):
    key, files = recipe_key(kind), version_files(kind)
    at = close_time(market(3_600).slice(0, 3_000))
    PredictionModelRegistry(home.models).register(key, files, at=at)
    shown = accuracy(home, "BTCUSDT", kind, "1h", 100)
    rows = evaluations_of(record_class(kind).from_parquet(files[RECORD_FILE]), kind, 4).phase(0)
    overall = shown["overall"]
    assert (shown["task"], shown["horizon"], overall["n"]) == (kind, 4, len(rows))
    assert overall["accuracy"] == pytest.approx(rows.came_true.mean())
    assert overall["low"] < overall["accuracy"] < overall["high"]
    assert overall["stated"] == pytest.approx(rows.stated.mean())
    assert set(overall["baselines"]) == ({"base_rate"} if kind == "risk" else set())
    assert shown["rolling"][-1]["accuracy"] == pytest.approx(rows.came_true[-100:].mean())
    assert shown["calibration"] == reliability(rows.stated, rows.came_true)
    assert shown["calibration_error"]["upper"] == calibration_error(rows.stated, rows.came_true).upper


def test_a_model_of_paths_has_no_such_record(home):
    register_path(home.models)
    shown = accuracy(home, "SYNTH", "autoregressive", "1h")
    assert (shown["rows"], shown["source"], shown["rolling"], shown["overall"]) == (0, None, [], None)
    assert shown["notes"] == ["This model has no record of single predictions."]


def test_names_and_windows_that_are_none(home):
    register(home.models)
    with pytest.raises(ModelNotFound, match="did you mean"):
        accuracy(home, "BTCUSD", "basic", "1h")
    with pytest.raises(InvalidName):
        accuracy(home, "../x", "basic", "1h")
    for window in (29, 100_001):
        with pytest.raises(UsageError, match="expected 30 to 100,000"):
            accuracy(home, "BTCUSDT", "basic", "1h", window)
