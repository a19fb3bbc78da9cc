"""Orders on the local exchange, one at a time, with the numbers worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exchange_mirror import SYMBOL, exchange_of
from hypothesis import given, settings
from hypothesis import strategies as st
from spot_oracle import HOUR_MS, Setup
from trading_runs import START_MS, candles_of

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.errors import BrokerError
from bot.exchange.market import MAX_ALGO_ORDERS, MAX_ORDERS, Market
from bot.exchange.matching import LocalExchange
from bot.exchange.orders import BalanceEvent, CandleEvent, Leg, ListEvent, OrderEvent, OrderRequest, PairRequest
from bot.exchange.refusals import Refusal
from bot.exchange.tape import Tape

D = Decimal
FLAT = (100.0, 101.0, 99.0, 100.0)
FUNDS = {"USDT": D(10_000), "BTC": D(10)}
FREE = Setup(taker=0.0)


def exchange(*bars, setup=FREE, balances=None, **options):
    """Return an exchange in the middle of its second candle; the first was flat."""
    candles = candles_of([FLAT, *bars])
    options.setdefault("start_ms", START_MS + HOUR_MS)
    return exchange_of(candles, setup, balances=dict(balances or FUNDS), **options)


def request(kind, side="BUY", quantity="1", price=None, stop=None, tif=None, client_id=None, quote=None):
    if tif is None and kind in ("LIMIT", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"):
        tif = "GTC"
    return OrderRequest(
        SYMBOL, side, kind, None if quantity is None else D(quantity), None if quote is None else D(quote),
        None if price is None else D(price), None if stop is None else D(stop), tif, client_id,
    )  # fmt: skip


def pair(target="105", stop="95", side="SELL", quantity="1", *, target_kind="LIMIT_MAKER", limit=None, **ids):
    """Return a pair; ``limit`` makes its stop a stop-limit order."""
    wanted = Leg(target_kind, **{"price" if target_kind == "LIMIT_MAKER" else "stop_price": D(target)})
    kind = "STOP_LOSS" if limit is None else "STOP_LOSS_LIMIT"
    guard = Leg(kind, None if limit is None else D(limit), D(stop), None if limit is None else "GTC")
    above, below = (wanted, guard) if side == "SELL" else (guard, wanted)
    return PairRequest(SYMBOL, side, D(quantity), above, below, **ids)


def step(market):
    market.advance_to(market.next_boundary_ms())


def refused(market, what):
    """Return code and message of the refusal, and check that it left no trace."""
    before = (market.balances(), market.register.next_ids(), len(market.open_orders()))
    with pytest.raises(Refusal) as caught:
        (market.place_pair if isinstance(what, PairRequest) else market.place)(what)
    assert (market.balances(), market.register.next_ids(), len(market.open_orders())) == before
    return caught.value.code, caught.value.message


# --- market orders


def test_a_market_order_fills_at_once_at_the_open_made_worse_by_slippage():
    market = exchange((100.005, 120.0, 80.0, 110.0), setup=Setup(taker=0.001, slippage=0.0005))
    bought = market.place(request("MARKET", quantity="0.12345"))
    sold = market.place(request("MARKET", "SELL", quantity="0.12345"))
    assert [trade.price for trade in (*bought.trades, *sold.trades)] == [D("100.06"), D("99.95")]
    assert (bought.status, bought.executed, bought.quote_executed) == ("FILLED", D("0.12345"), D("12.352407"))
    assert bought.trades[0].commission == D("0.01235241")
    assert bought.trades[0].commission_asset == "USDT"
    assert not bought.trades[0].is_maker
    paid, got = D("12.352407") + D("0.01235241"), D("0.12345") * D("99.95") - D("0.01233883")
    assert market.balances()["USDT"] == (10_000 - paid + got, 0)
    assert market.balances()["BTC"] == (10, 0)


def test_a_purchase_is_charged_in_what_it_bought_where_fees_are_in_kind():
    market = exchange(FLAT, setup=Setup(taker=0.001, in_kind=True))
    market.place(request("MARKET", quantity="2"))
    assert market.balances() == {"USDT": (D(9_800), D(0)), "BTC": (D("11.998"), D(0))}
    market.place(request("MARKET", "SELL", quantity="2"))
    assert market.balances() == {"USDT": (D("9999.8"), D(0)), "BTC": (D("9.998"), D(0))}


def test_an_amount_of_quote_buys_as_many_lots_as_it_pays():
    market = exchange(FLAT, setup=Setup(taker=0.0, lot="0.01", slippage=0.001))
    order = market.place(request("MARKET", quantity=None, quote="333"))
    assert (order.executed, order.quote_quantity) == (D("3.32"), D(333))  # 3.33 would cost 333.333
    assert order.quote_executed == D("3.32") * D("100.1")


def test_buying_power_includes_the_fee_to_the_last_decimal():
    just = {"USDT": D("100.1"), "BTC": D(0)}
    setup = Setup(taker=0.001)
    market = exchange(FLAT, setup=setup, balances=just)
    market.place(request("MARKET"))
    assert market.balances()["USDT"] == (0, 0)
    market = exchange(FLAT, setup=setup, balances=just | {"USDT": D("100.09999999")})
    assert refused(market, request("MARKET"))[0] == -2010
    assert refused(market, request("LIMIT", price="100"))[0] == -2010
    assert refused(market, request("MARKET", "SELL"))[1] == "Account has insufficient balance for requested action."


def test_a_resent_market_order_fills_twice():
    market = exchange(FLAT)
    first, second = (market.place(request("MARKET", client_id="same")) for _ in range(2))
    assert (first.status, second.status, first.order_id == second.order_id) == ("FILLED", "FILLED", False)
    assert market.order(SYMBOL, client_id="same") is second
    assert market.balances()["BTC"] == (12, 0)


def test_a_client_id_is_unique_among_open_orders():
    market = exchange(FLAT)
    market.place(request("LIMIT", price="90", client_id="same"))
    assert refused(market, request("MARKET", client_id="same")) == (-2010, "Duplicate order sent.")
    market.cancel(SYMBOL, client_id="same")
    assert market.place(request("MARKET", client_id="same")).status == "FILLED"


# --- orders that rest


@pytest.mark.parametrize(
    ("what", "bar", "expected"),
    [
        (request("LIMIT", price="97"), (100.0, 101.0, 96.0, 98.0), "97"),
        (request("LIMIT", price="97"), (100.0, 101.0, 97.0, 98.0), "97"),
        (request("LIMIT", price="97"), (100.0, 101.0, 97.01, 98.0), None),
        (request("LIMIT_MAKER", "SELL", price="103"), (100.0, 103.0, 96.0, 98.0), "103"),
        (request("LIMIT_MAKER", "SELL", price="103"), (100.0, 102.99, 96.0, 98.0), None),
        (request("STOP_LOSS", "SELL", stop="97"), (100.0, 101.0, 97.0, 98.0), "96.9"),
        (request("STOP_LOSS", "SELL", stop="97"), (100.0, 101.0, 97.01, 98.0), None),
        (request("STOP_LOSS", "BUY", stop="103"), (100.0, 103.0, 97.0, 98.0), "103.11"),
        (request("STOP_LOSS_LIMIT", "SELL", stop="97", price="96.5"), (100.0, 101.0, 96.0, 98.0), "97"),
        (request("STOP_LOSS_LIMIT", "BUY", stop="103", price="104"), (100.0, 105.0, 96.0, 98.0), "103"),
        (request("TAKE_PROFIT", "SELL", stop="103"), (100.0, 104.0, 97.0, 98.0), "103"),
        (request("TAKE_PROFIT", "BUY", stop="97"), (100.0, 104.0, 97.0, 98.0), "97"),
        (request("TAKE_PROFIT", "BUY", stop="97"), (100.0, 104.0, 97.01, 98.0), None),
        (request("TAKE_PROFIT_LIMIT", "SELL", stop="103", price="102"), (100.0, 104.0, 97.0, 98.0), "103"),
        (request("TAKE_PROFIT_LIMIT", "BUY", stop="97", price="96"), (100.0, 104.0, 96.0, 98.0), "96"),
    ],
)
def test_a_resting_order_meets_the_range_of_its_own_candle_when_that_closes(what, bar, expected):
    market = exchange(bar, FLAT, setup=Setup(taker=0.0, slippage=0.001))
    order = market.place(what)
    assert (order.status, order.trades) == ("NEW", [])
    step(market)
    if expected is None:
        assert (order.status, order.is_working) == ("NEW", what.stop_price is None)
        return
    assert order.status == "FILLED"
    assert [(t.price, t.time_ms) for t in order.trades] == [(D(expected), START_MS + 2 * HOUR_MS - 1)]
    assert order.updated_ms == START_MS + 2 * HOUR_MS - 1


@pytest.mark.parametrize(
    ("what", "open_", "expected"),
    [
        (request("LIMIT", price="97"), 96.0, "96"),
        (request("LIMIT", "SELL", price="103"), 104.0, "104"),
        (request("STOP_LOSS", "SELL", stop="97"), 96.0, "95.9"),
        (request("STOP_LOSS", "BUY", stop="103"), 104.0, "104.11"),
        (request("STOP_LOSS_LIMIT", "SELL", stop="97", price="96.5"), 96.0, "96.5"),
        (request("TAKE_PROFIT", "SELL", stop="103"), 104.0, "104"),
        (request("TAKE_PROFIT_LIMIT", "BUY", stop="97", price="96.5"), 96.0, "96"),
    ],
)
def test_a_gap_through_an_order_fills_it_at_the_open(what, open_, expected):
    market = exchange(FLAT, (open_, 104.5, 95.5, 100.0), FLAT, setup=Setup(taker=0.0, slippage=0.001))
    order = market.place(what)
    step(market)
    assert order.status == "NEW"
    step(market)
    assert [trade.price for trade in order.trades] == [D(expected)]


def test_a_limit_order_that_is_there_already_takes_at_once():
    market = exchange((99.995, 101.0, 99.0, 100.0), setup=Setup(taker=0.0, tick="0.01"))
    assert market.place(request("LIMIT", price="103")).trades[0].price == D("100")
    assert market.place(request("LIMIT", "SELL", price="98")).trades[0].price == D("99.99")
    order = market.place(request("LIMIT", price="100"))
    assert (order.status, order.trades[0].is_maker) == ("FILLED", False)


def test_a_triggered_stop_limit_rests_until_the_market_comes_back():
    market = exchange((100.0, 101.0, 96.0, 96.5), (96.0, 97.0, 95.0, 96.0), (97.0, 98.5, 96.0, 97.0), FLAT)
    order = market.place(request("STOP_LOSS_LIMIT", "SELL", stop="97", price="98"))
    step(market)
    assert (order.status, order.is_working, order.working_ms) == ("NEW", True, START_MS + 2 * HOUR_MS - 1)
    step(market)
    assert order.status == "NEW"
    step(market)
    assert (order.status, order.trades[0].price, order.trades[0].is_maker) == ("FILLED", D(98), True)


def test_orders_that_may_not_rest_expire():
    market = exchange(FLAT)
    for tif in ("IOC", "FOK"):
        order = market.place(request("LIMIT", price="99", tif=tif))
        assert (order.status, order.executed) == ("EXPIRED", 0)
        assert market.place(request("LIMIT", price="100", tif=tif)).status == "FILLED"
    assert market.open_orders() == []
    assert market.balances()["USDT"] == (9_800, 0)


def test_a_stop_that_the_cash_no_longer_pays_expires():
    market = exchange(FLAT, (200.0, 201.0, 199.0, 200.0), FLAT, balances={"USDT": D(150), "BTC": D(0)})
    order = market.place(request("STOP_LOSS", stop="103"))
    assert market.balances()["USDT"] == (47, 103)
    step(market)
    step(market)
    assert (order.status, order.executed) == ("EXPIRED", 0)
    assert market.balances()["USDT"] == (150, 0)


def test_resting_orders_lock_what_they_may_take_with_its_fee_and_free_it_again():
    market = exchange((100.0, 101.0, 89.0, 90.0), FLAT, setup=Setup(taker=0.001))
    market.place(request("LIMIT", price="90", quantity="10"))
    sale = market.place(request("LIMIT", "SELL", price="110", quantity="4"))
    assert market.balances() == {"USDT": (D("9099.1"), D("900.9")), "BTC": (D(6), D(4))}
    assert refused(market, request("LIMIT", price="90", quantity="102"))[0] == -2010
    market.cancel(SYMBOL, order_id=sale.order_id)
    assert market.balances()["BTC"] == (10, 0)
    step(market)
    assert market.balances() == {"USDT": (D("9099.1"), D(0)), "BTC": (D(20), D(0))}


# --- pairs


@pytest.mark.parametrize(
    ("bar", "winner", "price"),
    [
        ((100.0, 104.0, 96.0, 100.0), None, None),
        ((100.0, 105.0, 96.0, 100.0), "target", "105"),
        ((100.0, 104.0, 95.0, 100.0), "stop", "94.9"),
        ((100.0, 106.0, 94.0, 100.0), "stop", "94.9"),  # both are reached: the worst case first
    ],
)
def test_one_of_a_pair_fills_and_the_other_expires(bar, winner, price):
    market = exchange(bar, FLAT, setup=Setup(taker=0.0, slippage=0.001))
    placed = market.place_pair(pair())
    target, stop = (market.order(SYMBOL, order_id=number) for number in placed.order_ids)
    assert (target.kind, stop.kind, placed.status) == ("LIMIT_MAKER", "STOP_LOSS", "EXECUTING")
    assert market.balances()["BTC"] == (9, 1)  # locked once
    step(market)
    if winner is None:
        assert (target.status, stop.status, placed.status) == ("NEW", "NEW", "EXECUTING")
        return
    filled, other = (target, stop) if winner == "target" else (stop, target)
    assert (filled.status, other.status, placed.status) == ("FILLED", "EXPIRED", "ALL_DONE")
    assert [trade.price for trade in filled.trades] == [D(price)]
    assert (filled.trades[0].list_id, other.trades) == (placed.list_id, [])
    assert market.balances()["BTC"] == (9, 0)


@pytest.mark.parametrize(("open_", "kind", "price"), [(94.0, "STOP_LOSS", "93.9"), (107.0, "LIMIT_MAKER", "107")])
def test_a_gap_through_one_of_a_pair_fills_it_at_the_open(open_, kind, price):
    market = exchange(FLAT, (open_, 108.0, 93.0, 100.0), FLAT, setup=Setup(taker=0.0, slippage=0.001))
    market.place_pair(pair())
    step(market)
    step(market)
    assert [(market.order(SYMBOL, order_id=t.order_id).kind, t.price) for t in market.trades(SYMBOL)] == [
        (kind, D(price))
    ]


@settings(max_examples=400, deadline=None)
@given(
    bars=st.lists(st.tuples(*[st.integers(92, 108)] * 2, *[st.integers(0, 5)] * 2), min_size=1, max_size=4),
    distances=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    side=st.sampled_from(["BUY", "SELL"]),
    kind=st.sampled_from(["LIMIT_MAKER", "TAKE_PROFIT"]),
)
def test_a_pair_does_what_a_walk_through_the_worst_case_meets(bars, distances, side, kind):
    rows = [(100.0, 100.0, 100.0, 100.0)] + [
        (float(o), float(max(o, c) + up), float(min(o, c) - down), float(c)) for o, c, up, down in bars
    ]
    sign = 1 if side == "SELL" else -1
    target, stop = 100 + sign * distances[0], 100 - sign * distances[1]
    expected = None
    for number, (open_, high, low, close) in enumerate(rows):
        against, along = (low, high) if side == "SELL" else (high, low)
        for at in walk(open_, against, along, close):
            if expected is None and (at - stop) * sign <= 0:
                expected = ("STOP_LOSS", at, number)
            elif expected is None and (at - target) * sign >= 0:
                expected = (kind, at, number)
    market = exchange_of(candles_of([*rows, FLAT]), FREE, balances=dict(FUNDS))
    market.place_pair(pair(str(target), str(stop), side, target_kind=kind))
    market.advance_to(START_MS + len(rows) * HOUR_MS)
    found = [
        (market.order(SYMBOL, order_id=t.order_id).kind, float(t.price), (t.time_ms - START_MS) // HOUR_MS)
        for t in market.trades(SYMBOL)
    ]
    assert found == ([] if expected is None else [expected])


def walk(*points):
    """Go through prices one tick at a time."""
    at = points[0]
    yield at
    for point in points[1:]:
        while at != point:
            at += 1.0 if point > at else -1.0
            yield at


def test_cancelling_one_of_a_pair_cancels_both():
    for by in ("order", "list", "all"):
        market = exchange(FLAT)
        placed = market.place_pair(pair(list_client_id="mine"))
        if by == "order":
            market.cancel(SYMBOL, order_id=placed.order_ids[1])
        elif by == "list":
            assert market.cancel_list(SYMBOL, client_id="mine") is placed
        else:
            assert len(market.cancel_all(SYMBOL)) == 2
        assert [market.order(SYMBOL, order_id=n).status for n in placed.order_ids] == ["CANCELED", "CANCELED"]
        assert placed.status == "ALL_DONE"
        assert market.balances()["BTC"] == (10, 0)
        with pytest.raises(Refusal, match="-2011 Unknown order list sent"):
            market.cancel_list(SYMBOL, list_id=placed.list_id)


def test_a_stop_limit_of_a_pair_goes_on_alone_once_it_is_triggered():
    market = exchange((100.0, 101.0, 94.0, 94.5), (94.0, 96.5, 93.0, 94.0), FLAT)
    placed = market.place_pair(pair(limit="96"))
    target, stop = (market.order(SYMBOL, order_id=number) for number in placed.order_ids)
    step(market)
    assert (target.status, stop.status, stop.is_working, placed.status) == ("EXPIRED", "NEW", True, "EXECUTING")
    assert market.balances()["BTC"] == (9, 1)
    step(market)
    assert (stop.status, stop.trades[0].price, placed.status) == ("FILLED", D(96), "ALL_DONE")
    assert market.balances()["BTC"] == (9, 0)


def test_a_pair_to_buy_locks_the_dearer_of_its_two():
    market = exchange(FLAT, setup=Setup(taker=0.001, slippage=0.001))
    market.place_pair(pair("95", "105", "BUY"))
    assert market.balances()["USDT"][1] == D("105.11") + D("0.10511")


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        (pair("100", "95"), -2010, "The relationship of the prices for the orders is not correct."),
        (pair("94", "95"), -2010, "The relationship of the prices for the orders is not correct."),
        (pair("105", "100"), -2010, "Order would trigger immediately."),
        (pair("95", "100", "BUY"), -2010, "Order would trigger immediately."),
        (pair("100", "105", "BUY"), -2010, "The relationship of the prices for the orders is not correct."),
        (pair(quantity="11"), -2010, "Account has insufficient balance for requested action."),
        (pair(quantity="0.000001"), -1013, "Filter failure: LOT_SIZE"),
        (pair("105.001"), -1013, "Filter failure: PRICE_FILTER"),
        (
            PairRequest(SYMBOL, "SELL", D(1), Leg("STOP_LOSS", stop_price=D(95)), Leg("LIMIT_MAKER", price=D(105))),
            -1197,
            "A stop loss order in a sell OCO must be below.",
        ),
        (
            PairRequest(SYMBOL, "BUY", D(1), Leg("LIMIT_MAKER", price=D(95)), Leg("STOP_LOSS", stop_price=D(105))),
            -1165,
            "A limit order in a buy OCO must be below.",
        ),
        (
            PairRequest(SYMBOL, "SELL", D(1), Leg("LIMIT", price=D(95)), Leg("STOP_LOSS", stop_price=D(105))),
            -1158,
            "Order type not supported in OCO.",
        ),
        (
            PairRequest(SYMBOL, "SELL", D(1), Leg("LIMIT_MAKER"), Leg("STOP_LOSS", stop_price=D(95))),
            -1102,
            "Mandatory parameter 'abovePrice' was not sent, was empty/null, or malformed.",
        ),
    ],
)
def test_pairs_that_are_refused(what, code, message):
    assert refused(exchange(FLAT), what) == (code, message)


# --- partial fills


def test_a_market_order_may_trade_in_parts_at_one_price():
    market = exchange(FLAT, setup=Setup(taker=0.001, lot="0.01"), partial=(0.3, 0.3))
    order = market.place(request("MARKET", quantity="1.11"))
    assert [trade.quantity for trade in order.trades] == [D("0.33"), D("0.33"), D("0.45")]
    assert [trade.commission for trade in order.trades] == [D("0.033"), D("0.033"), D("0.045")]
    assert (order.status, order.executed) == ("FILLED", D("1.11"))


def test_a_resting_order_fills_over_two_candles_and_may_be_cancelled_between():
    dip = (100.0, 101.0, 89.0, 95.0)
    market = exchange(dip, FLAT, dip, FLAT, setup=Setup(taker=0.001), partial=(0.3, 0.3))
    first = market.place(request("LIMIT", price="90"))
    second = market.place(request("LIMIT", price="90"))
    step(market)
    for order in (first, second):
        assert (order.status, order.executed) == ("PARTIALLY_FILLED", D("0.3"))
    assert market.balances() == {
        "USDT": (D(10_000) - 2 * D("90.09"), 2 * D("63.063")), "BTC": (D("10.6"), D(0)),
    }  # fmt: skip
    step(market)
    assert first.status == "PARTIALLY_FILLED"
    market.cancel(SYMBOL, order_id=second.order_id)
    assert (second.status, second.executed) == ("CANCELED", D("0.3"))
    step(market)
    assert [trade.quantity for trade in first.trades] == [D("0.3"), D("0.7")]
    assert market.balances()["USDT"] == (D(10_000) - D("90.09") - D("27.027"), 0)


def test_a_part_of_one_order_of_a_pair_ends_the_other():
    market = exchange((100.0, 105.0, 99.0, 100.0), (100.0, 100.0, 90.0, 95.0), FLAT, partial=(0.5,))
    placed = market.place_pair(pair())
    target, stop = (market.order(SYMBOL, order_id=number) for number in placed.order_ids)
    step(market)
    assert (target.status, stop.status, placed.status) == ("PARTIALLY_FILLED", "EXPIRED", "EXECUTING")
    assert market.balances()["BTC"] == (9, D("0.5"))
    step(market)
    market.cancel(SYMBOL, order_id=target.order_id)
    assert (target.status, placed.status) == ("CANCELED", "ALL_DONE")
    assert market.balances()["BTC"] == (D("9.5"), 0)


@pytest.mark.parametrize("parts", [(0.0,), (1.0,), (0.6, 0.6), (-0.1,)])
def test_parts_that_make_no_sense_are_an_error(parts):
    with pytest.raises(BrokerError, match="expected fractions"):
        exchange(FLAT, partial=parts)


# --- refusals


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        (OrderRequest("ETHUSDT", "BUY", "MARKET", D(1)), -1121, "Invalid symbol."),
        (request("MARKET", "HOLD"), -1117, "Invalid side."),
        (request("ICEBERG"), -1116, "Invalid orderType."),
        (request("MARKET", client_id="a b"), -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        (request("MARKET", client_id="x" * 37), -1100, "Illegal characters found in parameter 'newClientOrderId'"),
        (request("MARKET", quantity=None), -1102, "Mandatory parameter 'quantity' was not sent"),
        (request("LIMIT"), -1102, "Mandatory parameter 'price' was not sent"),
        (request("STOP_LOSS"), -1102, "Mandatory parameter 'stopPrice' was not sent"),
        (OrderRequest(SYMBOL, "BUY", "LIMIT", D(1), price=D(99)), -1102, "Mandatory parameter 'timeInForce'"),
        (request("LIMIT", price="99", tif="DAY"), -1115, "Invalid timeInForce."),
        (request("MARKET", price="99"), -1106, "Parameter 'price' sent when not required."),
        (request("LIMIT", price="99", stop="98"), -1106, "Parameter 'stopPrice' sent when not required."),
        (request("MARKET", tif="GTC"), -1106, "Parameter 'timeInForce' sent when not required."),
        (request("LIMIT", price="99", quote="5"), -1106, "Parameter 'quoteOrderQty' sent when not required."),
        (request("MARKET", quote="5"), -1128, "Combination of optional parameters invalid."),
        (request("MARKET", quantity="1.000000001"), -1111, "Parameter 'quantity' has too much precision."),
        (request("MARKET", quantity="1e30"), -1108, "Parameter 'quantity' overflowed."),
        (request("MARKET", quantity="NaN"), -1102, "Mandatory parameter 'quantity' was not sent"),
        (request("MARKET", quantity="0"), -1013, "Filter failure: LOT_SIZE"),
        (request("MARKET", quantity="-1"), -1013, "Filter failure: LOT_SIZE"),
        (request("MARKET", quantity="1.000001"), -1013, "Filter failure: LOT_SIZE"),
        (request("LIMIT", price="99.001"), -1013, "Filter failure: PRICE_FILTER"),
        (request("LIMIT", price="-99"), -1013, "Filter failure: PRICE_FILTER"),
        (request("MARKET", quantity="0.04"), -1013, "Filter failure: NOTIONAL"),
        (request("LIMIT", quantity="0.1", price="49.99"), -1013, "Filter failure: NOTIONAL"),
        (request("STOP_LOSS", "SELL", quantity="0.1", stop="49.99"), -1013, "Filter failure: NOTIONAL"),
        (request("LIMIT_MAKER", price="100"), -2010, "Order would immediately match and take."),
        (request("LIMIT_MAKER", "SELL", price="100"), -2010, "Order would immediately match and take."),
        (request("STOP_LOSS", "SELL", stop="100"), -2010, "Order would trigger immediately."),
        (request("STOP_LOSS", "BUY", stop="100"), -2010, "Order would trigger immediately."),
        (request("TAKE_PROFIT", "SELL", stop="100"), -2010, "Order would trigger immediately."),
        (request("TAKE_PROFIT_LIMIT", "BUY", stop="100", price="90"), -2010, "Order would trigger immediately."),
    ],
)
def test_orders_that_are_refused(what, code, message):
    found = refused(exchange(FLAT, setup=Setup(taker=0.0, min_notional=5.0)), what)
    assert found[0] == code
    assert found[1].startswith(message)


def test_the_notional_of_a_market_order_is_judged_by_the_last_close_as_a_backtest_does():
    setup = Setup(taker=0.0, min_notional=100.0)
    assert exchange((90.0, 91.0, 89.0, 90.0), setup=setup).place(request("MARKET")).status == "FILLED"
    assert refused(exchange((110.0, 110.0, 89.0, 90.0), setup=setup), request("MARKET", quantity="0.99")) == (
        -1013,
        "Filter failure: NOTIONAL",
    )


def test_no_more_orders_rest_than_the_exchange_keeps():
    market = exchange(FLAT)
    for _ in range(MAX_ALGO_ORDERS):
        market.place(request("STOP_LOSS", "SELL", quantity="0.1", stop="90"))
    assert refused(market, request("STOP_LOSS", "SELL", stop="90"))[1] == "Filter failure: MAX_NUM_ALGO_ORDERS"
    assert refused(market, pair())[1] == "Filter failure: MAX_NUM_ALGO_ORDERS"
    for _ in range(MAX_ORDERS - MAX_ALGO_ORDERS):
        market.place(request("LIMIT", quantity="0.1", price="90"))
    assert refused(market, request("LIMIT", quantity="0.1", price="90"))[1] == "Filter failure: MAX_NUM_ORDERS"
    assert market.place(request("MARKET")).status == "FILLED"


def test_a_test_order_is_judged_and_not_placed():
    market = exchange(FLAT)
    market.check(request("MARKET", quantity="5000"))
    with pytest.raises(Refusal, match="LOT_SIZE"):
        market.check(request("MARKET", quantity="0.0000001"))
    assert market.orders(SYMBOL) == []


@pytest.mark.parametrize("status", ["HALT", "BREAK"])
def test_a_market_that_does_not_trade_refuses_orders_and_fills_none(status):
    market = exchange((100.0, 101.0, 89.0, 95.0), (100.0, 101.0, 89.0, 95.0), FLAT)
    first, second = (market.place(request("LIMIT", price="90")) for _ in range(2))
    market.set_status(SYMBOL, status)
    assert refused(market, request("MARKET")) == (-2010, "Market is closed.")
    assert refused(market, pair()) == (-2010, "Market is closed.")
    step(market)
    assert first.status == "NEW"
    market.cancel(SYMBOL, order_id=second.order_id)
    market.set_status(SYMBOL, "TRADING")
    step(market)
    assert (first.status, second.status) == ("FILLED", "CANCELED")


def test_a_delisted_market_is_gone_and_its_orders_cancelled():
    market = exchange(FLAT)
    order = market.place(request("LIMIT", price="90"))
    market.delist(SYMBOL)
    assert (order.status, market.balances()["USDT"]) == ("CANCELED", (10_000, 0))
    assert refused(market, request("MARKET")) == (-1121, "Invalid symbol.")
    with pytest.raises(Refusal, match="Invalid symbol"):
        market.order(SYMBOL, order_id=order.order_id)
    assert market.next_boundary_ms() is None


def test_cancels_and_look_ups_that_find_nothing():
    market = exchange(FLAT)
    done = market.place(request("MARKET", client_id="done"))
    for which in ({"order_id": done.order_id}, {"client_id": "done"}, {"order_id": 99}, {"client_id": "other"}):
        with pytest.raises(Refusal, match="-2011 Unknown order sent"):
            market.cancel(SYMBOL, **which)
    for which in ({"order_id": 99}, {"client_id": "other"}, {"order_id": done.order_id, "client_id": "other"}):
        with pytest.raises(Refusal, match="-2013 Order does not exist"):
            market.order(SYMBOL, **which)
    with pytest.raises(Refusal, match="-1102 Param 'origClientOrderId' or 'orderId' must be sent"):
        market.order(SYMBOL)
    with pytest.raises(Refusal, match="Order list does not exist"):
        market.order_list(list_id=1)
    assert market.cancel_all(SYMBOL) == []


# --- what is told


def test_lists_come_by_id_by_time_or_newest_last():
    market = exchange(FLAT, FLAT, FLAT, FLAT)
    for _ in range(3):
        for _ in range(2):
            market.place(request("MARKET"))
        step(market)
    ids = [order.order_id for order in market.orders(SYMBOL)]
    assert ids == [1, 2, 3, 4, 5, 6]
    assert [order.order_id for order in market.orders(SYMBOL, limit=2)] == [5, 6]
    assert [order.order_id for order in market.orders(SYMBOL, order_id=3, limit=2)] == [3, 4]
    assert [order.order_id for order in market.orders(SYMBOL, start_ms=START_MS + 2 * HOUR_MS, limit=3)] == [3, 4, 5]
    assert [order.order_id for order in market.orders(SYMBOL, end_ms=START_MS + 2 * HOUR_MS, limit=3)] == [2, 3, 4]
    assert [t.trade_id for t in market.trades(SYMBOL, from_id=2, limit=2)] == [2, 3]
    assert [t.trade_id for t in market.trades(SYMBOL, order_id=4)] == [4]
    assert [t.trade_id for t in market.trades(SYMBOL, start_ms=START_MS + 3 * HOUR_MS)] == [5, 6]
    assert market.trades(SYMBOL, order_id=99) == []


def test_listeners_hear_of_everything_in_its_order():
    market = exchange((100.0, 106.0, 99.0, 100.0), FLAT)
    heard = []
    market.listeners.append(heard.append)
    placed = market.place_pair(pair())
    assert [type(event) for event in heard] == [ListEvent, OrderEvent, OrderEvent, BalanceEvent]
    heard.clear()
    market.advance_to(market.next_boundary_ms())
    target, stop = placed.order_ids
    told = [
        (event.order.order_id, event.execution_type) if isinstance(event, OrderEvent) else type(event).__name__
        for event in heard
    ]
    assert told == [
        (stop, "EXPIRED"), (target, "TRADE"), "ListEvent", "BalanceEvent", "CandleEvent", "CandleEvent",
    ]  # fmt: skip
    assert heard[1].trade.price == D(105)
    assert heard[3].balances == {"BTC": (D(9), D(0)), "USDT": (D(10_105), D(0))}
    assert heard[4:] == [
        CandleEvent(SYMBOL, START_MS + HOUR_MS, closed=True, time_ms=START_MS + 2 * HOUR_MS),
        CandleEvent(SYMBOL, START_MS + 2 * HOUR_MS, closed=False, time_ms=START_MS + 2 * HOUR_MS),
    ]


def test_filters_say_what_the_exchange_keeps():
    rules = ExchangeRules.from_dict({"price_tick": "0.01", "min_notional": 5})
    market = Market("BTCUSDT", "BTC", "USDT", rules)
    info = market.info("HALT")
    found = {row["filterType"]: row for row in info["filters"]}
    assert (info["symbol"], info["status"], info["baseAsset"], info["quoteAsset"]) == ("BTCUSDT", "HALT", "BTC", "USDT")
    assert found["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert found["LOT_SIZE"]["stepSize"] == "0.00000001"  # what a symbol lacks counts as this
    assert found["NOTIONAL"]["minNotional"] == "5.00000000"
    assert found["MAX_NUM_ORDERS"]["maxNumOrders"] == 200
    assert found["MAX_NUM_ALGO_ORDERS"]["maxNumAlgoOrders"] == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Market("BTCUSDT", "USDT", "USDT", ExchangeRules()), "its two different assets"),
        (lambda: Market("X", "A", "B", ExchangeRules(lot_step=D("1e-9"))), "multiple of 0.00000001"),
        (lambda: exchange(FLAT, setup=Setup(slippage=0.2)), "the slippage is 0.2"),
        (
            lambda: LocalExchange(
                {"ETHUSDT": (Market(SYMBOL, "BTC", "USDT", ExchangeRules()), Tape(candles_of([FLAT])))},
                {},
                fees=FeeSchedule(),
                start_ms=START_MS,
            ),
            "expected the same symbol",
        ),
    ],
)
def test_terms_that_make_no_sense_are_one_clear_error(make, message):
    with pytest.raises(BrokerError, match=message):
        make()
