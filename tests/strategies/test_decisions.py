"""Signals, sizes and limits of risk as pure functions, and their parameters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.errors import StrategyError
from strategies.parameters import check_choice, check_count, check_fraction, check_name
from strategies.risk import RiskRules, RiskState
from strategies.signals import (
    DOWN,
    UP,
    asked_by_rsi,
    confirms,
    earns_its_costs,
    is_below_limit,
    probability_of_rise,
    reaches,
    simple_return,
    wants_in,
    wants_out,
)
from strategies.sizing import entry_size

NAN = float("nan")


def test_signals_at_their_thresholds_and_without_numbers():
    assert wants_in(0.55, 0.55)
    assert not wants_in(0.5499, 0.55)
    assert not wants_in(NAN, 0.55)
    assert wants_out(0.45, 0.45)
    assert not wants_out(0.4501, 0.45)
    assert not wants_out(NAN, 0.45)
    assert earns_its_costs(0.0031, 0.003)
    assert not earns_its_costs(0.003, 0.003)
    assert not earns_its_costs(NAN, 0.0)


def test_what_the_rsi_asks_for():
    assert asked_by_rsi(29.999, 30.0, 70.0) == UP == 1.0
    assert asked_by_rsi(70.001, 30.0, 70.0) == DOWN == -1.0
    for rsi in (30.0, 50.0, 70.0, NAN):
        assert asked_by_rsi(rsi, 30.0, 70.0) == 0.0


@pytest.mark.parametrize(
    ("wanted", "direction", "confidence", "least", "agrees"),
    [
        (UP, 1.0, 0.55, 0.55, True),
        (UP, 1.0, 0.5499, 0.55, False),
        (UP, -1.0, 0.9, 0.55, False),
        (DOWN, -1.0, 0.9, 0.55, True),
        (DOWN, 1.0, 0.9, 0.55, False),
        (UP, 1.0, 0.5, 0.5, False),  # no opinion
        (UP, 1.0, 0.501, 0.5, True),
        (UP, NAN, 0.9, 0.5, False),
        (UP, 1.0, NAN, 0.5, False),
    ],
)
def test_a_model_confirms_what_is_wanted_when_it_says_so_surely_enough(wanted, direction, confidence, least, agrees):
    assert confirms(wanted, direction, confidence, least) is agrees


def test_limits_thresholds_and_returns():
    assert is_below_limit(49.9, 50.0)
    assert not is_below_limit(50.0, 50.0)
    assert not is_below_limit(NAN, 50.0)
    assert reaches(0.002, 0.002)
    assert not reaches(0.0019, 0.002)
    assert not reaches(NAN, 0.0)
    assert simple_return(math.log(1.25)) == pytest.approx(0.25)
    assert math.isnan(simple_return(NAN))
    assert probability_of_rise(UP, 0.6) == 0.6
    assert probability_of_rise(DOWN, 0.6) == pytest.approx(0.4)
    assert math.isnan(probability_of_rise(NAN, 0.6))
    assert math.isnan(probability_of_rise(UP, NAN))


@given(
    fraction=st.floats(0.001, 1),
    value=st.floats(0.01, 1e9),
    cash_part=st.floats(0.001, 1),
    price=st.floats(1e-6, 1e6),
    cost=st.floats(0, 0.1),
    headroom=st.floats(0, 0.5),
)
def test_a_size_never_costs_more_than_the_cash_or_the_target(fraction, value, cash_part, price, cost, headroom):
    cash = value * cash_part
    size = entry_size(fraction, value, cash, price, cost, headroom)
    spent = size * price * (1 + cost + headroom)
    assert spent <= min(fraction * value, cash) * (1 + 1e-12)
    assert spent == pytest.approx(min(fraction * value, cash))


def test_there_is_nothing_to_buy_without_cash_or_a_price():
    assert entry_size(1.0, 100.0, 0.0, 10.0, 0.0, 0.0) == 0.0
    assert entry_size(1.0, 100.0, -5.0, 10.0, 0.0, 0.0) == 0.0
    assert entry_size(1.0, 100.0, 100.0, 0.0, 0.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_position": 0.0}, r"risk\.max_position is 0\.0: expected a number in \(0, 1\]"),
        ({"max_position": 1.5}, r"risk\.max_position is 1\.5"),
        ({"max_position": None}, r"risk\.max_position is None"),
        ({"max_drawdown": -0.1}, r"risk\.max_drawdown is -0\.1: expected a number in \(0, 1\] or null"),
        ({"stop_loss": "tight"}, r"risk\.stop_loss is 'tight'"),
        ({"take_profit": NAN}, r"risk\.take_profit is nan"),
        ({"max_daily_loss": True}, r"risk\.max_daily_loss is True"),
        ({"cooldown_bars": 2.5}, r"risk\.cooldown_bars is 2\.5: expected a whole number from 0"),
        ({"cooldown_bars": -1}, r"risk\.cooldown_bars is -1"),
        ({"max_losing_streak": 0}, r"risk\.max_losing_streak is 0: expected a whole number from 1 or null"),
        ({"stop_los": 0.1}, "unknown risk parameter 'stop_los'; did you mean 'stop_loss'"),
    ],
)
def test_limits_out_of_range_name_the_parameter(values, message):
    with pytest.raises(StrategyError, match=message):
        RiskRules.of(values)


def test_limits_from_a_mapping_from_limits_and_by_default():
    rules = RiskRules.of({"stop_loss": 0.03, "take_profit": None})
    assert rules.stop_loss == 0.03
    assert RiskRules.of(rules) is rules
    assert RiskRules.of(None) == RiskRules()


def test_a_daily_loss_counts_from_the_last_value_of_the_day_before():
    state = RiskState(RiskRules(max_daily_loss=0.1), 100.0)
    assert state.observe(100.0, 7) == ""
    assert state.observe(90.5, 7) == ""
    assert state.observe(90.0, 7) == "max_daily_loss"
    assert state.blocks(3) == "max_daily_loss"
    assert state.observe(90.0, 8) == ""
    assert state.blocks(4) == ""
    assert state.observe(81.5, 8) == ""
    assert state.observe(81.0, 8) == "max_daily_loss"
    assert state.observe(95.0, 8) == ""  # it recovered on the same day


def test_a_drawdown_counts_from_the_highest_value_and_halts_for_good():
    state = RiskState(RiskRules(max_drawdown=0.2), 100.0)
    assert state.observe(150.0, 1) == ""
    assert state.observe(121.0, 2) == ""
    assert state.observe(120.0, 3) == "max_drawdown"
    assert state.observe(200.0, 4) == ""
    assert state.blocks(9) == "max_drawdown"


def test_a_losing_streak_pauses_until_the_next_day_and_starts_anew():
    state = RiskState(RiskRules(max_losing_streak=2), 100.0)
    state.observe(100.0, 1)
    state.closed(-1.0, 5, 1)
    assert state.blocks(6) == ""
    state.closed(+1.0, 6, 1)
    state.closed(-1.0, 7, 1)
    assert state.blocks(8) == ""
    state.closed(-1.0, 8, 1)
    assert state.blocks(9) == "max_losing_streak"
    state.observe(98.0, 2)
    assert state.blocks(10) == ""
    state.closed(-1.0, 11, 2)
    assert state.losing_streak == 1
    assert state.blocks(12) == ""


def test_a_trade_that_earned_nothing_but_rounding_is_not_a_loss():
    state = RiskState(RiskRules(max_losing_streak=1), 10_000.0)
    state.observe(10_000.0, 1)
    state.closed(-1e-12, 5, 1)
    assert state.losing_streak == 0
    state.closed(-1e-6, 6, 1)
    assert state.blocks(7) == "max_losing_streak"


def test_a_cool_down_counts_bars_after_the_bar_of_the_exit():
    state = RiskState(RiskRules(cooldown_bars=2), 100.0)
    state.observe(100.0, 1)
    assert state.blocks(1) == ""
    state.closed(1.0, 10, 1)
    assert [state.blocks(bar) for bar in (10, 11, 12)] == ["cooldown_bars", "cooldown_bars", ""]


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_limits_agree_with_a_plain_reading_of_their_rules(values, loss, fall):
    state = RiskState(RiskRules(max_daily_loss=loss, max_drawdown=fall), values[0])
    halted = False
    for row, value in enumerate(values):
        day = row // 7
        verdict = state.observe(value, day)
        before = values[day * 7 - 1] if day else values[0]
        deep = value <= max(values[: row + 1]) * (1 - fall)
        halted = halted or deep
        bad_day = value <= before * (1 - loss)
        assert verdict == ("max_drawdown" if deep else "max_daily_loss" if bad_day else "")
        assert state.blocks(row) == ("max_drawdown" if halted else "max_daily_loss" if bad_day else "")


def test_checks_name_the_parameter_and_what_was_expected():
    check_fraction("x", 0.5, low=0, high=1)
    check_fraction("x", None, low=0, high=1, optional=True)
    check_count("n", 3, low=1)
    check_count("n", None, low=1, optional=True)
    check_count("n", 9, low=1, high=9)
    with pytest.raises(StrategyError, match="n is 10: expected a whole number from 1 to 9"):
        check_count("n", 10, low=1, high=9)
    check_choice("c", "hold", ["hold", "close"])
    check_name("thing", "a", ["a"])
    for value in (math.inf, None, "1", False, 2):
        with pytest.raises(StrategyError, match=r"^x is "):
            check_fraction("x", value, low=0, high=1)
    for value in (None, 1.0, True, 0):
        with pytest.raises(StrategyError, match=r"^n is "):
            check_count("n", value, low=1)
    with pytest.raises(StrategyError, match="c is 'hld': expected hold or close; did you mean 'hold'"):
        check_choice("c", "hld", ["hold", "close"])
    with pytest.raises(StrategyError, match=r"unknown thing 'z' \(there are a\)"):
        check_name("thing", "z", ["a"])
