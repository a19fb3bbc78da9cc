"""Figures of paths, computed from the files of the bundle by other code; the rule that stops at the first failure."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from path_models import STEPS, drifting, trained
from scipy import optimize

from ml.errors import BrokenModel
from ml.paths.publishing import PathPublisher
from ml.paths.record import PATHS_FILE, STEPS_FILE, PathRecord, StepRecord
from ml.paths.skill import LEAST_INDEPENDENT, fit_shrink, fit_step_slopes, skill_by_step, trusted_steps
from ml.training.path_evaluation import MINIMUM_PATHS, decide_path

KINDS = ("autoregressive", "multi_ohlc")


def frames(kind):
    files = trained(kind).files
    return (pd.read_parquet(io.BytesIO(files[name])) for name in (PATHS_FILE, STEPS_FILE))


def newey_west(values, lag):
    """Bartlett kernel, written with full autocovariances."""
    x = np.asarray(values, dtype=float) - np.mean(values)
    n = len(x)
    gamma = [float(x[j:] @ x[: n - j]) / n for j in range(lag + 1)]
    return math.sqrt((gamma[0] + 2 * sum((1 - j / (lag + 1)) * gamma[j] for j in range(1, lag + 1))) / n)


@pytest.mark.parametrize("kind", KINDS)
def test_every_figure_by_step_is_in_the_record(kind):
    paths, _ = frames(kind)
    table = json.loads(trained(kind).files["metrics.json"])["out_of_sample"]["by_step"]
    spacing = np.median(np.diff(paths.k))
    assert len(table["step"]) == STEPS
    for step in (1, 2, 7, STEPS):
        said = np.array([row[step - 1] for row in paths.predicted], dtype=float)
        came = np.array([row[step - 1] for row in paths.realised], dtype=float)
        ok = ~np.isnan(came)
        said, came, sigma, drift = said[ok], came[ok], paths.sigma.to_numpy()[ok], paths.drift.to_numpy()[ok]
        lag = max(math.ceil(1.5 * step / spacing), int(4 * (len(said) / 100) ** (2 / 9)))
        for name, other in (("persistence", np.zeros(len(said))), ("drift", step * drift)):
            gain = ((came - other) ** 2 - (came - said) ** 2) / sigma**2
            error = newey_west(gain, lag)
            assert table[f"gain_{name}"][step - 1] == pytest.approx(gain.mean(), rel=1e-9)
            assert table[f"gain_{name}_se"][step - 1] == pytest.approx(error, rel=1e-9)
            assert table[f"gain_{name}_lower"][step - 1] == pytest.approx(gain.mean() - 1.6448536 * error, rel=1e-5)
        assert table["r2_os"][step - 1] == pytest.approx(1 - np.sum((came - said) ** 2) / np.sum(came**2), rel=1e-9)
        assert table["n"][step - 1] == len(said)


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_says_what_the_market_did(kind):
    paths, steps = frames(kind)
    candles = drifting()
    close = dict(zip(candles.open_ms.tolist(), candles.close.tolist(), strict=True))
    for row in paths.iloc[::37].itertuples():
        for step in (1, 5, STEPS):
            later = close.get(row.open_ms + step * 3_600_000)
            if later is None:
                assert math.isnan(row.realised[step - 1])
            else:
                assert row.realised[step - 1] == pytest.approx(math.log(later / close[row.open_ms]), rel=1e-6, abs=1e-9)
    volatility = paths.set_index("open_ms").sigma
    both = steps[steps.open_ms.isin(volatility.index)]
    for row in both.iloc[::53].itertuples():
        move = math.log(close[row.open_ms + 3_600_000] / close[row.open_ms]) / volatility[row.open_ms]
        assert row.target[-1] == pytest.approx(np.clip(move, -5, 5), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_starts_are_spread_evenly_over_all_test_pieces_but_the_first(kind):
    paths, steps = frames(kind)
    assert paths.k.is_monotonic_increasing
    assert set(paths.fold) == set(steps.fold) - {0}
    later = steps[steps.fold > 0].k.to_numpy()
    places = np.searchsorted(later, paths.k)
    assert (later[places] == paths.k).all()
    assert np.diff(places).max() - np.diff(places).min() <= 1
    assert (places[0], places[-1]) == (0, len(later) - 1)


@pytest.mark.parametrize("kind", KINDS)
def test_shrink_is_the_slope_of_what_came_on_what_was_said(kind):
    _, steps = frames(kind)
    score, target = np.stack(steps.score), np.stack(steps.target)
    ok = np.isfinite(target).all(axis=1)
    publisher = PathPublisher.from_dict(json.loads(trained(kind).files["calibration.json"]))
    parts = (0,) if kind == "autoregressive" else (0, 3)
    for part in parts:
        x, y = score[ok, part].astype(float), target[ok, part].astype(float)
        slope = float(np.linalg.lstsq(x[:, None], y, rcond=None)[0][0])
        assert publisher.shrink[part] == pytest.approx(min(1.0, max(0.0, slope)), abs=1e-9)
    if kind == "multi_ohlc":
        assert publisher.shrink[1:3] == (1.0, 1.0)


def test_a_forest_that_is_wrong_stands_still():
    def steps(score, target):
        count = len(score)
        every = np.arange(count)
        return StepRecord(
            every, every, np.zeros(count, np.int16), np.float32(score)[:, None], np.float32(target)[:, None]
        )

    said = np.random.default_rng(0).normal(size=500)
    assert fit_shrink(steps(said, -said)) == (0.0,)
    assert fit_shrink(steps(said, 3 * said)) == (1.0,)
    assert fit_shrink(steps(np.zeros(500), said)) == (0.0,)
    assert fit_shrink(steps(said, np.where(said > 2, np.nan, 0.25 * said)))[0] == pytest.approx(0.25, abs=1e-6)


def table_of(lower, drift=None, independent=1000):
    count = len(lower)
    return {
        "step": list(range(1, count + 1)),
        "independent": [independent] * count,
        "gain_persistence_lower": list(lower),
        "gain_drift_lower": list(drift or lower),
    }


@pytest.mark.parametrize(
    ("lower", "drift", "trusted"),
    [
        ([0.1, 0.1, 0.1], None, 3),
        ([0.1, 0.0, 0.1], None, 1),
        ([-0.1, 0.5, 0.5], None, 0),
        ([0.1, 0.1, 0.1], [0.1, -0.1, 0.1], 1),
        ([0.1, math.nan, 0.1], None, 1),
        ([math.nan], None, 0),
    ],
)
def test_steps_are_trusted_up_to_the_first_failure(lower, drift, trusted):
    assert trusted_steps(table_of(lower, drift)) == trusted
    assert trusted_steps(table_of(lower, drift, independent=LEAST_INDEPENDENT - 1)) == 0


def record_of(predicted, realised, spacing=10):
    count = len(predicted)
    k = spacing * np.arange(count)
    ones = np.full(count, 0.01)
    return PathRecord(
        k * 3_600_000, k, np.ones(count, np.int16), ones, ones, np.full(count, np.nan), 0 * ones,
        np.float32(predicted), np.float32(realised),
    )  # fmt: skip


def test_a_forecast_of_noise_is_not_trusted_and_a_good_one_is():
    generator = np.random.default_rng(5)
    moves = 0.01 * generator.normal(size=(900, 6))
    outcome = np.cumsum(moves, axis=1)
    noise = np.cumsum(0.003 * generator.normal(size=(900, 6)), axis=1)
    assert trusted_steps(skill_by_step(record_of(noise, outcome))) == 0
    good = np.cumsum(0.3 * moves + 0.001 * generator.normal(size=(900, 6)), axis=1)
    assert trusted_steps(skill_by_step(record_of(good, outcome))) == 6
    flat = skill_by_step(record_of(np.zeros((900, 6)), outcome))
    assert trusted_steps(flat) == 0
    assert flat["gain_persistence"] == [0.0] * 6


def test_on_pure_noise_the_first_step_passes_in_at_most_five_of_a_hundred():
    passed = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        outcome = 0.01 * generator.normal(size=(500, 1))
        said = 0.002 * generator.normal(size=(500, 1))
        passed += trusted_steps(skill_by_step(record_of(said, outcome, 1)))
    assert passed <= 10


def test_paths_that_overlap_count_for_as_many_as_fit_one_after_another():
    generator = np.random.default_rng(6)
    moves = generator.normal(0, 0.01, 1_200)
    predicted = np.cumsum(0.5 * generator.normal(0, 0.01, (1_200, 5)) + 0.5 * moves[:, None], axis=1)
    realised = np.cumsum(generator.normal(0, 0.01, (1_200, 5)) + moves[:, None], axis=1)
    apart, overlapping = (record_of(predicted, realised, spacing=spacing) for spacing in (5, 1))
    far, near = fit_step_slopes(apart, 5), fit_step_slopes(overlapping, 5)
    np.testing.assert_array_equal(far[1], near[1])  # the scale is that of the scores
    assert near[0][0] == far[0][0]  # one step ahead nothing overlaps
    assert 0 < near[0][4] < 0.98 * far[0][4]

    # the same rows at the fifth step, a fifth of them: what the penalty makes of 240 independent paths
    score = predicted[:, 4].astype(np.float32).astype(float) / overlapping.sigma
    scale = 1.5 * math.sqrt(np.mean(score**2))
    bent, rose = scale * np.tanh(score / scale), np.where(realised[:, 4] > 0, 1, -1)
    size, count = np.mean(bent**2), (1_199 // 5 + 1) / 1_200

    def loss(slope):
        return count * np.logaddexp(0, -rose * slope * bent).sum() + 5 * slope**2 * size

    best = optimize.minimize_scalar(loss, bounds=(0, 5), method="bounded", options={"xatol": 1e-10}).x
    assert near[0][4] == pytest.approx(best, abs=1e-5)


def test_too_few_paths_are_refused_whatever_they_show():
    moves = 0.01 * np.random.default_rng(1).normal(size=(MINIMUM_PATHS - 1, 3))
    outcome = np.cumsum(moves, axis=1)
    table = skill_by_step(record_of(0.5 * outcome, outcome))
    figures = {
        "by_step": table,
        "trusted_steps": trusted_steps(table),
        "shrink": [1.0],
        "n_steps_ahead": 3,
        "r2_os": 0.7,
    }
    assert figures["trusted_steps"] == 3
    gate = decide_path(figures)
    assert not gate.promoted
    assert gate.reason.startswith("refused: only 499 paths")


def test_the_record_survives_its_file_and_damage_is_refused():
    record = trained("autoregressive").record
    content = record.to_parquet()
    again = PathRecord.from_parquet(content)
    assert again.to_parquet() == content
    assert again.predicted.tobytes() == record.predicted.tobytes()
    assert len(content) < 3_000_000
    with pytest.raises(BrokenModel, match="is not a Parquet file"):
        PathRecord.from_parquet(content[:100])
    with pytest.raises(BrokenModel, match=r"oos_steps.parquet has no column score, target"):
        StepRecord.from_parquet(content)
