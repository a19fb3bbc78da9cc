"""Every family through the real commands: train, list, show, validate, predict under the names that its users expect."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from network_fits import tensorflow_uncollected

from bot.cli.main import main
from bot.cli.train_settings import FAMILIES
from ml.predictors.catalogue import PREDICTORS, predictor_names

BARS = 4_500
FEW = ["--features", "rsi_14,taker_imbalance_20,volatility_20,log_return_1"]
NETWORK = ["--epochs", "2", "--batch-size", "256", *FEW]
SEQUENCE = ["--model", "lstm", "--sequence-length", "8", *NETWORK]
QUICK = {
    "basic-gbm": ["--params", "num_boost_round=10"],
    "basic-lstm": SEQUENCE,
    "basic-tcn": ["--model", "tcn", *SEQUENCE[2:]],
    "sentiment-gbm": ["--params", "num_boost_round=10"],
    "sentiment-lstm": SEQUENCE,
    "sentiment-tcn": ["--model", "tcn", *SEQUENCE[2:]],
    "direction-xgboost": FEW,
    "momentum-svm": ["--params", "max_rows=300", *FEW],
    "price_nn-mlp": NETWORK,
    "risk-forest": ["--params", "n_estimators=10", *FEW],
    "volatility-gbm": ["--params", "num_boost_round=10", *FEW],
    "autoregressive-gbm": ["--params", "num_boost_round=10,n_steps_ahead=20"],
    "multi_ohlc-gbm": ["--params", "num_boost_round=10,n_steps_ahead=20"],
}
ANSWERS = {
    "basic": {"expected_return", "predicted_price", "direction"},
    "sentiment": {"expected_return", "predicted_price", "direction"},
    "direction": {"direction"},
    "momentum": {"state"},
    "price_nn": {"predicted_price"},
    "risk": {"risk"},
    "volatility": {"predicted_volatility"},
    "autoregressive": {"predictions", "trusted_steps"},
    "multi_ohlc": {"predictions", "trusted_steps"},
}


MARKS = {"sentiment-tcn": pytest.mark.slow}
"""That a network reads sentiment is shown by the LSTM, and that the convolutions are trained by those of ``basic``."""


def run(capsys, *words: str) -> dict:
    code = main([*words, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


@pytest.fixture(scope="module", autouse=True)
def quick_fits():
    with tensorflow_uncollected():
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("families")
    start = int(datetime(2018, 1, 1, tzinfo=UTC).timestamp()) * 1000
    values = 50 + 30 * np.sin(np.arange(BARS // 24 + 2) / 9)
    rows = [f"{start + (day - 1) * 86_400_000},{value:.0f}" for day, value in enumerate(values)]
    (home / "fear.csv").write_text("\n".join(["timestamp,value", *rows]) + "\n")
    place = ["--home", str(home)]
    assert main(["data", "synth", "--symbol", "SYNTH", "--bars", str(BARS), "--edge", "0.1", *place]) == 0
    assert main(["data", "import", str(home / "fear.csv"), "--kind", "sentiment", *place]) == 0
    return home


def test_the_help_names_every_type():
    assert set(FAMILIES) == set(predictor_names())
    assert set(QUICK) == {f"{family.type_name}-{family.architecture}" for family in PREDICTORS}
    assert set(ANSWERS) == set(FAMILIES)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in sorted(QUICK)])
def test_a_family_from_the_training_to_the_answer(name, home, capsys):
    capsys.readouterr()
    model_type = name.partition("-")[0]
    place = ["--timeframe", "1h", "--home", str(home)]
    options = [*QUICK[name], "--skip-plots", "--skip-robustness", "--no-promote"]

    trained = run(capsys, "train", "model", "SYNTH", "--type", model_type, *options, *place)
    assert trained["promoted"] is False
    assert trained["architecture"] == name.partition("-")[2]
    assert trained["metrics"]["out_of_sample"]["n"] > 0

    version = trained["version"]
    shown = run(capsys, "models", "show", "SYNTH", model_type, "--version", version, "--home", str(home))
    assert shown["version"] == version
    listed = run(capsys, "models", "list", "--home", str(home))
    assert version in json.dumps(listed)
    run(capsys, "models", "validate", "--home", str(home))

    found = run(capsys, "predict", "SYNTH", "--type", model_type, "--version", version, *place)
    assert found["status"] == "ok"
    least = 0.0 if model_type == "volatility" else 0.5  # that it comes within a quarter of the forecast
    assert least <= found["confidence"] <= 1
    for key in ANSWERS[model_type]:
        assert found[key] is not None, key
    if model_type == "momentum":
        assert found["state"] in {"accelerating", "decelerating"}
    if model_type in {"autoregressive", "multi_ohlc"}:
        assert [step["step"] for step in found["predictions"]] == list(range(1, 21))
        for step in found["predictions"]:
            assert step["predicted_low"] <= min(step["predicted_open"], step["predicted_close"])
            assert step["predicted_high"] >= max(step["predicted_open"], step["predicted_close"])
    assert main(["predict", "SYNTH", "--type", model_type, "--version", version, *place]) == 0
    assert "nan" not in capsys.readouterr().out
