"""Strategies by name, their parameters, and what is not MLBasic."""

from __future__ import annotations

import sys
import types

import backtrader as bt
import pytest
from scripted_engine import ScriptedEngine
from spot_oracle import Setup
from trading_runs import candles_of, fills_of, spot_broker

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from strategies.buy_and_hold import BuyAndHold
from strategies.catalog import STRATEGIES, check_params, find_strategy
from strategies.errors import StrategyError, UnknownStrategy
from strategies.ml_basic import MLBasic
from strategies.ml_strategy import MLStrategy

FLAT = (100.0, 101.0, 99.0, 100.0)


@pytest.fixture
def own_module(monkeypatch):
    module = types.ModuleType("traders_own")
    module.Mine = type("Mine", (bt.Strategy,), {"params": (("period", 3),), "__module__": "traders_own"})
    module.NotOne = object
    monkeypatch.setitem(sys.modules, "traders_own", module)
    return module


def test_names_and_classes_of_the_users_own(own_module):
    assert find_strategy("MLBasic") is MLBasic
    assert find_strategy("traders_own:Mine") is own_module.Mine
    check_params(own_module.Mine, {"period": 5})
    with pytest.raises(StrategyError, match="unknown parameter of Mine 'perod'; did you mean 'period'"):
        check_params(own_module.Mine, {"perod": 5})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MLBasik", "unknown strategy 'MLBasik'; did you mean 'MLBasic'.*written module:Class"),
        ("no_such_module_here:X", "the module 'no_such_module_here' cannot be imported"),
        ("traders_own:Other", "traders_own has no bt.Strategy named 'Other'"),
        ("traders_own:NotOne", "has no bt.Strategy named 'NotOne'"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_unknown_strategies_are_named_with_the_nearest(name, message):
    with pytest.raises(UnknownStrategy, match=message):
        find_strategy(name)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"enter": 1.2}, r"enter is 1\.2: expected a number in \[0, 1\]"),
        ({"exit": 0.55}, r"exit is 0\.55: expected less than enter, which is 0\.55"),
        ({"min_edge": "costs"}, "min_edge is 'costs': expected cost, none or a number"),
        ({"min_edge": 3.0}, r"min_edge is 3\.0: expected a number in \[-1, 1\]"),
        ({"min_edge": None}, "min_edge is None"),
    ],
)
def test_parameters_of_ml_basic_out_of_range(params, message):
    with pytest.raises(StrategyError, match=message):
        check_params(MLBasic, params)


def test_ml_basic_accepts_every_kind_of_edge():
    for edge in ("cost", "none", 0.002, 0):
        check_params(MLBasic, {"min_edge": edge})


def run(kind, bars, setup=None, **params):
    main = FastCerebro()
    main.broker = spot_broker(setup or Setup())
    main.adddata(CandleFeed(candles=candles_of(bars)))
    main.addstrategy(kind, **params)
    return main.broker, main.run()[0]


def test_ml_basic_needs_a_model_for_its_role():
    with pytest.raises(
        StrategyError, match="MLBasic needs a model for the role 'prediction'; models has \\['other'\\]"
    ):
        run(MLBasic, [FLAT], models={"other": None})


def test_buy_and_hold_buys_once_and_keeps_it():
    broker, strategy = run(BuyAndHold, [FLAT] * 6, risk={"max_position": 0.5})
    assert [(f[0], f[1]) for f in fills_of(broker)] == [(1, "buy")]
    assert broker.fills[0].size == pytest.approx(50.0, rel=0.01)
    assert strategy.summary() == {"counts": {"entries": 1}}


def test_buy_and_hold_tries_again_when_it_was_refused():
    jump = (102.0, 103.0, 101.0, 102.0)
    broker, strategy = run(BuyAndHold, [FLAT, jump, (102.0, 103.0, 101.0, 102.0), jump])
    assert [(f[0], f[1]) for f in fills_of(broker)] == [(2, "buy")]
    assert strategy.counts == {"entries": 2, "refused_by_broker": 1}


def test_buy_and_hold_keeps_to_the_limits_of_risk():
    falling = [(100.0 - i, 100.0 - i, 98.0 - i, 99.0 - i) for i in range(40)]
    broker, strategy = run(BuyAndHold, falling, risk={"max_drawdown": 0.1, "max_position": 0.9})
    assert [f.side for f in broker.fills] == ["buy", "sell"]
    assert strategy.counts["exits_by_max_drawdown"] == 1


def test_an_account_without_cash_buys_nothing():
    broker, strategy = run(BuyAndHold, [FLAT] * 3, setup=Setup(cash=0.0))
    assert broker.fills == []
    assert strategy.counts["blocked_by_cash"] == 3


def test_the_base_must_be_told_what_is_wanted():
    class Undecided(MLStrategy):
        pass

    with pytest.raises(NotImplementedError, match="must say when it wants in"):
        run(Undecided, [FLAT])

    class Eager(MLStrategy):
        def wants_entry(self):
            return True

    with pytest.raises(NotImplementedError, match="must say when it wants out"):
        run(Eager, [FLAT] * 4)


def test_a_holding_below_one_lot_cannot_be_sold():
    class Once(BuyAndHold):
        def wants_exit(self):
            return "whim"

    candles = [FLAT] * 5
    setup = Setup(in_kind=True, taker=0.01, lot="1", cash=150.0)
    broker, strategy = run(Once, candles, setup, risk={"max_position": 0.9})
    assert [f.size for f in broker.fills] == [1.0]  # 0.99 is left after the fee, less than a lot
    assert strategy.counts["blocked_by_lot"] == 4


def test_on_backtraders_own_broker_it_trades_without_stops():
    candles = candles_of([FLAT] * 6)
    main = FastCerebro()
    main.adddata(CandleFeed(candles=candles))
    engine = ScriptedEngine(candles, [0.6, 0.5, 0.4, 0.5, 0.5, 0.5])
    main.addstrategy(MLBasic, models={"prediction": engine}, min_edge="none", risk={"stop_loss": 0.01})
    strategy = main.run()[0]
    assert strategy.counts == {"entries": 1, "exits_by_signal": 1}
    assert strategy.position.size == 0


def test_names_of_the_catalogue_are_those_of_the_classes():
    assert all(name == kind.__name__ for name, kind in STRATEGIES.items())
