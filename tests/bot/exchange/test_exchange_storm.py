"""Every fault at once, at random, from a client that knows no fear: the exchange stays sound and lets go of everything."""

from __future__ import annotations

import gc
import logging
import random
import threading
from decimal import Decimal
from pathlib import Path

import ccxt
import pytest
from local_ccxt import local_exchange, sync_client, walk

from bot.exchange.faults import CANDLE_KINDS, REPLY_KINDS
from bot.exchange.server import ExchangeServer

SYMBOL = "BTC/USDT"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def storm(client, draws: random.Random, requests: int) -> None:
    """Trade at random and take every error and every kind of rubbish as it comes."""
    since = None
    for _ in range(requests):
        choice = draws.random()
        try:
            if choice < 0.4:
                rows = client.fetch_ohlcv(SYMBOL, "1m", since=since, limit=5)
                since = rows[-2][0] if len(rows) > 1 and isinstance(rows[-2][0], int) else since
            elif choice < 0.6:
                client.create_order(SYMBOL, "market", draws.choice(["buy", "sell"]), 0.001)
            elif choice < 0.8:
                client.create_order(SYMBOL, "limit", "buy", 0.001, draws.choice([20_000, 29_000]))
            elif choice < 0.9:
                client.cancel_all_orders(SYMBOL)
            else:
                client.fetch_balance()
                client.fetch_my_trades(SYMBOL, limit=20)
        except (ccxt.BaseError, AttributeError, KeyError, TypeError, ValueError):
            continue


@pytest.mark.parametrize("seed", [3])
def test_a_storm_of_random_faults_leaves_the_exchange_sound(seed, caplog):
    gc.collect()
    files, threads = open_files(), threading.active_count()
    draws = random.Random(seed)
    with (
        caplog.at_level(logging.ERROR),
        ExchangeServer(local_exchange(walk(2000), partial=(0.3,)), seed=seed) as server,
        sync_client(server.url, timeout=300) as client,
    ):
        server.faults.add_random([*REPLY_KINDS, *CANDLE_KINDS], 0.02, delay=0.02)
        storm(client, draws, 1000)
        server.faults.clear()
        server.call(lambda: server.venue.desk.cancel_all("BTCUSDT"))
        counts = server.faults.counts
        assert counts.keys() == {*REPLY_KINDS, *CANDLE_KINDS}
        assert sum(counts.values()) > 200
        trades = client.fetch_my_trades(SYMBOL, limit=1000)
        held = {row["asset"]: row for row in client.fetch_balance()["info"]["balances"]}
    assert caplog.records == []
    cash, coins = Decimal(10_000), Decimal(0)
    for trade in (found["info"] for found in trades):
        sign = 1 if trade["isBuyer"] else -1
        coins += sign * Decimal(trade["qty"])
        cash -= sign * Decimal(trade["quoteQty"]) + Decimal(trade["commission"])
    assert len(trades) > 50
    assert (Decimal(held["BTC"]["free"]), Decimal(held["USDT"]["free"])) == (coins, cash)
    assert all(Decimal(row["locked"]) == 0 for row in held.values())
    gc.collect()
    assert open_files() <= files + 1
    assert threading.active_count() == threads
