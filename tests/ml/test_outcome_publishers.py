"""The publishers of risk and volatility: bits, what they refuse, and their fits against scipy's minimisers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar

from ml.errors import BrokenModel
from ml.predictions import PREDICTION_COLUMNS
from ml.publishing import read_publisher
from ml.risk_publisher import RiskPublisher, fit_risk
from ml.volatility_publisher import VolatilityPublisher, fit_volatility

RISK = RiskPublisher(base_rate=0.3, slope=4.0, score_scale=0.2, horizon=4, rows=900)
VOLATILITY = VolatilityPublisher(
    offset=0.1, slope=0.8, score_scale=1.5, confidence=0.4, horizon=4, rows=900, pool_rows=900
)


def inputs(count=500, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, count), rng.uniform(0.001, 0.02, count), rng.uniform(1, 9, count)


@pytest.mark.parametrize("publisher", [RISK, VOLATILITY])
def test_one_row_has_the_bits_of_a_batch_and_json_keeps_them(publisher):
    raw, sigma, close = inputs()
    batch = publisher.publish(raw, sigma, close)
    singles = [publisher.publish(raw[i : i + 1], sigma[i : i + 1], close[i : i + 1]) for i in range(len(raw))]
    assert np.concatenate(singles).tobytes() == batch.tobytes()
    again = read_publisher(json.loads(json.dumps(publisher.to_dict())))
    assert again == publisher
    assert again.publish(raw, sigma, close).tobytes() == batch.tobytes()
    filled = {name for j, name in enumerate(PREDICTION_COLUMNS) if np.isfinite(batch[:, j]).all()}
    assert filled == set(publisher.states)


def test_a_risk_is_a_hundred_times_its_formula():
    raw, sigma, close = inputs()
    odds = np.log(0.3 / 0.7) + 4.0 * 0.2 * np.tanh(raw / 0.2)
    p = 1 / (1 + np.exp(-odds))
    values = RISK.publish(raw, sigma, close)
    np.testing.assert_allclose(values[:, PREDICTION_COLUMNS.index("risk")], 100 * p, rtol=1e-13)
    np.testing.assert_allclose(values[:, PREDICTION_COLUMNS.index("confidence")], np.maximum(p, 1 - p), rtol=1e-13)


def test_a_volatility_is_its_formula():
    raw, sigma, close = inputs()
    expected = sigma * 2.0 * np.exp(0.1 + 0.8 * 1.5 * np.tanh(raw / 1.5))
    values = VOLATILITY.publish(raw, sigma, close)
    np.testing.assert_allclose(values[:, PREDICTION_COLUMNS.index("volatility")], expected, rtol=1e-13)
    assert (values[:, PREDICTION_COLUMNS.index("confidence")] == 0.4).all()


@pytest.mark.parametrize("publisher", [RISK, VOLATILITY])
def test_what_is_not_finite_is_not_spoken_of(publisher):
    raw, sigma, close = inputs(5)
    for values, bad in ((raw, np.nan), (sigma, np.inf), (sigma, -1.0), (close, 0.0)):
        kept = values[2]
        values[2] = bad
        said = publisher.publish(raw, sigma, close)
        assert np.isnan(said[2]).all()
        assert np.isfinite(said[[0, 1, 3, 4]][:, PREDICTION_COLUMNS.index("confidence")]).all()
        values[2] = kept


@pytest.mark.parametrize(
    ("publisher", "change", "message"),
    [
        (RISK, {"base_rate": 1.0}, "no probability between 0 and 1"),
        (RISK, {"slope": -0.1}, "may not be negative"),
        (RISK, {"slope": float("nan")}, "not finite"),
        (RISK, {"horizon": 0}, "at least 1 bar"),
        (RISK, {"horizon": 1.5}, "expected a whole number"),
        (RISK, {"slope": "1"}, "slope is '1', expected a number"),
        (RISK, {"slope": None}, "expected a number"),
        (RISK, {"schema_version": 9}, "schema version 9"),
        (RISK, {"kind": "rsk"}, "did you mean 'risk'"),
        (VOLATILITY, {"confidence": 1.1}, "no probability"),
        (VOLATILITY, {"score_scale": -1.0}, "may not be negative"),
        (VOLATILITY, {"offset": float("inf")}, "not finite"),
        (VOLATILITY, {"horizon": 0}, "at least 1 bar"),
    ],
)
def test_broken_numbers_are_refused_on_reading(publisher, change, message):
    with pytest.raises(BrokenModel, match=message):
        read_publisher(publisher.to_dict() | change)


def test_the_slope_of_a_risk_is_the_least_penalised_log_loss():
    rng = np.random.default_rng(4)
    base = np.where(np.arange(3_000) < 1_500, 0.3, 0.4)
    raw = rng.normal(0, 0.05, 3_000)
    happened = rng.random(3_000) < 1 / (1 + np.exp(-(np.log(base / (1 - base)) + 6.0 * raw)))
    found = fit_risk(raw, happened, base, 0.35, horizon=4)
    scale = 1.5 * np.sqrt(np.mean(raw**2))
    score = scale * np.tanh(raw / scale)
    size = np.sqrt(np.mean(score**2))

    def loss(slope):
        p = 1 / (1 + np.exp(-(np.log(base / (1 - base)) + slope * score / size)))
        return -np.sum(np.log(np.where(happened, p, 1 - p))) + 5.0 * slope**2

    expected = minimize_scalar(loss, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).x / size
    assert found.slope == pytest.approx(expected, rel=1e-4)
    assert found.score_scale == pytest.approx(scale)
    assert (found.base_rate, found.rows) == (0.35, 3_000)


def test_a_risk_that_points_the_wrong_way_or_has_shown_little_says_the_base_rate():
    rng = np.random.default_rng(5)
    raw = rng.normal(0, 0.05, 3_000)
    happened = rng.random(3_000) < 1 / (1 + np.exp(20 * raw))
    for rows in (3_000, 400):
        found = fit_risk(raw[:rows], happened[:rows], np.full(rows, 0.5), 0.25, horizon=4)
        assert found.slope == 0.0
        said = found.publish(raw, np.ones(3_000), np.ones(3_000))[:, PREDICTION_COLUMNS.index("risk")]
        np.testing.assert_allclose(said, 25.0, rtol=1e-12)


def test_the_map_of_a_volatility_is_the_least_penalised_qlike():
    rng = np.random.default_rng(6)
    sigma, raw = rng.uniform(0.005, 0.02, 4_000), rng.normal(0.1, 0.3, 4_000)
    realised = sigma * 2.0 * np.exp(-0.2 + 0.7 * raw + rng.normal(0, 0.5, 4_000))
    found = fit_volatility(raw, realised, sigma, horizon=4)
    ratio = (realised / (2.0 * sigma)) ** 2
    scale = 4.0 * np.sqrt(np.mean(raw**2))
    score = scale * np.tanh(raw / scale)

    def loss(at):
        z = at[0] + at[1] * score
        return np.sum(ratio * np.exp(-2 * z) + 2 * z) + 5.0 * at[1] ** 2 * np.mean(score**2)

    expected = minimize(loss, [0.0, 0.5], method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose([found.offset, found.slope], expected, rtol=1e-4)
    forecast = 2.0 * sigma * np.exp(expected[0] + expected[1] * score)
    share = np.mean(np.abs(realised / forecast - 1)[-1_000:] <= 0.25)
    assert found.confidence == pytest.approx(share, abs=0.002)
    # the forecast is right for the variance
    assert np.mean((realised / forecast) ** 2) == pytest.approx(1.0, abs=0.01)


def test_a_volatility_that_has_shown_nothing_is_the_exponential_average():
    raw, sigma, close = inputs(50)
    found = fit_volatility(raw, sigma * 3, sigma, horizon=9)
    assert (found.offset, found.slope) == (0.0, 0.0)
    said = found.publish(raw, sigma, close)[:, PREDICTION_COLUMNS.index("volatility")]
    np.testing.assert_allclose(said, 3.0 * sigma, rtol=1e-14)
    contrary = np.random.default_rng(1).normal(size=2_000)
    level = np.full(2_000, 0.01)
    found = fit_volatility(contrary, level * np.exp(-contrary), level, horizon=1)
    assert found.slope == 0.0
    assert found.offset == pytest.approx(0.5 * math.log(np.mean(np.exp(-2 * contrary))))
