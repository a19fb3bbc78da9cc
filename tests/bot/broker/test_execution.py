"""The pure rules of plain orders, against Backtrader's own matching on bars of few ticks, where ties are common."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import backtrader as bt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.broker.execution import limit_fill, limit_price, market_price, stop_fill, stop_limit_fill, target_limit_fill
from bot.broker.rules import ExchangeRules

FREE = ExchangeRules()
TICKS = ExchangeRules(price_tick=Decimal("0.5"))
PRICES = st.integers(90, 102).map(float)


@st.composite
def bars(draw):
    open_, close = draw(PRICES), draw(PRICES)
    high = max(open_, close) + draw(st.integers(0, 4))
    low = min(open_, close) - draw(st.integers(0, 4))
    return open_, float(high), float(low), close


def backtraders(method, is_buy, *numbers, slippage=0.0):
    """Return what Backtrader's broker fills at, or None, and whether it triggered the order."""
    broker = bt.brokers.BackBroker(slip_perc=slippage, slip_open=True, slip_match=True, slip_out=True)
    found = []
    broker._execute = lambda _order, ago, price: found.append(price)
    order = SimpleNamespace(isbuy=lambda: is_buy, exectype=None, triggered=False, alive=lambda: False)
    getattr(broker, method)(order, *numbers)
    assert len(found) <= 1
    return (found[0] if found else None), order.triggered


@settings(max_examples=300, deadline=None)
@given(bar=bars(), limit=PRICES, is_buy=st.booleans())
def test_limit_orders_fill_as_in_backtrader(bar, limit, is_buy):
    open_, high, low, _ = bar
    expected, _ = backtraders("_try_exec_limit", is_buy, open_, high, low, limit)
    assert limit_fill(open_, high, low, limit, FREE, is_buy=is_buy) == expected


@settings(max_examples=300, deadline=None)
@given(bar=bars(), stop=PRICES, is_buy=st.booleans(), slippage=st.sampled_from([0.0, 0.0005, 0.03]))
def test_stop_orders_fill_as_in_backtrader(bar, stop, is_buy, slippage):
    open_, high, low, close = bar
    expected, _ = backtraders("_try_exec_stop", is_buy, open_, high, low, stop, close, slippage=slippage)
    assert stop_fill(open_, high, low, stop, FREE, slippage, is_buy=is_buy) == expected


@settings(max_examples=600, deadline=None)
@example(bar=(100.0, 102.0, 95.0, 100.0), stop=96.0, limit=98.0, is_buy=False)  # the two sides differ in a tie
@example(bar=(100.0, 105.0, 98.0, 100.0), stop=104.0, limit=102.0, is_buy=True)
@given(bar=bars(), stop=PRICES, limit=PRICES, is_buy=st.booleans())
def test_stop_limit_orders_trigger_and_fill_as_in_backtrader(bar, stop, limit, is_buy):
    open_, high, low, close = bar
    expected = backtraders("_try_exec_stoplimit", is_buy, open_, high, low, close, stop, limit)
    found = stop_limit_fill(open_, high, low, close, stop, limit, FREE, is_buy=is_buy)
    assert (found.price, found.triggered) == expected


@settings(max_examples=300, deadline=None)
@given(bar=bars(), trigger=PRICES, limit=PRICES, is_buy=st.booleans())
def test_a_take_profit_limit_is_what_a_walk_through_the_bar_meets(bar, trigger, limit, is_buy):
    open_, high, low, close = bar
    far, near = (high, low) if is_buy else (low, high)  # against the order first
    triggered, price = False, None
    for at in walk(open_, far, near, close):
        triggered = triggered or (at <= trigger if is_buy else at >= trigger)
        if triggered and (at <= limit if is_buy else at >= limit):
            price = at
            break
    found = target_limit_fill(open_, high, low, trigger, limit, FREE, is_buy=is_buy)
    assert (found.triggered, found.price) == (triggered, price)


def walk(*points):
    """Go through prices one tick at a time."""
    at = points[0]
    yield at
    for point in points[1:]:
        while at != point:
            at += 1.0 if point > at else -1.0
            yield at


def test_market_orders_are_worse_by_slippage_and_then_by_the_tick():
    assert market_price(100.0, TICKS, 0.001, is_buy=True) == 100.5
    assert market_price(100.0, TICKS, 0.001, is_buy=False) == 99.5
    assert market_price(100.0, TICKS, 0.0, is_buy=True) == 100.0
    assert market_price(100.2, FREE, 0.0, is_buy=False) == 100.2


@pytest.mark.parametrize(
    ("price", "limit", "is_buy", "expected"),
    [(99.8, 101.0, True, 100.0), (99.8, 99.9, True, 99.9), (100.2, 99.0, False, 100.0), (100.2, 100.1, False, 100.1)],
)
def test_limit_orders_are_rounded_against_themselves_but_never_past_their_limit(price, limit, is_buy, expected):
    assert limit_price(price, limit, TICKS, is_buy=is_buy) == expected
