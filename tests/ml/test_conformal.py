"""Conformal bands against straightforward loops, scipy's least squares and counting."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from ml.candles import Candles
from ml.conformal import LONG_VOLATILITY, PathBands, adaptive_level, conformal_bounds, fit_variance
from ml.dataset import VOLATILITY_FEATURE
from ml.errors import BrokenModel
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.labels import forward_returns

seeds = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize("count", [1, 5, 19, 20, 100, 1000])
def test_bounds_are_the_order_statistics_of_the_formula(count: int) -> None:
    ordered = np.sort(np.random.default_rng(count).standard_normal(count))
    low, high = conformal_bounds(ordered, 0.1)
    assert low == ordered[max(0, math.floor(0.05 * (count + 1)) - 1)]
    assert high == ordered[min(count, math.ceil(0.95 * (count + 1))) - 1]


def test_bounds_hold_a_new_exchangeable_residual_as_often_as_promised() -> None:
    rng = np.random.default_rng(4)
    samples = rng.standard_t(3, (20_000, 200))
    inside = 0
    for row in samples:
        low, high = conformal_bounds(np.sort(row[:-1]), 0.1)
        inside += low <= row[-1] <= high
    assert abs(inside / len(samples) - 0.9) < 3 * math.sqrt(0.09 / len(samples)) + 1 / 200


@given(seeds, st.floats(0.01, 0.6), st.floats(0.01, 0.39))
def test_a_smaller_miscoverage_never_narrows_the_band(seed: int, level: float, more: float) -> None:
    ordered = np.sort(np.random.default_rng(seed).standard_normal(137))
    wide, narrow = conformal_bounds(ordered, level), conformal_bounds(ordered, level + more)
    assert wide[0] <= narrow[0]
    assert narrow[1] <= wide[1]


def plain_adaptive_level(residuals: list[float], target: float, rows: int) -> float:
    """Run the recursion of Gibbs and Candes as it is written, sorting every pool anew."""
    level, levels = target, []
    for place in range(100, len(residuals)):
        pool = sorted(residuals[max(0, place - rows) : place])
        levels.append(level)
        if level <= 0:
            outside = False
        elif level >= 1:
            outside = True
        else:
            low = max(1, math.floor(level / 2 * (len(pool) + 1)))
            high = min(len(pool), math.ceil((1 - level / 2) * (len(pool) + 1)))
            outside = not pool[low - 1] <= residuals[place] <= pool[high - 1]
        level += 0.005 * (target - outside)
    half = levels[len(levels) // 2 :]
    return min(max(sum(half) / len(half), 0.02), 0.3)


@pytest.mark.parametrize("rows", [150, 1000])
def test_the_adaptive_level_is_that_of_a_plain_loop(rows: int) -> None:
    rng = np.random.default_rng(rows)
    residuals = np.round(rng.standard_normal(900) * np.exp(rng.normal(0, 0.3, 900)), 2)  # ties among them
    expected = plain_adaptive_level(residuals.tolist(), 0.1, rows)
    assert adaptive_level(residuals, rows=rows) == pytest.approx(expected, rel=1e-12)


def test_the_adaptive_level_stays_where_it_was_asked_on_few_or_exchangeable_residuals() -> None:
    rng = np.random.default_rng(0)
    assert adaptive_level(rng.standard_normal(499)) == 0.1
    assert adaptive_level(rng.standard_normal(6_000)) == pytest.approx(0.1, abs=0.03)


def test_residuals_that_keep_growing_lower_the_level() -> None:
    growing = np.random.default_rng(1).standard_normal(4_000) * np.linspace(1, 8, 4_000)
    assert adaptive_level(growing) < 0.08


@settings(max_examples=60)
@given(seeds, st.floats(0, 3), st.floats(0, 3))
def test_the_variance_regression_is_scipys_non_negative_least_squares(seed: int, a: float, b: float) -> None:
    rng = np.random.default_rng(seed)
    now, long = np.exp(rng.normal(-5, 0.6, 400)), np.exp(rng.normal(-5, 0.2, 400))
    residuals = rng.standard_normal(400) * np.sqrt(a * now**2 + b * long**2)
    weight = 1 / (now**2 + long**2)
    design = np.stack([now**2, long**2], axis=1) * weight[:, None]
    expected, _ = nnls(design, residuals**2 * weight)
    assert fit_variance(residuals, now, long) == pytest.approx(tuple(expected), rel=1e-6, abs=1e-9)


def test_the_variance_regression_finds_what_was_planted() -> None:
    rng = np.random.default_rng(7)
    now, long = np.exp(rng.normal(-5, 0.6, 200_000)), np.exp(rng.normal(-5, 0.4, 200_000))
    residuals = rng.standard_normal(200_000) * np.sqrt(0.7 * now**2 + 1.6 * long**2)
    assert fit_variance(residuals, now, long) == pytest.approx((0.7, 1.6), rel=0.05)


def market(seed: int, count: int = 6_000, steps: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return residuals over 1 to ``steps`` steps of a market whose volatility returns to its level, and both volatilities."""
    rng = np.random.default_rng(seed)
    level = np.zeros(count + steps)
    for place in range(1, count + steps):
        level[place] = 0.98 * level[place - 1] + 0.12 * rng.standard_normal()
    sigma = 0.01 * np.exp(level)
    moves = np.concatenate([[0.0], np.cumsum(sigma[:-1] * rng.standard_normal(count + steps - 1))])
    residuals = np.stack([moves[step : count + step] - moves[:count] for step in range(1, steps + 1)], axis=1)
    return residuals, sigma[:count], np.full(count, 0.01 * math.exp(0.18))


def test_path_bands_hold_nine_in_ten_after_calm_and_after_storm_where_the_square_root_of_time_does_not() -> None:
    steps = 60
    past, now, long = market(1, 80_000, steps)
    bands = PathBands.fit(past, now, long)
    future, later, level = market(2, 80_000, steps)
    low, high = bands.apply(np.ones(future.shape), later, level)
    inside = (low <= np.exp(future)) & (np.exp(future) <= high)
    third = np.searchsorted(np.quantile(later, [1 / 3, 2 / 3]), later)
    cover = np.array([inside[third == place].mean(axis=0) for place in range(3)])
    assert np.abs(inside.mean(axis=0) - 0.9).max() < 0.03
    assert cover.min() > 0.84
    assert cover.max() < 0.95
    scaled = past[:, -1] / (now * math.sqrt(steps))
    root = np.abs(future[:, -1]) / (later * math.sqrt(steps)) <= np.quantile(np.abs(scaled), 0.9)
    assert np.ptp([root[third == place].mean() for place in range(3)]) > 2 * np.ptp(cover[:, -1])


def test_path_bands_widen_with_the_steps_and_the_variance_of_a_martingale_grows_in_line() -> None:
    residuals, now, long = market(3)
    bands = PathBands.fit(residuals, now, long)
    sigma = np.sqrt(bands.a * now.mean() ** 2 + bands.b * long.mean() ** 2)
    assert (np.diff(sigma) > 0).all()
    assert (bands.low < 0).all()
    assert (bands.high > 0).all()
    assert len(bands.a) == bands.steps == 40


@pytest.mark.parametrize("with_long", [True, False])
def test_a_path_alone_and_among_others_gets_the_same_bits_and_survives_json(*, with_long: bool) -> None:
    residuals, now, long = market(5, 700)
    given_long = long if with_long else None
    bands = PathBands.fit(residuals, now, given_long)
    path = 100 * np.exp(0.1 * residuals)
    low, high = bands.apply(path, now, given_long)
    read = PathBands.from_dict(json.loads(json.dumps(bands.to_dict())))
    assert read == bands
    for row in (0, 1, 350, 699):
        one = read.apply(path[row : row + 1], now[row : row + 1], long[row : row + 1] if with_long else None)
        assert one[0].tobytes() == low[row].tobytes()
        assert one[1].tobytes() == high[row].tobytes()
    short = bands.apply(path[:, :7], now, given_long)
    assert short[0].tobytes() == np.ascontiguousarray(low[:, :7]).tobytes()


def test_the_bands_of_a_step_are_the_formula() -> None:
    residuals, now, long = market(6)
    bands = PathBands.fit(residuals, now, long)
    low, high = bands.apply(np.full((1, 40), 50.0), now[:1], long[:1])
    settled = 0.7 * long[0] ** 2 + 0.3 * bands.long_level**2
    sigma = np.sqrt(bands.a * now[0] ** 2 + bands.b * settled)
    np.testing.assert_allclose(low[0], 50 * np.exp(sigma * bands.low), rtol=1e-13)
    np.testing.assert_allclose(high[0], 50 * np.exp(sigma * bands.high), rtol=1e-13)


def test_unknown_residuals_and_volatilities_do_not_count_and_unknown_starts_have_no_band() -> None:
    residuals, now, long = market(8, 900)
    spoiled, spoiled_now = residuals.copy(), now.copy()
    spoiled_now[::3] = np.nan
    spoiled[::3] = 1e6
    kept = np.arange(900) % 3 != 0
    assert PathBands.fit(spoiled, spoiled_now, long) == PathBands.fit(residuals[kept], now[kept], long[kept])
    bands = PathBands.fit(residuals, now, long)
    low, high = bands.apply(np.ones((2, 40)), np.array([np.nan, 0.01]), np.array([0.01, 0.01]))
    assert np.isnan(low[0]).all()
    assert np.isnan(high[0]).all()
    assert np.isfinite(low[1]).all()


def test_steps_that_few_paths_reach_take_the_shape_of_those_before_them() -> None:
    residuals, now, long = market(9, 500)
    residuals[:470, 20:] = np.nan
    bands = PathBands.fit(residuals, now, long)
    assert bands.steps == 40
    assert len(set(bands.low[20:])) == 1
    nothing = PathBands.fit(np.full((10, 5), np.nan), np.full(10, 0.01))
    np.testing.assert_allclose(nothing.a, [1, 2, 3, 4, 5])
    assert nothing.high[0] == pytest.approx(1.6449, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema_version": 2}, "schema version"),
        ({"a": "x"}, "list of numbers"),
        ({"low": [True] * 40}, "list of numbers"),
        ({"high": [0.0]}, "as many"),
        ({"low": [9.0] * 40}, "above"),
        ({"a": [-1.0] * 40}, "negative"),
        ({"b": [math.nan] * 40}, "not finite"),
        ({"long_level": None}, "long_level"),
        ({"rows": 1.5}, "rows"),
    ],
)
def test_a_damaged_document_is_refused(change: dict[str, object], words: str) -> None:
    residuals, now, long = market(10, 300)
    data = PathBands.fit(residuals, now, long).to_dict() | change
    with pytest.raises(BrokenModel, match=words):
        PathBands.from_dict(data)


def test_a_path_longer_than_the_bands_is_refused() -> None:
    residuals, now, long = market(11, 300)
    with pytest.raises(ValueError, match="at most 40 steps"):
        PathBands.fit(residuals, now, long).apply(np.ones((300, 41)), now, long)


def test_bands_of_real_candles_hold_what_was_asked(shared_data: Path) -> None:
    candles = Candles.from_frame(pd.read_csv(shared_data / "fx_EURUSD_1h_2017_2024_novol.csv.gz"), "1h")
    schema = FeatureSchema.for_candles(candles, (VOLATILITY_FEATURE, LONG_VOLATILITY))
    matrix = FeaturePipeline(schema).compute(candles)
    bars = np.flatnonzero(matrix.valid & ~candles.off_grid)
    now, long = matrix.rows[bars].astype(np.float64).T
    residuals = np.stack([forward_returns(candles, step)[bars] for step in range(1, 61)], axis=1)
    half = len(bars) // 2
    bands = PathBands.fit(residuals[: half - 100], now[: half - 100], long[: half - 100])
    low, high = bands.apply(np.ones((len(bars) - half, 60)), now[half:], long[half:])
    actual = np.exp(residuals[half:])
    inside = np.where(np.isfinite(actual), (low <= actual) & (actual <= high), np.nan)
    third = np.searchsorted(np.quantile(now[half:], [1 / 3, 2 / 3]), now[half:])
    cover = np.nanmean(inside, axis=0)
    thirds = np.stack([np.nanmean(inside[third == place], axis=0) for place in range(3)])
    assert abs(cover[0] - 0.9) <= 0.02
    assert np.abs(cover - 0.9).max() <= 0.03
    assert thirds[:, 0].min() >= 0.85
    assert thirds[:, 0].max() <= 0.95
    assert thirds.min() >= 0.82
    assert thirds.max() <= 0.96
