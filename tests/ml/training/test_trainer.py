"""The trainer: files, bytes, refusals, and the self-test of what it made."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest

from ml.bundles import MODEL_FILES, open_runner
from ml.calibration import Calibration, apply_calibration
from ml.candles import Candles
from ml.drift.reference import read_reference
from ml.errors import InvalidParameter, NotEnoughBars, TrainingFailed, UnknownFeature, UnknownPredictor
from ml.record import OutOfSample
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import prepare, train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KEY = ModelKey("SYNTH", "basic", "1h")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUICK = {"num_boost_round": 20}
FEATURES = ("rsi_14", "taker_imbalance_20", "return_1", "ewma_volatility")


def settings_of(**changes):
    return TrainingSettings(**{"parameters": QUICK, "features": FEATURES, "exchange": "synth"} | changes)


def train_on(candles, **changes):
    return train(candles, KEY, settings_of(**changes), at=AT, code_version="1.0+test")


@pytest.fixture(scope="module")
def candles():
    return synthetic_candles(6_000, edge=0.15, seed=4)


@pytest.fixture(scope="module")
def result(candles):
    return train_on(candles)


def test_every_file_is_there_and_says_the_same(candles, result):
    assert set(result.files) == {
        "model.txt",
        "metadata.json",
        "feature_schema.json",
        "metrics.json",
        "calibration.json",
        "golden.json",
        "drift_reference.json",
        "oos_predictions.parquet",
        "README.md",
        "calibration.png",
        "signal_equity.png",
        "feature_importance.png",
    }
    meta = json.loads(result.files["metadata.json"])
    assert (meta["symbol"], meta["model_type"], meta["timeframe"], meta["horizon"]) == ("SYNTH", "basic", "1h", 1)
    assert meta["created_at"] == "2026-11-20T12:00:00Z"
    assert meta["features"] == list(FEATURES)
    assert meta["feature_count"] == len(FEATURES)
    assert meta["data"]["digest"] == candles.digest
    assert meta["data"]["bars"] == 6_000
    assert meta["data"]["exchange"] == "synth"
    assert meta["hyperparams"]["num_boost_round"] == 20
    assert meta["performance"]["backtest_accuracy"] == result.metrics["out_of_sample"]["direction_accuracy"]
    assert meta["recipe"]["seed"] == 0
    assert len(meta["recipe_digest"]) == 64
    # the last label is that of the last bar but one: it used the last candle's close
    assert meta["trained_until_ms"] == int(candles.open_ms[-1]) + candles.step_ms
    metrics = json.loads(result.files["metrics.json"])
    assert metrics["gate"]["promoted"] == result.gate.promoted
    assert metrics["out_of_sample"]["n"] == result.plan.scored
    assert metrics["baselines"]["last_sign"] in {"persist", "revert"}
    assert Calibration.from_dict(json.loads(result.files["calibration.json"])) == result.calibration
    assert len(OutOfSample.from_parquet(result.files["oos_predictions.parquet"])) == len(result.record)


def test_undefined_figures_are_null_never_nan(result):
    for name, content in result.files.items():
        if name.endswith(".json"):
            found: list[str] = []
            json.loads(content, parse_constant=found.append)
            assert not found, name


def test_same_candles_settings_and_moment_same_bytes(candles, result):
    assert train_on(candles).files == result.files


def test_another_process_makes_the_same_bytes(candles, result):
    program = (
        "import hashlib, sys\n"
        "from datetime import UTC, datetime\n"
        "from ml.synthetic import synthetic_candles\n"
        "from ml.training.settings import TrainingSettings\n"
        "from ml.training.trainer import train\n"
        "from registry.names import ModelKey\n"
        f"settings = TrainingSettings(parameters={QUICK!r}, features={FEATURES!r}, exchange='synth')\n"
        "result = train(synthetic_candles(6_000, edge=0.15, seed=4), ModelKey('SYNTH', 'basic', '1h'), settings,\n"
        "               at=datetime(2026, 11, 20, 12, tzinfo=UTC), code_version='1.0+test')\n"
        "state = hashlib.sha256()\n"
        "for name in sorted(result.files):\n"
        "    state.update(name.encode() + result.files[name])\n"
        "print(state.hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    import hashlib

    state = hashlib.sha256()
    for name in sorted(result.files):
        state.update(name.encode() + result.files[name])
    assert done.stdout.strip() == state.hexdigest()


def test_the_bundle_opens_and_publishes_the_calibrated_scores(tmp_path, candles, result):
    registry = PredictionModelRegistry(tmp_path, open_runner=open_runner)
    bundle = registry.register(KEY, result.files, at=AT)
    batch = bundle.runner.predict_candles(candles)
    prepared = prepare(candles, KEY, settings_of())
    usable = prepared.dataset.usable
    raw = MODEL_FILES["model.txt"](result.files["model.txt"]).scores(prepared.dataset.rows[usable])
    expected = apply_calibration(raw, prepared.dataset.sigma[usable], candles.close[usable], result.calibration)
    assert batch.values[usable].tobytes() == expected.tobytes()
    assert list(registry.validate()) == []


def test_a_strong_plant_is_promoted_and_nothing_is_not(candles, result):
    assert result.gate.promoted
    assert result.metrics["out_of_sample"]["n"] > 1_000
    assert result.metrics["importance"]["taker_imbalance_20"] > 0.4
    nothing = train_on(synthetic_candles(6_000, edge=0.0, seed=4), plots=False)
    assert not nothing.gate.promoted
    assert nothing.gate.reason.startswith("refused: ")


def test_horizon_thins_the_record_and_ends_the_training_range(candles):
    result = train_on(candles, horizon=6, plots=False)
    record = result.record
    assert (np.diff(record.k[record.counted]) >= 6).all()
    assert result.metadata["trained_until_ms"] == int(candles.open_ms[-1]) + candles.step_ms
    assert result.calibration.horizon == 6
    assert "6 bars of 1h ahead" in result.files["README.md"].decode()


def test_skipped_plots_and_added_volatility(candles):
    result = train_on(candles, plots=False, features=("rsi_14",))
    assert not [name for name in result.files if name.endswith(".png")]
    assert result.metadata["features"] == ["rsi_14", "ewma_volatility"]


def test_the_card_says_what_a_person_asks(result):
    card = result.files["README.md"].decode()
    for words in ("Promoted: right on", "last-sign rule", "gross return per bet", "before any cost", "out of sample"):
        assert words in card
    assert "nan" not in card.lower().replace("finance", "")


def test_plots_are_pictures(result):
    for name in ("calibration.png", "signal_equity.png", "feature_importance.png"):
        assert result.files[name].startswith(b"\x89PNG")
        assert len(result.files[name]) > 5_000


def test_progress_only_rises_to_one(candles):
    told = []
    train(
        candles,
        KEY,
        settings_of(plots=False),
        at=AT,
        code_version="x",
        progress=lambda fraction, _text: told.append(fraction),
    )
    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] == 1.0


def test_prices_that_stand_still_have_no_label():
    count = 3_000
    flat = np.full(count, 10.0)
    candles = Candles("1h", np.arange(count, dtype=np.int64) * 3_600_000, flat, flat, flat, flat)
    with pytest.raises(TrainingFailed, match="are ties"):
        train_on(candles, features=("rsi_14", "ewma_volatility"))


def test_prices_that_only_rise_are_refused():
    count = 3_000
    close = 100 * np.exp(np.arange(count) * 1e-4)
    candles = Candles("1h", np.arange(count, dtype=np.int64) * 3_600_000, close, close, close, close)
    with pytest.raises(TrainingFailed, match="training labels is a rise"):
        train_on(candles, features=("rsi_14", "ewma_volatility"))


def test_wrong_requests_are_refused_before_anything_is_fitted(candles):
    with pytest.raises(UnknownPredictor, match="did you mean 'basic'"):
        train(candles, ModelKey("SYNTH", "basik", "1h"), settings_of(), at=AT, code_version="x")
    with pytest.raises(UnknownFeature, match="did you mean"):
        train_on(candles, features=("rsi_15x",))
    with pytest.raises(InvalidParameter, match="num_leafs"):
        train_on(candles, parameters={"num_leafs": 3})
    with pytest.raises(NotEnoughBars, match=r"got 499 rows"):
        train_on(candles.slice(0, 499))
    with pytest.raises(ValueError, match="the candles are of 1h"):
        train(candles, ModelKey("SYNTH", "basic", "5m"), settings_of(), at=AT, code_version="x")


@pytest.mark.parametrize("change", [{"horizon": 0}, {"folds": 1}, {"threads": 0}, {"embargo": -1}, {"seed": -1}])
def test_settings_are_checked(change):
    with pytest.raises(InvalidParameter):
        TrainingSettings(**change)


def test_weekday_bars_without_volume_train():
    generator = np.random.default_rng(6)
    days = np.arange(4 * 365 * 2, dtype=np.int64)
    days = days[(days + 3) % 7 < 5]  # 1970-01-01 was a Thursday
    close = 100 * np.exp(generator.normal(0, 0.01, len(days)).cumsum())
    opens = np.concatenate([[100.0], close[:-1]])
    candles = Candles(
        "1d", days * 86_400_000, opens, np.maximum(opens, close) * 1.002, np.minimum(opens, close) * 0.998, close
    )
    result = train(
        candles,
        ModelKey("EURUSD", "basic", "1d"),
        TrainingSettings(plots=False, parameters=QUICK),
        at=AT,
        code_version="x",
    )
    friday = (result.record.open_ms // 86_400_000 + 3) % 7 == 4
    assert np.isfinite(result.record.forward_return[friday]).mean() > 0.9  # Monday is the next bar


def test_the_drift_reference_is_of_the_rows_that_were_learnt_and_of_what_the_bundle_states(result):
    reference = read_reference(result.files["drift_reference.json"])
    assert {*reference.features, *reference.not_judged} == set(FEATURES)
    assert reference.rows == result.plan.labelled
    record = result.record
    stated = result.calibration.probabilities(record.raw_score)
    assert reference.signal["value"].mean == pytest.approx(stated[np.isfinite(stated)].mean(), rel=1e-5)
    assert reference.signal["value"].rows == np.isfinite(stated).sum()
