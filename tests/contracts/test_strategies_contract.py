"""Every strategy keeps to the house's rules; one without an entry in ``EXAMPLES`` fails."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import backtrader as bt
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, ScriptedPaths, smooth_probabilities
from spot_oracle import Setup
from trading_runs import Watch, candles_of, fills_of, pandas_feed, random_bars, spot_broker

import strategies
from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from strategies.buy_and_hold import BuyAndHold
from strategies.catalog import STRATEGIES, check_params, find_strategy
from strategies.errors import StrategyError
from strategies.ml_basic import MLBasic
from strategies.ml_enhanced import MLEnhanced
from strategies.ml_predictive import MLPredictive
from strategies.ml_strategy import MLStrategy

CANDLES = candles_of(random_bars(600, 23, gap=0.0005), "1h")
ENGINE = ScriptedEngine(CANDLES, smooth_probabilities(len(CANDLES), 5), warming=40)
RISKS = ScriptedEngine(CANDLES, smooth_probabilities(len(CANDLES), 6), risk=100 * smooth_probabilities(len(CANDLES), 7))
PATHS = ScriptedPaths(
    CANDLES,
    0.02 * (smooth_probabilities(len(CANDLES), 5) - 0.5),
    np.random.default_rng(8).integers(1, 20, len(CANDLES)),
    smooth_probabilities(len(CANDLES), 5),
    trusted_steps=20,
    warming=40,
)
RISK = {"max_position": 0.9, "stop_loss": 0.03, "take_profit": 0.05, "cooldown_bars": 1}
COMMON = {"risk": RISK, "round_trip_cost": 0.002}

EXAMPLES = {
    MLBasic: {**COMMON, "models": {"prediction": ENGINE}, "min_edge": "none"},
    MLEnhanced: {
        **COMMON,
        "models": {"direction": ENGINE, "risk": RISKS},
        "min_edge": "none",
        "rsi_period": 5,
        "rsi_timeframe": "2h",
        "oversold": 45.0,
        "overbought": 55.0,
        "max_risk": 55.0,
    },
    MLPredictive: {
        **COMMON,
        "models": {"forecast": PATHS},
        "min_predicted_return": 0.001,
        "confidence_threshold": 0.54,
    },
    BuyAndHold: COMMON,
}
"""Parameters with which each strategy trades; what it decides is checked in ``tests/strategies``."""
ABSTRACT = {MLStrategy}


def discovered():
    found = set()
    for module in pkgutil.iter_modules(strategies.__path__, "strategies."):
        for _, each in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(each, bt.Strategy) and each.__module__ == module.name:
                found.add(each)
    return sorted(found - ABSTRACT, key=lambda each: each.__name__)


ALL = discovered()


def run(kind, *, cerebro=FastCerebro, plain=False, candles=CANDLES, params=None, setup=None, **mode):
    main = cerebro()
    main.broker = spot_broker(setup or Setup())
    main.adddata(pandas_feed(candles) if plain else CandleFeed(candles=candles))
    main.addanalyzer(Watch)
    main.addstrategy(kind, **(EXAMPLES[kind] if params is None else params))
    return main.broker, main.run(**mode)[0]


def test_every_strategy_has_an_example_a_name_and_is_exported():
    assert {each.__name__ for each in ALL} == {each.__name__ for each in EXAMPLES}
    assert {each.__name__: each for each in ALL} == STRATEGIES
    assert set(strategies.__all__) == {each.__name__ for each in (*ALL, *ABSTRACT)}
    assert all(getattr(strategies, name).__name__ == name for name in strategies.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        strategies.Nothing  # noqa: B018


@pytest.mark.parametrize("kind", ALL)
def test_its_own_folder_of_tests_covers_it(kind):
    texts = [path.read_text() for path in (Path(__file__).parents[1] / "strategies").glob("test_*.py")]
    assert any(kind.__name__ in text for text in texts)


@pytest.mark.parametrize("kind", ALL)
def test_it_documents_its_parameters(kind):
    documented = "".join(base.__doc__ or "" for base in kind.__mro__ if issubclass(base, MLStrategy))
    for name in kind.params._getkeys():
        assert re.search(rf"``{name}``", documented), f"{kind.__name__} does not document {name}"


@pytest.mark.parametrize("kind", ALL)
def test_a_misspelled_parameter_is_named_with_the_nearest(kind):
    with pytest.raises(
        StrategyError, match=r"unknown parameter of .* 'round_trip_cots'; did you mean 'round_trip_cost'"
    ):
        check_params(kind, {"round_trip_cots": 0.1})
    for name, wrong in {
        "headroom": -1,
        "on_no_model": "panic",
        "round_trip_cost": "much",
        "risk": {"stop_los": 1},
    }.items():
        with pytest.raises(StrategyError, match=name if name != "risk" else "stop_loss"):
            check_params(kind, {name: wrong})
        with pytest.raises(StrategyError):
            run(kind, params={**EXAMPLES[kind], name: wrong})
    check_params(kind, EXAMPLES[kind])
    assert find_strategy(kind.__name__) is kind


@pytest.mark.parametrize("kind", ALL)
def test_every_way_to_run_it_gives_the_same_trades(kind):
    broker, strategy = run(kind)
    expected = (fills_of(broker), strategy.analyzers.watch.value, strategy.summary())
    assert expected[0]
    ways = [
        {"cerebro": bt.Cerebro, "plain": True},
        {"runonce": False},
        {"preload": False},
        {"exactbars": 1},
        {"exactbars": -1},
    ]
    for way in ways:
        broker, strategy = run(kind, **way)
        assert (fills_of(broker), strategy.analyzers.watch.value, strategy.summary()) == expected


@pytest.mark.parametrize("kind", ALL)
def test_nothing_is_traded_before_the_start_nor_seen_before_its_time(kind):
    start = int(CANDLES.open_ms[100])
    params = {**EXAMPLES[kind], "trade_from_ms": start}
    broker, _ = run(kind, params=params)
    assert broker.fills
    assert min(fill.bar_open_ms for fill in broker.fills) > start
    shorter, _ = run(kind, params=params, candles=CANDLES.slice(0, 400))
    assert shorter.fills == [fill for fill in broker.fills if fill.bar_open_ms <= CANDLES.open_ms[399]]


@pytest.mark.parametrize("kind", ALL)
def test_the_account_never_goes_short_or_into_debt(kind):
    setup = Setup(taker=0.01, in_kind=True, slippage=0.01, lot="0.1", min_notional=20.0)
    params = {**EXAMPLES[kind], "risk": {**RISK, "max_position": 1.0}, "headroom": 0.0}
    broker, strategy = run(kind, params=params, setup=setup)
    assert min(strategy.analyzers.watch.cash) >= 0.0
    held = 0.0
    for fill in broker.fills:
        held += (fill.size - (fill.fee if fill.fee_asset == "base" else 0.0)) if fill.side == "buy" else -fill.size
        assert held >= -1e-9


def test_decisions_see_lines_only():
    for path in Path(strategies.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {
                "ml",
                "registry",
                "bot",
                "requests",
                "urllib",
                "socket",
            }
            assert not (isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}), path.name
