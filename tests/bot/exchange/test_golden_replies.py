"""Our replies against the layout that Binance documents, for the same orders in the same market.

``golden_replies.json`` holds one reply of each endpoint and event: the fields and types of the public documentation of the
spot API, with the amounts of the little market below. Ids and times are the documentation's own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from decimal import Decimal, InvalidOperation
from pathlib import Path

import aiohttp
import ccxt
import numpy as np
import pytest
from local_ccxt import START_MS, local_config, sync_client

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.server import ExchangeServer
from bot.exchange.tape import Tape
from ml.candles import Candles

GOLDEN = json.loads((Path(__file__).parent / "golden_replies.json").read_text(encoding="utf-8"))
SYMBOL = "LTC/USDT"
RULES = ExchangeRules(Decimal("0.01"), Decimal("0.01"), Decimal("0.01"), Decimal(5))

# What differs from one run of an exchange to the next: ids and times.
NUMBERS = {
    *("orderId", "orderListId", "id", "tradeId", "uid", "firstId", "lastId", "lastUpdateId"),
    *("transactTime", "transactionTime", "time", "updateTime", "workingTime", "closeTime", "openTime"),
    *("E", "T", "O", "W", "i", "I", "t", "g", "u", "v", "a", "f", "l"),
}
TEXTS = {"clientOrderId", "origClientOrderId", "listClientOrderId", "c", "C"}


def is_volatile(key: str, value: object) -> bool:
    if isinstance(value, str):
        return key in TEXTS and number(value) is None  # the c of a candle is its close
    return key in NUMBERS and isinstance(value, int) and not isinstance(value, bool)


def little_market() -> LocalExchange:
    bars = 5
    flat = np.full(bars, 100.0)
    candles = Candles(
        timeframe="1m",
        open_ms=START_MS + 60_000 * np.arange(bars),
        open=flat,
        high=np.full(bars, 101.0),
        low=np.full(bars, 99.0),
        close=flat,
        volume=np.full(bars, 7.0),
        quote_volume=np.full(bars, 700.0),
        trades=np.full(bars, 308.0),
        taker_buy_base=np.full(bars, 4.0),
        taker_buy_quote=np.full(bars, 400.0),
    )
    return LocalExchange(
        {"LTCUSDT": (Market("LTCUSDT", "LTC", "USDT", RULES), Tape(candles))},
        {"USDT": Decimal(10_000), "LTC": Decimal(0)},
        fees=FeeSchedule(0.001),
        start_ms=START_MS + 120_000,
        partial=(0.1, 0.5),
    )


@pytest.fixture
def client():
    with ExchangeServer(little_market()) as server, sync_client(server.url) as found:
        yield found


def number(text: object) -> Decimal | None:
    if not isinstance(text, str):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def compare(golden: object, ours: object, place: str = "reply", *, volatile: bool = False) -> None:
    """Fail unless ours has every field of the documented reply, of its type and, where it is not volatile, its value."""
    assert type(golden) is type(ours), f"{place}: {golden!r} documented, {ours!r} found"
    if isinstance(golden, dict):
        assert list(golden.keys() - ours.keys()) == [], f"{place} lacks fields"
        for key, value in golden.items():
            compare(value, ours[key], f"{place}.{key}", volatile=is_volatile(key, value))
    elif isinstance(golden, list):
        assert len(golden) == len(ours), place
        for position, (left, right) in enumerate(zip(golden, ours, strict=True)):
            compare(left, right, f"{place}[{position}]", volatile=isinstance(left, int) and not isinstance(left, bool))
    elif not volatile:
        if number(golden) is not None:
            assert number(golden) == number(ours), f"{place}: {golden!r} documented, {ours!r} found"
        else:
            assert golden == ours, f"{place}: {golden!r} documented, {ours!r} found"


def unified(order: dict) -> dict:
    """Return what ccxt makes of an order, without what differs between two runs."""
    own = {
        "info",
        "id",
        "clientOrderId",
        "timestamp",
        "datetime",
        "lastTradeTimestamp",
        "lastUpdateTimestamp",
        "trades",
    }
    trades = [
        {key: trade[key] for key in ("symbol", "side", "price", "amount", "cost", "fee", "takerOrMaker")}
        for trade in order["trades"]
    ]
    return {key: value for key, value in order.items() if key not in own} | {"trades": trades}


def buy_ten(client) -> dict:
    return client.private_post_order(
        {"symbol": "LTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "10", "newOrderRespType": "FULL"}
    )


def rest(client, **extra) -> dict:
    order = {"symbol": "LTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1", "price": "90"}
    return client.private_post_order(order | {"newClientOrderId": "myOrder1"} | extra)


def pair(client) -> dict:
    buy_ten(client)
    return client.private_post_orderlist_oco(
        {
            "symbol": "LTCUSDT",
            "side": "SELL",
            "quantity": "5",
            "aboveType": "LIMIT_MAKER",
            "abovePrice": "110",
            "belowType": "STOP_LOSS_LIMIT",
            "belowStopPrice": "90",
            "belowPrice": "89",
            "belowTimeInForce": "GTC",
            "listClientOrderId": "pair1",
        }
    )


def after(action, ask):
    def both(client):
        action(client)
        return ask(client)

    return both


NAMED = {"symbol": "LTCUSDT"}
REPLIES = {
    "exchangeInfo symbol": lambda c: c.public_get_exchangeinfo()["symbols"][0],
    "market order FULL": buy_ten,
    "limit order RESULT": lambda c: rest(c, newOrderRespType="RESULT"),
    "order ACK": lambda c: rest(c, newOrderRespType="ACK"),
    "query order": after(rest, lambda c: c.private_get_order(NAMED | {"origClientOrderId": "myOrder1"})),
    "cancel order": after(rest, lambda c: c.private_delete_order(NAMED | {"origClientOrderId": "myOrder1"})),
    "new pair": pair,
    "query pair": after(pair, lambda c: c.private_get_orderlist({"origClientOrderId": "pair1"})),
    "cancel pair": after(pair, lambda c: c.private_delete_orderlist(NAMED | {"listClientOrderId": "pair1"})),
    "account": after(buy_ten, lambda c: c.private_get_account()),
    "trade": after(buy_ten, lambda c: c.private_get_mytrades(NAMED)[0]),
    "klines": lambda c: c.public_get_klines(NAMED | {"interval": "1m", "startTime": START_MS + 60_000, "limit": 1}),
    "ticker/24hr": lambda c: c.public_get_ticker_24hr(NAMED),
    "ticker/price": lambda c: c.public_get_ticker_price(NAMED),
    "ticker/bookTicker": lambda c: c.public_get_ticker_bookticker(NAMED),
    "avgPrice": lambda c: c.public_get_avgprice(NAMED),
    "depth": lambda c: c.public_get_depth(NAMED | {"limit": 1}),
    "trades": lambda c: c.public_get_trades(NAMED | {"limit": 2})[:1],
    "aggTrades": lambda c: c.public_get_aggtrades(NAMED | {"limit": 2})[:1],
}


def raw(client, name: str):
    """Return the reply itself, before ccxt makes texts of its numbers."""
    client.quoteJsonNumbers = False
    return REPLIES[name](client)


@pytest.mark.parametrize("name", REPLIES)
def test_replies_have_the_documented_fields_types_and_values(client, name):
    compare(GOLDEN[name], raw(client, name), name)


@pytest.mark.parametrize("name", ["market order FULL", "limit order RESULT", "query order", "cancel order"])
def test_ccxt_makes_the_same_order_of_both(client, name):
    market = client.market(SYMBOL)
    ours = REPLIES[name](client)
    documented = json.loads(json.dumps(GOLDEN[name]), parse_int=str)
    found = unified(client.parse_order(ours, market))
    assert found == unified(client.parse_order(documented, market))
    assert found["symbol"] == SYMBOL


def test_ccxt_makes_the_same_of_trades_balances_and_markets(client):
    market = client.market(SYMBOL)
    buy_ten(client)

    def trade(document):
        found = client.parse_trade(document, market)
        return {
            key: value for key, value in found.items() if key not in {"info", "id", "order", "timestamp", "datetime"}
        }

    assert trade(client.private_get_mytrades(NAMED)[0]) == trade(GOLDEN["trade"])
    balance = client.fetch_balance()
    documented = client.parse_balance_custom(GOLDEN["account"], "spot")
    assert {asset: balance[asset] for asset in ("LTC", "USDT")} == {
        asset: documented[asset] for asset in ("LTC", "USDT")
    }
    assert client.parse_market(GOLDEN["exchangeInfo symbol"])["limits"] == market["limits"]
    assert client.parse_market(GOLDEN["exchangeInfo symbol"])["precision"] == market["precision"]


def test_errors_have_code_and_text(client):
    with pytest.raises(ccxt.BadSymbol) as caught:
        client.public_get_ticker_price({"symbol": "NOPE"})
    assert json.loads(str(caught.value).removeprefix("binance ")) == GOLDEN["error"]


def test_events_have_the_documented_fields_types_and_values():
    """All events of one resting order, one pair and one candle, as they stand on the sockets."""

    async def run(server) -> dict[str, dict]:
        seen: dict[str, dict] = {}
        client = ccxt.binance(local_config(server.url))
        try:
            async with aiohttp.ClientSession() as session:
                signed = {"apiKey": "key", "timestamp": str(client.milliseconds())}
                payload = "&".join(f"{name}={signed[name]}" for name in sorted(signed))
                signed["signature"] = client.hmac(payload.encode(), b"secret", hashlib.sha256)
                user = await session.ws_connect(server.url + "/ws-api/v3")
                await user.send_json({"id": 1, "method": "userDataStream.subscribe.signature", "params": signed})
                assert (await user.receive_json())["result"] == {"subscriptionId": 0}
                market = await session.ws_connect(server.url + "/ws/ltcusdt@kline_1m")
                await asyncio.to_thread(client.load_markets)
                await asyncio.to_thread(rest, client)
                for _ in range(2):
                    event = (await user.receive_json())["event"]
                    seen.setdefault(event["e"], event)
                await asyncio.to_thread(pair, client)
                while "listStatus" not in seen:
                    event = (await user.receive_json())["event"]
                    seen.setdefault(event["e"], event)
                server.call(lambda: server.venue.desk.advance(1))
                seen["kline"] = await market.receive_json()
                await user.close()
                await market.close()
        finally:
            client.session.close()
        return seen

    with ExchangeServer(little_market()) as server:
        seen = asyncio.run(run(server))
    assert seen.keys() == {"executionReport", "outboundAccountPosition", "listStatus", "kline"}
    for name, event in seen.items():
        compare(GOLDEN[name], event, name)
