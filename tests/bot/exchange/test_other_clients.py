"""Replies on which programs depend that were not written for this exchange: freqtrade, python-binance, basana, plain ccxt.

None of them is needed here; what each of them asked is asked again, in the words of the wire.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from dataclasses import replace
from decimal import Decimal
from urllib.parse import urlencode

import aiohttp
import ccxt
import numpy as np
import pandas as pd
import pytest
import requests
from local_ccxt import START_MS, local_exchange, play, sync_client, walk

from bot.exchange.clocks import Accelerated
from bot.exchange.limits import weight_of
from bot.exchange.server import ExchangeServer

NAME = "BTCUSDT"
SYMBOL = "BTC/USDT"
STEP = 60_000
FUNDS = {"USDT": Decimal(10_000), "BTC": Decimal(1)}


@pytest.fixture
def server():
    with ExchangeServer(local_exchange(balances=FUNDS)) as found:
        yield found


@pytest.fixture
def client(server):
    with sync_client(server.url) as found:
        yield found


def raw(server, method: str, path: str, **values) -> tuple[int, dict]:
    """Send a signed request as any program may, and return status and document."""
    query = urlencode({**values, "timestamp": int(time.time() * 1000)})
    signature = hmac.new(b"secret", query.encode(), hashlib.sha256).hexdigest()
    reply = requests.request(
        method,
        f"{server.url}/api/v3/{path}?{query}&signature={signature}",
        headers={"X-MBX-APIKEY": "key"},
        timeout=5,
    )
    return reply.status_code, reply.json()


def public(server, path: str, **values):
    reply = requests.get(f"{server.url}/api/v3/{path}", params=values, timeout=5)
    return reply.json()


# --- trades of the market


def test_a_client_that_pages_through_trades_meets_each_candle_once_and_comes_to_an_end(server):
    """As python-binance's aggregate_trade_iter does: from the last number on, until nothing comes."""
    seen: list[dict] = []
    next_id = 0
    for turn in range(40):
        if turn in {5, 12}:  # the market moves while it reads
            play(server, 2)
        page = public(server, "aggTrades", symbol=NAME, fromId=next_id, limit=3)
        if not page and turn > 12:
            break
        seen.extend(page)
        next_id = seen[-1]["a"] + 1
    else:
        pytest.fail("the pages do not end")
    numbers = [trade["a"] for trade in seen]
    assert numbers == sorted(set(numbers))
    closes = [(trade["T"], trade["p"]) for trade in seen if float(trade["q"])]
    candles = walk()
    expected = [(START_MS + (k + 1) * STEP - 1, candles.close[k]) for k in range(24)]
    assert [(moment, float(price)) for moment, price in closes] == expected
    assert sum(float(trade["q"]) for trade in seen) == pytest.approx(float(np.sum(candles.volume[:24])))


def test_trades_of_a_span_of_time(server):
    start, end = START_MS + 3 * STEP - 1, START_MS + 6 * STEP - 1  # both are moments of a trade

    def times(**values):
        return [trade["T"] for trade in public(server, "aggTrades", symbol=NAME, **values)]

    every = [START_MS + k * STEP - 1 for k in range(1, 21)]
    assert times(startTime=start, endTime=end) == [start, start + STEP, start + 2 * STEP, end]
    assert times(startTime=start + 1, endTime=end - 1) == [start + STEP, start + 2 * STEP]
    assert times(startTime=start, limit=2) == [start, start + STEP]
    assert times(endTime=end, limit=2) == [end - STEP, end]
    assert times(startTime=START_MS - 10**9) == [*every, START_MS + 20 * STEP]  # the last is the open of what forms
    assert times(startTime=START_MS + 10**9) == times(endTime=START_MS) == []
    refused = public(server, "aggTrades", symbol=NAME, fromId=1, startTime=start)
    assert refused["code"] == -1128


def test_older_trades_go_on_from_a_number(server):
    newest = public(server, "historicalTrades", symbol=NAME, limit=4)
    again = public(server, "historicalTrades", symbol=NAME, fromId=newest[1]["id"], limit=2)
    assert again == newest[1:3]
    assert public(server, "trades", symbol=NAME, limit=4) == newest


# --- statistics


@pytest.mark.parametrize("form", ["FULL", "MINI"])
def test_a_day_counts_all_of_its_candles(form):
    """A day of minutes has more candles than one page of klines."""
    candles = walk(2_000)
    with ExchangeServer(local_exchange(candles, first=1_800)) as server:
        found = public(server, "ticker/24hr", symbol=NAME, type=form)
    day = slice(1_800 - 1_440, 1_800)
    assert float(found["volume"]) == pytest.approx(float(np.sum(candles.volume[day])), abs=1e-6)
    assert float(found["highPrice"]) == candles.high[day].max()
    assert float(found["openPrice"]) == candles.open[day][0]
    assert float(found["lastPrice"]) == candles.open[1_800]
    assert ("bidPrice" in found) == ("priceChange" in found) == (form == "FULL")


@pytest.mark.parametrize(
    ("zone", "began"), [("0", "2023-11-15T00:00Z"), ("5:45", "2023-11-14T18:15Z"), ("-1", "2023-11-15T01:00Z")]
)
def test_the_day_of_trading_begins_where_the_zone_says(zone, began):
    candles = walk(500)  # from 22:00 UTC on
    with ExchangeServer(local_exchange(candles, first=300)) as server:
        (found,) = public(server, "ticker/tradingDay", symbols=f'["{NAME}"]', timeZone=zone)
        assert public(server, "ticker/tradingDay", symbol=NAME, timeZone="noon")["code"] == -1130
        assert public(server, "ticker/tradingDay")["code"] == -1102
    since = int(np.datetime64(began.removesuffix("Z"), "ms").astype(np.int64))
    inside = (candles.open_ms >= since) & (np.arange(500) < 300)
    assert (found["openTime"], found["closeTime"]) == (since, since + 86_400_000 - 1)
    assert found["count"] == int(inside.sum()) > 0
    assert float(found["lowPrice"]) == candles.low[inside].min()


@pytest.mark.parametrize(
    ("timeframe", "window", "length"),
    [("1s", "1m", "60s"), ("1s", "17m", "17min"), ("1m", "59m", "59min"), ("1m", "23h", "23h"), ("1m", None, "24h"),
     ("1h", "1d", "24h"), ("1h", "7d", "168h"), ("1h", "1m", "60s")],
)  # fmt: skip
def test_a_window_rolls_to_the_minute(timeframe, window, length):
    """Pandas over the candles that have closed; the window begins on a minute and so is up to one longer."""
    candles = walk(2_000, timeframe=timeframe)
    candles = replace(candles, quote_volume=np.round(candles.volume * (candles.high + candles.low) / 2, 8))
    first = 1_790  # of seconds: 29 minutes and 50 seconds
    asked = {"symbols": f'["{NAME}"]'} | ({} if window is None else {"windowSize": window})
    with ExchangeServer(local_exchange(candles, first=first)) as server, sync_client(server.url) as client:
        (found,) = client.public_get_ticker(asked)
        (short,) = public(server, "ticker", type="MINI", **asked)
    names = ["open", "high", "low", "volume", "quote_volume"]
    index = pd.to_datetime(candles.open_ms, unit="ms")
    frame = pd.DataFrame({name: getattr(candles, name) for name in names}, index=index)
    now = frame.index[first]
    since = (now - pd.Timedelta(length)).floor("min")
    inside = frame.iloc[:first].loc[since:]
    last = candles.open[first]
    volume, quote = inside["volume"].sum(), inside["quote_volume"].sum()
    assert int(found["openTime"]) == since.value // 10**6
    assert int(found["closeTime"]) == now.value // 10**6
    assert int(found["count"]) == len(inside)
    assert float(found["lastPrice"]) == last
    assert float(found["volume"]) == pytest.approx(volume, abs=1e-6)
    assert float(found["quoteVolume"]) == pytest.approx(quote, rel=1e-9)
    if len(inside):
        assert float(found["highPrice"]) == inside["high"].max()
        assert float(found["lowPrice"]) == inside["low"].min()
        assert float(found["openPrice"]) == inside["open"].iloc[0]
        assert float(found["weightedAvgPrice"]) == pytest.approx(quote / volume, rel=1e-9)
        change = last - inside["open"].iloc[0]
        assert float(found["priceChange"]) == pytest.approx(change, abs=1e-8)
        assert float(found["priceChangePercent"]) == pytest.approx(100 * change / inside["open"].iloc[0], abs=6e-4)
    gone = {"priceChange", "priceChangePercent", "weightedAvgPrice"}
    assert {name: str(value) for name, value in short.items()} == {
        name: str(value) for name, value in found.items() if name not in gone
    }


@pytest.mark.parametrize("window", ["0m", "60m", "24h", "8d", "1w", "1", "h", "01h", "1M"])
def test_a_window_of_another_length_is_refused(server, window):
    assert public(server, "ticker", symbol=NAME, windowSize=window)["code"] == -1130
    assert public(server, "ticker")["code"] == -1102
    assert public(server, "ticker", symbol="NOSUCH")["code"] == -1121
    assert public(server, "ticker", symbol=NAME, type="TINY")["code"] == -1130


@pytest.mark.parametrize(("symbols", "weight"), [(1, 4), (2, 8), (50, 200), (51, 200), (100, 200)])
def test_a_window_weighs_by_the_symbols_that_are_named(symbols, weight):
    named = ",".join(f'"S{number}USDT"' for number in range(symbols))
    assert weight_of("GET", "/api/v3/ticker", {"symbols": f"[{named}]"}) == weight
    assert weight_of("GET", "/api/v3/ticker", {"symbol": NAME}) == 4


# --- orders


def replacement(order_id: int, **values) -> dict:
    return {
        "symbol": NAME,
        "cancelReplaceMode": "STOP_ON_FAILURE",
        "cancelOrderId": order_id,
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.02",
        "price": "20000",
    } | values


def test_ccxt_edits_an_order(client):
    first = client.create_order(SYMBOL, "limit", "buy", 0.01, 21_000.0)
    second = client.edit_order(first["id"], SYMBOL, "limit", "buy", 0.02, 20_000.0)
    assert client.fetch_order(first["id"], SYMBOL)["status"] == "canceled"
    (left,) = client.fetch_open_orders(SYMBOL)
    assert (left["id"], left["amount"], left["price"]) == (second["id"], 0.02, 20_000.0)
    assert client.fetch_balance()["USDT"]["used"] == pytest.approx(20_000 * 0.02, rel=0.01)


def test_nothing_is_placed_for_an_order_that_cannot_be_cancelled(server, client):
    status, reply = raw(server, "POST", "order/cancelReplace", **replacement(99))
    assert (status, reply["code"]) == (400, -2022)
    assert reply["data"] == {
        "cancelResult": "FAILURE",
        "newOrderResult": "NOT_ATTEMPTED",
        "cancelResponse": {"code": -2011, "msg": "Unknown order sent."},
        "newOrderResponse": None,
    }
    assert client.fetch_open_orders(SYMBOL) == []


def test_a_replacement_may_be_placed_though_the_cancel_fails(server, client):
    status, reply = raw(
        server,
        "POST",
        "order/cancelReplace",
        **replacement(99, cancelReplaceMode="ALLOW_FAILURE", newClientOrderId="new"),
    )
    assert (status, reply["code"]) == (409, -2021)
    assert (reply["data"]["cancelResult"], reply["data"]["newOrderResult"]) == ("FAILURE", "SUCCESS")
    assert reply["data"]["newOrderResponse"]["clientOrderId"] == "new"
    assert [order["clientOrderId"] for order in client.fetch_open_orders(SYMBOL)] == ["new"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantity": "0.000001"}, -1013),
        ({"price": None}, -1102),
        ({"cancelReplaceMode": "NEVER"}, -1130),
        ({"icebergQty": "0.01"}, -2010),
    ],
)
def test_a_replacement_that_is_no_order_cancels_nothing(server, client, change, code):
    first = client.create_order(SYMBOL, "limit", "buy", 0.01, 21_000.0)
    values = {name: value for name, value in replacement(int(first["id"]), **change).items() if value is not None}
    assert raw(server, "POST", "order/cancelReplace", **values)[1]["code"] == code
    assert [order["id"] for order in client.fetch_open_orders(SYMBOL)] == [first["id"]]


def test_a_replacement_that_cannot_be_paid_leaves_no_order(server, client):
    first = client.create_order(SYMBOL, "limit", "buy", 0.01, 21_000.0)
    status, reply = raw(server, "POST", "order/cancelReplace", **replacement(int(first["id"]), quantity="5"))
    assert (status, reply["code"]) == (409, -2021)
    assert reply["data"]["cancelResponse"]["status"] == "CANCELED"
    assert reply["data"]["newOrderResponse"]["code"] == -2010
    assert client.fetch_open_orders(SYMBOL) == []
    assert client.fetch_balance()["USDT"]["free"] == 10_000


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"icebergQty": "0.01"}, "Iceberg orders are not supported for this symbol."),
        ({"trailingDelta": "100"}, "Trailing stop orders are not supported for this symbol."),
    ],
)
def test_what_no_symbol_has_is_refused_and_not_passed_over(server, client, feature, message):
    order = {"symbol": NAME, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.02", "price": "20000"}
    assert raw(server, "POST", "order", **order, **feature) == (400, {"code": -2010, "msg": message})
    pair = {
        "symbol": NAME,
        "side": "SELL",
        "quantity": "0.02",
        "aboveType": "LIMIT_MAKER",
        "abovePrice": "40000",
        "belowType": "STOP_LOSS",
        "belowStopPrice": "20000",
    }
    ((name, value),) = feature.items()
    below = "below" + name[0].upper() + name[1:]
    assert raw(server, "POST", "orderList/oco", **pair, **{below: value}) == (400, {"code": -2010, "msg": message})
    assert client.fetch_open_orders(SYMBOL) == []


def test_an_order_is_cancelled_only_in_the_state_that_was_named(server, client):
    order_id = int(client.create_order(SYMBOL, "limit", "buy", 0.01, 21_000.0)["id"])
    order = {"symbol": NAME, "orderId": order_id}
    refused = raw(server, "DELETE", "order", **order, cancelRestrictions="ONLY_PARTIALLY_FILLED")
    assert refused == (400, {"code": -2011, "msg": "Order was not canceled due to cancel restrictions."})
    assert raw(server, "DELETE", "order", **order, cancelRestrictions="SOMETIMES")[1]["code"] == -1145
    assert len(client.fetch_open_orders(SYMBOL)) == 1
    assert raw(server, "DELETE", "order", **order, cancelRestrictions="ONLY_NEW")[1]["status"] == "CANCELED"


def test_the_fee_of_an_order_that_is_only_tested(server, client):
    order = {"symbol": NAME, "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    assert raw(server, "POST", "order/test", **order) == (200, {})
    _, told = raw(server, "POST", "order/test", **order, computeCommissionRates="true")
    assert told["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
    assert client.fetch_my_trades(SYMBOL) == []


def test_the_exchange_says_that_it_is_open(server):
    assert requests.get(f"{server.url}/sapi/v1/system/status", timeout=5).json() == {"status": 0, "msg": "normal"}
    assert server.strays == []


# --- sockets


def conversation(server, path: str, sent: list[dict], count: int, seconds: float = 10.0) -> list:
    """Send messages to a socket and return so many of what comes."""

    async def talk():
        found = []
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url + path) as socket:
            for message in sent:
                await socket.send_json(message)
            while len(found) < count:
                found.append(json.loads(await socket.receive_str(timeout=seconds)))
        return found

    return asyncio.run(talk())


def test_requests_over_a_socket_are_those_of_rest(server):
    asked = {
        "trades.recent": ("trades", {"symbol": NAME, "limit": 2}),
        "trades.historical": ("historicalTrades", {"symbol": NAME, "fromId": 5, "limit": 2}),
        "trades.aggregate": ("aggTrades", {"symbol": NAME, "limit": 2}),
        "uiKlines": ("uiKlines", {"symbol": NAME, "interval": "1m", "limit": 2}),
        "ticker.tradingDay": ("ticker/tradingDay", {"symbol": NAME}),
        "ticker": ("ticker", {"symbol": NAME, "windowSize": "3h"}),
    }
    messages = [{"id": method, "method": method, "params": values} for method, (_, values) in asked.items()]
    for reply in conversation(server, "/ws-api/v3", messages, len(messages)):
        path, values = asked[reply["id"]]
        assert (reply["status"], reply["result"]) == (200, public(server, path, **values))


def test_a_list_in_a_message_is_a_list(server):
    (reply,) = conversation(
        server, "/ws-api/v3", [{"id": 1, "method": "exchangeInfo", "params": {"symbols": [NAME]}}], 1
    )
    assert [symbol["symbol"] for symbol in reply["result"]["symbols"]] == [NAME]


def test_a_replacement_over_a_socket_tells_both_results(server):
    values = {name: str(value) for name, value in replacement(99).items()}
    values |= {"apiKey": "key", "timestamp": str(int(time.time() * 1000))}
    payload = "&".join(f"{name}={values[name]}" for name in sorted(values))
    values["signature"] = hmac.new(b"secret", payload.encode(), hashlib.sha256).hexdigest()
    (reply,) = conversation(server, "/ws-api/v3", [{"id": 1, "method": "order.cancelReplace", "params": values}], 1)
    assert (reply["status"], reply["error"]["code"]) == (400, -2022)
    assert reply["error"]["data"]["newOrderResult"] == "NOT_ATTEMPTED"


STATES = ("kline_1m", "ticker", "miniTicker", "bookTicker", "depth5", "avgPrice", "ticker_1h")


def test_streams_of_a_state_say_it_at_once_and_every_second():
    """A candle of an hour is no reason to keep a client waiting for an hour."""
    exchange = local_exchange(walk(timeframe="1m"))
    names = [f"btcusdt@{kind}" for kind in STATES]
    quiet = ["btcusdt@trade", "btcusdt@aggTrade", "btcusdt@depth@100ms", "nothing@ticker"]
    with ExchangeServer(exchange, clock=Accelerated(0.001)) as server:
        began = time.monotonic()
        found = conversation(server, "/stream?streams=" + "/".join([*names, *quiet]), [], 3 * len(names))
        took = time.monotonic() - began
    assert {message["stream"] for message in found} == set(names)
    assert min([message["stream"] for message in found].count(name) for name in names) >= 2
    assert 0.9 < took < 10.0
    (candle, *_) = (message["data"]["k"] for message in found if message["stream"] == "btcusdt@kline_1m")
    opens = walk().open[20]
    assert (candle["t"], float(candle["o"]), float(candle["c"]), candle["x"]) == (
        START_MS + 20 * STEP,
        opens,
        opens,
        False,
    )


def test_a_subscription_is_confirmed_before_it_speaks():
    with ExchangeServer(local_exchange(), clock=Accelerated(0.001)) as server:
        command = {"id": 7, "method": "SUBSCRIBE", "params": ["btcusdt@bookTicker"]}
        first, second = conversation(server, "/ws", [command], 2)
    assert first == {"result": None, "id": 7}
    assert second["s"] == NAME


def test_in_lockstep_a_stream_is_silent_until_the_market_moves(server):
    with pytest.raises(asyncio.TimeoutError):
        conversation(server, "/ws/btcusdt@kline_1m", [], 1, seconds=0.3)


@pytest.mark.parametrize(
    ("name", "kind"), [("!ticker@arr", "24hrTicker"), ("!miniTicker@arr@1000ms", "24hrMiniTicker")]
)
def test_the_tickers_of_all_symbols_come_as_a_list(server, name, kind):
    async def watch():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/ws/{name}") as socket:
            await asyncio.to_thread(play, server)
            return json.loads(await socket.receive_str(timeout=10))

    (ticker,) = asyncio.run(watch())
    assert (ticker["e"], ticker["s"], float(ticker["c"])) == (kind, NAME, walk().open[21])


def test_the_errors_of_a_client_that_knows_spot_by_its_host_only_are_still_told_apart(server):
    """freqtrade is configured in JSON and cannot be given ccxt's table of errors: the common table must do."""
    with sync_client(server.url) as told:
        config = {"apiKey": "key", "secret": "secret", "urls": told.urls, "options": told.options}
    plain = ccxt.binance(config)
    try:
        with pytest.raises(ccxt.InsufficientFunds):
            plain.create_order(SYMBOL, "market", "buy", 5)
        with pytest.raises(ccxt.OrderNotFound):
            plain.fetch_order("99", SYMBOL)
        with pytest.raises(ccxt.OrderNotFound):
            plain.cancel_order("99", SYMBOL)
        with pytest.raises(ccxt.OrderImmediatelyFillable):
            plain.create_order(SYMBOL, "limit", "buy", 0.01, 40_000.0, {"postOnly": True})
    finally:
        plain.session.close()
