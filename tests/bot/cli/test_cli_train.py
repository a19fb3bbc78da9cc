"""``bot train model``: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from told_bots import follow, new_champion, told

from bot.cli.main import main
from bot.home import Home
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from ml.candles import Candles
from ml.synthetic import synthetic_candles
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

QUICK = ["--params", "num_boost_round=20", "--features", "rsi_14,taker_imbalance_20", "--skip-plots"]


@pytest.fixture
def home(tmp_path):
    store_synthetic(CandleStore(tmp_path / "candles"), "SYNTH", bars=6_000, edge=0.15, seed=4)
    return tmp_path


def train(home, *words, json_too=True):
    tail = ["--home", str(home), *(["--json"] if json_too else [])]
    return main(["train", "model", "SYNTH", "--type", "basic", "--timeframe", "1h", *QUICK, *words, *tail])


def document(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_model_with_skill_is_registered_and_becomes_champion(home, capsys):
    assert train(home) == 0
    first = document(capsys)
    assert first["key"] == "SYNTH/1h/basic"
    assert first["promoted"] is True
    assert first["replaced"] is None
    assert first["plan"]["scored"] == first["metrics"]["out_of_sample"]["n"] >= 1_000
    assert first["plan"]["needed"] == {"0.53": 3001, "0.54": 1686, "0.55": 1077}
    registry = PredictionModelRegistry(home / "models")
    champion = registry.champion(ModelKey("SYNTH", "basic", "1h"))
    assert champion.version_id == first["version"]
    assert str(champion.path) == first["path"]
    assert registry.validate() == []

    assert train(home, "--seed", "1") == 0
    second = document(capsys)
    assert second["replaced"] == first["version"]
    history = registry.history(ModelKey("SYNTH", "basic", "1h"))
    assert history[-1].evidence["gate"]["tests"][0]["lower_bound"] == second["gate"]["tests"][0]["lower_bound"]


def test_words_for_a_person(home, capsys):
    assert train(home, json_too=False) == 0
    text = capsys.readouterr().out
    for words in (
        "SYNTH/1h/basic on synth, 2018-01-01",
        "of them after the warm-up",
        "3,001",
        "about 1,700",
        "1,077",
        "last-sign rule",
        "gross return per bet",
        "Promoted: right on",
        "It is the champion now.",
    ):
        assert words in text
    assert "nan" not in text


def test_no_promote_registers_only(home, capsys):
    assert train(home, "--no-promote") == 0
    found = document(capsys)
    assert found["promoted"] is False
    assert found["gate"]["promoted"] is True
    assert found["reason"].startswith("not promoted because of --no-promote")
    registry = PredictionModelRegistry(home / "models")
    assert registry.champion(ModelKey("SYNTH", "basic", "1h")) is None
    newest = registry.select_bundle(symbol="SYNTH", model_type="basic", timeframe="1h", version="newest")
    assert newest.version_id == found["version"]


def test_a_bot_that_follows_the_model_is_told_when_it_is_promoted(home, capsys):
    follow(Home(home), "SYNTH")
    assert train(home, "--no-promote", "--skip-robustness") == 0
    assert document(capsys)["gate"]["promoted"] is True
    assert told(Home(home)) == []
    assert train(home, "--skip-robustness") == 0
    found = document(capsys)
    assert told(Home(home)) == [new_champion(found["version"], "SYNTH", "basic", found["reason"])]


def test_refused_is_no_failure_and_no_bot_is_told(home, capsys):
    follow(Home(home), "SYNTH")
    store_synthetic(CandleStore(home / "candles"), "SYNTH", bars=5_000, edge=0.0, seed=5)
    assert train(home) == 0
    found = document(capsys)
    assert found["promoted"] is False
    assert found["reason"].startswith("refused: ")
    assert told(Home(home)) == []
    assert train(home, json_too=False) == 0
    text = capsys.readouterr().out
    assert "Refused: " in text
    assert "SYNTH/basic@newest" in text


def test_an_end_date_includes_its_whole_day(home, capsys):
    assert train(home, "--start-date", "2018-02-01", "--end-date", "2018-06-30", "--horizon", "4") == 0
    meta_path = document(capsys)["path"]
    meta = json.loads((Path(meta_path) / "metadata.json").read_bytes())
    assert meta["data"]["start"] == "2018-02-01T00:00:00Z"
    assert meta["data"]["end"] == "2018-07-01T00:00:00Z"
    assert meta["horizon"] == 4


def test_groups_of_features_and_parameters_arrive(home, capsys):
    words = ["--features", "time", "--params", "num_leaves=7,learning_rate=0.1", "--type", "price"]
    tail = ["--timeframe", "1h", "--skip-plots", "--home", str(home), "--json"]
    assert main(["train", "model", "synth", *words, *tail]) == 0
    found = document(capsys)
    assert found["key"] == "SYNTH/1h/basic"  # price is an alias
    meta = json.loads((Path(found["path"]) / "metadata.json").read_bytes())
    assert meta["hyperparams"]["num_leaves"] == 7
    assert {"hour_sin", "ewma_volatility"} <= set(meta["features"])
    assert "rsi_14" not in meta["features"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--type", "basix"], 2, "did you mean 'basic'"),
        (["--features", "rsi_14,rsx_14"], 2, "rsx_14"),
        (["--params", "num_leafs=7"], 2, "did you mean 'num_leaves'"),
        (["--params", "num_leaves"], 2, "expected key=value"),
        (["--params", "num_leaves=7,num_leaves=8"], 2, "given twice"),
        (["--params", "num_leaves=many"], 2, "expected a whole number"),
        (["--horizon", "0"], 2, "horizon is 0"),
        (["--horizon", "9000"], 1, "shorten --horizon"),
        (["--features", ","], 2, "--features ',' names no feature"),
        (["--threads", "0"], 2, "threads is 0"),
        (["--start-date", "yesterday"], 2, "is not a date"),
        (["--start-date", "2019-01-01", "--end-date", "2018-01-01"], 2, "is not before"),
        (["--start-date", "2030-01-01"], 2, "Insufficient data for training (got 0 rows)"),
        (
            ["--start-date", "2018-01-01", "--end-date", "2018-01-10"],
            2,
            "Insufficient data for training (got 240 rows)",
        ),
        (["--exchange", "nowhere"], 2, "nowhere"),
        (["--timeframe", "1x"], 2, "is not a timeframe"),
        (["--epoch", "3"], 2, "--epochs"),
    ],
)
def test_wrong_requests_say_what_is_right_and_leave_nothing(home, capsys, words, code, message):
    assert train(home, *words) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert json.loads(captured.out)["exit_code"] == code
    assert not (home / "models").exists()


def test_a_momentum_that_looks_back_further_than_any_feature(home, capsys):
    assert main(["train", "model", "SYNTH", "--type", "momentum", "--horizon", "9000", "--home", str(home)]) == 2
    assert "horizon is 9000: momentum asks whether the move of the last 9000 bars goes on" in capsys.readouterr().err


def test_a_series_that_is_not_there(home, capsys):
    assert main(["train", "model", "NONE", "--home", str(home), "--json"]) == 2
    assert "NONE" in json.loads(capsys.readouterr().out)["error"]


def test_prices_that_never_fall_fail_in_one_sentence(home, capsys):
    close = 100 * np.exp(np.arange(3_000) * 1e-4)
    candles = Candles("1h", np.arange(3_000, dtype=np.int64) * 3_600_000, close, close, close, close)
    CandleStore(home / "candles").write(candles, "RISING", "local")
    words = ["train", "model", "RISING", "--features", "rsi_14", "--home", str(home)]
    assert main(words) == 1
    assert "training labels is a rise" in capsys.readouterr().err


@pytest.mark.parametrize("model_type", ["autoregressive", "multi_ohlc"])
def test_paths_of_a_price_that_stands_still(home, capsys, model_type):
    close = np.full(4_000, 100.0)
    candles = Candles("1h", np.arange(4_000, dtype=np.int64) * 3_600_000, close, close, close, close)
    CandleStore(home / "candles").write(candles, "STILL", "local")
    assert main(["train", "model", "STILL", "--type", model_type, "--home", str(home)]) == 1
    assert "next returns to learn from is 0: a model of paths needs rises and falls" in capsys.readouterr().err


def test_an_interrupt_while_fitting_leaves_nothing(home, capsys, monkeypatch):
    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ml.training.trainer.walk_forward", interrupted)
    assert train(home) == 1
    assert "interrupted" in capsys.readouterr().err
    assert not (home / "models").exists()


def test_seven_days_of_minutes_are_refused_in_plain_words(home, capsys):
    candles = synthetic_candles(7 * 1_440, edge=0.02, seed=3, timeframe="1m")
    CandleStore(home / "candles").write(candles, "MINUTES", "synth")
    words = ["train", "model", "MINUTES", "--timeframe", "1m", "--home", str(home), "--json", *QUICK]
    assert main(words) == 0
    found = document(capsys)
    assert found["promoted"] is False
    assert found["plan"]["horizon"] == 5
    assert found["gate"]["n"] < 2_000
    assert "refused" in found["reason"]
