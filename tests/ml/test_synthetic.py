"""The built-in market: reproducible, consistent, a martingale at edge 0, and planted exactly as it says."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy import stats

from ml.errors import InvalidCandles
from ml.synthetic import IMBALANCE_WINDOW, START_MS, synthetic_candles

BARS = 35_040


def planted_signs(candles) -> tuple[np.ndarray, np.ndarray]:
    """Return sign(m) of bars 19.. and whether the bar after each rose: by definition, from the published columns."""
    imbalance = 2.0 * candles.taker_buy_base / candles.volume - 1.0
    mean = np.array([imbalance[i - 19 : i + 1].mean() for i in range(19, len(imbalance) - 1)])
    rose = candles.close[20:] > candles.close[19:-1]
    return np.sign(mean), rose


@pytest.fixture(scope="module")
def fair():
    return [synthetic_candles(BARS, edge=0.0, seed=seed) for seed in range(8)]


@pytest.fixture(scope="module")
def planted():
    return [synthetic_candles(BARS, edge=0.04, seed=seed) for seed in range(8)]


def simple_returns(candles) -> np.ndarray:
    return candles.close / candles.open - 1.0


def test_equal_arguments_give_equal_bytes_and_a_seed_is_a_market() -> None:
    assert synthetic_candles(3_000, seed=7, edge=0.03).digest == synthetic_candles(3_000, seed=7, edge=0.03).digest
    assert synthetic_candles(3_000, seed=7).digest != synthetic_candles(3_000, seed=8).digest
    assert synthetic_candles(3_000, seed=7).digest != synthetic_candles(3_000, seed=7, edge=0.05).digest


@pytest.mark.parametrize("bars", [1, 19, 20, 21, 22, 500, 4_999])
def test_a_longer_series_begins_with_the_shorter_one(bars) -> None:
    long, short = synthetic_candles(5_000, seed=3, edge=0.06), synthetic_candles(bars, seed=3, edge=0.06)
    for name, column in short.columns.items():
        np.testing.assert_array_equal(column, long.columns[name][:bars], err_msg=name)
    np.testing.assert_array_equal(short.open_ms, long.open_ms[:bars])


def test_candles_are_consistent(fair) -> None:
    for candles in fair:
        np.testing.assert_array_equal(np.diff(candles.open_ms), 3_600_000)
        assert candles.open_ms[0] == START_MS
        assert not candles.off_grid.any()
        np.testing.assert_array_equal(candles.open[1:], candles.close[:-1])
        assert (np.diff(candles.close) != 0).all()
        assert (candles.trades >= 1).all()
        assert (candles.trades == np.round(candles.trades)).all()
        assert (candles.taker_buy_base > 0).all()
        assert (candles.taker_buy_base < candles.volume).all()
        average = candles.quote_volume / candles.volume
        assert ((average > candles.low * 0.9999) & (average < candles.high * 1.0001)).all()
        for name in ("open", "high", "low", "close"):
            np.testing.assert_array_equal(candles.columns[name], np.round(candles.columns[name], 2))


def test_the_plant_is_what_it_says(planted) -> None:
    hits = bars = 0
    for candles in planted:
        sign, rose = planted_signs(candles)
        hits += int((rose == (sign > 0)).sum())
        bars += len(sign)
    test = stats.binomtest(hits, bars, 0.54)
    assert test.pvalue > 0.001, f"{hits} of {bars}"
    low, high = test.proportion_ci(0.999)
    assert high - low < 0.01, "the test can tell 0.54 from 0.53 and 0.55"


def test_the_plant_is_the_same_on_both_sides_and_in_every_regime(planted) -> None:
    up = down = rises = falls = wild_hits = wild = 0
    for candles in planted:
        sign, rose = planted_signs(candles)
        up, rises = up + int((sign > 0).sum()), rises + int(rose[sign > 0].sum())
        down, falls = down + int((sign < 0).sum()), falls + int((~rose[sign < 0]).sum())
        size = np.abs(simple_returns(candles))[20:]
        large = size > np.quantile(size, 0.8)
        wild, wild_hits = wild + int(large.sum()), wild_hits + int((rose == (sign > 0))[large].sum())
    assert stats.binomtest(rises, up, 0.54).pvalue > 0.001
    assert stats.binomtest(falls, down, 0.54).pvalue > 0.001
    assert stats.binomtest(wild_hits, wild, 0.54).pvalue > 0.001


def test_the_edge_is_visible_for_long_enough_to_pay_its_costs(planted) -> None:
    runs = []
    for candles in planted:
        sign, _ = planted_signs(candles)
        runs.append(len(sign) / (1 + (np.diff(sign) != 0).sum()))
    assert 30 < np.mean(runs) < 45


def test_the_first_bars_have_no_edge() -> None:
    rises = [synthetic_candles(IMBALANCE_WINDOW, edge=0.5, seed=seed).close > 0 for seed in range(3)]
    assert all(len(bars) == IMBALANCE_WINDOW for bars in rises)
    certain = synthetic_candles(2_000, edge=0.5, seed=1)
    sign, rose = planted_signs(certain)
    np.testing.assert_array_equal(rose, sign > 0)
    fair = synthetic_candles(2_000, edge=0.0, seed=1)
    np.testing.assert_array_equal(certain.close[:IMBALANCE_WINDOW], fair.close[:IMBALANCE_WINDOW])


def test_without_an_edge_no_past_predicts_the_next_return(fair) -> None:
    """E[simple return | past] = 0: tested against the mean, the last sign, the last move, imbalance and volume."""
    scores = {name: [] for name in ("mean", "last_sign", "last_return", "imbalance", "volume", "trend")}
    for candles in fair:
        returns = simple_returns(candles)
        imbalance = 2.0 * candles.taker_buy_base / candles.volume - 1.0
        trend = np.convolve(returns, np.ones(24), "full")[: len(returns)]
        past = {
            "mean": np.ones(BARS),
            "last_sign": np.sign(returns),
            "last_return": returns,
            "imbalance": imbalance,
            "volume": np.log(candles.volume) - np.log(candles.volume).mean(),
            "trend": trend,
        }
        for name, known in past.items():
            gain = known[:-1] * returns[1:]
            scores[name].append(gain.mean() / gain.std() * np.sqrt(len(gain)))
    for name, found in scores.items():
        assert stats.kstest(found, "norm").pvalue > 0.001, (name, found)


def test_up_and_down_moves_have_the_same_sizes(fair) -> None:
    for candles in fair:
        returns = simple_returns(candles)
        assert stats.ks_2samp(returns[returns > 0], -returns[returns < 0]).pvalue > 0.0005


def test_volatility_is_fat_tailed_clustered_and_carried_by_volume(fair) -> None:
    for candles in fair:
        returns = simple_returns(candles)
        size = np.abs(returns)
        assert 0.003 < size.mean() < 0.005
        assert stats.kurtosis(returns) > 4
        assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.12
        assert np.corrcoef(size[100:], size[:-100])[0, 1] > 0.03
        assert abs(np.corrcoef(returns[1:], returns[:-1])[0, 1]) < 0.05
        assert np.corrcoef(size, np.log(candles.volume))[0, 1] > 0.2
        assert np.corrcoef(size, np.log(candles.trades))[0, 1] > 0.2
        ranges = np.log(candles.high / candles.low)
        assert 1.5 < ranges.mean() / size.mean() < 3.0  # a Brownian path has 2.0 when its volatility is constant


def test_regimes_switch(fair) -> None:
    for candles in fair[:3]:
        size = np.abs(simple_returns(candles))
        daily = size[: BARS // 240 * 240].reshape(-1, 240).mean(axis=1)
        assert daily.max() / daily.min() > 3


@pytest.mark.parametrize(
    ("timeframe", "expected"), [("1m", 0.004 / 60**0.5), ("15m", 0.002), ("4h", 0.008), ("1d", 0.0196)]
)
def test_volatility_grows_with_the_root_of_time(timeframe, expected) -> None:
    candles = synthetic_candles(4_000, timeframe=timeframe, seed=11)
    assert np.abs(simple_returns(candles)).mean() == pytest.approx(expected, rel=0.4)
    assert not candles.off_grid.any()


def test_weeks_open_on_mondays() -> None:
    candles = synthetic_candles(10, timeframe="1w", start_ms=START_MS + 1)
    assert not candles.off_grid.any()
    assert candles.open_ms[0] == START_MS + 7 * 86_400_000


def test_a_year_of_hours_is_made_in_less_than_half_a_second() -> None:
    synthetic_candles(100)
    start = time.perf_counter()
    synthetic_candles(BARS)
    assert time.perf_counter() - start < 2.0  # measured: 0.04 s


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bars": 0}, "bars is 0"),
        ({"bars": 10, "edge": 0.51}, "edge is 0.51"),
        ({"bars": 10, "edge": -0.1}, "edge is -0.1"),
        ({"bars": 10, "edge": float("nan")}, "edge is nan"),
        ({"bars": 10, "seed": -1}, "seed is -1"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic_candles(**arguments)


def test_a_price_of_too_few_ticks_is_an_error() -> None:
    with pytest.raises(InvalidCandles, match="use fewer bars"):
        synthetic_candles(20_000, timeframe="1d", start_price=2.0)


def test_no_path_drift_is_the_market_without_one() -> None:
    assert (
        synthetic_candles(2_000, seed=7, edge=0.03, path_drift=0.0).digest
        == synthetic_candles(2_000, seed=7, edge=0.03).digest
    )
    drifting = synthetic_candles(2_000, seed=7, edge=0.03, path_drift=0.2)
    still = synthetic_candles(2_000, seed=7, edge=0.03)
    assert drifting.digest != still.digest
    np.testing.assert_array_equal(drifting.volume, still.volume)  # the drift decides signs and nothing else
    np.testing.assert_array_equal(drifting.taker_buy_base, still.taker_buy_base)


@pytest.mark.parametrize("bars", [1, 25, 999])
def test_a_longer_drifting_series_begins_with_the_shorter_one(bars) -> None:
    long, short = (synthetic_candles(count, seed=3, path_drift=0.2) for count in (1_000, bars))
    np.testing.assert_array_equal(short.close, long.close[:bars])
    np.testing.assert_array_equal(short.high, long.high[:bars])


def test_a_path_drift_shows_in_signs_as_long_as_it_says() -> None:
    agreement = {1: [], 20: [], 100: []}
    for seed in range(6):
        candles = synthetic_candles(BARS, edge=0.0, path_drift=0.1, seed=seed)
        signs = np.sign(candles.close - candles.open)
        for lag, found in agreement.items():
            found.append(np.mean(signs[lag:] * signs[:-lag]))
    for lag, found in agreement.items():  # E[s_t s_{t+lag}] = (2 drift)^2 0.98^lag, a little less where chances are cut
        assert np.mean(found) == pytest.approx(0.04 * 0.98**lag, abs=0.004), lag
    none = synthetic_candles(BARS, path_drift=0.0, seed=1)
    signs = np.sign(none.close - none.open)
    assert abs(np.mean(signs[1:] * signs[:-1])) < 0.016


@pytest.mark.parametrize("drift", [-0.1, 0.6, float("nan")])
def test_a_path_drift_out_of_range_is_refused(drift) -> None:
    with pytest.raises(ValueError, match="path_drift is"):
        synthetic_candles(10, path_drift=drift)
