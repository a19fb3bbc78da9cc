"""The exchange as a process of its own: killed at any moment, it goes on from what it had answered."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import ccxt
import pytest
from local_ccxt import local_exchange, play, sync_client

from bot.cli.main import main
from bot.errors import StorageError
from bot.exchange.faults import Fault
from bot.exchange.persistence import StateFile
from bot.exchange.server import ExchangeServer
from bot.exchange.snapshot import state_of

SYMBOL = "SYNTH/USDT"
OPTIONS = ["--synth", "--timeframe", "1m", "--bars", "2000", "--lockstep", "--port", "0", "--json"]


@contextmanager
def served(home, *options):
    """Run the command; yield its process and what it announced."""
    words = [sys.executable, "-m", "bot", "exchange", "serve", *OPTIONS, "--home", str(home), *options]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("}"):
                break
        yield process, json.loads("".join(lines))
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def client_of(found, **extra):
    return sync_client(found["url"], key=found["key"], secret=found["secret"], **extra)


def everything(client):
    orders = [order["info"] for order in client.fetch_orders(SYMBOL)]
    trades = [trade["info"] for trade in client.fetch_my_trades(SYMBOL)]
    account = client.private_get_account()
    pairs = client.private_get_allorderlist()
    candles = client.public_get_klines({"symbol": "SYNTHUSDT", "interval": "1m", "limit": "5"})
    return orders, trades, account, pairs, candles


def trade_a_little(client, numbers: range) -> None:
    for number in numbers:
        client.create_order(SYMBOL, "market", "buy", 0.01, None, {"newClientOrderId": f"b{number}"})
        client.create_order(SYMBOL, "limit", "buy", 0.001, 10_000, {"newClientOrderId": f"l{number}"})
        rows = client.fetch_ohlcv(SYMBOL, "1m", limit=3)
        for _ in range(2):
            client.fetch_ohlcv(SYMBOL, "1m", since=rows[-2][0])
        if number % 2:
            client.cancel_order(None, SYMBOL, {"origClientOrderId": f"l{number}"})
    price = round(client.fetch_ticker(SYMBOL)["last"], 2)
    client.private_post_orderlist_oco(
        {
            "symbol": "SYNTHUSDT",
            "side": "SELL",
            "quantity": "0.005",
            "aboveType": "LIMIT_MAKER",
            "abovePrice": f"{price * 1.2:.2f}",
            "belowType": "STOP_LOSS",
            "belowStopPrice": f"{price * 0.8:.2f}",
        }
    )


def test_a_killed_exchange_goes_on_where_it_was(tmp_path):
    with served(tmp_path) as (process, found), client_of(found) as client:
        trade_a_little(client, range(6))
        before = everything(client)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with served(tmp_path) as (process, again), client_of(again) as client:
        assert (again["key"], again["secret"]) == (found["key"], found["secret"])
        assert everything(client) == before
        trade_a_little(client, range(6, 7))  # and on it goes, with new ids
        assert len({order["id"] for order in client.fetch_orders(SYMBOL)}) == len(before[0]) + 4
        before = everything(client)
        process.send_signal(signal.SIGTERM)  # a clean end writes a snapshot
        assert process.wait(10) == 0
    with served(tmp_path) as (_, found), client_of(found) as client:
        assert everything(client) == before


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_a_random_moment_loses_nothing_that_was_answered(tmp_path, seed):
    moment = random.Random(seed).uniform(0.02, 0.25)
    acknowledged = []
    with served(tmp_path) as (process, found), client_of(found) as client:
        killer = threading.Timer(moment, process.kill)
        killer.start()
        try:
            while True:
                acknowledged.append(client.create_order(SYMBOL, "limit", "buy", 0.001, 10_000)["info"])
                if len(acknowledged) % 2:
                    gone = client.cancel_order(acknowledged[-1]["orderId"], SYMBOL)
                    acknowledged[-1]["status"] = gone["info"]["status"]
        except (ccxt.NetworkError, ccxt.OperationFailed):
            pass
        killer.join()
        process.wait(10)
    assert acknowledged
    with served(tmp_path) as (_, found), client_of(found) as client:
        kept = {order["info"]["orderId"]: order["info"] for order in client.fetch_orders(SYMBOL, limit=1000)}
        for order in acknowledged[:-1]:
            assert kept[order["orderId"]]["status"] == order["status"]
            assert kept[order["orderId"]]["clientOrderId"] == order["clientOrderId"]
        assert len(kept) <= len(acknowledged) + 1  # one may have been taken and not answered


def test_one_state_is_of_one_market_and_one_process(tmp_path, capsys):
    words = ["exchange", "serve", *OPTIONS, "--home", str(tmp_path)]
    with served(tmp_path) as (process, _):
        assert main(words) == 1
        told = capsys.readouterr()
        assert "another exchange is using it" in told.err
        assert json.loads(told.out)["exit_code"] == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (tmp_path / "exchange.json").exists()
    assert main([*words, "--seed", "5", "--cash", "5"]) == 2
    assert "remembers another market (other candles, cash)" in capsys.readouterr().err
    with served(tmp_path, "--seed", "5", "--cash", "5", "--fresh") as (_, found), client_of(found) as client:
        assert client.fetch_balance()["USDT"]["free"] == 5


def as_a_kill_would_leave_it(server) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    server.venue.state._db.backup(copy)
    return copy


def test_what_is_replayed_equals_what_was(tmp_path):
    """In one process: snapshot and rows together give the same state, wherever the snapshot was taken."""
    path = tmp_path / "state.db"
    draws = random.Random(4)
    for rounds in range(4):
        with ExchangeServer(local_exchange(), state=StateFile(path)) as server, sync_client(server.url) as client:
            for _ in range(15):
                if draws.random() < 0.3:
                    play(server, draws.randrange(1, 4))
                try:
                    client.create_order("BTC/USDT", "market", draws.choice(["buy", "sell"]), 0.01)
                except ccxt.InsufficientFunds:
                    client.create_order("BTC/USDT", "limit", "buy", 0.001, 25_000)
            if rounds % 2:
                server.call(lambda: server.venue.desk.cancel_all("BTCUSDT"))
            server.call(lambda: server.venue.desk.set_status("BTCUSDT", "BREAK"))
            server.call(lambda: server.venue.desk.set_status("BTCUSDT", "TRADING"))
            true = server.call(lambda: state_of(server.exchange))
            memory = server.call(lambda: as_a_kill_would_leave_it(server))
        copy = tmp_path / f"copy{rounds}.db"
        with sqlite3.connect(copy) as target:
            memory.backup(target)
        target.close()
        memory.close()
        again, file = local_exchange(), StateFile(copy)
        assert file.restore(again)
        file.close()
        assert state_of(again) == true


def test_an_order_that_cannot_be_remembered_is_not_confirmed(tmp_path):
    memory = StateFile(tmp_path / "state.db")
    with ExchangeServer(local_exchange(), state=memory) as server, sync_client(server.url) as client:
        client.create_order("BTC/USDT", "market", "buy", 0.01)
        server.call(lambda: memory._db.execute("PRAGMA query_only = ON"))
        with pytest.raises(ccxt.OperationFailed, match="Execution status unknown"):
            client.create_order("BTC/USDT", "market", "buy", 0.01)
        server.call(lambda: memory._db.execute("PRAGMA query_only = OFF"))


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"\x00" * 5000])
def test_a_file_that_is_no_state_is_refused(tmp_path, content):
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match="cannot use"):
        StateFile(path)


def test_a_damaged_snapshot_is_refused(tmp_path):
    file = StateFile(tmp_path / "state.db")
    file.note("snapshot", '{"head": {}}')
    with pytest.raises(StorageError, match="start with --fresh"):
        file.restore(local_exchange())
    file.close()


def test_an_exchange_that_restarts_in_the_same_process_keeps_its_port_and_orders():
    exchange = local_exchange()
    with ExchangeServer(exchange) as server, sync_client(server.url) as client:
        port = server.port
        client.create_order("BTC/USDT", "limit", "buy", 0.01, 20_000, {"newClientOrderId": "stays"})
        server.stop()
        with pytest.raises(ccxt.NetworkError):
            client.fetch_open_orders("BTC/USDT")
        with ExchangeServer(exchange, port=port) as again:
            assert again.port == port
            assert [order["clientOrderId"] for order in client.fetch_open_orders("BTC/USDT")] == ["stays"]
            began = time.monotonic()
            again.faults.add(Fault("delay_before", delay=0.1, path="/api/v3/time"))
            client.fetch_time()
            assert time.monotonic() - began > 0.1
