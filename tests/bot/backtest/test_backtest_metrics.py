"""Figures against empyrical, pandas and scikit-free arithmetic by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.backtest.metrics import (
    account_figures,
    bars_per_year,
    max_drawdown,
    prediction_figures,
    score_forecasts,
    sharpe_ratio,
    sortino_ratio,
    training_baselines,
)
from bot.backtest.rebuild import Curves, rebuild_curves, rebuild_trades
from bot.broker.records import Fill
from ml.candles import Candles
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status
from ml.synthetic import synthetic_candles

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

HOUR = 3_600_000


def random_returns(seed: int, count: int = 500) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, count) * 0.01


def curves_of(equity: np.ndarray, close: np.ndarray | None = None) -> Curves:
    count = len(equity)
    close = np.ones(count) if close is None else close
    drawdown = equity / np.maximum.accumulate(equity) - 1
    times = HOUR * np.arange(count)
    return Curves(times, close, equity, np.zeros(count), equity, drawdown, np.zeros(count))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("per_year", [252.0, 8766.0])
def test_sharpe_and_sortino_are_those_of_empyrical(seed, per_year):
    returns = random_returns(seed)
    assert sharpe_ratio(returns, per_year) == pytest.approx(
        empyrical.sharpe_ratio(returns, annualization=per_year), rel=1e-12
    )
    expected = empyrical.sortino_ratio(returns, annualization=per_year)
    assert sortino_ratio(returns, per_year) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_drawdown_and_return_are_those_of_empyrical_and_pandas(seed):
    equity = 10_000 * np.cumprod(1 + random_returns(seed))
    series = pd.Series(equity)
    returns = series.pct_change().dropna()
    assert max_drawdown(equity) == pytest.approx(empyrical.max_drawdown(returns), rel=1e-9)
    assert max_drawdown(equity) == pytest.approx((series / series.cummax() - 1).min(), rel=1e-12)
    figures = account_figures(curves_of(equity), slice(0, len(equity)), [], [], HOUR)
    assert figures["total_return"] == pytest.approx(empyrical.cum_returns_final(returns), rel=1e-9)
    assert figures["sharpe"] == pytest.approx(empyrical.sharpe_ratio(returns, annualization=figures["bars_per_year"]))


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=60))
@settings(max_examples=60, deadline=None)
def test_ratios_are_finite_or_undefined_and_agree_with_empyrical(values):
    returns = np.array(values)
    sharpe, sortino = sharpe_ratio(returns, 100.0), sortino_ratio(returns, 100.0)
    for mine in (sharpe, sortino):
        assert math.isnan(mine) or math.isfinite(mine)
    if math.isfinite(sharpe) and returns.std() > 1e-9:
        assert sharpe == pytest.approx(empyrical.sharpe_ratio(returns, annualization=100.0), rel=1e-9, abs=1e-9)


def test_what_is_undefined_is_nan():
    empty, flat = np.empty(0), np.zeros(5)
    for function in (sharpe_ratio, sortino_ratio):
        assert math.isnan(function(empty, 252.0))
        assert math.isnan(function(flat, 252.0))
    assert math.isnan(sortino_ratio(np.array([0.1, 0.2]), 252.0))
    assert math.isnan(max_drawdown(empty))
    assert math.isnan(bars_per_year(empty.astype(np.int64), HOUR))
    figures = account_figures(curves_of(np.ones(10)), slice(5, 5), [], [], HOUR)
    assert figures["bars"] == 0
    assert all(
        math.isnan(figures[name]) for name in ("total_return", "sharpe", "max_drawdown", "win_rate", "profit_factor")
    )


def test_a_year_is_measured_on_the_series():
    assert bars_per_year(HOUR * np.arange(8766), HOUR) == pytest.approx(8766)
    days = pd.bdate_range("2020-01-01", "2023-12-29")
    open_ms = days.as_unit("ms").asi8
    assert bars_per_year(open_ms, 86_400_000) == pytest.approx(261, abs=0.5)


def fill(
    row: int, side: str, size: float, price: float, fee: float = 0.0, asset: str = "quote", reason: str = ""
) -> Fill:
    return Fill(row * HOUR, row, side, size, price, fee, asset, reason or ("entry" if side == "buy" else "exit"))


def candles_of(close: list[float]) -> Candles:
    prices = np.array(close)
    return Candles("1h", HOUR * np.arange(len(prices)), prices, prices, prices, prices)


def test_a_hand_made_account():
    candles = candles_of([100.0, 110.0, 120.0, 90.0, 95.0, 100.0])
    fills = [
        fill(1, "buy", 10, 101.0, 1.0),
        fill(3, "sell", 10, 95.0, 0.9),
        fill(4, "buy", 5, 90.0, 0.5),
        fill(5, "sell", 5, 99.0, 0.4),
    ]
    curves = rebuild_curves(candles, fills, 2_000.0)
    assert curves.cash.tolist() == pytest.approx([2000, 989, 989, 1938.1, 1487.6, 1982.2])
    assert curves.position.tolist() == [0, 10, 10, 0, 5, 0]
    assert curves.equity.tolist() == pytest.approx([2000, 2089, 2189, 1938.1, 1962.6, 1982.2])
    assert curves.drawdown.min() == pytest.approx(1938.1 / 2189 - 1)
    assert curves.exposure[1] == pytest.approx(1100 / 2089)
    trades = rebuild_trades(candles, fills, 2_000.0)
    assert [(trade.entry_ms // HOUR, trade.exit_ms // HOUR, trade.bars) for trade in trades] == [(1, 3, 2), (4, 5, 1)]
    assert [trade.profit for trade in trades] == pytest.approx([-61.9, 44.1])
    assert [trade.fees for trade in trades] == pytest.approx([1.9, 0.9])
    assert trades[1].profit_share == pytest.approx(44.1 / 450)
    figures = account_figures(curves, slice(0, 6), trades, fills, HOUR)
    assert figures["trades"] == 2
    assert figures["win_rate"] == 0.5
    assert figures["profit_factor"] == pytest.approx(44.1 / 61.9)
    assert figures["fees_paid"] == pytest.approx(2.8)
    assert figures["total_return"] == pytest.approx(1982.2 / 2000 - 1)
    assert figures["buy_and_hold_return"] == pytest.approx(0.0)
    second = account_figures(curves, slice(4, 6), trades, fills, HOUR)
    assert (second["trades"], second["win_rate"], second["fees_paid"]) == (1, 1.0, pytest.approx(0.9))
    assert math.isnan(second["profit_factor"])  # nothing was lost


def test_an_open_trade_is_shown_but_not_counted():
    candles = candles_of([100.0, 110.0, 120.0])
    fills = [fill(1, "buy", 10, 100.0, 1.0)]
    trades = rebuild_trades(candles, fills, 2_000.0)
    assert (trades[0].reason, trades[0].exit_ms, trades[0].is_closed) == ("open", None, False)
    assert trades[0].profit == pytest.approx(199.0)
    figures = account_figures(rebuild_curves(candles, fills, 2_000.0), slice(0, 3), trades, fills, HOUR)
    assert figures["trades"] == 0
    assert math.isnan(figures["win_rate"])


def test_fees_in_kind_and_what_is_left_below_a_lot():
    candles = candles_of([100.0, 100.0, 100.0, 100.0])
    fills = [
        fill(0, "buy", 1.0, 100.0, 0.001, "base"),
        fill(1, "sell", 0.99, 100.0, 0.0),
        fill(2, "buy", 1.0, 100.0, 0.001, "base"),
    ]
    curves = rebuild_curves(candles, fills, 1_000.0, lot_step=0.01)
    assert curves.position.tolist() == pytest.approx([0.999, 0.009, 1.008, 1.008])
    assert curves.equity.tolist() == pytest.approx([999.9, 999.9, 999.8, 999.8])
    trades = rebuild_trades(candles, fills, 1_000.0, lot_step=0.01)
    assert [trade.is_closed for trade in trades] == [True, False]
    assert sum(trade.profit for trade in trades) == pytest.approx(-0.2)


def forecast_batch(candles: Candles, p_up: np.ndarray) -> PredictionBatch:
    values = np.full((len(candles), len(PREDICTION_COLUMNS)), 0.5)
    values[:, PREDICTION_COLUMNS.index("p_up")] = p_up
    status = np.where(np.isnan(p_up), Status.WARMING, Status.OK).astype(np.int8)
    values[status != 0] = np.nan
    return PredictionBatch(values, status)


@pytest.mark.parametrize("horizon", [1, 4])
def test_prediction_figures_against_pandas(horizon):
    candles = synthetic_candles(4_000, edge=0.05, seed=3)
    generator = np.random.default_rng(1)
    p_up = np.clip(0.5 + 0.05 * generator.normal(size=len(candles)), 0.05, 0.95)
    p_up[:100] = np.nan
    rows = slice(2_000, 4_000)
    until = int(candles.open_ms[2_000])
    baselines = training_baselines(candles, horizon, until)
    figures = prediction_figures(score_forecasts(candles, forecast_batch(candles, p_up), horizon, rows, baselines))

    frame = pd.DataFrame({"k": candles.open_ms // HOUR, "close": candles.close, "p": p_up})
    frame["forward"] = frame["close"].shift(-horizon) / frame["close"] - 1
    frame["past"] = frame["close"] / frame["close"].shift(horizon) - 1
    train = frame.iloc[: 2_000 - horizon].dropna(subset=["forward"])
    train = train[train["forward"] != 0]
    test = frame.iloc[2_000:].dropna()
    test = test[(test["k"] % horizon == 0) & (test["forward"] != 0)]
    hit = (test["p"] >= 0.5) == (test["forward"] > 0)
    majority = (train["forward"] > 0).mean() >= 0.5
    with_past = train[train["past"].notna() & (train["past"] != 0)]
    persists = (np.sign(with_past["past"]) == np.sign(with_past["forward"])).mean() >= 0.5
    said = np.sign(test["past"]) * (1 if persists else -1)
    sign = np.where(said == 0, 0.5, (said > 0) == (test["forward"] > 0))
    assert figures["n"] == len(test)
    assert figures["direction_accuracy"] == pytest.approx(hit.mean())
    assert figures["majority_baseline"] == pytest.approx(((test["forward"] > 0) == majority).mean())
    assert figures["last_sign_baseline"] == pytest.approx(sign.mean())
    bets = np.where(test["p"] >= 0.5, 1, -1) * test["forward"]
    assert figures["gross_return_per_bet"] == pytest.approx(bets.mean())
    assert figures["break_even_cost"] == pytest.approx(max(0.0, bets.mean()))
    assert figures["direction_accuracy_low"] < hit.mean() < figures["direction_accuracy_high"]
    base = (train["forward"] > 0).mean()

    def loss(p):
        return -np.log(np.where(test["forward"] > 0, p, 1 - p)).sum()

    assert figures["log_loss_skill"] == pytest.approx(1 - loss(test["p"]) / loss(base))


def test_no_label_reaches_beyond_the_run():
    candles = synthetic_candles(500, seed=1)
    baselines = training_baselines(candles, 5, None)
    forecasts = score_forecasts(candles, forecast_batch(candles, np.full(500, 0.6)), 5, slice(490, 500), baselines)
    assert len(forecasts.p_up) <= 1


def test_without_a_model_every_figure_is_undefined():
    figures = prediction_figures(None)
    assert figures["n"] == 0
    assert math.isnan(figures["direction_accuracy"])
    assert figures["reliability"] == []
