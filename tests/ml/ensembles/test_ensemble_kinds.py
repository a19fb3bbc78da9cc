"""Ensembles of risks and of volatilities: what is said, how it is pooled, and that nothing later reaches back."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
from member_rows import altered, cut, member_rows
from small_ensembles import member_files, registry_of
from small_models import AT, KEY, market

from ml.engines import open_engine
from ml.ensembles.judging import compare, judge
from ml.ensembles.kinds import KINDS, kind_of, read_frozen_numbers
from ml.ensembles.predictor import EnsemblePredictor
from ml.errors import BrokenModel, InvalidParameter
from ml.predictions import Status
from ml.record import RECORD_FILE
from ml.tasks.risk_figures import RISK_BASELINES, evaluate_risk
from ml.tasks.volatility_figures import VOLATILITY_BASELINES, evaluate_volatility, qlike
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

BASE = 0.3


def risk_rows(count=8_000, seed=0, signals=((0.5, 0.0), (0.0, 0.5))):
    """Return members that see different parts of a risk of three in ten."""
    rows = member_rows(count, signals=signals, seed=seed)
    generator = np.random.default_rng(seed + 100)
    sources = np.log(rows.stated / (1 - rows.stated))
    offset = math.log(BASE / (1 - BASE))
    truth = 1 / (1 + np.exp(-(offset + sources.sum(axis=1))))
    return replace(
        rows,
        kind="risk",
        stated=1 / (1 + np.exp(-(offset + sources))),
        outcome=(generator.random(count) < truth).astype(np.float64),
        baselines={column: np.full(count, BASE) for column in RISK_BASELINES.values()},
        expected=np.zeros_like(rows.stated),
        low=np.zeros_like(rows.stated),
        high=np.zeros_like(rows.stated),
    )


def volatility_rows(count=8_000, seed=0, noise=(0.3, 0.3), bias=1.2):
    """Return members whose forecasts of a volatility err by a factor, each by its own."""
    rows = member_rows(count, seed=seed)
    generator = np.random.default_rng(seed + 200)
    truth = 0.02 * np.exp(0.5 * generator.normal(size=count))
    stated = bias * truth[:, None] * np.exp(np.array(noise) * generator.normal(size=(count, len(noise))))
    realised = truth * np.sqrt(generator.chisquare(8, count) / 8)
    return replace(
        rows,
        kind="volatility",
        stated=stated,
        outcome=realised,
        baselines={column: np.full(count, 0.025) for column in VOLATILITY_BASELINES},
        expected=np.zeros_like(stated),
        low=np.zeros_like(stated),
        high=np.zeros_like(stated),
        names=tuple(f"BTCUSDT/member{i}@v" for i in range(len(noise))),
    )


CASES = [(risk_rows, method) for method in ("weighted_avg", "voting", "stacking")] + [(volatility_rows, "weighted_avg")]


@pytest.mark.parametrize(("build", "method"), CASES)
def test_later_rows_change_no_bit_of_earlier_ones(build, method):
    rows = build(4_000)
    whole = judge(rows, method, horizon=1)
    for first in (1_250, 3_100):
        for other in (judge(altered(rows, first), method, horizon=1), judge(cut(rows, first), method, horizon=1)):
            for field in fields(whole.record):
                mine, theirs = getattr(whole.record, field.name), getattr(other.record, field.name)
                assert mine[:first].tobytes() == theirs[:first].tobytes(), field.name


@pytest.mark.parametrize("method", ["weighted_avg", "stacking"])
def test_risks_that_know_different_things_are_better_together_and_stay_calibrated(method):
    rows = risk_rows(14_000, seed=1)
    judged = judge(rows, method, horizon=1)
    found = compare(rows, judged, judge(rows, "weighted_avg", horizon=1, given=(1, 1)))
    assert found["versus_best"]["better"]
    assert "accuracy" not in found["ensemble"]
    figures = evaluate_risk(judged.record)
    assert figures["calibration_error"] < 0.02
    assert figures["mean_risk"] == pytest.approx(figures["came_true"], abs=0.02)
    assert figures["gain"]["base_rate"]["lower_95"] > 0


def test_a_vote_on_a_risk_counts_who_is_above_the_base_rate():
    rows = risk_rows(6_000, seed=2)
    record = judge(rows, "voting", horizon=1).record
    above = (rows.stated > BASE).sum(axis=1)
    np.testing.assert_allclose(record.raw_score, above - 1.0)
    known = np.isfinite(record.p_adverse)
    tie = known & (above == 1)
    np.testing.assert_allclose(record.p_adverse[tie], BASE)
    assert (record.p_adverse[known & (above == 2)] > BASE).all()
    figures = evaluate_risk(judge(rows, "voting", horizon=1).record)
    assert figures["calibration_error"] < 0.04


def test_the_mean_of_volatilities_is_geometric_and_righted_by_one_factor():
    rows = volatility_rows(8_000, seed=3)
    judged = judge(rows, "weighted_avg", horizon=4, given=(0.25, 0.75))
    mean = np.exp(np.log(rows.stated) @ np.array([0.25, 0.75]))
    np.testing.assert_allclose(judged.record.raw_score, mean / 2.0)  # the volatility of one of four bars
    factor = judged.record.forecast[-1] / mean[-1]
    assert factor == pytest.approx(1 / 1.2, abs=0.06)  # the members' bias is gone
    found = compare(rows, judged, judge(rows, "weighted_avg", horizon=4, given=(1, 1)))
    assert found["versus_best"]["better"]
    assert found["pairs"][0]["disagreement"] is None
    figures = evaluate_volatility(judged.record)
    assert figures["within"] == pytest.approx(figures["mean_confidence"], abs=0.04)


def test_the_better_volatility_has_the_larger_weight():
    rows = volatility_rows(3_000, seed=4, noise=(0.1, 0.6), bias=1.0)
    pool = judge(rows, "weighted_avg", horizon=1).pool
    logs = -0.5 * np.array([qlike(rows.outcome, rows.stated[:, j]).sum() for j in range(2)])
    posterior = np.exp(logs - logs.max())
    share = 3_000 / 8_000
    np.testing.assert_allclose(pool.weights, (1 - share) / 2 + share * posterior / posterior.sum())


def settings(kind, number):
    parameters = {
        "risk": {"n_estimators": 10},
        "volatility": {"num_boost_round": 15},
        "direction": {"num_boost_round": 15},
    }
    return TrainingSettings(
        horizon=4,
        features=("ewma_volatility", "rsi_14", "volatility_20", "atr_14") if number else None,
        parameters=parameters[kind],
        folds=3,
        plots=False,
        robustness=False,
        seed=number,
    )


@functools.cache
def trained(kind, number):
    key = ModelKey(KEY.symbol, "basic" if kind == "direction" else kind, KEY.timeframe)
    return key, train(market(), key, settings(kind, number), at=AT, code_version="test").files


def register(registry, kind, number):
    key, files = trained(kind, number)
    return registry.register(key, files, at=AT)


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_a_trained_ensemble_serves_what_its_members_say(tmp_path, kind):
    registry = registry_of(tmp_path)
    predictor = EnsemblePredictor([register(registry, kind, number) for number in (0, 1)])
    made = registry.register(predictor.key, predictor.build(at=AT, code_version="test").files, at=AT)
    model = registry.select_bundle(symbol="BTCUSDT", model_type="ensemble", timeframe="1h", version=made.version_id)
    assert registry.validate() == []
    assert model.metadata["task"] == kind
    record = KINDS[kind].record.from_parquet(model.read(RECORD_FILE))
    assert len(record) > 900
    assert "Against its best member" in model.read("README.md").decode()
    engine, candles = open_engine(model), market()
    batch = engine.predict_batch(candles)
    assert batch.status[-1] == Status.OK
    for end in range(len(candles) - 12, len(candles) + 1):
        row, status = engine.predict_newest(candles.slice(max(0, end - engine.window_bars), end))
        assert status == batch.status[end - 1]
        np.testing.assert_array_equal(np.array(row), batch.values[end - 1])
    said = np.array([member.predict_batch(candles).column(kind)[-1] for member in engine.members])
    pool, frozen = json.loads(model.read("ensemble.json"))["pool"], model.calibration
    if kind == "risk":
        odds, base = np.log(said / (100 - said)), math.log(frozen["base_rate"] / (1 - frozen["base_rate"]))
        score = float((odds - base) @ pool["weights"])
        score = frozen["score_scale"] * math.tanh(score / frozen["score_scale"]) if frozen["score_scale"] else score
        expected = 100 / (1 + math.exp(-(base + frozen["slope"] * score)))
    else:
        expected = math.exp(float(np.log(said) @ pool["weights"]) + frozen["offset"])
    assert batch.column(kind)[-1] == pytest.approx(expected, rel=1e-9)
    assert np.isfinite(batch.column("confidence")[-1])
    assert np.isnan(batch.column("p_up")).all()


def test_kinds_do_not_mix(tmp_path):
    registry = registry_of(tmp_path)
    risk, volatility, direction = (register(registry, kind, 1) for kind in ("risk", "volatility", "direction"))
    with pytest.raises(InvalidParameter, match=r"has the kind risk, BTCUSDT/volatility@.* volatility"):
        EnsemblePredictor([risk, volatility])
    with pytest.raises(InvalidParameter, match="has the kind direction"):
        EnsemblePredictor([direction, risk])
    again = registry.register(volatility.key, trained("volatility", 0)[1], at=AT)
    for method in ("voting", "stacking"):
        with pytest.raises(InvalidParameter, match=f"the method {method} has no meaning for a volatility"):
            EnsemblePredictor([volatility, again], method=method)
    files = dict(trained("risk", 0)[1])
    other = json.loads(files["metadata.json"])
    other["hyperparams"]["adverse_atr"] = 2.0
    further = registry.register(risk.key, {**files, "metadata.json": json.dumps(other).encode()}, at=AT)
    with pytest.raises(InvalidParameter, match=r"has the adverse_atr 1\.0, .* 2\.0"):
        EnsemblePredictor([risk, further])


def test_paths_have_no_ensemble():
    with pytest.raises(InvalidParameter, match="of the kind path"):
        kind_of("path", "BTCUSDT/autoregressive@v")
    with pytest.raises(BrokenModel, match="none of an ensemble"):
        read_frozen_numbers({"kind": "price"})
    assert {task for kind in KINDS.values() for task in kind.tasks} == {"direction", "price", "risk", "volatility"}


def test_a_direction_and_a_price_go_together(tmp_path):
    registry = registry_of(tmp_path)
    first = registry.register(KEY, member_files(0), at=AT)
    files = dict(member_files(1))
    document = json.loads(files["metadata.json"]) | {"task": "price"}
    second = registry.register(KEY, {**files, "metadata.json": json.dumps(document).encode()}, at=AT)
    assert EnsemblePredictor([first, second]).kind is KINDS["direction"]
