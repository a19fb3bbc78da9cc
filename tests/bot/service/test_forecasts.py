"""Forecasts of the service: the numbers of ``bot predict``, remembered under names that cannot be stale, computed once."""

from __future__ import annotations

import json
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from path_models import AT, STEPS, drifting, path_key, trained
from small_ensembles import register_ensemble
from small_models import FEATURES, KEY, bundle_files, market, register_trading_days, trading_days

from bot.cli.main import main
from bot.errors import SeriesNotFound, UsageError
from bot.home import Home
from bot.market.sentiment import SentimentSeries, SentimentStore
from bot.market.store import CandleStore
from bot.service.forecasts import Forecaster, forecast_document
from bot.state import StateDatabase
from ml.cache import PredictionCache
from ml.engine import PredictionEngine
from ml.engines import open_bundle
from ml.errors import NotEnoughBars
from ml.paths.engine import PathEngine
from ml.synthetic import synthetic_candles
from ml.training.documents import json_bytes
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.errors import InvalidBundle, InvalidName, ModelNotFound, NoChampion
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

PATHS = ("autoregressive", "multi_ohlc")
SMALL = {"num_boost_round": 5, "min_data_in_leaf": 50}


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "var")


def put(home: Home, key: ModelKey, files, *, promote=True, at=AT):
    registry = PredictionModelRegistry(home.models, open_bundle)
    made = registry.register(key, files, at=at)
    return registry.promote(key, made.version_id, at=at, reason="test") if promote else made


def store(home: Home, candles, symbol="SYNTH", exchange="local") -> None:
    CandleStore(home.candles).write(candles, symbol, exchange)


def with_path(home: Home, kind="autoregressive", candles=None):
    store(home, drifting() if candles is None else candles)
    return put(home, path_key(kind), trained(kind).files)


def with_basic(home: Home):
    store(home, market(), "BTCUSDT")
    return put(home, KEY, bundle_files())


def predicted(capsys, home: Home, symbol: str, *words) -> dict:
    """Return what the command says."""
    assert main(["predict", symbol, "--home", str(home.root), *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def ageless(document: dict) -> dict:
    return document | {"age_seconds": None, "model_info": document["model_info"] | {"age_seconds": None}}


# ---------------------------------------------------------------- the numbers


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("bars", [4000, 9001])
def test_a_path_has_the_numbers_of_the_command(capsys, home, kind, bars):
    model = with_path(home, kind, drifting() if bars == 4000 else synthetic_candles(bars, path_drift=0.3, seed=8))
    said = predicted(capsys, home, "SYNTH", "--type", kind)
    found = Forecaster(home, None).forecast("SYNTH", "1h", kind).document
    assert json.loads(json.dumps(found["predictions"], allow_nan=False)) == said["predictions"]
    assert len(found["predictions"]) == STEPS
    for name in (
        "direction",
        "confidence",
        "status",
        "in_sample",
        "horizon",
        "trusted_steps",
        "current_price",
        "exchange",
    ):
        assert found[name] == said[name], name
    assert found["status"] == "ok"
    assert found["timestamp"] == said["bar"]["close_time"]
    assert found["predictions"][0]["minutes_ahead"] == 60
    assert found["predictions"][-1]["minutes_ahead"] == 60 * STEPS
    assert found["model_info"] == {
        "name": f"SYNTH_1h_{STEPS}steps_{kind}",
        "type": kind,
        "trained_at": "2026-01-02T00:00:00Z",
        "n_steps_ahead": STEPS,
        "version": model.version_id,
        "digest": said["model"]["digest"],
        "age_seconds": found["model_info"]["age_seconds"],
        "trained_until": said["model"]["trained_until"],
    }


def test_a_single_prediction_has_the_numbers_of_the_command(capsys, home):
    with_basic(home)
    said = predicted(capsys, home, "BTCUSDT")
    found = Forecaster(home, None).forecast("BTC/USDT", "1h").document
    (step,) = found["predictions"]
    assert found["symbol"] == "BTC_USDT"
    assert (step["step"], step["minutes_ahead"], step["timestamp"]) == (1, 60, said["predicts_until"])
    assert step["predicted_close"] == said["price"] == said["predicted_price"]
    assert step["predicted_log_return"] == said["expected_return"]
    assert step["predicted_return"] == pytest.approx(said["price"] / said["bar"]["close"] - 1, abs=1e-12)
    for name in ("confidence", "low", "high"):
        assert step[name] == said[name]
    assert step["predicted_open"] is step["predicted_high"] is step["predicted_low"] is None
    assert not {"risk", "predicted_volatility"} & step.keys()
    assert found["confidence"] == said["confidence"]
    assert found["direction"] == said["direction"]
    assert found["current_price"] == said["bar"]["close"]
    assert found["in_sample"] is said["in_sample"] is False
    assert found["model_info"]["n_steps_ahead"] == 1


def test_trust_in_a_single_prediction_is_the_verdict_of_its_gate(home):
    with_basic(home)
    forecaster = Forecaster(home, None)
    verdict = json.loads(bundle_files()["metrics.json"])["gate"]["promoted"]
    assert verdict is True
    found = forecaster.forecast("BTCUSDT", "1h").document
    assert (found["predictions"][0]["trusted"], found["trusted_steps"]) == (True, 1)
    metrics = json.loads(bundle_files()["metrics.json"])
    metrics["gate"]["promoted"] = False
    put(home, KEY, {**bundle_files(), "metrics.json": json_bytes(metrics)}, at=datetime(2026, 1, 3, tzinfo=UTC))
    found = forecaster.forecast("BTCUSDT", "1h").document
    assert (found["predictions"][0]["trusted"], found["trusted_steps"]) == (False, 0)


@pytest.mark.parametrize(
    ("kind", "own", "trees"),
    [("risk", "risk", "n_estimators"), ("volatility", "predicted_volatility", "num_boost_round")],
)
def test_a_family_that_states_no_price_says_what_it_states(capsys, home, kind, own, trees):
    key, few = replace(KEY, model_type=kind), {trees: 10, "min_data_in_leaf": 50}
    settings = TrainingSettings(features=FEATURES, parameters=few, horizon=6, folds=3, plots=False, robustness=False)
    put(home, key, train(market(), key, settings, at=AT, code_version="test").files)
    store(home, market(), "BTCUSDT")
    said = predicted(capsys, home, "BTCUSDT", "--type", kind)
    found = Forecaster(home, None).forecast("BTCUSDT", "1h").document
    (step,) = found["predictions"]
    assert step[own] == said[own]
    assert step["step"] == found["horizon"] == 6
    assert step["minutes_ahead"] == 360
    assert step["confidence"] == said["confidence"]
    assert step["predicted_close"] is step["predicted_return"] is step["low"] is step["high"] is None
    assert found["direction"] is None
    json.dumps(found, allow_nan=False)


def test_candles_shorter_than_a_minute_have_parts_of_minutes(home):
    candles = synthetic_candles(3000, edge=0.2, seed=3, timeframe="30s")
    key = replace(KEY, timeframe="30s")
    settings = TrainingSettings(features=FEATURES, parameters=SMALL, horizon=3, folds=3, plots=False, robustness=False)
    put(home, key, train(candles, key, settings, at=AT, code_version="test").files)
    store(home, candles, "BTCUSDT")
    step = Forecaster(home, None).forecast("BTCUSDT", "30s").document["predictions"][0]
    assert step["minutes_ahead"] == 1.5


def test_a_series_of_weekdays_skips_weekends(capsys, home):
    model = register_trading_days(home.models)
    days = trading_days()
    fridays = np.flatnonzero((days.open_ms // 86_400_000 + 3) % 7 == 4)
    store(home, days.slice(0, int(fridays[-1]) + 1), "BTCUSDT")
    said = predicted(capsys, home, "BTCUSDT", "--timeframe", "1d", "--version", "newest")
    found = Forecaster(home, None).forecast("BTCUSDT", "1d", "basic", model.version_id).document
    (step,) = found["predictions"]
    assert step["timestamp"] == said["predicts_until"]
    assert step["minutes_ahead"] == 3 * 1440


def test_without_an_answer_there_are_no_steps(capsys, home):
    with_path(home, candles=drifting().slice(1000, 1050))
    said = predicted(capsys, home, "SYNTH", "--type", "autoregressive")
    found = Forecaster(home, None).forecast("SYNTH", "1h").document
    assert found["status"] == said["status"] == "warming"
    assert found["predictions"] == []
    assert found["confidence"] is found["direction"] is None
    assert found["current_price"] == drifting().close[1049]
    json.dumps(found, allow_nan=False)


def test_a_series_without_a_candle_is_an_error(home):
    with_path(home, candles=drifting().slice(0, 0))
    with pytest.raises(NotEnoughBars, match="no bar"):
        Forecaster(home, None).forecast("SYNTH", "1h")


def test_one_call_writes_nothing_and_says_the_same(home):
    with_path(home)
    before = sorted(str(path) for path in home.root.rglob("*"))
    document = forecast_document(home, symbol="SYNTH", timeframe="1h", model_type="autoregressive")
    assert sorted(str(path) for path in home.root.rglob("*")) == before
    assert ageless(document) == ageless(Forecaster(home, None).forecast("SYNTH", "1h").document)


def test_an_ensemble_answers_with_its_members(capsys, home):
    store(home, market(), "BTCUSDT")
    ensemble = register_ensemble(home.models)
    said = predicted(capsys, home, "BTCUSDT", "--type", "ensemble", "--version", "newest")
    cache = PredictionCache(home.predictions_db)
    found = Forecaster(home, cache).forecast("BTCUSDT", "1h", "ensemble", "newest").document
    cache.close()
    assert found["predictions"][0]["predicted_close"] == said["price"]
    assert found["confidence"] == said["confidence"]
    assert found["model_info"]["version"] == ensemble.version_id


# ---------------------------------------------------------------- remembering


def test_ages_are_those_of_the_moment_of_asking(home):
    with_path(home)
    closed_ms = int(drifting().open_ms[-1]) + drifting().step_ms
    now = [closed_ms + 5_000]
    forecaster = Forecaster(home, None, clock=lambda: now[0])
    first = forecaster.forecast("SYNTH", "1h")
    now[0] += 60_000
    second = forecaster.forecast("SYNTH", "1h")
    made_ms = int(AT.timestamp() * 1000)
    assert (first.document["age_seconds"], second.document["age_seconds"]) == (5, 65)
    assert second.document["model_info"]["age_seconds"] == round((now[0] - made_ms) / 1000)
    assert first.key == second.key
    assert ageless(first.document) == ageless(second.document)
    assert (forecaster.answered, forecaster.computed, forecaster.remembered) == (2, 1, 1)


def test_an_answer_is_the_callers_own(home):
    with_path(home)
    forecaster = Forecaster(home, None)
    first = forecaster.forecast("SYNTH", "1h").document
    first["predictions"][0]["predicted_close"] = 0.0
    first["predictions"].pop()
    first["model_info"]["name"] = "another"
    second = forecaster.forecast("SYNTH", "1h").document
    assert second["predictions"][0]["predicted_close"] > 0
    assert len(second["predictions"]) == STEPS
    assert second["model_info"]["name"] != "another"
    assert forecaster.computed == 1


def test_a_new_candle_and_a_revised_one_are_computed_anew(capsys, home):
    with_path(home, candles=drifting().slice(0, 3990))
    forecaster = Forecaster(home, None)
    keys = [forecaster.forecast("SYNTH", "1h").key]
    CandleStore(home.candles).merge(drifting().slice(0, 3991), "SYNTH", "local")
    later = forecaster.forecast("SYNTH", "1h")
    keys.append(later.key)
    revised = drifting().slice(0, 3991)
    volume = revised.volume.copy()
    volume[-1] *= 2
    close = revised.close.copy()
    close[-1] = revised.low[-1]
    store(home, replace(revised, close=close, volume=volume))
    changed = forecaster.forecast("SYNTH", "1h")
    keys.append(changed.key)
    assert later.document["timestamp"] == changed.document["timestamp"]
    said = predicted(capsys, home, "SYNTH", "--type", "autoregressive")
    assert changed.document["predictions"] == said["predictions"]
    store(home, drifting().slice(0, 3991))  # as before the revision: the name is that of the content
    keys.append(forecaster.forecast("SYNTH", "1h").key)
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]
    assert list(forecaster._answers) == [keys[3]]  # of earlier candles nobody asks again


def test_the_next_champion_answers_at_once(home):
    with_basic(home)
    forecaster = Forecaster(home, None)
    first = forecaster.forecast("BTCUSDT", "1h")
    other = put(home, KEY, bundle_files(seed=4), at=datetime(2026, 1, 3, tzinfo=UTC))
    second = forecaster.forecast("BTCUSDT", "1h")
    assert second.document["model_info"]["version"] == other.version_id
    assert second.key != first.key
    assert forecaster.forecast("BTCUSDT", "1h", "basic", first.document["model_info"]["version"]).key == first.key
    PredictionModelRegistry(home.models).rollback(KEY, at=datetime(2026, 1, 4, tzinfo=UTC), reason="test")
    assert forecaster.forecast("BTCUSDT", "1h").key == first.key


def test_the_newest_version_and_a_named_one_are_opened_once(home, monkeypatch):
    with_basic(home)
    second = put(home, KEY, bundle_files(seed=4), promote=False, at=datetime(2026, 1, 3, tzinfo=UTC))
    forecaster = Forecaster(home, None)
    said = [forecaster.forecast("BTCUSDT", "1h", version=name).document for name in ("newest", second.version_id[:12])]
    assert [each["model_info"]["version"] for each in said] == [second.version_id] * 2
    monkeypatch.setattr("registry.model.StrategyModel.verify", lambda _self: pytest.fail("it was verified again"))
    again = [forecaster.forecast("BTCUSDT", "1h", version=name) for name in ("newest", second.version_id)]
    assert [ageless(each.document) for each in again] == [ageless(each) for each in said]


def test_the_same_bundle_registered_twice_keeps_its_names(home):
    first = with_basic(home)
    second = put(home, KEY, bundle_files(), promote=False, at=datetime(2026, 1, 3, tzinfo=UTC))
    assert first.digest == second.digest
    forecaster = Forecaster(home, None)
    said = [forecaster.forecast("BTCUSDT", "1h", version=version).document for version in ("latest", "newest")]
    assert [each["model_info"]["version"] for each in said] == [first.version_id, second.version_id]


def test_what_is_remembered_and_open_is_bounded(home, monkeypatch):
    from bot.service import forecasts

    with_path(home, "autoregressive")
    one_answer = len(Forecaster(home, None).forecast("SYNTH", "1h", "autoregressive").steps)
    monkeypatch.setattr(forecasts, "_MOST_BYTES", 2 * one_answer + one_answer // 2)
    put(home, path_key("multi_ohlc"), trained("multi_ohlc").files)
    for number, exchange in enumerate(("one", "two")):
        store(home, synthetic_candles(3000, path_drift=0.3, seed=number), exchange=exchange)
    forecaster = Forecaster(home, None, engines=1)
    asked = [(kind, exchange) for kind in PATHS for exchange in ("one", "two", "local")]
    first = [forecaster.forecast("SYNTH", "1h", kind, exchange=exchange) for kind, exchange in asked]
    assert len({each.key for each in first}) == 6
    assert len(forecaster._answers) == len(forecaster._newest) == 2
    assert len(forecaster._engines) == 1
    again = [forecaster.forecast("SYNTH", "1h", kind, exchange=exchange) for kind, exchange in asked]
    for one, two in zip(first, again, strict=True):
        assert one.key == two.key
        assert ageless(one.document) == ageless(two.document)
    assert forecaster.computed == 12


def test_a_failure_is_not_remembered(home):
    with_basic(home)
    forecaster = Forecaster(home, None)
    forecaster.forecast("BTCUSDT", "1h")
    engine = next(iter(forecaster._engines.values())).engine
    store(home, market().slice(0, 2999), "BTCUSDT")
    bundle = engine._bundle
    engine._bundle = _Failing(bundle)
    broken = forecaster.forecast("BTCUSDT", "1h").document
    engine._bundle = bundle
    assert (broken["status"], broken["predictions"], broken["confidence"]) == ("error", [], None)
    assert forecaster.forecast("BTCUSDT", "1h").document["status"] == "ok"


class _Failing:
    """A bundle whose model fails on its next bar."""

    def __init__(self, bundle) -> None:
        self._bundle = bundle

    def __getattr__(self, name):
        return getattr(self._bundle, name)

    def predict(self, *_):
        raise MemoryError("no room for the scores")


# ---------------------------------------------------------------- at the same time


def test_the_same_question_at_the_same_time_is_computed_once(home):
    with_path(home, "multi_ohlc")
    cache = PredictionCache(home.predictions_db)
    forecaster = Forecaster(home, cache)
    gate = threading.Barrier(8)

    def ask(_):
        gate.wait()
        return forecaster.forecast("SYNTH", "1h").document

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    cache.close()
    assert (forecaster.computed, forecaster.answered) == (1, 8)
    assert all(ageless(each) == ageless(found[0]) for each in found)
    assert len({id(each["predictions"][0]) for each in found}) == 8


def test_an_engine_works_for_one_thread_at_a_time(home, monkeypatch):
    with_path(home)
    exchanges = [f"source{number}" for number in range(6)]
    for exchange in exchanges:
        store(home, drifting(), exchange=exchange)
    inside, most = [], []
    path = PathEngine.path

    def watched(engine, candles):
        inside.append(engine)
        most.append(len(inside))
        time.sleep(0.01)
        found = path(engine, candles)
        inside.remove(engine)
        return found

    monkeypatch.setattr(PathEngine, "path", watched)
    forecaster = Forecaster(home, None)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda exchange: forecaster.forecast("SYNTH", "1h", exchange=exchange), exchanges))
    assert most == [1] * 6
    assert forecaster.computed == 6


def test_an_error_reaches_everybody_who_waits_and_the_next_attempt_works(home):
    model = with_path(home)
    forecaster = Forecaster(home, None)
    path = model.path / "model.txt"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"?")
    gate = threading.Barrier(4)

    def ask(_):
        gate.wait()
        with pytest.raises(InvalidBundle, match=r"model\.txt"):
            forecaster.forecast("SYNTH", "1h")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(4)))
    path.write_bytes(sound)
    assert forecaster.forecast("SYNTH", "1h").document["status"] == "ok"


def test_many_threads_over_many_models_get_what_one_gets(home):
    with_basic(home)
    with_path(home)
    put(home, path_key("multi_ohlc"), trained("multi_ohlc").files)
    asked = [("SYNTH", "autoregressive"), ("SYNTH", "multi_ohlc"), ("BTCUSDT", "basic")]
    alone = Forecaster(home, None)
    expected = {each: ageless(alone.forecast(each[0], "1h", each[1]).document) for each in asked}
    cache = PredictionCache(home.predictions_db)
    forecaster = Forecaster(home, cache, engines=2)
    stop = threading.Event()

    def rewrite():  # the same candles, another file: what is kept of it is read anew
        while not stop.is_set():
            store(home, drifting())
            store(home, market(), "BTCUSDT")

    writer = threading.Thread(target=rewrite)
    writer.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            names = [asked[number % 3] for number in range(240)]
            found = list(pool.map(lambda each: forecaster.forecast(each[0], "1h", each[1]).document, names))
    finally:
        stop.set()
        writer.join()
        cache.close()
    for name, document in zip(names, found, strict=True):
        assert ageless(document) == expected[name]
    assert forecaster.computed == 3


# ---------------------------------------------------------------- the cache behind it


def test_the_cache_changes_no_bit_and_its_loss_stops_nothing(home):
    with_basic(home)
    plain = ageless(Forecaster(home, None).forecast("BTCUSDT", "1h").document)
    cache = PredictionCache(home.predictions_db)
    for _ in range(2):  # the second server finds what the first has stored
        forecaster = Forecaster(home, cache)
        assert ageless(forecaster.forecast("BTCUSDT", "1h").document) == plain
        engine = next(iter(forecaster._engines.values())).engine
    assert engine.cache_hits == 1
    cache.close()
    home.predictions_db.write_bytes(b"no database" * 500)
    forecaster = Forecaster(home, cache)
    assert ageless(forecaster.forecast("BTCUSDT", "1h").document) == plain
    assert "not an SQLite database" in next(iter(forecaster._engines.values())).engine.cache_problem


# ---------------------------------------------------------------- candles


def test_a_model_of_sentiment_reads_its_series_anew(capsys, home):
    step = 86_400_000
    times = np.arange(int(market().open_ms[0]) // step * step - 60 * step, int(market().open_ms[-1]), step)
    values = 50 + 40 * np.sin(np.arange(len(times)) / 3)
    moods = SentimentStore(home.candles)
    moods.merge(SentimentSeries("fear_and_greed", times, values))
    joined = moods.read().join(market())
    settings = TrainingSettings(
        features=(*FEATURES, "sentiment_change_1"), parameters=SMALL, folds=3, plots=False, robustness=False,
        sentiment="fear_and_greed",
    )  # fmt: skip
    put(home, KEY, train(joined, KEY, settings, at=AT, code_version="test").files)
    store(home, market(), "BTCUSDT")
    forecaster = Forecaster(home, None)
    first = forecaster.forecast("BTCUSDT", "1h")
    assert forecaster.forecast("BTCUSDT", "1h").key == first.key
    assert first.document["predictions"][0]["predicted_close"] == predicted(capsys, home, "BTCUSDT")["price"]
    values[-1] = 0.0 if values[-1] > 50 else 100.0
    moods.merge(SentimentSeries("fear_and_greed", times, values))
    second = forecaster.forecast("BTCUSDT", "1h")
    assert second.key != first.key
    assert second.document["predictions"][0]["predicted_close"] == predicted(capsys, home, "BTCUSDT")["price"]


def test_two_exchanges_must_be_told_apart(home):
    with_path(home)
    store(home, drifting().slice(0, 3000), exchange="other")
    forecaster = Forecaster(home, None)
    with pytest.raises(UsageError, match="local, other"):
        forecaster.forecast("SYNTH", "1h")
    found = {name: forecaster.forecast("SYNTH", "1h", exchange=name) for name in ("local", "other")}
    assert {name: each.document["exchange"] for name, each in found.items()} == {"local": "local", "other": "other"}
    assert found["local"].key != found["other"].key
    with pytest.raises(SeriesNotFound, match="no candles of SYNTH 1h from binance"):
        forecaster.forecast("SYNTH", "1h", exchange="binance")
    with pytest.raises(UsageError, match="not an exchange name"):
        forecaster.forecast("SYNTH", "1h", exchange="../../etc")


def test_candles_that_are_gone_are_missed(home):
    with_path(home)
    forecaster = Forecaster(home, None)
    forecaster.forecast("SYNTH", "1h")
    CandleStore(home.candles).path("SYNTH", "1h", "local").unlink()
    with pytest.raises(SeriesNotFound, match="no candles of SYNTH 1h"):
        forecaster.forecast("SYNTH", "1h")


# ---------------------------------------------------------------- which model


@pytest.mark.parametrize("symbol", ["BTCUSDT", "BTC/USDT", "BTC_USDT", "btc-usdt"])
def test_a_symbol_has_four_spellings(home, symbol):
    with_basic(home)
    assert Forecaster(home, None).forecast(symbol, "1h").document["symbol"] == "BTC_USDT"


@pytest.mark.parametrize(
    ("symbol", "timeframe"), [("../../etc", "1h"), ("", "1h"), ("A" * 40, "1h"), ("BTCUSDT", "../x"), ("BTCUSDT", "0h")]
)
def test_what_is_no_name_is_refused_before_anything_is_read(home, symbol, timeframe):
    with_basic(home)
    for kind in (None, "basic"):
        with pytest.raises(InvalidName):
            Forecaster(home, None).forecast(symbol, timeframe, kind)
    with pytest.raises(InvalidName):
        Forecaster(home, None).forecast("BTCUSDT", "1h", "../basic")


def test_the_type_that_is_meant(home):
    files = bundle_files()
    forecaster = Forecaster(home, None)
    store(home, market(), "BTCUSDT")
    with pytest.raises(ModelNotFound, match="the registry is empty"):
        forecaster.forecast("BTCUSDT", "1h")
    held = put(home, KEY, files, promote=False)
    with pytest.raises(NoChampion, match=r"BTCUSDT/1h/basic: none of its 1 version"):
        forecaster.forecast("BTCUSDT", "1h")
    assert forecaster.forecast("BTCUSDT", "1h", version="newest").document["model_info"]["version"] == held.version_id

    def of(kind):
        document = json.loads(files["metadata.json"]) | {"model_type": kind, "architecture": None}
        return {**files, "metadata.json": json_bytes(document)}

    for kind, meant in (("zigzag", "zigzag"), ("direction", "direction"), ("basic", "basic"), ("autoregressive",) * 2):
        put(home, replace(KEY, model_type=kind), of(kind), at=datetime(2026, 1, 3, tzinfo=UTC))
        assert forecaster.forecast("BTCUSDT", "1h").document["model_info"]["type"] == meant
        assert forecaster.forecast("BTCUSDT", "1h", version="newest").document["model_info"]["type"] == meant
    assert forecaster.forecast("BTCUSDT", "1h", version=held.version_id).document["model_info"]["type"] == "basic"
    assert forecaster.forecast("BTCUSDT", "1h", version="2026-01-02").document["model_info"]["type"] == "basic"


def test_unknown_models_have_near_names(home):
    with_basic(home)
    forecaster = Forecaster(home, None)
    for symbol, timeframe, kind, version, words in (
        ("BTCUSD", "1h", None, "latest", "did you mean 'BTCUSDT'"),
        ("BTCUSDT", "5m", None, "latest", "has timeframe 1h"),
        ("BTCUSDT", "1h", "basik", "latest", "did you mean 'basic'"),
        ("BTCUSDT", "1h", None, "newst", "did you mean 'newest'"),
        ("BTCUSDT", "1h", None, "2030", "no version '2030'"),
        ("BTCUSDT", "1h", None, "", "no version ''"),
    ):
        with pytest.raises(ModelNotFound, match=words):
            forecaster.forecast(symbol, timeframe, kind, version)
    assert len(forecaster._versions._shelves) <= 1


# ---------------------------------------------------------------- whether it is usable


def test_a_champion_that_answers_is_usable(home):
    with_path(home)
    found = Forecaster(home, None).usable("SYNTH", "1h")
    assert (found.usable, found.answerable, found.model_type, found.reason) == (True, True, "autoregressive", "")


def test_without_a_model_one_should_be_trained(home):
    store(home, market(), "BTCUSDT")
    forecaster = Forecaster(home, None)
    found = forecaster.usable("BTC-USDT", "1h")
    assert (found.usable, found.answerable, found.model_type) == (False, False, "multi_ohlc")
    assert "no model BTCUSDT/1h/multi_ohlc" in found.reason
    assert forecaster.usable("BTCUSDT", "1h", "basic").model_type == "basic"
    assert forecaster.usable("BTCUSDT", "1h", "price").model_type == "basic"
    found = forecaster.usable("BTCUSDT", "1h", "basik")
    assert (found.usable, found.answerable) == (True, False)
    assert "'basik' is no type that is trained" in found.reason


def test_a_model_that_was_refused_is_not_trained_again_on_the_same_candles(home):
    put(home, KEY, bundle_files(), promote=False)
    forecaster = Forecaster(home, None)
    store(home, market(), "BTCUSDT")
    found = forecaster.usable("BTCUSDT", "1h", "basic")
    assert (found.usable, found.answerable) == (True, False)
    assert "until 2018-05-06T00:00:00Z and was not promoted" in found.reason
    store(home, synthetic_candles(3299, edge=0.2, seed=3), "BTCUSDT")
    assert forecaster.usable("BTCUSDT", "1h", "basic").usable
    store(home, synthetic_candles(3300, edge=0.2, seed=3), "BTCUSDT")  # a tenth more than it has learnt from
    assert not forecaster.usable("BTCUSDT", "1h", "basic").usable


@pytest.mark.parametrize("kind", ["basic", "ensemble"])
def test_an_expired_champion_is_not_usable(home, kind):
    document = json.loads(bundle_files()["metadata.json"]) | {"expires_after_ms": 3_600_000 * 5}
    if kind == "basic":
        put(home, KEY, {**bundle_files(), "metadata.json": json_bytes(document)})
    else:
        made = register_ensemble(home.models)
        PredictionModelRegistry(home.models).promote(made.key, made.version_id, at=AT, reason="test")
    forecaster = Forecaster(home, None)
    for bars, fresh in ((3005, True), (3006, kind == "ensemble")):
        store(home, synthetic_candles(bars, edge=0.2, seed=3), "BTCUSDT")
        found = forecaster.usable("BTCUSDT", "1h", kind)
        assert (found.usable, found.answerable) == (fresh, fresh)
        status = forecaster.forecast("BTCUSDT", "1h", kind).document["status"]
        assert status == ("ok" if fresh else "expired")
    if kind == "basic":
        assert "has expired" in found.reason


def test_a_champion_may_be_too_old_for_a_caller(home):
    with_path(home)
    forecaster = Forecaster(home, None)
    store(home, synthetic_candles(4010, path_drift=0.3, seed=3))
    assert forecaster.usable("SYNTH", "1h", most_bars=10).usable
    found = forecaster.usable("SYNTH", "1h", most_bars=9)
    assert (found.usable, found.answerable) == (False, True)
    assert "10 candles ago (at most 9)" in found.reason


def test_usable_and_forecast_open_a_model_once(home, monkeypatch):
    with_basic(home)
    opened = []
    init = PredictionEngine.__init__
    monkeypatch.setattr(PredictionEngine, "__init__", lambda self, *a, **k: (opened.append(1), init(self, *a, **k))[1])
    forecaster = Forecaster(home, None)
    for _ in range(3):
        assert forecaster.usable("BTCUSDT", "1h").usable
        forecaster.forecast("BTCUSDT", "1h")
    assert len(opened) == 1


def test_a_state_database_is_not_made(home):
    with_basic(home)
    Forecaster(home, None).forecast("BTCUSDT", "1h")
    assert not home.state_db.exists()
    with StateDatabase(home.state_db):
        assert math.isfinite(Forecaster(home, None).forecast("BTCUSDT", "1h").document["current_price"])
