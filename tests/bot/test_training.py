"""Training as one flow: what a request means, what comes out, and how many candles it takes."""

from __future__ import annotations

import logging
import sqlite3
from datetime import UTC, datetime

import pytest
from told_bots import follow, new_champion, told

from bot import state
from bot.errors import SeriesNotFound, UsageError
from bot.home import Home
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from bot.training import TrainingRequest, bars_needed, prepare_training, promote_where_allowed, register
from bot.version import code_version
from ml.engines import open_bundle
from ml.errors import InvalidParameter, NotEnoughBars, UnknownFeature, UnknownPredictor
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
DAY_MS = 86_400_000
FEATURES = ("rsi_14", "taker_imbalance_20")
QUICK = {"features": FEATURES, "parameters": {"num_boost_round": 10}, "plots": False, "robustness": False}
BARS = 4_000


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("training")
    store_synthetic(CandleStore(root / "candles"), "SYNTH", bars=BARS, edge=0.2, seed=4)
    return Home(root)


def test_the_flow_gives_the_bundle_that_the_trainer_gives(home):
    run = prepare_training(home, TrainingRequest("synth", "price", " 1h", horizon=2, seed=3, **QUICK))
    assert run.key == ModelKey("SYNTH", "basic", "1h")
    result = run.fit(AT)
    settings = TrainingSettings(
        horizon=2,
        features=FEATURES,
        parameters={"num_boost_round": 10},
        seed=3,
        plots=False,
        robustness=False,
        exchange="synth",
    )
    candles = CandleStore(home.candles).read("SYNTH", "1h").candles
    assert result.files == train(candles, run.key, settings, at=AT, code_version=code_version()).files


def test_days_count_back_from_the_close_of_the_newest_candle(home):
    candles = CandleStore(home.candles).read("SYNTH", "1h").candles
    newest_close = int(candles.open_ms[-1]) + candles.step_ms
    run = prepare_training(home, TrainingRequest("SYNTH", days=100, **QUICK))
    assert run.prepared.plan.bars == 2_400
    assert int(run.prepared.dataset.open_ms[0]) == newest_close - 100 * DAY_MS
    assert int(run.prepared.candles.open_ms[0]) < newest_close - 100 * DAY_MS  # candles before it warm the features
    half = prepare_training(home, TrainingRequest("SYNTH", days=99.5, **QUICK))
    assert half.prepared.plan.bars == 2_388


def test_days_count_back_from_the_end_where_one_is_given(home):
    run = prepare_training(home, TrainingRequest("SYNTH", days=60, end="2018-05-31", **QUICK))
    first, last = (int(run.prepared.dataset.open_ms[at]) for at in (0, -1))
    assert last == int(datetime(2018, 5, 31, 23, tzinfo=UTC).timestamp()) * 1_000
    assert first == last + 3_600_000 - 60 * DAY_MS


@pytest.mark.parametrize(("least", "bars"), [(0, 1_440), (1_000, 1_440), (3_000, 3_000), (BARS, BARS), (99_999, BARS)])
def test_at_least_so_many_of_the_newest_candles(home, least, bars):
    run = prepare_training(home, TrainingRequest("SYNTH", days=60, least_bars=least, **QUICK))
    assert run.prepared.plan.bars == bars


def test_reading_and_fitting_tell_how_far_they_are(home):
    told = []
    run = prepare_training(home, TrainingRequest("SYNTH", **QUICK), lambda *words: told.append(words))
    assert told == [(0.02, "features and labels")]
    run.fit(AT, lambda *words: told.append(words))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert told[-1] == (1.0, "done")


def test_what_is_registered_is_promoted_where_it_is_wanted_and_allowed(tmp_path):
    store_synthetic(CandleStore(tmp_path / "candles"), "SYNTH", bars=6_000, edge=0.2, seed=4)
    home = Home(tmp_path)
    result = prepare_training(home, TrainingRequest("SYNTH", **QUICK)).fit(AT)
    assert result.gate.promoted
    key = ModelKey("SYNTH", "basic", "1h")
    kept, replaced = register(home, key, result, at=AT, promote=False)
    assert (kept.status, replaced) == ("candidate", None)
    first, replaced = register(home, key, result, at=AT, promote=True)
    assert (first.status, replaced) == ("champion", None)
    second, replaced = register(home, key, result, at=AT, promote=True)
    assert (second.status, replaced) == ("champion", first.version_id)
    registry = PredictionModelRegistry(home.models, open_runner=open_bundle)
    assert registry.validate() == []
    assert [row.action for row in registry.history(key)] == ["register", "register", "promote", "register", "promote"]
    assert not home.state_db.exists()  # no bot ever ran here: there is nobody to tell


def test_running_bots_that_follow_are_told_of_each_new_champion_once(tmp_path, monkeypatch, caplog):
    store_synthetic(CandleStore(tmp_path / "candles"), "SYNTH", bars=6_000, edge=0.2, seed=4)
    home, key = Home(tmp_path), ModelKey("SYNTH", "basic", "1h")
    result = prepare_training(home, TrainingRequest("SYNTH", **QUICK)).fit(AT)
    follow(home, "SYNTH")
    follow(home, "BTCUSDT", bot="other")
    register(home, key, result, at=AT, promote=False)
    assert told(home) == []

    first, _ = register(home, key, result, at=AT, promote=True)
    expected = [new_champion(first.version_id, "SYNTH", "basic", result.gate.reason)]
    assert told(home) == expected
    registry = PredictionModelRegistry(home.models, open_runner=open_bundle)
    _, replaced = promote_where_allowed(home, registry, first, result.gate.to_dict(), at=AT)
    assert replaced == first.version_id
    assert told(home) == expected  # it was the champion already

    monkeypatch.setattr(state.StateDatabase.__init__, "__kwdefaults__", {"busy_seconds": 0.05})
    holder = sqlite3.connect(home.state_db)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with caplog.at_level(logging.WARNING, logger="bot.training"):
            second, _ = register(home, key, result, at=AT, promote=True)
    finally:
        holder.rollback()
        holder.close()
    assert second.status == "champion"  # the training is not lost with the message
    assert f"{second} is the champion, and running bots were not told of it: " in caplog.text
    assert "locked by another process" in caplog.text
    assert told(home) == expected

    third, _ = register(home, key, result, at=AT, promote=True)
    assert told(home) == [*expected, new_champion(third.version_id, "SYNTH", "basic", result.gate.reason)]
    assert told(home, "other") == []


def test_what_the_gate_refuses_stays_a_candidate_and_nobody_is_told(tmp_path):
    store_synthetic(CandleStore(tmp_path / "candles"), "SYNTH", bars=3_000, edge=0.0, seed=5)
    home = Home(tmp_path)
    follow(home, "SYNTH")
    result = prepare_training(home, TrainingRequest("SYNTH", **QUICK)).fit(AT)
    bundle, replaced = register(home, ModelKey("SYNTH", "basic", "1h"), result, at=AT, promote=True)
    assert (bundle.status, replaced) == ("candidate", None)
    assert told(home) == []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"days": 0}, UsageError, "0 days of history"),
        ({"days": float("nan")}, UsageError, "nan days of history"),
        ({"days": 40_000}, UsageError, "at most 36,500"),
        ({"days": 30, "start": "2018-01-01"}, UsageError, "give one of them"),
        ({"start": "2019-01-01", "end": "2018-01-01"}, UsageError, "is not before"),
        ({"start": "never"}, UsageError, "is not a date"),
        ({"model_type": "basix"}, UnknownPredictor, "did you mean 'basic'"),
        ({"architecture": "lstn"}, UnknownPredictor, "did you mean 'lstm'"),
        ({"symbol": "SYNHT"}, SeriesNotFound, "did you mean 'SYNTH'"),
        ({"timeframe": "5m"}, SeriesNotFound, "SYNTH is there in 1h"),
        ({"features": ("rsx_14",)}, UnknownFeature, "rsi_14"),
        ({"features": (" ",)}, UsageError, "names no feature"),
        ({"parameters": {"num_leafs": 3}}, InvalidParameter, "did you mean 'num_leaves'"),
        ({"horizon": 0}, InvalidParameter, "horizon is 0"),
        ({"sentiment": "fear"}, UsageError, "is not read by basic"),
        ({"days": 2}, NotEnoughBars, "got 48 rows"),
    ],
)
def test_wrong_requests_say_what_is_right(home, options, error, message):
    with pytest.raises(error, match=message):
        prepare_training(home, TrainingRequest(**{"symbol": "SYNTH", **options}))


@pytest.mark.parametrize(
    ("model_type", "timeframe", "parameters", "features"),
    [
        ("autoregressive", "1h", {"n_steps_ahead": 24}, ("return_1", "rsi_14")),
        ("autoregressive", "5m", {"n_steps_ahead": 300}, ()),
        ("multi_ohlc", "1h", {"n_steps_ahead": 1, "lookback_periods": "150"}, ()),
        ("basic", "1h", {}, ()),
        ("basic", "1m", {}, ("return_1",)),
        ("risk", "15m", {}, ()),
    ],
)
@pytest.mark.parametrize("shift", [0, 1, 777])
def test_so_many_candles_are_enough_and_it_does_not_ask_for_many_more(
    tmp_path, model_type, timeframe, parameters, features, shift
):
    request = TrainingRequest("S", model_type, timeframe, features=features, parameters=parameters)
    market = synthetic_candles(14_000, path_drift=0.1, seed=1, timeframe=timeframe)
    needed = bars_needed(request, market)
    store, home = CandleStore(tmp_path / "candles"), Home(tmp_path)
    store.write(market.slice(shift, shift + needed), "S", "local")
    run = prepare_training(home, request)
    warming = run.prepared.schema.window_bars
    least = needed - warming - 12
    if least > 1_000:  # else the floor of every training decides
        store.write(market.slice(shift, shift + least), "S", "local")
        with pytest.raises(NotEnoughBars):
            prepare_training(home, request)
