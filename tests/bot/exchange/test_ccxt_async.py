"""The unmodified async client of ccxt trades at the local exchange."""

from __future__ import annotations

import asyncio

import ccxt
import ccxt.async_support
import pytest
from local_ccxt import local_config, local_exchange, walk

from bot.exchange.clocks import Accelerated
from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer

SYMBOL = "BTC/USDT"


def run(server, action):
    async def main():
        client = ccxt.async_support.binance(local_config(server.url))
        try:
            await client.load_markets()
            return await asyncio.wait_for(action(client), 20)
        finally:
            await client.close()

    return asyncio.run(main())


def test_orders_and_balance():
    async def action(client):
        order = await client.create_order(SYMBOL, "market", "buy", 0.1)
        resting = await client.create_order(SYMBOL, "limit", "sell", 0.1, 90_000)
        opens = await client.fetch_open_orders(SYMBOL)
        await client.cancel_order(resting["id"], SYMBOL)
        return order, opens, await client.fetch_balance()

    with ExchangeServer(local_exchange()) as server:
        order, opens, balance = run(server, action)
        assert server.strays == []
    assert order["average"] == float(walk().open[20])
    assert [found["type"] for found in opens] == ["limit"]
    assert balance["BTC"]["free"] == 0.1


def test_many_requests_at_once_are_taken_one_after_another():
    async def action(client):
        await asyncio.gather(*(client.create_order(SYMBOL, "market", "buy", 0.001) for _ in range(40)))
        return await client.fetch_my_trades(SYMBOL)

    with ExchangeServer(local_exchange()) as server:
        trades = run(server, action)
    assert sorted(int(trade["id"]) for trade in trades) == list(range(1, 41))
    assert sum(trade["amount"] for trade in trades) == pytest.approx(0.04)


def test_a_post_that_was_cut_off_is_sent_once():
    async def action(client):
        with pytest.raises(ccxt.NetworkError):
            await client.create_order(SYMBOL, "market", "buy", 0.1)
        return await client.fetch_my_trades(SYMBOL)

    with ExchangeServer(local_exchange()) as server:
        server.faults.add(Fault("reset_after", path="/api/v3/order", method="POST"))
        assert len(run(server, action)) == 1
        assert server.faults.counts == {"reset_after": 1}


def test_an_accelerated_market_runs_by_itself():
    async def action(client):
        first = (await client.fetch_ohlcv(SYMBOL, "1m"))[-1][0]
        newest = first
        while newest < first + 3 * 60_000:
            newest = (await client.fetch_ohlcv(SYMBOL, "1m"))[-1][0]
            await asyncio.sleep(0.01)
        return newest - first

    with ExchangeServer(local_exchange(), clock=Accelerated(1200.0)) as server:  # a minute in 50 ms
        assert run(server, action) >= 180_000
