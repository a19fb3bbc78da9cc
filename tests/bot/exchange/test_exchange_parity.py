"""The same orders through the backtest's broker and through the local exchange: every fill equal to the bit."""

from __future__ import annotations

from collections import Counter

import backtrader as bt
import numpy as np
import pytest
from exchange_mirror import SYMBOL, Mirror, Script, backtest, told
from spot_oracle import Setup
from trading_runs import candles_of, place, random_bars, run_script

from ml.candles import Candles


def market_of(seed: int, bars: int):
    """Return a market with missing candles and terms of its own."""
    random = np.random.default_rng(seed)
    candles = candles_of(random_bars(bars, seed))
    keep = random.random(bars) > 0.05
    keep[0] = True
    columns = {name: column[keep] for name, column in candles.columns.items()}
    setup = Setup(
        cash=1_000_000.0,
        taker=[0.0, 0.001, 0.00075][seed % 3],
        in_kind=bool(seed % 2),
        slippage=[0.0, 0.0005, 0.002][seed // 2 % 3],
        tick="0.01",
        lot=["0.00001", "0.001", "0.1"][seed // 3 % 3],
        min_notional=[None, 5.0, 60.0][seed // 5 % 3],
    )
    return Candles.from_columns(candles.timeframe, {"open_ms": candles.open_ms[keep], **columns}), setup


def compare(seed: int, bars: int, *, guarded: bool) -> Counter:
    """Run both; returns how often each reason filled and each refusal came."""
    candles, setup = market_of(seed, bars)
    unit = 30.0 if setup.lot == "0.1" else 1.0
    broker, script = backtest(candles, setup, seed=seed, guarded=guarded, unit=unit)
    mirror = Mirror(candles, setup, script).run()
    assert mirror.fills() == told(broker)
    free, locked = mirror.exchange.balances()["USDT"]
    assert float(free + locked) == pytest.approx(broker.cash, abs=1e-6)
    counts = Counter(fill.reason for fill in broker.fills)
    counts.update(message for _, message in mirror.refused)
    counts["pairs"] += len(mirror.exchange.register.all_lists())
    counts["open"] += len(mirror.exchange.open_orders(SYMBOL))
    return counts


@pytest.mark.parametrize("guarded", [False, True])
def test_random_orders_fill_alike(guarded):
    counts = Counter()
    for seed in range(30):
        counts += compare(seed, 200, guarded=guarded)
    assert counts["entry"] > 400
    assert counts["exit"] > 100
    if guarded:
        assert counts["stop"] > 200
        assert counts["target"] > 100
        assert counts["pairs"] > 200
    else:  # stops that the next open has passed already are refused, and sent as what they would have become
        assert counts["Order would trigger immediately."] > 200
        assert set(counts) <= {"entry", "exit", "Order would trigger immediately.", "open"}


@pytest.mark.slow
@pytest.mark.parametrize("guarded", [False, True])
def test_many_random_orders_fill_alike(guarded):
    counts = Counter()
    for seed in range(1_000, 1_300):
        counts += compare(seed, 400, guarded=guarded)
    assert counts["entry"] > 10_000


def test_an_entry_that_cash_does_not_pay_at_the_next_open_is_refused_by_both():
    bars = [(100.0, 101.0, 99.0, 100.0), (110.0, 111.0, 109.0, 110.0), (110.0, 111.0, 109.0, 110.0)]
    setup = Setup(cash=1_000.0, taker=0.001)
    broker, strategy = run_script(bars, {0: place("a", "buy", size=9.9)}, setup)
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Margin"]
    script = Script({0: [("place", 1, "buy", 9.9, bt.Order.Market, None, None, {})]})
    mirror = Mirror(candles_of(bars), setup, script).run()
    assert mirror.refused == [(1, "Account has insufficient balance for requested action.")]
    assert mirror.fills() == told(broker) == []
