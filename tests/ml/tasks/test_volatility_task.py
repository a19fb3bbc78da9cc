"""The task volatility: labels, baselines and figures against other code."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ml.dataset import build_dataset
from ml.errors import TrainingFailed
from ml.features.schema import FeatureSchema
from ml.record import VolatilityRecord
from ml.synthetic import synthetic_candles
from ml.tasks.catalogue import TASKS
from ml.tasks.volatility_baselines import fit_volatility_baselines, past_variances
from ml.tasks.volatility_figures import evaluate_volatility, qlike

TASK = TASKS["volatility"]
HORIZON = 4


@pytest.fixture(scope="module")
def candles():
    whole = synthetic_candles(2_600, seed=8)
    kept = np.ones(2_600, dtype=bool)
    kept[[1_500, 1_501, 2_000]] = False
    return replace(whole, open_ms=whole.open_ms[kept], **{name: column[kept] for name, column in whole.columns.items()})


@pytest.fixture(scope="module")
def dataset(candles):
    found = build_dataset(candles, FeatureSchema.for_candles(candles, ("ewma_volatility", "return_1")), HORIZON)
    return replace(found, outcome=TASK.target(candles, found, {}))


def squares_by_index(candles):
    at = {int(k): float(np.log(c)) for k, c in zip(candles.index, candles.close, strict=True)}
    return {k: (c - at[k - 1]) ** 2 for k, c in at.items() if k - 1 in at}


def test_a_label_is_the_root_of_the_squares_to_come(candles, dataset):
    squares = squares_by_index(candles)
    for i in range(1_400, 2_100):
        ahead = [squares.get(int(candles.index[i]) + j) for j in range(1, HORIZON + 1)]
        expected = math.nan if None in ahead else math.sqrt(sum(ahead))
        assert dataset.target[i] == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_past_variances_are_means_of_the_squares_behind(candles, dataset):
    squares = squares_by_index(candles)
    found = past_variances(dataset)
    for i in range(1_200, 2_200):
        for j, multiple in enumerate((1, 5, 22)):
            rows = range(i - multiple * HORIZON + 1, i + 1)
            seen = [squares[int(candles.index[r])] for r in rows if int(candles.index[r]) in squares]
            expected = np.mean(seen) if len(seen) >= 2 / 3 * len(rows) else math.nan
            assert found[i, j] == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_the_autoregression_is_least_squares_on_logarithms(dataset):
    positions = np.flatnonzero(dataset.labelled)[:900]
    baselines = TASK.fit_baselines(dataset, positions)
    variances = past_variances(dataset)
    x = np.column_stack([np.ones(900), np.log(variances[positions])])
    y = np.log(dataset.target[positions] ** 2 / HORIZON)
    weights = np.linalg.solve(x.T @ x, x.T @ y)
    np.testing.assert_allclose(baselines.coefficients, weights, rtol=1e-7)
    everywhere = np.flatnonzero(dataset.usable)
    outcomes = TASK.outcomes(dataset, everywhere, baselines)
    fit = np.exp(np.column_stack([np.ones(len(everywhere)), np.log(variances[everywhere])]) @ weights)
    factor = np.mean(dataset.target[positions] ** 2 / HORIZON / np.exp(x @ weights))
    np.testing.assert_allclose(outcomes["har"], np.sqrt(factor * HORIZON * fit), rtol=1e-7)
    np.testing.assert_allclose(outcomes["ewma"], 2.0 * dataset.sigma[everywhere])
    assert outcomes["constant"][0] == pytest.approx(math.sqrt(np.mean(dataset.target[positions] ** 2)))
    # right on average for the variance of the training rows
    said = baselines.har(variances[positions], dataset.sigma[positions], HORIZON)
    assert np.mean((dataset.target[positions] / said) ** 2) == pytest.approx(1.0)


def test_too_few_rows_leave_the_exponential_average():
    baselines = fit_volatility_baselines(np.full(10, 0.01), np.full((10, 3), 1e-4), 4)
    assert baselines.coefficients == ()
    ewma = np.array([0.02, 0.03])
    assert baselines.har(np.full((2, 3), 1e-4), ewma, 4) is ewma
    whole = fit_volatility_baselines(
        np.exp(np.random.default_rng(0).normal(-4, 1, 90)), np.random.default_rng(1).uniform(1e-5, 1e-4, (90, 3)), 4
    )
    assert whole.har(np.array([[1e-4, np.nan, 1e-4]]), ewma[:1], 4)[0] == 0.02


def test_prices_that_stand_still_have_no_label(candles, dataset):
    still = replace(candles, **{name: np.full(len(candles), 5.0) for name in ("open", "high", "low", "close")})
    with pytest.raises(TrainingFailed, match="that move at all"):
        TASK.target(still, replace(dataset, outcome=None), {})


def record_of(count=3_000):
    rng = np.random.default_rng(4)
    k = np.arange(count, dtype=np.int64)
    truth = np.exp(np.cumsum(rng.normal(0, 0.05, count)) * 0.3 - 4)
    realised = truth * np.sqrt(rng.chisquare(4, count) / 4)
    forecast = truth * np.exp(rng.normal(0, 0.1, count))
    forecast[:400] = np.nan
    realised[-4:] = np.nan
    return VolatilityRecord(
        open_ms=k * 3_600_000,
        k=k,
        fold=(k // 400).astype(np.int16),
        raw_score=rng.normal(size=count),
        forecast=forecast,
        confidence=np.where(np.isnan(forecast), np.nan, 0.4),
        realised=realised,
        ewma=truth * np.exp(rng.normal(0, 0.3, count)),
        har=truth * np.exp(rng.normal(0, 0.2, count)),
        constant=np.full(count, 0.02),
        close=np.ones(count),
        sigma=np.ones(count),
        scored=(k % 4 == 0) & np.isfinite(realised),
    )


def test_figures_are_those_of_a_loop():
    record = record_of()
    figures = evaluate_volatility(record)
    rows = [i for i in range(len(record)) if record.scored[i] and not math.isnan(record.forecast[i])]
    columns = {"model": record.forecast, "ewma": record.ewma, "har": record.har, "constant": record.constant}
    loss = {
        name: sum(
            (record.realised[i] / column[i]) ** 2 - 2 * math.log(record.realised[i] / column[i]) - 1 for i in rows
        )
        / len(rows)
        for name, column in columns.items()
    }
    assert figures["n"] == len(rows)
    assert figures["qlike"] == pytest.approx(loss["model"])
    for name in ("ewma", "har", "constant"):
        assert figures["qlike_baselines"][name] == pytest.approx(loss[name])
        assert figures["gain"][name]["mean"] == pytest.approx(loss[name] - loss["model"])
        assert figures["gain"][name]["skill"] == pytest.approx(1 - loss["model"] / loss[name])
    assert figures["skill_har"] > 0
    close = [abs(record.realised[i] / record.forecast[i] - 1) <= 0.25 for i in rows]
    assert figures["within"] == pytest.approx(np.mean(close))
    logs = np.log(record.forecast[rows]), np.log(record.realised[rows])
    assert figures["correlation"] == pytest.approx(np.corrcoef(*logs)[0, 1])


def test_the_loss_is_least_for_the_true_variance():
    rng = np.random.default_rng(9)
    realised = np.sqrt(rng.chisquare(4, 200_000) / 4)
    losses = {scale: qlike(realised, np.full(len(realised), scale)).mean() for scale in (0.9, 1.0, 1.1)}
    assert min(losses, key=losses.__getitem__) == 1.0
    assert (qlike(realised, realised) == 0).all()


def test_an_empty_record_has_undefined_figures():
    figures = evaluate_volatility(record_of(300))
    assert (figures["n"], figures["by_forecast"]) == (0, [])
    assert all(math.isnan(figures[name]) for name in ("qlike", "skill_har", "within", "correlation"))


def test_default_horizons_are_one_to_four_hours():
    assert [TASK.default_horizon(frame) for frame in ("1m", "5m", "15m", "1h", "4h")] == [60, 48, 16, 4, 4]
