"""Regimes and the calibration that knows them, against counting and scipy's minimiser."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from ml.calibration import calibrated, fit_slope
from ml.dataset import Dataset, purged_walk_forward
from ml.errors import BrokenModel
from ml.evaluation import log_loss
from ml.record import OutOfSample
from ml.regimes import REGIMES, Regimes, calibrated_by_regime, regime_gain, regime_report, regime_slopes

NAMES = ("other", "trend_50", "ewma_volatility")


def rows(seed: int, count: int = 900) -> np.ndarray:
    """Return feature rows whose trend and volatility are independent."""
    rng = np.random.default_rng(seed)
    volatility = np.exp(rng.normal(-5, 0.5, count))
    trend = 0.1 * volatility * rng.standard_normal(count)
    return np.stack([rng.standard_normal(count), trend, volatility], axis=1).astype(np.float32)


def test_training_rows_fall_into_thirds_of_volatility_and_of_trend() -> None:
    found = Regimes.fit(rows(0), NAMES).classify(rows(0), NAMES)
    assert len(REGIMES) == 9
    for thirds in (found // 3, found % 3):
        assert np.bincount(thirds).tolist() == [300, 300, 300]


def test_codes_are_told_by_the_borders() -> None:
    regimes = Regimes((0.01, 0.02), (-1.0, 1.0))
    table = np.array(
        [[0, -0.03, 0.015], [0, 0.0, 0.005], [0, 0.05, 0.03], [0, 0.0, 0.01], [0, 0.0, 0.0]], dtype=np.float32
    )
    codes = regimes.classify(table, NAMES)
    names = [REGIMES[code] if code >= 0 else None for code in codes]
    assert names[:4] == ["usual falling", "calm flat", "wild rising", "calm flat"]
    assert names[4] is None  # a trend in units of no volatility


@given(st.integers(0, 1_000), st.integers(0, 890), st.integers(1, 10))
def test_a_row_has_the_same_regime_alone_among_others_and_after_json(seed: int, first: int, count: int) -> None:
    table = rows(seed)
    table[::7, 1] = np.nan
    regimes = Regimes.fit(table, NAMES)
    read = Regimes.from_dict(json.loads(json.dumps(regimes.to_dict())))
    assert read == regimes
    whole = regimes.classify(table, NAMES)
    assert (whole[::7] == -1).all()
    assert (read.classify(table[first : first + count], NAMES) == whole[first : first + count]).all()


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="trend_50"):
        Regimes.fit(rows(0)[:, [0, 2]], ("other", "ewma_volatility"))
    with pytest.raises(ValueError, match="no row knows both"):
        Regimes.fit(np.full((3, 3), np.nan, dtype=np.float32), NAMES)
    good = Regimes.fit(rows(0), NAMES).to_dict()
    for change in ({"schema_version": 2}, {"trend": [0.0]}, {"trend": "x"}, {"volatility": [2.0, 1.0]}):
        with pytest.raises(BrokenModel):
            Regimes.from_dict(good | change)


def scores(seed: int, slopes: tuple[float, ...], count: int = 5_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, outcomes and regimes; the truth is a slope for each regime."""
    rng = np.random.default_rng(seed)
    raw, regime = 0.5 * rng.standard_normal(count), rng.integers(0, len(slopes), count)
    chance = 1 / (1 + np.exp(-np.array(slopes)[regime] * raw))
    return raw, np.where(rng.random(count) < chance, 0.01, -0.01), regime


def test_slopes_are_shrunk_towards_the_one_of_all_rows() -> None:
    raw, returns, regime = scores(0, (0.2, 1.2))
    rose = returns > 0
    found, scale = regime_slopes(raw, rose, regime, 2)
    plain, plain_scale = fit_slope(raw, rose)
    assert scale == plain_scale
    score = scale * np.tanh(raw / scale)
    size = math.sqrt(np.mean(score**2))
    for group in range(2):
        inside = regime == group
        signed = np.where(rose[inside], 1, -1) * score[inside]

        def penalised(slope: float, signed: np.ndarray = signed) -> float:
            return float(np.sum(np.log1p(np.exp(-slope * signed)))) + 5 * (slope * size) ** 2

        own = minimize_scalar(penalised, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9}).x
        share = inside.sum() / (inside.sum() + 1000)
        assert found[group] == pytest.approx(plain + share * (own - plain), abs=1e-5)


def test_a_regime_in_which_the_model_is_wrong_has_no_slope_below_zero() -> None:
    raw, returns, regime = scores(1, (1.5, -3.0))
    found, _ = regime_slopes(raw, returns > 0, regime, 2)
    assert found[1] == 0.0
    assert found[0] > 0.5


def test_few_rows_have_no_slope_in_any_regime() -> None:
    raw, returns, regime = scores(2, (1.0, 1.0), 499)
    found, scale = regime_slopes(raw, returns > 0, regime, 2)
    assert (found == 0.0).all()
    assert scale == 0.0


def test_rows_without_a_regime_take_the_plain_slope() -> None:
    raw = np.array([0.3, 0.3, 0.3])
    out = calibrated_by_regime(raw, np.array([0, 1, -1]), np.array([0.0, 2.0]), 0.0, 1.0)
    assert out.tolist() == [0.5, *calibrated(raw[:1], 2.0).tolist(), *calibrated(raw[:1], 1.0).tolist()]


def test_the_gain_is_measured_on_later_folds_and_found_where_regimes_differ() -> None:
    raw, returns, regime = scores(3, (0.0, 2.5), 9_000)
    fold = np.repeat([0, 1, 2], 3_000)
    interval, gains = regime_gain(raw, returns, regime, fold, groups=2)
    assert interval.count == len(gains) == 6_000
    assert interval.lower_one_sided > 0
    past, now = fold < 2, fold == 2
    plain, scale = fit_slope(raw[past], returns[past] > 0)
    slopes, _ = regime_slopes(raw[past], returns[past] > 0, regime[past], 2)
    rose = returns[now] > 0
    ours = calibrated_by_regime(raw[now], regime[now], slopes, scale, plain)
    expected = log_loss(calibrated(raw[now], plain, scale), rose) - log_loss(ours, rose)
    np.testing.assert_allclose(gains[3_000:], expected)


@pytest.mark.parametrize("seed", range(3))
def test_no_gain_is_found_where_regimes_do_not_differ(seed: int) -> None:
    raw, returns, regime = scores(seed, (1.0,) * 9, 12_000)
    interval, _ = regime_gain(raw, returns, regime, np.repeat([0, 1, 2, 3], 3_000))
    assert interval.lower_one_sided < 0


def test_the_report_of_a_record_is_the_gain_with_borders_of_the_first_training_rows() -> None:
    raw, returns, _ = scores(4, (1.0,), 3_000)
    table = rows(5, 3_000)
    zeros = np.zeros(3_000)
    dataset = Dataset(
        names=NAMES, rows=table, returns=returns, past=returns, k=np.arange(3_000), open_ms=np.arange(3_000),
        close=zeros + 1, sigma=table[:, 2].astype(np.float64), usable=zeros == 0, horizon=1,
    )  # fmt: skip
    folds = purged_walk_forward(dataset, folds=5)
    bars = np.concatenate([fold.test for fold in folds])
    number = np.concatenate([np.full(len(fold.test), fold.number) for fold in folds])
    columns = dict.fromkeys(("p_up", "expected_return", "low", "high", "train_base_rate", "last_sign_p"), raw[bars])
    record = OutOfSample(
        open_ms=bars, k=bars, fold=number.astype(np.int16), raw_score=raw[bars], forward_return=returns[bars],
        close=zeros[bars], sigma=zeros[bars], scored=bars % 2 == 0, **columns,
    )  # fmt: skip
    report = regime_report(dataset, folds, record)
    regimes = Regimes.fit(table[folds[0].train], NAMES)
    chosen = bars[bars % 2 == 0]
    codes = regimes.classify(table[chosen], NAMES).astype(np.int64)
    expected, _ = regime_gain(raw[chosen], returns[chosen], codes, number[bars % 2 == 0])
    assert report is not None
    assert (report["n"], report["gain"], report["used"]) == (expected.count, expected.mean, False)
    assert report["helps"] == (expected.lower_one_sided > 0)
    assert regime_report(replace(dataset, names=("a", "b", "c")), folds, record) is None
