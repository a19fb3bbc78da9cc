"""Whatever is ordered: nothing is made of nothing, locks match the open orders, and a saved state goes on alike."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from exchange_mirror import exchange_of
from hypothesis import given, settings
from hypothesis import strategies as st
from spot_oracle import HOUR_MS, Setup
from trading_runs import START_MS, candles_of, random_bars

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.errors import ExchangeError
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.orders import Leg, OrderRequest, PairRequest
from bot.exchange.refusals import Refusal
from bot.exchange.snapshot import restore, state_of
from bot.exchange.tape import Tape

D = Decimal
ASSETS = {"AAAUSDT": "AAA", "BBBUSDT": "BBB"}
START = {"USDT": D(3_000), "AAA": D(7), "BBB": D(0)}


def two_markets(terms) -> LocalExchange:
    """Return an exchange of two markets that begin at different times."""
    taker, in_kind, slippage, partial = terms
    rules = ExchangeRules.from_dict({"price_tick": "0.01", "lot_step": "0.001", "min_notional": 5})
    tapes = {
        name: (Market(name, base, "USDT", rules), Tape(candles_of(random_bars(40, k), start_ms=START_MS + k * HOUR_MS)))
        for k, (name, base) in enumerate(ASSETS.items())
    }
    fees = FeeSchedule(taker, in_kind=in_kind)
    return LocalExchange(tapes, dict(START), fees=fees, slippage=slippage, start_ms=START_MS, partial=partial)


terms = st.tuples(
    st.sampled_from([0.0, 0.001, 0.000_333]),
    st.booleans(),
    st.sampled_from([0.0, 0.001]),
    st.sampled_from([(), (0.3, 0.3), (0.5,), (1 / 3, 1 / 3, 1 / 3)]),
)
symbols = st.sampled_from(list(ASSETS))
sides = st.sampled_from(["BUY", "SELL"])
kinds = st.sampled_from([
    "MARKET", "LIMIT", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
])  # fmt: skip
sizes = st.integers(1, 12_000).map(lambda lots: D(lots) / 1000)
shifts = st.tuples(st.integers(-150, 150), st.integers(-150, 150))
actions = st.one_of(
    st.tuples(st.just("order"), symbols, sides, kinds, sizes, shifts, st.sampled_from(["GTC", "GTC", "IOC"])),
    st.tuples(st.just("pair"), symbols, sides, kinds, sizes, shifts, kinds),
    st.tuples(st.just("step"), st.integers(1, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("halt"), symbols, st.sampled_from(["HALT", "TRADING", "TRADING"])),
)


def leg(kind, first, second, tif="GTC"):
    """Return a leg with the prices that its kind takes."""
    return Leg(
        kind,
        price=first if kind.endswith("LIMIT") or kind == "LIMIT_MAKER" else None,
        stop_price=second if kind.startswith(("STOP", "TAKE")) else None,
        time_in_force=tif if kind.endswith("LIMIT") else None,
    )


def do(market: LocalExchange, action) -> str:
    """Do one thing; returns the refusal, or nothing."""
    name, *rest = action
    try:
        if name == "step":
            for _ in range(rest[0]):
                boundary = market.next_boundary_ms()
                if boundary is not None:
                    market.advance_to(boundary)
        elif name == "cancel":
            orders = market.open_orders()
            if orders:
                order = orders[rest[0] % len(orders)]
                market.cancel(order.symbol, order_id=order.order_id)
        elif name == "halt":
            market.set_status(*rest)
        else:
            symbol, side, kind, size, (near, far), last = rest
            price = market.last_price(symbol)
            first, second = (max(price + D(shift) / 100, D("0.01")) for shift in (near, far))
            if name == "order":
                one = leg(kind, first, second, last)
                market.place(OrderRequest(symbol, side, kind, size, None, one.price, one.stop_price, one.time_in_force))
            else:
                above, below = leg(kind, max(first, second), max(first, second)), leg(last, first, min(first, second))
                market.place_pair(PairRequest(symbol, side, size, above, below))
    except Refusal as refusal:
        return refusal.message
    return ""


def check_books(market: LocalExchange) -> None:
    """Add every trade up again, and every lock."""
    expected = dict(START)
    locked = dict.fromkeys(START, D(0))
    groups: dict[object, list] = {}
    for order in market.register.all_orders():
        base = ASSETS[order.symbol]
        sign = 1 if order.side == "BUY" else -1
        for trade in order.trades:
            expected[base] += sign * trade.quantity
            expected["USDT"] -= sign * trade.quantity * trade.price
            expected[trade.commission_asset] -= trade.commission
            assert trade.quantity % D("0.001") == 0
            assert trade.price % D("0.01") == 0
        assert order.executed == sum(trade.quantity for trade in order.trades) <= order.quantity
        assert (order.status == "FILLED") == (order.executed == order.quantity)
        if order.is_open:
            groups.setdefault(order.list_id if order.list_id > 0 else (order.order_id,), []).append(order)
    for orders in groups.values():
        base, order = ASSETS[orders[0].symbol], orders[0]
        assert len(orders) < 2 or orders[0].executed == orders[1].executed == 0
        if order.side == "SELL":
            locked[base] += order.quantity - order.executed
        else:  # at least what it costs at its own price, at most that and what fee and slippage may add
            least = max(o.remaining * (o.price or o.stop_price) for o in orders)
            held = market.account.held(f"list {order.list_id}" if order.list_id > 0 else f"order {order.order_id}")
            assert least <= held <= least * D("1.003") + D("0.1")
            locked["USDT"] += held
    for asset, (free, lock) in market.balances().items():
        assert free >= 0
        assert lock == locked[asset]
        assert free + lock == expected[asset]
    open_lists = {order.list_id for order in market.open_orders() if order.list_id > 0}
    assert {pair.list_id for pair in market.register.open_order_lists()} == open_lists


@settings(max_examples=300, deadline=None)
@given(terms=terms, todo=st.lists(actions, min_size=5, max_size=40))
def test_nothing_is_made_of_nothing(terms, todo):
    market = two_markets(terms)
    for action in todo:
        do(market, action)
        check_books(market)


@settings(max_examples=150, deadline=None)
@given(
    terms=terms,
    before=st.lists(actions, min_size=10, max_size=30),
    after=st.lists(actions, min_size=10, max_size=30),
    delists=st.integers(0, 9),
)
def test_a_state_that_was_saved_in_the_middle_goes_on_alike(terms, before, after, delists):
    market = two_markets(terms)
    for action in before:
        do(market, action)
    if not delists:
        market.delist("BBBUSDT")
    state = json.loads(json.dumps(state_of(market)))
    other = two_markets(terms)
    restore(other, state)
    assert state_of(other) == state
    for action in after:
        assert do(other, action) == do(market, action)
    assert state_of(other) == state_of(market)
    assert other.next_boundary_ms() == market.next_boundary_ms()


def test_the_property_runs_reach_what_they_are_about():
    """Random actions of the kind above fill, expire, cancel and pair up often enough to mean something."""
    import random

    seen = {"FILLED": 0, "PARTIALLY_FILLED": 0, "CANCELED": 0, "EXPIRED": 0, "pairs": 0}
    draw = random.Random(5)
    for _ in range(60):
        market = two_markets((0.001, draw.random() < 0.5, 0.001, (0.3, 0.3)))
        for _ in range(40):
            kind = draw.choice(["LIMIT", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "LIMIT_MAKER", "MARKET"])
            size, near, far = D(draw.randint(60, 3_000)) / 1000, draw.randint(-150, 150), draw.randint(-150, 150)
            symbol, side = draw.choice(list(ASSETS)), draw.choice(["BUY", "SELL"])
            do(market, ("order", symbol, side, kind, size, (near, far), "GTC"))
            above, below = ("LIMIT_MAKER", "STOP_LOSS") if side == "SELL" else ("STOP_LOSS", "LIMIT_MAKER")
            do(market, ("pair", symbol, side, above, size, (near, far), below))
            do(market, ("cancel", draw.randint(0, 9)) if draw.random() < 0.3 else ("step", 1))
            check_books(market)
        for order in market.register.all_orders():
            seen[order.status] = seen.get(order.status, 0) + 1
        seen["pairs"] += sum(pair.status == "ALL_DONE" for pair in market.register.all_lists())
    assert min(seen[name] for name in ("FILLED", "CANCELED", "EXPIRED", "pairs")) > 50, seen
    assert seen["PARTIALLY_FILLED"] > 0, seen


def test_amounts_beyond_twenty_eight_digits_stay_exact():
    rules = ExchangeRules.from_dict({"price_tick": "1e-8", "lot_step": "1e-8"})
    tape = Tape(candles_of([(12345.12345678, 12345.2, 12345.1, 12345.12345678)] * 2))
    balances = {"USDT": D("99999999999999999999.99999999"), "COIN": D(0)}
    market = LocalExchange(
        {"COINUSDT": (Market("COINUSDT", "COIN", "USDT", rules), tape)}, balances, fees=FeeSchedule(), start_ms=START_MS
    )
    quantity = D("1234567.12345678")
    market.place(OrderRequest("COINUSDT", "BUY", "MARKET", quantity))
    paid = int(quantity * 10**8) * 1234512345678  # in 1e-16 of the quote currency
    left = market.balances()["USDT"][0]
    assert left.as_tuple().exponent == -16
    assert int(str(left).replace(".", "")) == 99999999999999999999_99999999 * 10**8 - paid


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state["head"].update(version=7), "is of version 7"),
        (lambda state: state.pop("orders"), "is damaged"),
        (lambda state: state["head"]["balances"].update(USDT=["x", "0"]), "is damaged"),
        (lambda state: state["head"]["statuses"].update(ETHUSDT="TRADING"), "trades ETHUSDT, which was not asked for"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_with_what_to_do(change, message):
    state = state_of(exchange_of(candles_of(random_bars(5, 1)), Setup()))
    change(state)
    with pytest.raises(ExchangeError, match=message):
        restore(exchange_of(candles_of(random_bars(5, 1)), Setup()), state)


def test_balances_below_zero_are_refused():
    with pytest.raises(ValueError, match="not negative"):
        exchange_of(candles_of(random_bars(5, 1)), Setup(), balances={"USDT": D(-1)})
