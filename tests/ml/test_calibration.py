"""Calibration: bits, fit, error and quantiles against scipy, mpmath-free oracles and simulation."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy import optimize

from ml.calibration import (
    MINIMUM_ROWS,
    Calibration,
    apply_calibration,
    calibrated,
    calibration_error,
    conformal_quantiles,
    fit_calibration,
    fit_slope,
    reliability,
)
from ml.errors import BrokenModel

CALIBRATION = Calibration(0.8371, 1.731, -1.61, 0.013, 1.58, 3, 4_000, 1_000, 0.413)


def inputs(count, seed=0):
    generator = np.random.default_rng(seed)
    raw = generator.normal(0, 1, count) * 10.0 ** generator.integers(-6, 3, count)
    return raw, np.abs(generator.normal(0, 0.01, count)), np.exp(generator.normal(5, 3, count))


def test_rows_one_by_one_and_in_any_batch_have_the_same_bits():
    raw, sigma, close = inputs(5_003)
    raw[::97], sigma[5::101] = np.nan, np.inf
    batch = apply_calibration(raw, sigma, close, CALIBRATION)
    for size in (1, 2, 3, 7, 8, 64):
        parts = [
            apply_calibration(raw[i : i + size], sigma[i : i + size], close[i : i + size], CALIBRATION)
            for i in range(0, len(raw), size)
        ]
        assert np.concatenate(parts).tobytes() == batch.tobytes()
    offset = np.concatenate([np.zeros(3), raw])[3:]  # another alignment in memory
    assert apply_calibration(offset, sigma, close, CALIBRATION).tobytes() == batch.tobytes()
    probabilities = calibrated(raw, CALIBRATION.slope, CALIBRATION.score_scale)
    good = ~np.isnan(batch[:, 4])
    assert probabilities[good].tobytes() == batch[good, 4].tobytes()


def test_published_numbers_are_the_formulas():
    raw, sigma, close = inputs(400, seed=2)
    batch = apply_calibration(raw, sigma, close, CALIBRATION)
    c = CALIBRATION
    for s, v, price, row in zip(raw, sigma, close, batch, strict=True):
        p = 1 / (1 + math.exp(-c.slope * c.score_scale * math.tanh(s / c.score_scale)))
        expected = v * c.return_per_edge * (2 * p - 1)
        assert row[4] == pytest.approx(p, rel=1e-12)
        assert row[1] == pytest.approx(expected, abs=1e-15)
        assert row[0] == pytest.approx(price * math.exp(expected))
        assert row[2] == (1.0 if row[4] >= 0.5 else -1.0)
        assert row[3] == max(row[4], 1 - row[4])
        assert row[5] == pytest.approx(price * math.exp(expected + v * c.residual_low))
        assert row[6] == pytest.approx(price * math.exp(expected + v * c.residual_high))


def test_numbers_that_are_missing_make_rows_that_say_nothing():
    raw = np.array([np.nan, 1.0, 1.0, 1.0, 1.0])
    sigma = np.array([0.01, np.nan, -0.1, 0.01, 0.01])
    close = np.array([1.0, 1.0, 1.0, 0.0, 2.0])
    batch = apply_calibration(raw, sigma, close, CALIBRATION)
    np.testing.assert_array_equal(np.isnan(batch).all(axis=1), [True, True, True, True, False])
    assert math.isnan(calibrated(np.array([np.inf]), 1.0)[0])


def test_no_slope_is_no_opinion():
    flat = Calibration(0.0, 0.0, -1.0, 0.0, 1.0, 1, 0, 0)
    row = apply_calibration(np.array([3.0]), np.array([0.02]), np.array([100.0]), flat)[0]
    assert row[:5].tolist() == [100.0, 0.0, 1.0, 0.5, 0.5]


def test_json_round_trip_keeps_every_bit():
    again = Calibration.from_dict(json.loads(json.dumps(CALIBRATION.to_dict())))
    assert again == CALIBRATION


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema version 9"),
        ({"slope": None}, "slope is None"),
        ({"slope": -0.1}, "may not be negative"),
        ({"residual_low": math.inf}, "not finite"),
        ({"residual_low": 2.0}, "not in order"),
        ({"horizon": 0}, "at least 1 bar"),
        ({"rows": True}, "rows is True"),
        ({"rows": 700.5}, "expected a whole number"),
        ({"residual_rows": math.nan}, "expected a whole number"),
    ],
)
def test_broken_calibrations_are_refused(change, message):
    with pytest.raises(BrokenModel, match=message):
        Calibration.from_dict(CALIBRATION.to_dict() | change)


def test_a_scale_of_zero_never_saturates():
    raw = np.array([-800.0, -3.0, 0.0, 0.2, 900.0])
    expected = [0.0, 1 / (1 + math.exp(1.5)), 0.5, 1 / (1 + math.exp(-0.1)), 1.0]
    np.testing.assert_allclose(calibrated(raw, 0.5), expected, atol=1e-15)


@pytest.mark.parametrize("weight", [1.0, 0.2])
def test_slope_is_that_of_an_independent_optimiser(weight):
    generator = np.random.default_rng(4)
    raw = generator.normal(0, 0.3, 3_000)
    rose = generator.random(3_000) < 1 / (1 + np.exp(-0.6 * raw))
    scale = 1.5 * math.sqrt(np.mean(raw**2))
    bent = scale * np.tanh(raw / scale)

    def loss(slope):
        penalty = 10 / 2 * slope**2 * np.mean(bent**2)
        return weight * np.logaddexp(0, -np.where(rose, 1, -1) * slope * bent).sum() + penalty

    best = optimize.minimize_scalar(loss, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).x
    assert fit_slope(raw, rose, weight) == pytest.approx((best, scale), abs=1e-6)


def test_map_does_not_depend_on_the_size_of_scores():
    generator = np.random.default_rng(8)
    raw = generator.normal(0, 1, 2_000)
    rose = generator.random(2_000) < 1 / (1 + np.exp(-raw))
    slope, scale = fit_slope(raw, rose)
    assert fit_slope(raw * 1e-3, rose) == pytest.approx((slope * 1e3, scale * 1e-3), rel=1e-9)


def test_slope_is_never_negative_and_zero_on_few_rows():
    generator = np.random.default_rng(9)
    raw = generator.normal(0, 1, 2_000)
    wrong = generator.random(2_000) < 1 / (1 + np.exp(raw))
    assert fit_slope(raw, wrong)[0] == 0.0
    assert fit_slope(raw[: MINIMUM_ROWS - 1], ~wrong[: MINIMUM_ROWS - 1]) == (0.0, 0.0)
    assert fit_slope(raw[:MINIMUM_ROWS], ~wrong[:MINIMUM_ROWS])[0] > 0.0
    assert fit_slope(np.zeros(1_000), wrong[:1_000]) == (0.0, 0.0)
    assert fit_slope(np.empty(0), np.empty(0, dtype=bool)) == (0.0, 0.0)


def test_slope_survives_scores_that_separate_perfectly():
    raw = np.linspace(-1, 1, 1_000)
    slope, scale = fit_slope(raw, raw > 0)
    assert math.isfinite(slope)
    assert slope > 1
    assert scale > 0


def test_only_the_newest_rows_count():
    generator = np.random.default_rng(10)
    raw = generator.normal(0, 1, 9_000)
    rose = generator.random(9_000) < 1 / (1 + np.exp(-raw))
    assert fit_slope(raw, rose) == fit_slope(raw[-5_000:], rose[-5_000:])


def test_fitted_numbers_recover_a_known_world():
    generator = np.random.default_rng(21)
    count = 40_000
    raw = generator.normal(0, 0.4, count)
    sigma = np.exp(generator.normal(-5, 0.5, count))
    p = 1 / (1 + np.exp(-0.5 * raw))
    sign = np.where(generator.random(count) < p, 1.0, -1.0)
    returns = sign * sigma * np.abs(generator.normal(0, 1, count)) * math.sqrt(math.pi / 2)  # E|r| = sigma
    fitted = fit_calibration(raw, returns, sigma, horizon=1)
    stated = calibrated(raw, fitted.slope, fitted.score_scale)
    assert np.mean(np.abs(stated - p)) < 0.02
    assert fitted.return_per_edge == pytest.approx(1.0, rel=0.35)  # E[r / sigma | edge] = edge in this world
    fresh = returns[:30_000] / sigma[:30_000]
    assert np.mean((fresh > fitted.residual_low) & (fresh < fitted.residual_high)) == pytest.approx(0.9, abs=0.03)
    assert fitted.horizon == 1
    assert (fitted.rows, fitted.residual_rows) == (5_000, 1_000)


def test_expected_return_never_contradicts_the_direction():
    generator = np.random.default_rng(3)
    raw = generator.normal(0, 1, 3_000)
    up = generator.random(3_000) < 1 / (1 + np.exp(-raw))
    # often right on small moves, wrong on large ones
    returns = np.where(up, 1.0, -1.0) * np.where(np.sign(raw) == np.where(up, 1, -1), 0.001, 0.1)
    fitted = fit_calibration(raw, returns, np.full(3_000, 0.01), horizon=1)
    assert fitted.slope > 0
    assert fitted.return_per_edge == 0.0


def test_calibration_of_nothing_is_a_normal_band():
    empty = np.empty(0)
    fitted = fit_calibration(empty, empty, empty, horizon=4)
    assert fitted.slope == 0
    assert fitted.residual_high == pytest.approx(2 * 1.6448536)
    fit_calibration(np.ones(3), np.ones(3), np.full(3, np.nan), horizon=1)  # unknown volatilities are left out


def test_conformal_quantiles_cover_on_average():
    generator = np.random.default_rng(6)
    covered = []
    for _ in range(2_000):
        low, _, high = conformal_quantiles(generator.standard_t(4, 99))
        covered.append(low <= generator.standard_t(4) <= high)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)


def brute_force_error(stated, came_true, bins):
    order = np.argsort(stated, kind="stable")
    total = 0.0
    for part in np.array_split(order, bins):
        observed = came_true[part].mean()
        total += len(part) * ((observed - stated[part].mean()) ** 2 - observed * (1 - observed) / (len(part) - 1))
    return math.sqrt(max(0.0, total / len(stated)))


def test_error_is_the_formula():
    generator = np.random.default_rng(14)
    stated = generator.uniform(0.5, 0.7, 5_000)
    came_true = generator.random(5_000) < stated - 0.04
    assert calibration_error(stated, came_true).value == pytest.approx(
        brute_force_error(stated, came_true, 10), abs=1e-12
    )


def test_error_of_perfect_forecasts_is_about_zero_and_its_bound_holds():
    generator = np.random.default_rng(15)
    squares, bounds, biased = [], 0, 0
    for seed in range(60):
        stated = generator.uniform(0.5, 0.6, 3_000)
        fair, off = generator.random(3_000) < stated, generator.random(3_000) < stated - 0.05
        squares.append(calibration_error(stated, fair, seed=seed).value ** 2)
        measured = calibration_error(stated, off, seed=seed)
        bounds += measured.upper >= 0.05
        biased += abs(measured.value - 0.05) < 0.025
    assert np.sqrt(np.mean(squares)) < 0.02  # undebiased it would be 0.029
    assert bounds >= 54
    assert biased >= 55


def test_equal_probabilities_share_a_bin():
    stated = np.full(1_000, 0.5)
    came_true = np.random.default_rng(0).random(1_000) < 0.5
    assert len(reliability(stated, came_true)) == 1
    assert calibration_error(stated, came_true).value < 0.04


def test_error_of_too_few_is_undefined():
    assert math.isnan(calibration_error(np.array([0.5]), np.array([True])).value)
    assert reliability(np.empty(0), np.empty(0, dtype=bool)) == []


def test_reliability_counts_every_row_once():
    generator = np.random.default_rng(2)
    stated = np.round(generator.uniform(0.5, 0.7, 2_345), 2)
    came_true = generator.random(2_345) < stated
    table = reliability(stated, came_true)
    assert sum(row["n"] for row in table) == 2_345
    assert sum(row["n"] * row["observed"] for row in table) == pytest.approx(came_true.sum())
    assert all(row["low"] <= row["stated"] <= row["high"] for row in table)
    assert all(row["observed_low"] <= row["observed"] <= row["observed_high"] for row in table)
    assert all(earlier["high"] < later["low"] for earlier, later in itertools.pairwise(table))
