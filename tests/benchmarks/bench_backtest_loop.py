"""The loop of a backtest against plain Backtrader: the same strategy, rules and broker on both sides, in one run."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import backtrader as bt
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from scripted_engine import ScriptedEngine, smooth_probabilities  # noqa: E402
from trading_runs import pandas_feed  # noqa: E402

from bot.backtest.cerebro import FastCerebro  # noqa: E402
from bot.backtest.feed import CandleFeed  # noqa: E402
from bot.broker.fees import FeeSchedule  # noqa: E402
from bot.broker.rules import ExchangeRules  # noqa: E402
from bot.broker.spot import SpotBroker  # noqa: E402
from indicators.prediction import MLPrediction  # noqa: E402
from ml.candles import Candles  # noqa: E402
from strategies.ml_basic import MLBasic  # noqa: E402

SERIES = ROOT.parent / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"
REPEATS = 3


class Empty(bt.Strategy):
    """A strategy that looks at its prediction and does nothing."""

    params = (("models", None),)

    def __init__(self) -> None:
        self.prediction = MLPrediction(self.data, model=self.p.models["prediction"])

    def next(self) -> None:
        pass


def account() -> SpotBroker:
    """Return the same broker for both sides."""
    rules = ExchangeRules.from_dict({"price_tick": 0.01, "lot_step": 0.00001, "min_notional": 5})
    broker = SpotBroker(rules=rules, fees=FeeSchedule(0.0001), slippage=0.00005)
    broker.setcash(100_000.0)
    return broker


def run(candles: Candles, strategy: Any, params: dict[str, Any], *, plain: bool) -> tuple[float, SpotBroker]:
    """Return the processor's seconds of ``Cerebro.run`` and the broker; the feed is made before."""
    main = bt.Cerebro() if plain else FastCerebro()
    main.broker = account()
    main.adddata(pandas_feed(candles) if plain else CandleFeed(candles=candles))
    main.addstrategy(strategy, **params)
    started = time.process_time()
    main.run()
    return time.process_time() - started, main.broker


def compare(candles: Candles, strategy: Any, params: dict[str, Any]) -> tuple[float, float, SpotBroker, bool]:
    """Return the median seconds of both sides, run by turns and warm, and whether their results are equal."""
    times: dict[bool, list[float]] = {True: [], False: []}
    brokers: dict[bool, SpotBroker] = {}
    run(candles.slice(0, 5_000), strategy, params, plain=False)
    for _ in range(REPEATS):
        for plain in (True, False):
            seconds, brokers[plain] = run(candles, strategy, params, plain=plain)
            times[plain].append(seconds)
    ours, theirs = brokers[False], brokers[True]
    same = (ours.fills, ours.getcash(), ours.getvalue()) == (theirs.fills, theirs.getcash(), theirs.getvalue())
    return statistics.median(times[True]), statistics.median(times[False]), ours, same


def measure() -> list[dict[str, Any]]:
    """Return the ratios of warm runs over BTC 1m of 2024Q1, with predictions of a seeded autoregressive process."""
    candles = Candles.from_frame(pd.read_csv(SERIES), "1m")
    models = {
        "prediction": ScriptedEngine(candles, smooth_probabilities(len(candles), 3, spread=0.15, persistence=0.99))
    }
    risk = {"stop_loss": 0.01, "take_profit": 0.02, "max_daily_loss": 0.2, "max_drawdown": 0.9, "cooldown_bars": 3}
    params = {"models": models, "risk": risk, "round_trip_cost": 0.0003, "min_edge": "cost"}
    rows = []
    plain, fast, broker, same = compare(candles, MLBasic, params)
    fills = len(broker.fills)
    rows.append({
        "what": f"Cerebro.run, MLBasic, {len(candles):,} bars of 1m, {fills} fills, against plain Backtrader",
        "asked": ">= 5x, >= 500 fills, identical fills, cash and value",
        "measured": f"{plain / fast:.1f}x ({plain:.2f} s / {fast:.2f} s), identical: {same}",
        "ok": plain / fast >= 5 and fills >= 500 and same,
    })  # fmt: skip
    plain, fast, _, same = compare(candles, Empty, {"models": models})
    rows.append({
        "what": f"Cerebro.run, an empty next, {len(candles):,} bars of 1m, against plain Backtrader",
        "asked": ">= 10x",
        "measured": f"{plain / fast:.1f}x ({plain:.2f} s / {fast:.2f} s), identical: {same}",
        "ok": plain / fast >= 10 and same,
    })  # fmt: skip
    return rows
