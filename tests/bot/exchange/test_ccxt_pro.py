"""The unmodified websocket client of ccxt (pro) follows market and account."""

from __future__ import annotations

import asyncio

import ccxt
import ccxt.pro
import pytest
from local_ccxt import START_MS, local_config, local_exchange, path, play, walk

from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer

SYMBOL = "BTC/USDT"
STEP = 60_000


def play_with(action, exchange=None, **options):
    """Run ``action(client, venue)`` with a pro client against an exchange."""

    async def run(server):
        client = ccxt.pro.binance(local_config(server.url))
        try:
            await client.load_markets()
            return await asyncio.wait_for(action(client, server), 20)
        finally:
            await client.close()

    with ExchangeServer(exchange or local_exchange(), **options) as server:
        found = asyncio.run(run(server))
        assert server.strays == []
    return found


async def subscribed(server, *names):
    """Wait until the client's subscriptions have arrived."""
    while not set(names) <= set(server.call(server.venue.hub.subscriptions)):  # noqa: ASYNC110 - it happens in another thread
        await asyncio.sleep(0.005)


async def later(server, name, bars):
    await subscribed(server, name)
    play(server, bars)


def test_watched_candles_are_those_of_the_tape():
    async def action(client, server):
        playing = asyncio.create_task(later(server, "btcusdt@kline_1m", 1))
        seen = {}
        while len(seen) < 4:
            for row in await client.watch_ohlcv(SYMBOL, "1m"):
                seen[row[0]] = row
            if START_MS + 21 * STEP in seen:
                play(server)
        await playing
        return seen

    candles = walk()
    seen = play_with(action)
    for k in (20, 21):
        truth = [candles.open, candles.high, candles.low, candles.close, candles.volume]
        assert seen[START_MS + k * STEP] == [START_MS + k * STEP, *(float(column[k]) for column in truth)]


def test_watched_candles_of_a_longer_interval():
    async def action(client, server):
        playing = asyncio.create_task(later(server, "btcusdt@kline_5m", 5))
        seen = {}
        while START_MS + 25 * STEP not in seen:
            for row in await client.watch_ohlcv(SYMBOL, "5m"):
                seen[row[0]] = row
        await playing
        return seen

    candles = walk()
    seen = play_with(action)
    row = seen[START_MS + 20 * STEP]
    assert row[1:5] == [
        float(candles.open[20]),
        float(candles.high[20:25].max()),
        float(candles.low[20:25].min()),
        float(candles.close[24]),
    ]


def test_watched_orders_and_balance_tell_the_fill():
    async def action(client, server):
        orders = asyncio.create_task(client.watch_orders(SYMBOL))
        balance = asyncio.create_task(client.watch_balance())
        trades = asyncio.create_task(client.watch_my_trades(SYMBOL))
        await subscribed(server, "user")
        placed = await client.create_order(SYMBOL, "market", "buy", 0.1, None, {"newClientOrderId": "ours"})
        found = (await orders)[-1]
        while found["status"] != "closed":
            found = (await client.watch_orders(SYMBOL))[-1]
        return placed, found, await balance, (await trades)[-1]

    placed, found, balance, trade = play_with(action)
    assert found["id"] == placed["id"]
    assert found["clientOrderId"] == "ours"
    assert (found["status"], found["filled"], found["average"]) == ("closed", 0.1, placed["average"])
    assert balance["BTC"]["total"] == 0.1
    assert (trade["order"], trade["price"], trade["fee"]["cost"]) == (
        placed["id"],
        placed["average"],
        placed["fee"]["cost"],
    )


def test_partial_fills_arrive_one_by_one():
    async def action(client, server):
        watching = asyncio.create_task(client.watch_orders(SYMBOL))
        await subscribed(server, "user")
        await client.create_order(SYMBOL, "market", "buy", 0.1)
        await watching
        return server.call(lambda: dict(server.venue.hub.sent))

    sent = play_with(action, local_exchange(partial=(0.5,)))
    assert sent["executionReport"] == 3  # new, and two trades


def test_watched_pair_tells_both_legs():
    candles = path([(100, 101, 99, 100)] * 3 + [(100, 106, 99, 105), (105, 105, 105, 105)])

    async def action(client, server):
        await client.create_order(SYMBOL, "market", "buy", 1)
        watching = asyncio.create_task(client.watch_orders(SYMBOL))
        await subscribed(server, "user")
        await client.private_post_orderlist_oco(
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "quantity": "1",
                "aboveType": "LIMIT_MAKER",
                "abovePrice": "105",
                "belowType": "STOP_LOSS",
                "belowStopPrice": "95",
            }
        )
        play(server, 2)
        await watching
        statuses = {}
        while sorted(statuses.values()) != ["closed", "expired"]:
            for order in client.orders or []:
                statuses[order["type"]] = order["status"]
            await asyncio.sleep(0.005)
        return statuses

    assert play_with(action, local_exchange(candles, first=2)) == {"limit": "closed", "market": "expired"}


def test_orders_over_the_socket():
    async def action(client, _server):
        order = await client.create_order_ws(SYMBOL, "limit", "buy", 0.01, 20_000, {"newClientOrderId": "over-ws"})
        found = await client.fetch_order_ws(order["id"], SYMBOL)
        cancelled = await client.cancel_order_ws(order["id"], SYMBOL)
        with pytest.raises(ccxt.InsufficientFunds):
            await client.create_order_ws(SYMBOL, "market", "buy", 100)
        balance = await client.fetch_balance_ws()
        return order, found, cancelled, balance

    order, found, cancelled, balance = play_with(action)
    assert (order["status"], found["clientOrderId"], cancelled["status"]) == ("open", "over-ws", "canceled")
    held = {entry["asset"]: entry["free"] for entry in balance["info"]["balances"]}  # ccxt itself reads contracts here
    assert held["USDT"] == "10000.00000000"


def test_a_dropped_socket_is_an_error_once_and_the_next_watch_goes_on():
    async def action(client, server):
        watching = asyncio.create_task(client.watch_ohlcv(SYMBOL, "1m"))
        await subscribed(server, "btcusdt@kline_1m")
        server.call(lambda: server.venue.control.order([Fault("drop_ws")]))
        with pytest.raises(ccxt.NetworkError):
            await watching
        again = asyncio.create_task(client.watch_ohlcv(SYMBOL, "1m"))
        await subscribed(server, "btcusdt@kline_1m")
        play(server, 1)
        return await again

    rows = play_with(action)
    assert rows[-1][0] >= START_MS + 20 * STEP


def test_a_silent_socket_loses_what_happened():
    async def action(client, server):
        watching = asyncio.create_task(client.watch_ohlcv(SYMBOL, "1m"))
        await subscribed(server, "btcusdt@kline_1m")
        server.call(lambda: server.venue.control.order([Fault("silence_ws", delay=0.2)]))
        play(server, 3)
        await asyncio.sleep(0.3)
        assert not watching.done()
        play(server, 1)
        return await watching

    assert play_with(action)[0][0] == START_MS + 23 * STEP


def test_a_watched_book_follows_the_price():
    async def action(client, server):
        first = await client.watch_order_book(SYMBOL)
        tops = [(first["bids"][0][0], first["asks"][0][0])]
        for _ in range(3):
            watching = asyncio.create_task(client.watch_order_book(SYMBOL))
            await asyncio.sleep(0)
            play(server)
            book = await watching
            tops.append((book["bids"][0][0], book["asks"][0][0]))
        assert len(book["bids"]) == len(book["asks"]) == 20
        return tops

    opens = walk().open[20:24]
    assert play_with(action) == [(round(price - 0.01, 2), round(price + 0.01, 2)) for price in opens]


def test_tickers_and_trades():
    async def action(client, server):
        tasks = [
            asyncio.create_task(task)
            for task in (client.watch_ticker(SYMBOL), client.watch_trades(SYMBOL), client.watch_bids_asks([SYMBOL]))
        ]
        await subscribed(server, "btcusdt@miniTicker", "btcusdt@trade", "btcusdt@bookTicker")
        play(server, 1)
        return await asyncio.gather(*tasks)

    ticker, trades, best = play_with(action)
    opens = float(walk().open[21])
    assert ticker["last"] == opens
    assert trades[-1]["price"] == opens
    assert best[SYMBOL]["bid"] == round(opens - 0.01, 2)
