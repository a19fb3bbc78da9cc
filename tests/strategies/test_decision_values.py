"""Gates and decisions as values, and what each of our strategies tells of chosen bars."""

from __future__ import annotations

import math

import backtrader as bt
import numpy as np
import pytest
from scripted_engine import Edges, ScriptedEngine
from spot_oracle import Setup
from trading_runs import candles_of, spot_broker

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from strategies.buy_and_hold import BuyAndHold
from strategies.decision import Decision, Gate, ask, not_asked, until_the_first_failure
from strategies.ml_basic import MLBasic
from strategies.ml_strategy import MLStrategy
from strategies.risk import RiskRules, RiskState

NAN = float("nan")


@pytest.mark.parametrize(
    ("rule", "verdicts"),
    [
        (">=", (False, True, True)),
        (">", (False, False, True)),
        ("<=", (True, True, False)),
        ("<", (True, False, False)),
        ("==", (False, True, False)),
    ],
)
def test_a_gate_holds_its_value_against_its_threshold(rule, verdicts):
    gates = [ask("x", value, rule, 0.5) for value in (0.4, 0.5, 0.6)]
    assert tuple(gate.passed for gate in gates) == verdicts
    unknown = ask("x", NAN, rule, 0.5)
    assert (unknown.value, unknown.passed) == (None, False)
    assert ask("x", NAN, rule, 0.5, passed=True).passed is True


def test_a_gate_and_a_decision_refuse_what_makes_no_sense():
    for name, value, threshold, rule in (
        ("", 1.0, 1.0, ">="),
        ("x", 1.0, 1.0, "!="),
        ("x", NAN, 1.0, ">="),
        ("x", 1.0, NAN, ">="),
    ):
        with pytest.raises(ValueError, match="gate"):
            Gate(name, value, threshold, None, rule)
    for action, reason in (("buy", "signal"), ("enter", "")):
        with pytest.raises(ValueError, match="expected one of enter, leave, hold, wait"):
            Decision(action, reason)


def test_gates_behind_the_first_that_decides_and_fails_were_not_asked():
    gates = [
        ask("a", 1.0, ">=", 0.0),
        ask("b", 1.0, "<", 0.0, decides=False),
        ask("c", 1.0, "<", 0.0),
        ask("d", 1.0, ">=", 0.0),
        ask("e", 1.0, "<", 0.0),
    ]
    assert [gate.passed for gate in until_the_first_failure(gates)] == [True, False, False, None, None]
    assert [gate.passed for gate in until_the_first_failure(gates[:2])] == [True, False]
    assert [gate.passed for gate in not_asked(gates)] == [None] * 5
    assert [gate.value for gate in not_asked(gates)] == [1.0] * 5


def test_a_decision_is_plain_data():
    found = Decision("wait", "no_entry_signal", (ask("p_up", NAN, ">=", 0.55),)).to_dict()
    assert found == {
        "action": "wait",
        "reason": "no_entry_signal",
        "gates": [
            {"name": "p_up", "value": None, "rule": ">=", "threshold": 0.55, "passed": False, "decides": True},
        ],
    }


def gates_of(state, bar):
    return {gate.name: (gate.value, gate.threshold, gate.passed) for gate in state.entry_gates(bar)}


def test_limits_of_risk_as_gates_say_how_far_they_are():
    rules = RiskRules(max_daily_loss=0.1, max_drawdown=0.5, max_losing_streak=2, cooldown_bars=3)
    state = RiskState(rules, 100.0)
    state.observe(200.0, 1)
    state.observe(190.0, 2)
    assert gates_of(state, 9) == {
        "drawdown": (pytest.approx(0.05), 0.5, True),
        "daily_loss": (pytest.approx(0.05), 0.1, True),
        "losing_streak": (0.0, 2.0, True),
        "bars_since_exit": (None, 3.0, True),
    }
    state.closed(-1.0, 10, 2)
    state.closed(-1.0, 11, 2)
    state.observe(170.0, 2)
    assert gates_of(state, 12) == {
        "drawdown": (pytest.approx(0.15), 0.5, True),
        "daily_loss": (pytest.approx(0.15), 0.1, False),
        "losing_streak": (2.0, 2.0, False),
        "bars_since_exit": (1.0, 3.0, False),
    }
    assert [gate.passed for gate in state.stay_gates()] == [True, False]
    state.observe(80.0, 3)
    assert [gate.passed for gate in state.stay_gates()] == [False, False]
    state.observe(180.0, 4)
    assert [gate.passed for gate in state.stay_gates()] == [True, True]
    halted = gates_of(state, 20)["drawdown"]
    assert halted == (pytest.approx(0.6), 0.5, False)  # the fall that ended trading, not today's
    assert gates_of(state, 14)["bars_since_exit"] == (3.0, 3.0, True)
    assert RiskState(RiskRules(), 1.0).entry_gates(3) == RiskState(RiskRules(), 1.0).stay_gates() == []


class Told(bt.Analyzer):
    """Keep what the strategy says at each bar."""

    def start(self):
        self.rows = []

    def next(self):
        self.rows.append(self.strategy.decision())


def decisions(kind, closes, *, setup=None, start=0, prepare=None, **params):
    """Run a strategy over flat bars of these closes; returns its decisions and itself."""
    candles = candles_of([[close] * 4 for close in closes])
    main = FastCerebro()
    main.broker = spot_broker(setup or Setup())
    main.adddata(CandleFeed(candles=candles))
    main.addanalyzer(Told)
    if "p_up" in params:
        engine = ScriptedEngine(candles, np.array(params.pop("p_up")), edges=params.pop("edges", None))
        params["models"] = {"prediction": engine}
    if prepare is not None:
        prepare(main.broker)
    main.addstrategy(kind, trade_from_ms=int(candles.open_ms[start]), round_trip_cost=0.002, **params)
    strategy = main.run()[0]
    return strategy.analyzers.told.rows, strategy


def shown(decision):
    gates = {gate.name: (gate.value, gate.threshold, gate.passed) for gate in decision.gates}
    return decision.action, decision.reason, gates


def test_basic_tells_every_gate_of_every_bar():
    edges = Edges(np.array([0.0, 0.5, 0.6, 1.0]), np.array([NAN, 0.001, 0.004]))
    p_up = [0.7, NAN, 0.5, 0.58, 0.7, 0.5, NAN, 0.4, 0.7]
    rows, _ = decisions(MLBasic, [100.0] * len(p_up), p_up=p_up, edges=edges, start=1, risk={"cooldown_bars": 5})
    early, unknown, low, poor, enters, holds, blind, leaves, cools = rows
    assert early == Decision("wait", "before_start")
    budget = ("budget", (10_000.0, 0.0, None))
    cooldown = ("bars_since_exit", (None, 5.0, None))
    assert shown(unknown) == (
        *("wait", "blocked_by_no_prediction"),
        {
            "status": (2.0, 0.0, False),
            "p_up": (None, 0.55, None),
            "edge": (None, 0.002, None),
            **dict([cooldown, budget]),
        },
    )
    assert shown(low)[:2] == ("wait", "no_entry_signal")
    assert shown(low)[2]["p_up"] == (0.5, 0.55, False)
    assert shown(poor)[:2] == ("wait", "blocked_by_min_edge")
    assert shown(poor)[2]["edge"] == (0.001, 0.002, False)
    assert shown(enters)[:2] == ("enter", "signal")
    assert all(gate.passed for gate in enters.gates)
    assert shown(holds) == (
        "hold", "no_exit_signal", {"status": (0.0, 0.0, True), "p_up": (0.5, 0.45, True)},
    )  # fmt: skip
    assert shown(blind) == (
        "hold", "no_prediction", {"status": (2.0, 0.0, False), "p_up": (None, 0.45, None)},
    )  # fmt: skip
    assert shown(leaves)[:2] == ("leave", "signal")
    assert shown(leaves)[2]["p_up"] == (0.4, 0.45, False)
    assert shown(leaves)[2]["sellable"][1:] == (0.0, True)
    assert shown(cools)[:2] == ("wait", "blocked_by_cooldown_bars")
    assert shown(cools)[2]["bars_since_exit"] == (0.0, 5.0, False)
    assert shown(cools)[2]["edge"] == (0.004, 0.002, None)


def test_without_a_prediction_a_position_closes_where_the_config_says_so():
    p_up = [0.7, 0.6, NAN, NAN]
    rows, _ = decisions(MLBasic, [100.0] * 4, p_up=p_up, min_edge="none", on_no_model="close")
    assert shown(rows[2])[:2] == ("leave", "no_model")
    assert shown(rows[2])[2]["status"] == (2.0, 0.0, False)
    assert shown(rows[2])[2]["p_up"][2] is None


def test_a_refused_order_says_what_the_broker_said():
    rows, strategy = decisions(BuyAndHold, [100.0] * 3, setup=Setup(min_notional=1e6))
    said = {row.reason for row in rows}
    (reason,) = said
    assert reason.startswith("refused_by_broker: ")
    assert "1000000" in reason.replace(",", "")
    assert {row.action for row in rows} == {"enter"}
    assert strategy.summary()["counts"] == {"entries": 3, "refused_by_broker": 3}


def test_a_position_below_one_lot_cannot_be_sold_and_says_so():
    def dusty(broker):
        broker.sellable = lambda _data: 0.0

    rows, strategy = decisions(MLBasic, [100.0] * 3, p_up=[0.7, 0.4, 0.4], min_edge="none", prepare=dusty)
    assert shown(rows[1]) == shown(rows[2])
    assert shown(rows[1])[:2] == ("hold", "blocked_by_lot")
    assert shown(rows[1])[2]["sellable"] == (0.0, 0.0, False)
    assert strategy.summary()["counts"]["blocked_by_lot"] == 2


def test_an_account_without_money_says_so():
    def poor(broker):
        broker.setcash(0.0)

    rows, _ = decisions(BuyAndHold, [100.0] * 2, prepare=poor, risk={"max_daily_loss": 0.1, "max_drawdown": 0.5})
    assert shown(rows[1])[2]["drawdown"] == (0.0, 0.5, False)
    rows, strategy = decisions(BuyAndHold, [100.0] * 2, prepare=poor)
    assert shown(rows[1])[:2] == ("wait", "blocked_by_cash")
    assert shown(rows[1])[2]["budget"] == (0.0, 0.0, False)
    assert strategy.summary()["counts"] == {"blocked_by_cash": 2}


def test_a_limit_that_closes_is_the_gate_that_fails():
    rows, _ = decisions(BuyAndHold, [100.0, 100.0, 80.0, 80.0], risk={"max_drawdown": 0.1})
    assert shown(rows[2])[:2] == ("leave", "max_drawdown")
    value, threshold, passed = shown(rows[2])[2]["drawdown"]
    assert value == pytest.approx(0.2, abs=0.01)
    assert (threshold, passed) == (0.1, False)
    assert shown(rows[3])[:2] == ("wait", "no_entry_signal")
    assert shown(rows[3])[2]["times_held"] == (1.0, 0.0, False)


def test_buy_and_hold_was_never_in_before_it_enters():
    rows, _ = decisions(BuyAndHold, [100.0] * 3)
    assert shown(rows[0])[2]["times_held"] == (0.0, 0.0, True)
    assert [row.action for row in rows] == ["enter", "hold", "hold"]
    assert rows[1] == Decision("hold", "no_exit_signal")


def test_before_its_indicators_are_ready_a_strategy_says_so():
    class Slow(BuyAndHold):
        def __init__(self):
            super().__init__()
            self.average = bt.indicators.SimpleMovingAverage(self.data, period=3)

    rows, _ = decisions(Slow, [100.0] * 5)
    assert [row.reason for row in rows] == ["minimum_period", "minimum_period", "signal", *["no_exit_signal"] * 2]
    assert rows[0].gates == ()


def test_a_subclass_without_gates_of_its_own_tells_those_of_risk_and_money():
    class Own(MLStrategy):
        def wants_entry(self):
            return len(self.data) == 2

        def wants_exit(self):
            return "boredom" if len(self.data) == 4 else ""

    rows, strategy = decisions(Own, [100.0] * 5, risk={"cooldown_bars": 1, "max_drawdown": 0.5})
    assert [(row.action, row.reason) for row in rows] == [
        ("wait", "no_entry_signal"),
        ("enter", "signal"),
        ("hold", "no_exit_signal"),
        ("leave", "boredom"),
        ("wait", "no_entry_signal"),
    ]
    assert [gate.name for gate in rows[1].gates] == ["drawdown", "bars_since_exit", "budget"]
    assert [gate.name for gate in rows[3].gates] == ["drawdown", "sellable"]
    assert strategy.summary()["counts"] == {"entries": 1, "exits_by_boredom": 1}
    assert all(gate.value is None or math.isfinite(gate.value) for row in rows for gate in row.gates)
