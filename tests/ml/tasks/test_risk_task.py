"""The task risk: labels, baselines and figures against other code."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planted_data import planted_dataset
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from ml.dataset import build_dataset
from ml.errors import TrainingFailed
from ml.features.schema import FeatureSchema
from ml.record import RiskRecord
from ml.synthetic import synthetic_candles
from ml.tasks.catalogue import TASKS
from ml.tasks.risk import RANGE_FEATURE
from ml.tasks.risk_baselines import fit_risk_baselines, volatility_logarithms
from ml.tasks.risk_figures import area_under_curve, evaluate_risk

TASK = TASKS["risk"]


@pytest.fixture(scope="module")
def candles():
    return synthetic_candles(2_600, seed=6)


@pytest.fixture(scope="module")
def dataset(candles):
    return build_dataset(candles, FeatureSchema.for_candles(candles, ("ewma_volatility", RANGE_FEATURE)), 3)


@pytest.mark.parametrize("multiple", [0.5, 1.0, 2.5])
def test_a_label_is_a_low_more_than_m_ranges_below_the_close(candles, dataset, multiple):
    target = TASK.target(candles, dataset, {"adverse_atr": multiple})
    unit = dataset.rows[:, 1].astype(float) * candles.close
    for i in range(len(candles)):
        if i + 3 >= len(candles) or not unit[i] > 0:
            assert math.isnan(target[i])
        else:
            breach = candles.close[i] - candles.low[i + 1 : i + 4].min() > multiple * unit[i]
            assert target[i] == float(breach)
    assert 0.01 < np.nanmean(target) < 0.9


def test_the_range_is_the_average_true_range_of_wilder(candles, dataset):
    talib = pytest.importorskip("talib")
    expected = talib.ATR(candles.high, candles.low, candles.close, 14) / candles.close
    usable = np.flatnonzero(dataset.usable)[-500:]
    np.testing.assert_allclose(dataset.feature(RANGE_FEATURE)[usable], expected[usable], rtol=1e-3)


def test_candles_without_a_whole_horizon_are_no_lesson(candles, dataset):
    with pytest.raises(TrainingFailed, match="no bar has 9000 candles without a gap"):
        TASK.target(candles, replace(dataset, horizon=9_000), {"adverse_atr": 1.0})


def test_the_last_outcome_is_that_of_the_bar_a_horizon_before():
    rng = np.random.default_rng(2)
    dataset = planted_dataset(400, horizon=4, missing=(100, 101, 250))
    names = ("ewma_volatility", RANGE_FEATURE, *dataset.names[2:])
    rows = np.abs(dataset.rows) + np.float32(0.01)
    dataset = replace(dataset, names=names, rows=rows, outcome=rng.integers(0, 2, len(dataset)).astype(float))
    baselines = TASK.fit_baselines(dataset, np.arange(300))
    said = TASK.outcomes(dataset, np.arange(len(dataset)), baselines)["last_outcome_p"]
    at = {int(k): i for i, k in enumerate(dataset.k)}
    after: dict[float, list[float]] = {0.0: [], 1.0: []}
    for i in range(300):
        before = at.get(int(dataset.k[i]) - 4)
        if before is not None:
            after[dataset.outcome[before]].append(dataset.outcome[i])
    rates = {outcome: np.mean(values) for outcome, values in after.items()}
    for i, k in enumerate(dataset.k):
        before = at.get(int(k) - 4)
        expected = baselines.base_rate if before is None else rates[dataset.outcome[before]]
        assert said[i] == pytest.approx(expected), i


def test_the_volatility_rule_is_a_logistic_regression():
    rng = np.random.default_rng(3)
    logarithms = volatility_logarithms(*(np.exp(rng.normal(-5, 0.4, 4_000)) ** power for power in (1, 2, 1)))
    odds = 1.0 * (logarithms[:, 0] - logarithms[:, 2]) + 0.5 * (logarithms[:, 1] - logarithms[:, 2]) - 0.3
    outcome = (rng.random(4_000) < 1 / (1 + np.exp(-odds))).astype(float)
    logarithms[7, 1] = np.nan
    baselines = fit_risk_baselines(outcome, np.full(4_000, np.nan), logarithms)
    whole = np.isfinite(logarithms).all(axis=1)
    centred = logarithms[whole] - logarithms[whole].mean(axis=0)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1_000).fit(centred, outcome[whole])
    said = baselines.volatility_probability(logarithms)
    np.testing.assert_allclose(said[whole], model.predict_proba(centred)[:, 1], atol=1e-5)
    assert said[7] == baselines.base_rate == pytest.approx(outcome.mean())


def test_labels_of_one_kind_leave_the_base_rate():
    logarithms = np.random.default_rng(0).normal(size=(100, 3))
    baselines = fit_risk_baselines(np.ones(100), np.ones(100), logarithms)
    assert baselines.base_rate == 0.999
    assert (baselines.volatility_probability(logarithms) == 0.999).all()
    assert (
        fit_risk_baselines(np.empty(0), np.empty(0), np.empty((0, 3))).last_outcome_probability(np.ones(2)) == 0.5
    ).all()


def record_of(count=3_000, seed=1):
    rng = np.random.default_rng(seed)
    p = rng.uniform(0.1, 0.7, count)
    k = np.arange(count, dtype=np.int64)
    outcome = (rng.random(count) < p).astype(float)
    p[:500] = np.nan  # the first fold
    outcome[-4:] = np.nan
    scored = (k % 4 == 0) & np.isfinite(outcome)
    return RiskRecord(
        open_ms=k * 3_600_000,
        k=k,
        fold=(k // 500).astype(np.int16),
        raw_score=rng.normal(size=count),
        p_adverse=p,
        outcome=outcome,
        train_base_rate=np.full(count, 0.41),
        last_outcome_p=rng.choice([0.35, 0.45], count),
        volatility_p=np.clip(np.nan_to_num(p, nan=0.4) + rng.normal(0, 0.1, count), 0.05, 0.95),
        close=np.ones(count),
        sigma=np.ones(count),
        scored=scored,
    )


def test_figures_are_those_of_scikit_learn():
    record = record_of()
    figures = evaluate_risk(record)
    rows = np.flatnonzero(record.scored & np.isfinite(record.p_adverse))
    y, p = record.outcome[rows], record.p_adverse[rows]
    assert figures["n"] == len(rows)
    assert figures["log_loss"] == pytest.approx(log_loss(y, p))
    assert figures["brier"] == pytest.approx(brier_score_loss(y, p))
    assert figures["auc"] == pytest.approx(roc_auc_score(y, p))
    assert figures["came_true"] == pytest.approx(y.mean())
    for name, column in (
        ("base_rate", "train_base_rate"),
        ("last_outcome", "last_outcome_p"),
        ("volatility", "volatility_p"),
    ):
        base = log_loss(y, getattr(record, column)[rows], labels=[0, 1])
        assert figures["gain"][name]["mean"] == pytest.approx(base - log_loss(y, p))
        assert figures["gain"][name]["skill"] == pytest.approx(1 - log_loss(y, p) / base)
        assert figures["gain"][name]["lower_95"] < figures["gain"][name]["mean"]
    assert figures["log_loss_skill"] == figures["gain"]["base_rate"]["skill"] > 0.02
    assert figures["calibration_error"] < 0.05


def test_an_empty_record_has_undefined_figures():
    record = record_of(400)
    figures = evaluate_risk(record)
    assert figures["n"] == 0
    assert figures["first_ms"] is None
    assert all(math.isnan(figures[name]) for name in ("log_loss", "auc", "came_true", "brier"))
    assert math.isnan(area_under_curve(np.array([0.1, 0.2]), np.array([True, True])))


def test_a_record_reads_back_from_its_file():
    record = record_of()
    again = RiskRecord.from_parquet(record.to_parquet())
    for name in ("p_adverse", "outcome", "scored", "fold", "k"):
        assert getattr(again, name).tobytes() == getattr(record, name).tobytes()
    assert again.to_parquet() == record.to_parquet()


def test_default_horizons_are_a_few_bars():
    assert [TASK.default_horizon(frame) for frame in ("1m", "5m", "1h", "1d")] == [12, 4, 4, 4]
