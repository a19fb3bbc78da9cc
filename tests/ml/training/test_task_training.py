"""Risk and volatility from candles to a bundle: what is stored is what other code computes from the record."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import numpy as np
import pytest

from bot.model_rows import gate_verdict, headline, model_row
from ml.bundles import open_runner
from ml.engine import PredictionEngine
from ml.predictions import Status
from ml.record import RiskRecord, VolatilityRecord
from ml.synthetic import synthetic_candles
from ml.training.card import headline as card_headline
from ml.training.settings import TrainingSettings, default_horizon
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FEATURES = ("ewma_volatility", "volatility_20", "rsi_14", "taker_imbalance_20")
QUICK = {
    "risk": {"n_estimators": 20, "sample_rows": 1_000},
    "volatility": {"num_boost_round": 20, "min_data_in_leaf": 50},
    "direction": {"n_estimators": 30, "min_child_weight": 10},
}
RECORDS = {"risk": RiskRecord, "volatility": VolatilityRecord}


@pytest.fixture(scope="module")
def candles():
    return synthetic_candles(8_000, edge=0.2, seed=9)


@pytest.fixture(scope="module")
def results(candles):
    return {
        kind: train(
            candles,
            ModelKey("SYNTH", kind, "1h"),
            TrainingSettings(
                horizon=default_horizon("1h", kind), features=FEATURES, parameters=given, robustness=False, folds=4
            ),
            at=AT,
            code_version="1.0+test",
        )
        for kind, given in QUICK.items()
    }


@pytest.fixture(scope="module")
def registry(results, tmp_path_factory):
    registry = PredictionModelRegistry(tmp_path_factory.mktemp("models"), open_runner=open_runner)
    for kind, result in results.items():
        registry.register(ModelKey("SYNTH", kind, "1h"), result.files, at=AT)
    return registry


def newest(registry, kind):
    return next(model for model in registry.list_bundles() if model.model_type == kind)


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_stored_metrics_follow_from_the_stored_record(results, kind):
    files = results[kind].files
    record = RECORDS[kind].from_parquet(files["oos_predictions.parquet"])
    figures = json.loads(files["metrics.json"])["out_of_sample"]
    stated = record.p_adverse if kind == "risk" else record.forecast
    rows = np.flatnonzero(record.scored & np.isfinite(stated))
    assert figures["n"] == len(rows) == results[kind].plan.scored > 900
    assert (np.diff(record.k[rows]) >= 4).all()
    if kind == "risk":
        p, y = stated[rows], record.outcome[rows]
        loss = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
        base = record.train_base_rate[rows]
        assert figures["log_loss"] == pytest.approx(loss)
        assert figures["gain"]["base_rate"]["mean"] == pytest.approx(
            -np.mean(y * np.log(base) + (1 - y) * np.log(1 - base)) - loss
        )
    else:
        ratio = (record.realised[rows] / stated[rows]) ** 2
        assert figures["qlike"] == pytest.approx(np.mean(ratio - np.log(ratio) - 1))
        np.testing.assert_allclose(record.ewma, 2.0 * record.sigma)


@pytest.mark.parametrize("kind", sorted(QUICK))
def test_the_bundle_opens_predicts_and_says_what_its_kind_states(registry, candles, kind):
    model = newest(registry, kind)
    batch = model.runner.predict_candles(candles)
    fine = batch.status == Status.OK
    assert fine.sum() > 5_000
    confidence = batch.column("confidence")[fine]
    assert np.isfinite(confidence).all()
    if kind == "risk":
        risk = batch.column("risk")[fine]
        np.testing.assert_allclose(confidence, np.maximum(risk, 100 - risk) / 100, rtol=1e-12)
        assert 0 < risk.min() < risk.max() < 100
        assert np.isnan(batch.column("p_up")).all()
    if kind == "volatility":
        assert (batch.column("volatility")[fine] > 0).all()
        assert np.isnan(batch.column("direction")).all()
    assert list(registry.validate()) == []


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_nothing_is_known_of_holdings(registry, kind):
    edges = PredictionEngine(newest(registry, kind)).holding_edges(0.55, 0.45)
    assert edges.holdings == 0
    assert np.isnan(edges.at(0.7))
    assert PredictionEngine(newest(registry, "direction")).holding_edges(0.55, 0.45).holdings > 0


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_lists_of_models_show_what_there_is(registry, kind):
    model = newest(registry, kind)
    figures = headline(model)
    assert figures["direction_accuracy"] is None
    assert figures["n"] > 900
    assert model_row(model, AT)["model_type"] == kind
    promoted, reason = gate_verdict(model)
    assert reason.startswith("promoted: " if promoted else "refused: ")


def test_a_planted_drift_is_a_risk_that_can_be_told(results):
    gate = results["risk"].gate
    assert gate.promoted, gate.reason
    assert results["risk"].metrics["importance"]["taker_imbalance_20"] > 0.2
    assert results["direction"].gate.promoted


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("risk", ("the price falls more than 1 average true ranges", "0 to 100", "must not", "the volatility rule")),
        (
            "volatility",
            ("how large will the volatility of the next 4 bars of 1h be", "EWMA", "HAR", "QLIKE", "must not"),
        ),
        ("direction", ("XGBoost", "will the close 1 bar of 1h ahead be higher", "last-sign rule")),
    ],
)
def test_the_card_says_what_a_person_asks(results, kind, words):
    card = results[kind].files["README.md"].decode()
    for word in words:
        assert word in card
    assert "nan" not in card.lower()
    rows = card_headline(json.loads(results[kind].files["metrics.json"])["out_of_sample"])
    assert all(len(row) == 3 and all(row) for row in rows)


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_a_plan_of_no_direction_promises_no_hit_rates(results, kind):
    plan = results[kind].plan
    assert not [line for line in plan.lines() if "hit rate" in line]
    assert "needed" not in plan.to_dict()


def test_documents_of_a_risk_hold_no_hit_rate(results):
    meta = json.loads(results["risk"].files["metadata.json"])
    assert (meta["task"], meta["architecture"], meta["horizon"]) == ("risk", "forest", 4)
    assert meta["performance"]["backtest_accuracy"] is None
    assert 0.4 < meta["performance"]["auc"] < 1
    assert meta["hyperparams"]["adverse_atr"] == 1.0
    assert "atr_14_pct" in meta["features"]
    assert meta["libraries"]["scikit-learn"]
    assert math.isfinite(json.loads(results["risk"].files["calibration.json"])["slope"])


def test_pictures_are_drawn(results):
    assert results["risk"].files["calibration.png"].startswith(b"\x89PNG")
    assert results["volatility"].files["volatility.png"].startswith(b"\x89PNG")
    assert "model.xgboost.json" in results["direction"].files
