"""Every strategy says of each bar what it did there and which gates it asked; both agree with its orders and its counts."""

from __future__ import annotations

import operator
from collections import Counter

import numpy as np
import pytest
from scripted_engine import Edges, ScriptedEngine, ScriptedPaths, smooth_probabilities
from spot_oracle import Setup
from trading_runs import MODES, QueueFeed, candles_of, random_bars, spot_broker

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.decisions import DecisionRecorder
from strategies.buy_and_hold import BuyAndHold
from strategies.catalog import STRATEGIES
from strategies.ml_basic import MLBasic
from strategies.ml_enhanced import MLEnhanced
from strategies.ml_predictive import MLPredictive

BARS = 500
RULES = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt, "==": operator.eq}
GATE_OF = {
    "no_entry_signal": {"p_up", "rsi", "times_held"},
    "blocked_by_no_prediction": {"status", "risk_status"},
    "blocked_by_direction": {"p_up"},
    "blocked_by_risk": {"risk"},
    "blocked_by_no_trusted_step": {"trusted_step"},
    "blocked_by_predicted_return": {"predicted_return"},
    "blocked_by_confidence": {"p_up"},
    "blocked_by_min_edge": {"edge"},
    "blocked_by_max_drawdown": {"drawdown"},
    "blocked_by_max_daily_loss": {"daily_loss"},
    "blocked_by_max_losing_streak": {"losing_streak"},
    "blocked_by_cooldown_bars": {"bars_since_exit"},
    "blocked_by_cash": {"budget"},
    "max_drawdown": {"drawdown"},
    "max_daily_loss": {"daily_loss"},
    "no_model": {"status"},
    "signal": {"p_up"},
    "overbought": {"p_down"},
    "down": {"p_down_alone"},
    "path": {"predicted_return"},
    "confidence": {"p_up"},
    "peak": {"bars_to_peak"},
}
"""Which gate fails where a code is the reason: of not opening, or of closing."""


def with_gaps(p_up, random):
    """Take some stretches of predictions away."""
    p_up = p_up.copy()
    for start in random.integers(0, len(p_up), 6):
        p_up[start : start + int(random.integers(1, 6))] = np.nan
    return p_up


def basic(candles, random, seed):
    edges = Edges(np.array([0.0, 0.5, 0.57, 1.0]), np.array([np.nan, 0.001, 0.004]))
    p_up = with_gaps(smooth_probabilities(len(candles), seed), random)
    engine = ScriptedEngine(candles, p_up, warming=20, edges=edges)
    return {
        "models": {"prediction": engine},
        "min_edge": ["none", 0.002][seed % 2],
        "enter": 0.53,
        "exit": 0.49,
    }


def enhanced(candles, random, seed):
    p_up = with_gaps(smooth_probabilities(len(candles), seed, spread=0.2), random)
    risks = with_gaps(smooth_probabilities(len(candles), seed + 100), random)
    return {
        "models": {
            "direction": ScriptedEngine(candles, p_up, warming=20),
            "risk": ScriptedEngine(candles, risks, risk=100 * risks),
        },
        "min_edge": ["none", 0.002][seed % 2],
        "rsi_period": 4,
        "oversold": 45.0,
        "overbought": 60.0,
        "min_confidence": [0.5, 0.53][seed % 2],
        "down_confidence": [0.51, None][seed // 2 % 2],
        "max_risk": [51.0, None][seed // 3 % 2],
    }


def predictive(candles, random, seed):
    p_up = with_gaps(smooth_probabilities(len(candles), seed), random)
    options = {
        "min_predicted_return": 0.001,
        "confidence_threshold": 0.53,
        "exit_return": [0.0, -0.01][seed % 2],
        "exit_confidence": 0.48,
    }
    if seed % 3 == 2:
        return {**options, "models": {"prediction": ScriptedEngine(candles, p_up, warming=20, horizon=3)}}
    gain = np.where(np.isnan(p_up), np.nan, 0.03 * (smooth_probabilities(len(candles), seed) - 0.49))
    steps = random.integers(1, 12, len(candles))
    trusted = 0 if seed == 9 else 12
    paths = ScriptedPaths(candles, gain, steps, np.nan_to_num(p_up, nan=0.5), trusted_steps=trusted, warming=20)
    return {**options, "models": {"forecast": paths}, "max_holding": [None, 5][seed % 2]}


def hold(_candles, _random, _seed):
    return {}


EXAMPLES = {"MLBasic": basic, "MLEnhanced": enhanced, "MLPredictive": predictive, "BuyAndHold": hold}
EXPECTED = {
    MLBasic: {"signal", "no_model", "no_prediction", "blocked_by_min_edge", "blocked_by_cooldown_bars"},
    MLEnhanced: {
        "overbought",
        "down",
        "blocked_by_direction",
        "blocked_by_risk",
        "no_model",
        "blocked_by_no_prediction",
    },
    MLPredictive: {
        *("path", "confidence", "peak", "kept_until_a_new_peak", "blocked_by_predicted_return"),
        *("blocked_by_confidence", "blocked_by_no_trusted_step", "no_prediction", "no_model"),
    },
    BuyAndHold: {"signal", "max_drawdown", "max_daily_loss"},
}
"""Reasons that must have occurred over all markets, besides those that all strategies share."""


def risk_of(seed):
    return {
        "max_position": 0.9,
        "stop_loss": [0.02, None, 0.01][seed % 3],
        "take_profit": [0.02, None][seed in {1, 4, 6, 10}],
        "cooldown_bars": [0, 4][seed // 2 % 2],
        "max_drawdown": [None, 0.06, 0.3][seed % 3],
        "max_daily_loss": [0.02, None][seed // 2 % 2],
        "max_losing_streak": [None, 2][seed // 3 % 2],
    }


def thin(order, _price, _ago):
    """Return how much of an order a bar fills: all of what guards a position, part of what a strategy places."""
    whole, left = abs(order.created.size), abs(order.executed.remsize)
    return left if order.info.get("protective") else min(left, 0.4 * whole)


def run(name, seed, mode="batch"):
    """Run a strategy over a random market; returns its rows and itself."""
    random = np.random.default_rng(seed)
    candles = candles_of(random_bars(BARS, seed, gap=0.004 if seed % 4 == 3 else 0.0005))
    setup = Setup(slippage=0.0002, in_kind=bool(seed % 2), lot="0.01", min_notional=9_010.0 if seed % 5 == 4 else None)
    main, rows = FastCerebro(), []
    main.broker = spot_broker(setup)
    if seed % 6 == 1:  # a thin market: orders take some bars
        main.broker.set_filler(thin)
    main.adddata((QueueFeed if mode == "live" else CandleFeed)(candles=candles))
    start = int(candles.open_ms[5])
    main.addstrategy(
        STRATEGIES[name],
        **EXAMPLES[name](candles, random, seed),
        risk=risk_of(seed),
        round_trip_cost=0.0024,
        headroom=0.0 if seed % 4 == 3 else 0.002,
        on_no_model=["hold", "close"][seed % 2],
        trade_from_ms=start,
    )
    main.addanalyzer(DecisionRecorder, sink=rows.append, trade_from_ms=start, symbol="X")
    return rows, main.run(**MODES[mode])[0]


def agrees(gate):
    """Tell whether a gate's verdict is that of its rule, but for what a ratio of floats loses at the very threshold."""
    if gate.value is None:
        return True
    if gate.name in {"drawdown", "daily_loss"} and abs(gate.value - gate.threshold) < 1e-12:
        return True
    return RULES[gate.rule](gate.value, gate.threshold) == gate.passed


def check(row):
    decision = row.decision
    action, reason = decision.action, decision.reason.partition(": ")[0]
    sides = [order.side for order in row.orders]
    assert sides == {"enter": ["buy"], "leave": ["sell"], "hold": [], "wait": []}[action]
    assert (reason == "refused_by_broker") == any(order.refused for order in row.orders)
    if reason == "refused_by_broker":
        assert decision.reason == f"refused_by_broker: {row.orders[0].refused}"
    assert (row.position > 0) == (action in {"leave", "hold"})
    gates = decision.gates
    asked = [gate for gate in gates if gate.passed is not None]
    assert all(agrees(gate) for gate in asked)
    if reason == "order_pending":
        assert not asked
        return
    lot = [gate for gate in asked if gate.name == "sellable"]
    assert bool(lot) == (action == "leave")
    failed = [gate for gate in asked if gate.decides and not gate.passed]
    if action == "enter" or (
        action == "hold" and reason in {"no_exit_signal", "kept_until_a_new_peak", "no_prediction"}
    ):
        assert not failed
        assert action == "hold" or asked == list(gates)
        return
    (gate,) = failed
    assert reason == "refused_by_broker" or gate.name in GATE_OF[reason]
    behind = gates[gates.index(gate) + 1 :]
    assert all(other.passed is None for other in behind if other.name != "sellable")


def check_counts(rows, strategy):
    said = Counter(row.decision.reason.partition(": ")[0] for row in rows)
    done = Counter(row.decision.action for row in rows)
    left = Counter(row.decision.reason.partition(": ")[0] for row in rows if row.decision.action == "leave")
    counts = strategy.summary()["counts"]
    later = sum(
        refusal.order_ref not in {order.number for order in row.orders} for row in rows for refusal in row.refusals
    )
    for name, count in counts.items():
        if name == "entries":
            assert count == done["enter"]
        elif name == "refused_by_broker":
            assert count == said[name] + later
        elif name.startswith("exits_by_"):
            assert count == left[name.removeprefix("exits_by_")]
        else:
            assert count == said[name], name
    for reason in said:
        if reason.startswith("blocked_by_") or reason == "kept_until_a_new_peak":
            assert counts[reason] == said[reason]
    assert len(rows) == strategy.bars


def test_every_strategy_of_the_catalogue_is_checked():
    assert set(EXAMPLES) == set(STRATEGIES)
    assert set(EXPECTED) == set(STRATEGIES.values())


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_a_strategy_says_agrees_with_its_orders_its_gates_and_its_counts(name):
    reasons, actions = set(), set()
    for seed in range(12):
        rows, strategy = run(name, seed)
        for row in rows:
            check(row)
        check_counts(rows, strategy)
        reasons |= {row.decision.reason.partition(": ")[0] for row in rows}
        actions |= {row.decision.action for row in rows}
    assert actions == {"enter", "leave", "hold", "wait"}
    missing = {"order_pending", "no_exit_signal", "refused_by_broker", *EXPECTED[STRATEGIES[name]]} - reasons
    assert not missing


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("mode", ["live", "exactbars 1"])
def test_bar_by_bar_a_strategy_says_the_same(name, mode):
    whole, _ = run(name, 3)
    single, _ = run(name, 3, mode)
    assert [row.to_dict() for row in single] == [row.to_dict() for row in whole]
