"""Networks: parameters, scaling, early stopping, Ctrl-C, reproducibility, and Keras itself as the oracle of the export."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from network_fits import tensorflow_uncollected
from planted_data import planted_dataset
from small_models import FEATURES, market

from ml.bundles import open_files
from ml.errors import InvalidParameter, MissingLibrary, NotEnoughBars, TrainingFailed
from ml.predictors import libraries, network_training, tensorflow_setup
from ml.predictors.network_parameters import NETWORK, SEQUENCE_NETWORK, resolve_network
from ml.predictors.price_nn import PricePredictor
from ml.predictors.sequence_network import ConvolutionPredictor, RecurrentPredictor
from ml.training.onnx_export import prove
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = (RecurrentPredictor, ConvolutionPredictor, PricePredictor)
TINY = {"epochs": 3, "units": 4, "learning_rate": 0.01, "device": "cpu"}


def tiny(family, **changes):
    short = {} if family is PricePredictor else {"sequence_length": 8}
    return family({**TINY, **short, **changes})


@pytest.fixture(scope="module", autouse=True)
def quick_fits():
    with tensorflow_uncollected():
        yield


@pytest.fixture(scope="module")
def dataset():
    return planted_dataset(500, edge=0.3, features=4)


@pytest.fixture(scope="module")
def positions(dataset):
    return np.flatnonzero(dataset.labelled)[:420]


def test_the_defaults_are_those_of_the_guides():
    found = resolve_network(SEQUENCE_NETWORK, None)
    assert (found["epochs"], found["batch_size"], found["sequence_length"]) == (300, 32, 120)
    assert found["validation_split"] == 0.2
    assert found["mixed_precision"] == "auto"
    assert "sequence_length" not in resolve_network(NETWORK, {})


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"mixed_precision": False}, "mixed_precision", "off"),
        ({"mixed_precision": "True"}, "mixed_precision", "on"),
        ({"lookback": "60"}, "sequence_length", 60),
        ({"hidden_units": 64}, "units", 64),
        ({"lr": "1e-4"}, "learning_rate", 1e-4),
    ],
)
def test_other_names_and_words_are_understood(given, name, value):
    assert resolve_network(SEQUENCE_NETWORK, given)[name] == value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "'epoch' is not a parameter of this model; did you mean 'epochs'"),
        ({"epochs": 0}, "epochs is 0, expected a whole number at least 1"),
        ({"sequence_length": 1}, "sequence_length is 1"),
        ({"validation_split": 1}, "validation_split is 1"),
        ({"mixed_precision": "maybe"}, "mixed_precision is 'maybe'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ],
)
def test_wrong_parameters_say_what_is_right(given, message):
    with pytest.raises(InvalidParameter) as caught:
        RecurrentPredictor(given)
    assert message in str(caught.value)


@pytest.mark.parametrize("given", [{"device": "gpu"}, {"mixed_precision": "on"}])
@pytest.mark.parametrize("family", FAMILIES[2:])
def test_a_gpu_that_is_not_there_is_said(family, given, dataset, positions):
    tensorflow, _ = tensorflow_setup.prepare_tensorflow(seed=0, threads=1, device="auto", mixed_precision="auto")
    if tensorflow.config.list_physical_devices("GPU"):
        pytest.skip("there is a GPU")
    with pytest.raises(InvalidParameter, match=r"(finds none here|finds no GPU here)"):
        tiny(family, **{**given, "device": given.get("device", "auto")}).fit(dataset, positions, seed=0, threads=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_without_the_train_extra_the_message_names_the_command(family, dataset, positions, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(libraries, "import_module", missing)
    with pytest.raises(MissingLibrary, match=r"trained with tensorflow.*pip install 'mlbot\[train\]'"):
        tiny(family).fit(dataset, positions, seed=0, threads=1)


@pytest.mark.parametrize("family", FAMILIES[:2])
def test_a_sequence_longer_than_the_data_is_said(family, dataset, positions):
    with pytest.raises(
        NotEnoughBars, match=r"a sequence of 500 rows is longer than the data: none of 420 training bars"
    ):
        tiny(family, sequence_length=500).fit(dataset, positions, seed=0, threads=1)


@pytest.mark.parametrize("family", FAMILIES[1:2])
def test_windows_of_missing_rows_are_left_out(family, dataset, positions):
    """Only bars behind a hole have no window; what stands in the hole is never read."""
    usable = dataset.usable.copy()
    usable[100:110] = False
    kept = positions[usable[positions]]
    rows = dataset.rows.copy()
    rows[100:110] = 1e6
    holed = dataclasses.replace(dataset, usable=usable)
    files = [
        tiny(family, epochs=1).fit(each, kept, seed=0, threads=1).to_files()
        for each in (holed, dataclasses.replace(holed, rows=rows))
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_that_says_something_else_is_never_registered(family, dataset, positions, monkeypatch):
    from ml.training.onnx_export import Graph

    original = Graph.constant

    def wrong(self, value, dtype=np.float32):
        return original(self, np.asarray(value) * (1.0 if np.dtype(dtype).kind == "i" else 1.00001), dtype)

    monkeypatch.setattr(Graph, "constant", wrong)
    with pytest.raises(TrainingFailed, match="the exported model is not the network that was trained"):
        tiny(family).fit(dataset, positions, seed=0, threads=1)


def test_a_proof_is_a_bound():
    given = np.array([0.5, -3.0])
    assert prove(given, given + 1e-7) == pytest.approx(1e-7, rel=1e-3)
    with pytest.raises(TrainingFailed, match=r"differs by 4e-06, at most 3e-06 is allowed"):
        prove(given, given + 4e-6)
    with pytest.raises(TrainingFailed, match="not finite"):
        prove(given, np.array([0.5, np.nan]))


def test_the_bound_follows_the_rounding_of_the_original():
    """Two float32 networks that lie on both sides of the exact one are both right."""
    exact = np.array([0.5, -1.1])
    original = exact + 8e-7
    assert prove(original, exact - 9e-7, exact=exact) == pytest.approx(9e-7, rel=1e-3)
    assert prove(original, exact - 6e-6, exact=exact) == pytest.approx(6e-6, rel=1e-3)
    with pytest.raises(TrainingFailed, match=r"differs by 7e-06, at most 6\.4e-06 is allowed"):
        prove(original, exact - 7e-6, exact=exact)
    with pytest.raises(TrainingFailed, match="not finite"):
        prove(original, exact, exact=exact * np.inf)


@pytest.mark.parametrize("family", FAMILIES)
def test_both_precisions_are_the_network(family, dataset, positions, monkeypatch):
    """What the export is compared with: double precision really is, and nothing of it stays behind."""
    told = {}
    scores = network_training.Trained.scores

    def spy(trained, rows, precision):
        import keras  # the fit has loaded it, and set it up before

        told[precision] = scores(trained, rows, precision)
        assert keras.config.floatx() == keras.config.dtype_policy().name == "float32"
        return told[precision]

    monkeypatch.setattr(network_training.Trained, "scores", spy)
    tiny(family).fit(dataset, positions, seed=0, threads=1)
    single, double = told["float32"], told["float64"]
    np.testing.assert_array_equal(single, single.astype(np.float32))
    assert (double != double.astype(np.float32)).all()
    np.testing.assert_allclose(single, double, rtol=0, atol=3e-6)


def test_training_stops_when_the_last_part_says_so(dataset, positions):
    """Labels of noise: nothing is to be found, so patience ends it long before the epochs do."""
    returns = dataset.returns.copy()
    returns[positions] = np.random.default_rng(0).permutation(returns[positions])
    noise = dataclasses.replace(dataset, returns=returns)
    told = []
    tiny(ConvolutionPredictor, epochs=400, patience=2, learning_rate=0.05).fit(
        noise,
        positions,
        seed=0,
        threads=1,
        progress=lambda share, text: told.append((share, text)),
    )
    assert 3 <= len(told) < 100
    assert told[0][0] == 1 / 400
    assert told[0][1].startswith("epoch 1, loss 0.")


def test_the_part_that_stops_is_last_and_purged():
    horizon = 5
    data = planted_dataset(400, horizon=horizon)
    positions = np.flatnonzero(data.labelled)
    learnt, checked = network_training._split(data, positions, 0.2)
    assert len(checked) == int(0.2 * len(positions))
    assert (data.k[positions[learnt]] + horizon < data.k[positions[checked[0]]]).all()
    assert len(learnt) == len(positions) - len(checked) - horizon
    assert len(network_training._split(data, positions, 0.0)[1]) == 0
    assert len(network_training._split(data, positions[:50], 0.2)[1]) == 0  # too few to tell anything


def test_every_window_is_seen_before_any_is_seen_twice():
    order = network_training._order(np.arange(10), 4, seed=1)
    epochs = [next(order).tolist() for _ in range(5)]
    assert sorted(epochs[0] + epochs[1] + epochs[2][:2]) == list(range(10))
    assert all(len(epoch) == 4 for epoch in epochs)
    assert [next(network_training._order(np.arange(10), 4, seed=1)).tolist()] == epochs[:1]


@pytest.mark.parametrize(
    "family",
    [
        ConvolutionPredictor,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (RecurrentPredictor, PricePredictor)),
    ],
)
def test_the_same_fit_in_another_process_gives_the_same_bytes(family, dataset, positions):
    """Seeded, deterministic operations: on one machine, with the same versions and threads, not one bit differs."""
    code = f"""
import sys, hashlib
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "support")!r}]
import numpy as np
from planted_data import planted_dataset
from {family.__module__} import {family.__name__} as family
dataset = planted_dataset(500, edge=0.3, features=4)
positions = np.flatnonzero(dataset.labelled)[:420]
fitted = family({dict(tiny(family).parameters)!r}).fit(dataset, positions, seed=5, threads=1)
print(hashlib.sha256(fitted.to_files()["model.onnx"]).hexdigest())
"""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as other:
        here = tiny(family).fit(dataset, positions, seed=5, threads=1).to_files()["model.onnx"]
        assert tiny(family).fit(dataset, positions, seed=6, threads=1).to_files()["model.onnx"] != here
        out, err = other.communicate()
    assert other.returncode == 0, err
    assert err == "", "TensorFlow's notices reach the terminal"
    assert out.strip() == hashlib.sha256(here).hexdigest()


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_an_interrupted_epoch_keeps_the_best_state(family, dataset, positions):
    predictor, told = tiny(family, epochs=50, patience=50), []

    def progress(share, text):
        told.append(text)
        if len(told) == 3:
            raise KeyboardInterrupt

    fitted = predictor.fit(dataset, positions, seed=0, threads=1, progress=progress)
    assert fitted.interrupted
    assert predictor.interrupted
    assert len(told) == 3
    losses = [float(text.rsplit(" ", 1)[1]) for text in told]
    whole = tiny(family, epochs=1 + int(np.argmin(losses)), patience=50).fit(dataset, positions, seed=0, threads=1)
    assert fitted.to_files() == whole.to_files()
    assert not whole.interrupted

    later = []
    again = predictor.fit(dataset, positions, seed=0, threads=1, progress=lambda share, text: later.append(text))
    assert again.interrupted
    assert len(later) == 1  # the other folds are cut short


def test_a_real_signal_leads_to_a_bundle_that_is_not_promoted():
    """Ctrl-C in the first fold: the bundle is made, says so, opens, and nothing is promoted."""
    settings = TrainingSettings(
        features=FEATURES,
        parameters={**TINY, "sequence_length": 8, "epochs": 100_000, "patience": 100_000},
        architecture="tcn",
        folds=2,
        plots=False,
    )
    told = []
    begun = threading.Event()

    def progress(share, text):
        told.append(text)
        if "epoch 2," in text:
            begun.set()

    def press():
        begun.wait(60)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    result = train(
        market().slice(0, 1_500),
        ModelKey("BTCUSDT", "basic", "1h"),
        settings,
        at=datetime(2026, 1, 2, tzinfo=UTC),
        code_version="test",
        progress=progress,
    )
    presser.join()
    assert not result.gate.promoted
    assert result.gate.reason.startswith("refused: interrupted: ")
    assert result.metadata["training"]["interrupted"] is True
    assert sum("fold 2 of 2, epoch" in text for text in told) == 1
    assert open_files(result.files).sequence == 8


def test_tensorflow_is_quiet_even_without_a_standard_error(monkeypatch):
    def no_descriptor(_number):
        raise OSError

    monkeypatch.setattr(tensorflow_setup.os, "dup", no_descriptor)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with tensorflow_setup._quiet():
        pass


def test_the_price_network_forecasts_returns_in_units_of_volatility():
    """Returns that follow the first feature: the score is the conditional mean over sigma, whatever the horizon."""
    generator = np.random.default_rng(0)
    data = planted_dataset(3_000, horizon=4, features=4)
    wanted = 2 * np.tanh(data.rows[:, 0])
    returns = data.sigma * (wanted + generator.normal(size=len(data)))
    data = dataclasses.replace(data, returns=returns)
    fitted = PricePredictor({"epochs": 40, "device": "cpu", "dropout": 0.0, "learning_rate": 0.01}).fit(
        data, np.arange(2_500), seed=0, threads=1
    )
    found = fitted.scores(data.rows[2_500:])
    slope, _ = np.polyfit(found, wanted[2_500:], 1)
    assert slope == pytest.approx(1, abs=0.15)
    assert np.corrcoef(found, wanted[2_500:])[0, 1] > 0.97


def test_answers_use_the_names_of_the_guides():
    values = {"price": 101.5, "expected_return": 0.01}
    for family in FAMILIES:
        assert family.answer(values, {}) == {"predicted_price": 101.5}
