"""``MLService``: the examples of its users run as they are written, and what it keeps is there again."""

from __future__ import annotations

import json
import logging
import math
import re
import sqlite3

import numpy as np
import pytest
from path_models import AT, drifting, path_key, trained
from small_models import KEY, bundle_files, market

from bot.errors import SeriesNotFound, StorageError, UsageError
from bot.home import Home
from bot.market.store import CandleStore
from bot.service import ml_service as module
from bot.service.forecasts import forecast_document
from bot.service.ml_service import MOST_BYTES, MLService, get_ml_service
from bot.service.views.plain import NotHere
from ml.candles import Candles
from ml.engines import open_bundle
from ml.errors import InvalidParameter, NotEnoughBars, UnknownFeature, UnknownPredictor
from ml.synthetic import synthetic_candles
from registry.errors import InvalidName
from registry.store import PredictionModelRegistry

# As the project was asked for; the module of the first line is the only change.
SERVICE_EXAMPLE = """
from bot.service.ml_service import get_ml_service

ml_service = get_ml_service()

# Train new model
model_info = ml_service.train_model(
    symbol='BTC/USDT',
    timeframe='1m',
    n_steps_ahead=300,
    days_history=30  # Use last 30 days of data
)

if model_info:
    print(f"Model trained: {model_info['name']}")
    print(f"Size: {model_info['model_size_kb']:.2f} KB")
    print(f"Train R²: {model_info['performance']['train_r2']:.4f}")
    print(f"Val R²: {model_info['performance']['val_r2']:.4f}")

models = ml_service.list_models()

for model in models:
    print(f"{model['name']}:")
    print(f"  Symbol: {model['symbol']}")
    print(f"  Timeframe: {model['timeframe']}")
    print(f"  Steps ahead: {model['n_steps_ahead']}")
    print(f"  Trained: {model['trained_at']}")
    print(f"  Val R²: {model['performance']['val_r2']:.4f}")

predictions = ml_service.get_predictions(
    symbol='BTC/USDT',
    timeframe='1m'
)

if predictions:
    print(f"Current price: ${predictions['current_price']:,.2f}")
    print(f"Predictions: {len(predictions['predictions'])} steps")

    for i, pred in enumerate(predictions['predictions'][:5], 1):
        print(f"Step {i}:")
        print(f"  Predicted close: ${pred['predicted_close']:,.2f}")
        print(f"  Return: {pred['predicted_return']:+.2%}")

prediction_id = ml_service.save_prediction_result(
    symbol='BTC/USDT',
    timeframe='1m',
    prediction_data=predictions,
    user_id='user-123'
)

print(f"Prediction saved: {prediction_id}")
"""

USAGE_EXAMPLE = """
from bot.service.ml_service import get_ml_service

ml_service = get_ml_service()

# Train model
print("Training model...")
model_info = ml_service.train_model(
    symbol='BTC/USDT',
    timeframe='1m',
    n_steps_ahead=300,
    days_history=30
)

if model_info:
    print(f"✓ Model trained: {model_info['name']}")
    print(f"  Val R²: {model_info['performance']['val_r2']:.4f}")

    # Generate predictions
    print("\\nGenerating predictions...")
    predictions = ml_service.get_predictions('BTC/USDT', '1m')

    if predictions:
        print(f"✓ {len(predictions['predictions'])} predictions generated")
        print(f"  Current: ${predictions['current_price']:,.2f}")

        # Show first 5 predictions
        for pred in predictions['predictions'][:5]:
            print(f"  {pred['timestamp']}: ${pred['predicted_close']:,.2f} ({pred['predicted_return']:+.2%})")
"""

SMALL = {
    "symbol": "SYNTH",
    "timeframe": "1h",
    "n_steps_ahead": 12,
    "days_history": None,
    "features": ["return_1", "return_5", "sma_20_distance", "atr_14_pct", "close_location"],
    "params": {"num_boost_round": 20, "min_data_in_leaf": 50},
}


@pytest.fixture
def home(tmp_path) -> Home:
    return Home(tmp_path / "var")


@pytest.fixture
def service(home) -> MLService:
    """Return a service over a home with a market whose paths deserve trust, and their champion."""
    CandleStore(home.candles).write(drifting(), "SYNTH", "local")
    registry = PredictionModelRegistry(home.models, open_bundle)
    made = registry.register(path_key("autoregressive"), trained("autoregressive").files, at=AT)
    registry.promote(made.key, made.version_id, at=AT, reason="test")
    return MLService(home)


def run(capsys, example: str) -> str:
    exec(compile(example, "<example>", "exec"), {})
    return capsys.readouterr().out


def test_the_examples_run_as_they_are_written(capsys, home, monkeypatch):
    monkeypatch.setenv("BOT_HOME", str(home.root))
    candles = synthetic_candles(4_600, path_drift=0.3, seed=3, timeframe="1m")
    CandleStore(home.candles).write(candles, "BTCUSDT", "local")
    said = run(capsys, SERVICE_EXAMPLE)
    (model,) = get_ml_service().list_models()
    assert "Model trained: BTC_USDT_1m_300steps_multi_ohlc\n" in said
    assert f"Size: {model['model_size_kb']:.2f} KB\nTrain R²: nan\nVal R²: " in said
    assert math.isfinite(model["performance"]["val_r2"])
    assert f"Val R²: {model['performance']['val_r2']:.4f}" in said
    assert f"Current price: ${candles.close[-1]:,.2f}\nPredictions: 300 steps\nStep 1:\n" in said
    found = get_ml_service().prediction_result(re.search(r"Prediction saved: (\S+)\n$", said)[1])
    assert (found["symbol"], found["timeframe"], found["status"]) == ("BTC_USDT", "1m", "completed")
    assert len(found["result"]["predictions"]) == 300
    assert found["result"]["model_info"]["version"] == model["version"]

    said = run(capsys, USAGE_EXAMPLE)
    assert "✓ 300 predictions generated" in said
    first = get_ml_service().get_predictions("BTC_USDT", "1m")["predictions"][0]
    line = f"  {first['timestamp']}: ${first['predicted_close']:,.2f} ({first['predicted_return']:+.2%})"
    assert line in said.splitlines()
    assert len(get_ml_service().list_models()) == 2


def test_each_call_of_the_accessor_is_of_its_own_home(home, tmp_path, monkeypatch):
    monkeypatch.setenv("BOT_HOME", str(tmp_path / "named"))
    assert get_ml_service().home.root == tmp_path / "named"
    one, two = get_ml_service(home.root), get_ml_service(str(home.root))
    assert one is not two
    assert one.home == two.home == home
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        get_ml_service(tmp_path / "file")


# ---------------------------------------------------------------- training


def test_a_trained_model_is_in_the_registry(service):
    row = service.train_model(**SMALL)
    model = PredictionModelRegistry(service.home.models, open_bundle).select_bundle(
        symbol="SYNTH", model_type="multi_ohlc", timeframe="1h"
    )
    assert (row["version"], row["digest"]) == (model.version_id, model.digest)
    assert row["promoted"] is True
    assert row["name"] == "SYNTH_1h_12steps_multi_ohlc"
    assert row["performance"]["val_r2"] == model.metrics["out_of_sample"]["first_step"]["close"]["r2"]
    assert math.isnan(row["performance"]["train_r2"])
    assert service.get_predictions("SYNTH", "1h")["model_info"]["version"] == model.version_id
    assert row | {"performance": 0} == {**service.list_models()[1], "promoted": True, "reason": row["reason"]} | {
        "performance": 0
    }


def test_options_reach_the_training(service):
    row = service.train_model(**SMALL, promote=False)
    assert row["promoted"] is False
    assert "not promoted, as the request says" in row["reason"]
    row = service.train_model(
        "SYNTH", "1h", None, None, type="basic", features=["rsi_14"], params={"num_boost_round": 5}
    )
    assert (row["type"], row["n_steps_ahead"]) == ("basic", 1)
    model = PredictionModelRegistry(service.home.models).select_bundle(
        symbol="SYNTH", model_type="basic", timeframe="1h", version="newest"
    )
    assert "rsi_14" in model.metadata["features"]
    assert model.metadata["hyperparams"]["num_boost_round"] == 5


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"symbol": "../../etc"}, InvalidName, "not a symbol"),
        ({"symbol": "BTCUSDT"}, SeriesNotFound, "no candles of BTCUSDT 1h"),
        ({"timeframe": "7x"}, InvalidName, "not a timeframe"),
        ({"n_steps_ahead": 0}, InvalidParameter, "n_steps_ahead"),
        ({"n_steps_ahead": 1.5}, UsageError, "n_steps_ahead"),
        ({"days_history": -1}, UsageError, "-1 days"),
        ({"type": "multi_ohcl"}, UnknownPredictor, "did you mean 'multi_ohlc'"),
        ({"features": ["rsi_15x"]}, UnknownFeature, "rsi_15x"),
        ({"params": {"trees": 3}}, InvalidParameter, "trees"),
        ({"days_history": 20}, NotEnoughBars, r"got 480 rows\): SYNTH/1h/multi_ohlc takes about [0-9,]+ candles"),
        ({"colour": "red"}, UsageError, "no option 'colour'"),
        ({"feature": ["rsi_14"]}, UsageError, "did you mean 'features'"),
    ],
)
def test_what_cannot_be_trained_is_said(service, change, error, words):
    with pytest.raises(error, match=words):
        service.train_model(**SMALL | change)
    assert len(service.list_models()) == 1


def test_candles_that_admit_no_model_give_none_and_a_reason(home, caplog):
    steps = np.arange(3_000, dtype=np.int64) * 3_600_000
    still = np.full(3_000, 100.0)
    candles = Candles("1h", steps, still, still, still, still, still)
    CandleStore(home.candles).write(candles, "STILL", "local")
    service = MLService(home)
    with caplog.at_level(logging.WARNING, logger="bot.service.ml_service"):
        assert service.train_model("STILL", "1h", 1, None, type="basic", features=["rsi_14", "volatility_20"]) is None
    assert "STILL 1h: no model was registered: " in caplog.text
    assert service.list_models() == []


# ---------------------------------------------------------------- models and predictions


def test_models_are_listed_and_a_broken_one_is_left_out(service):
    PredictionModelRegistry(service.home.models, open_bundle).register(KEY, bundle_files(), at=AT)
    rows = service.list_models()
    assert [row["name"] for row in rows] == ["BTC_USDT_1h_1steps_basic", "SYNTH_1h_24steps_autoregressive"]
    assert all(set(row["performance"]) >= {"train_r2", "val_r2", "train_rmse", "val_rmse"} for row in rows)
    assert [row["type"] for row in service.list_models("BTC/USDT")] == ["basic"]
    assert service.list_models(timeframe="5m") == []
    next((service.home.models / "BTCUSDT" / "basic").glob("*_v1/manifest.json")).write_text("{}")
    assert [row["type"] for row in service.list_models()] == ["autoregressive"]
    assert MLService(Home(service.home.root / "empty")).list_models() == []


def test_predictions_are_those_of_the_forecasts(service):
    found = service.get_predictions("SYNTH", "1h")
    expected = forecast_document(service.home, symbol="SYNTH", timeframe="1h")
    assert found["predictions"] == expected["predictions"]
    assert found["current_price"] == drifting().close[-1]
    found["predictions"].clear()
    assert service.get_predictions("SYNTH", "1h")["predictions"] == expected["predictions"]


def test_without_a_model_there_is_no_prediction_and_wrong_input_is_an_error(service):
    CandleStore(service.home.candles).write(market(), "BTCUSDT", "local")
    assert service.get_predictions("BTC/USDT", "1h") is None
    PredictionModelRegistry(service.home.models, open_bundle).register(KEY, bundle_files(), at=AT)
    assert service.get_predictions("BTC/USDT", "1h") is None  # registered, not promoted
    assert service.get_predictions("BTC/USDT", "1h", version="newest")["status"] == "ok"
    with pytest.raises(InvalidName):
        service.get_predictions("../../etc", "1h")
    with pytest.raises(SeriesNotFound):
        service.get_predictions("SYNTH", "1h", exchange="binance")


# ---------------------------------------------------------------- keeping predictions


def test_a_prediction_is_kept_bit_for_bit(service, monkeypatch):
    monkeypatch.setattr(module, "wall_ms", lambda: 1_705_314_600_123)
    found = service.get_predictions("SYNTH", "1h")
    number = service.save_prediction_result("SYNTH", "1h", found, "user-123")
    other = service.save_prediction_result("btc-usdt", " 5m ", {"predictions": []}, "another")
    assert number != other
    assert MLService(service.home).prediction_result(number) == {
        "id": number,
        "symbol": "SYNTH",
        "timeframe": "1h",
        "status": "completed",
        "created_at": "2024-01-15T10:30:00.123Z",
        "user_id": "user-123",
        "result": found,
    }
    kept = service.prediction_result(other)
    assert (kept["symbol"], kept["timeframe"], kept["user_id"]) == ("BTC_USDT", "5m", "another")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"symbol": "../x"}, InvalidName, "not a symbol"),
        ({"timeframe": "1 hour"}, InvalidName, "not a timeframe"),
        ({"user_id": ""}, UsageError, "1 to 200 characters"),
        ({"user_id": "u" * 201}, UsageError, "1 to 200 characters"),
        ({"user_id": None}, UsageError, "user_id is None"),
        ({"prediction_data": None}, UsageError, "a NoneType: expected what get_predictions returns"),
        ({"prediction_data": {}}, UsageError, "expected what get_predictions returns"),
        ({"prediction_data": [1.0]}, UsageError, "a list"),
        ({"prediction_data": {"price": math.nan}}, UsageError, "no plain data"),
        ({"prediction_data": {"when": AT}}, UsageError, "no plain data"),
        ({"prediction_data": {"text": "x" * MOST_BYTES}}, UsageError, "at most 1,048,576 are kept"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_no_file_is_made(home, change, error, words):
    request = {"symbol": "SYNTH", "timeframe": "1h", "prediction_data": {"price": 1.0}, "user_id": "user-123"} | change
    with pytest.raises(error, match=words):
        MLService(home).save_prediction_result(**request)
    assert not home.root.exists()


def test_the_longest_document_is_kept(home):
    data = {"text": "x" * (MOST_BYTES - len('{"text":""}'))}
    number = MLService(home).save_prediction_result("SYNTH", "1h", data, "user-123")
    assert MLService(home).prediction_result(number)["result"] == data


def test_of_predictions_that_were_kept_the_newest_stay_whatever_the_clock_says(home, monkeypatch):
    monkeypatch.setattr(module, "KEPT_PREDICTIONS", 3)
    times = iter(range(1_000_000, 0, -1_000))
    monkeypatch.setattr(module, "wall_ms", lambda: next(times))
    service = MLService(home)

    def save(price):
        return service.save_prediction_result("SYNTH", "1h", {"price": price}, "user-123")

    def prices():
        with sqlite3.connect(home.state_db) as connection:
            rows = connection.execute("SELECT document FROM service_predictions ORDER BY rowid").fetchall()
        connection.close()
        return [json.loads(text)["price"] for (text,) in rows]

    numbers = [save(price) for price in range(3)]
    assert prices() == [0, 1, 2]
    numbers += [save(price) for price in range(3, 5)]
    assert prices() == [2, 3, 4]
    for number in numbers[:2]:
        with pytest.raises(NotHere):
            service.prediction_result(number)
    assert [service.prediction_result(number)["result"]["price"] for number in numbers[2:]] == [2, 3, 4]

    with sqlite3.connect(home.state_db, isolation_level=None) as connection:
        connection.execute("VACUUM")  # which may number rows anew
    connection.close()
    save(5)
    assert prices() == [3, 4, 5]
    monkeypatch.setattr(module, "KEPT_PREDICTIONS", 1)  # as a file that was filled before there was a limit
    save(6)
    assert prices() == [6]


def test_what_cannot_be_pruned_is_not_saved_either(home, monkeypatch):
    service = MLService(home)
    service.save_prediction_result("SYNTH", "1h", {"price": 1.0}, "user-123")
    with sqlite3.connect(home.state_db) as connection:
        connection.execute(
            "CREATE TRIGGER stays BEFORE DELETE ON service_predictions BEGIN SELECT raise(ABORT, 'stays'); END"
        )
    connection.close()
    monkeypatch.setattr(module, "KEPT_PREDICTIONS", 1)
    with pytest.raises(sqlite3.IntegrityError, match="stays"):
        service.save_prediction_result("SYNTH", "1h", {"price": 2.0}, "user-123")
    with sqlite3.connect(home.state_db) as connection:
        assert connection.execute("SELECT count(*) FROM service_predictions").fetchone() == (1,)
    connection.close()


def test_an_unknown_id_is_told_and_makes_no_file(home):
    with pytest.raises(NotHere, match="no prediction 'abc' in this home"):
        MLService(home).prediction_result("abc")
    assert not home.root.exists()
    MLService(home).save_prediction_result("SYNTH", "1h", {"price": 1.0}, "user-123")
    with pytest.raises(NotHere, match="no prediction '%' in this home"):
        MLService(home).prediction_result("%")


def test_a_locked_database_is_one_clear_error(home, monkeypatch):
    service = MLService(home)
    number = service.save_prediction_result("SYNTH", "1h", {"price": 1.0}, "user-123")
    from bot import state

    monkeypatch.setattr(state.StateDatabase.__init__, "__kwdefaults__", {"busy_seconds": 0.05})
    holder = sqlite3.connect(home.state_db)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StorageError, match="locked by another process"):
            service.save_prediction_result("SYNTH", "1h", {"price": 1.0}, "user-123")
    finally:
        holder.rollback()
        holder.close()
    assert json.dumps(service.prediction_result(number)["result"]) == '{"price": 1.0}'
