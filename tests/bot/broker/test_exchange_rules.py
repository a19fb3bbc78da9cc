"""Exchange rules as values, lots and ticks in decimals, fees."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.broker.fees import FeeSchedule
from bot.broker.lots import floor_size, refusal, round_price
from bot.broker.rules import ExchangeRules
from bot.errors import BrokerError

STEPS = st.sampled_from(["1", "0.1", "0.01", "0.001", "0.00001", "0.00000001", "0.25", "5"])


def rules(**values):
    return ExchangeRules.from_dict(values)


def test_rules_come_from_numbers_and_texts_and_go_back():
    found = rules(price_tick=0.01, lot_step="0.00001", min_notional=5, min_qty=None)
    assert found == ExchangeRules(Decimal("0.01"), Decimal("0.00001"), None, Decimal(5))
    assert found.to_dict() == {"price_tick": "0.01", "lot_step": "0.00001", "min_qty": None, "min_notional": "5"}
    assert ExchangeRules.from_dict(found.to_dict()) == found
    assert rules(lot_step=0) == ExchangeRules()
    assert rules(lot_step=1e-8).to_dict()["lot_step"] == "0.00000001"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lot_stp": 1}, "unknown exchange rule 'lot_stp'; did you mean 'lot_step'?"),
        ({"lot_step": "many"}, "lot_step is 'many': expected a number"),
        ({"lot_step": -1}, r"lot_step is Decimal\('-1'\): expected a positive Decimal"),
        ({"price_tick": float("nan")}, "price_tick is Decimal"),
        ({"min_notional": float("inf")}, "min_notional is Decimal"),
    ],
)
def test_bad_rules_name_what_is_wrong(values, message):
    with pytest.raises(BrokerError, match=message):
        ExchangeRules.from_dict(values)
    with pytest.raises(BrokerError, match="expected a positive Decimal"):
        ExchangeRules(price_tick=0.01)


def test_sums_of_floats_do_not_lose_a_lot():
    assert 0.7 + 0.1 != 0.8
    assert floor_size(0.7 + 0.1, rules(lot_step=0.1)) == 0.8
    assert floor_size(0.79999, rules(lot_step=0.1)) == 0.7


@given(size=st.floats(1e-6, 1e6), step=STEPS)
def test_sizes_are_the_largest_multiple_that_is_not_above(size, step):
    found = Decimal(str(floor_size(size, rules(lot_step=step))))
    lot = Decimal(step)
    assert found % lot == 0
    assert found <= Decimal(str(size)) + lot * Decimal("1e-9")
    assert found > Decimal(str(size)) - lot
    assert floor_size(size, rules()) == size


@given(price=st.floats(1e-3, 1e6), tick=STEPS)
def test_prices_are_multiples_of_the_tick_on_the_side_that_was_asked(price, tick):
    given_rules, step, exact = rules(price_tick=tick), Decimal(tick), Decimal(str(price))
    up, down, near = (Decimal(str(round_price(price, given_rules, way))) for way in ("up", "down", "nearest"))
    for found in (up, down, near):
        assert found % step == 0
        assert found >= step
    noise = step * Decimal("1e-9")
    assert up >= exact - noise
    assert up - exact < step or up == step
    assert down <= exact + noise or down == step
    assert abs(near - exact) <= step / 2 or near == step
    assert round_price(price, rules()) == price


@pytest.mark.parametrize("way", ["up", "down", "nearest"])
def test_a_price_on_the_tick_stays(way):
    for ticks in range(1, 5000, 7):
        price = float(Decimal(ticks) * Decimal("0.01"))
        assert round_price(price, rules(price_tick=0.01), way) == price


def test_refusals_say_what_is_too_small():
    found = rules(lot_step=0.01, min_qty=0.05, min_notional=10)
    assert refusal(0.0, 100.0, found) == "size rounds to 0 lots of 0.01"
    assert refusal(0.04, 100.0, found) == "size 0.04 is below the smallest size 0.05"
    assert refusal(0.06, 100.0, found) == "notional 6 is below the smallest notional 10"
    assert refusal(0.1, 100.0, found) == ""
    assert refusal(0.1, 0.001, rules()) == ""


def test_fees_are_taken_in_the_quote_currency_or_in_kind():
    assert FeeSchedule(0.001).charge(2.0, 100.0, is_buy=True) == (0.2, "quote")
    assert FeeSchedule(0.001).charge(2.0, 100.0, is_buy=False) == (0.2, "quote")
    assert FeeSchedule(0.001, in_kind=True).charge(2.0, 100.0, is_buy=True) == (0.002, "base")
    assert FeeSchedule(0.001, in_kind=True).charge(2.0, 100.0, is_buy=False) == (0.2, "quote")
    for wrong in (-0.001, 0.1, float("nan")):
        with pytest.raises(BrokerError, match="expected a fraction"):
            FeeSchedule(wrong)
