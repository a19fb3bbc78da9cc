"""``bot exchange serve`` as a person starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from local_ccxt import local_exchange, sync_client

from bot.cli.main import main
from bot.errors import StorageError
from bot.exchange.announcement import Announcement
from bot.exchange.server import ExchangeServer

SMALL = ["--synth", "--timeframe", "1m", "--bars", "2000", "--port", "0"]


@contextmanager
def started(*words, wait_for="print(order"):
    """Run a command; yield its process and the lines that it printed until it serves."""
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "bot", "exchange", "serve", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith(wait_for):
                break
        yield process, "".join(lines)
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def test_the_snippet_trades_as_it_is_printed(tmp_path):
    with started(*SMALL, "--home", str(tmp_path)) as (process, text):
        assert max(map(len, text.splitlines())) <= 80
        snippet = text[text.index("import ccxt") :]
        ran = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        assert float(ran.stdout) > 0
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        told = process.stderr.read()
    assert "trade  buy" in told
    assert "market 2018-01-" in told
    assert "Traceback" not in told


def test_it_announces_itself_while_it_runs(tmp_path):
    with started(*SMALL, "--home", str(tmp_path), "--json", wait_for="}") as (process, text):
        document = json.loads(text)
        found = Announcement.read(tmp_path)
        assert found.url == document["url"]
        assert (found.pid, found.symbols, found.timeframe, found.clock) == (
            process.pid,
            ("SYNTHUSDT",),
            "1m",
            "accelerated",
        )
        assert stat.S_IMODE((tmp_path / "exchange.json").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "exchange.db").stat().st_mode) == 0o600
        with sync_client(found.url, key=found.key, secret=found.secret) as client:
            assert client.fetch_balance()["USDT"]["free"] == 10_000
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(10) == 0
        assert rest == ""  # one document, and nothing else
    assert Announcement.read(tmp_path) is None


def test_an_announcement_of_a_process_that_is_gone_counts_as_none(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(10)
    left = Announcement("http://127.0.0.1:1", "k", "s", ("BTCUSDT",), "1m", "wall", gone.pid)
    left.write(tmp_path)
    assert Announcement.read(tmp_path) is None
    here = replace(left, pid=os.getpid())
    here.write(tmp_path)
    assert Announcement.read(tmp_path) == here
    left.remove(tmp_path)  # not its own any more
    assert Announcement.read(tmp_path) == here
    here.remove(tmp_path)
    assert not (tmp_path / "exchange.json").exists()
    (tmp_path / "exchange.json").write_text("{}")
    with pytest.raises(StorageError, match="is not what an exchange writes"):
        Announcement.read(tmp_path)


def test_stored_candles_are_served_with_their_rules_and_fee(tmp_path, capsys):
    home = ["--home", str(tmp_path)]
    assert main(["data", "synth", *home, "--symbol", "BTCUSDT", "--timeframe", "1h", "--bars", "500"]) == 0
    capsys.readouterr()
    words = ["--symbol", "BTC/USDT", *home, "--port", "0", "--lockstep", "--cash", "500.5", "--json"]
    with (
        started(*words, wait_for="}") as (_, text),
        sync_client(json.loads(text)["url"], key=json.loads(text)["key"], secret=json.loads(text)["secret"]) as client,
    ):
        assert client.market("BTC/USDT")["precision"]["amount"] == 1e-5
        assert client.fetch_balance()["USDT"]["free"] == 500.5
        order = client.create_order("BTC/USDT", "market", "buy", 0.01)
        assert order["fee"]["cost"] == pytest.approx(order["cost"] * 0.001, abs=1e-8)
        assert len(client.fetch_ohlcv("BTC/USDT", "1h", limit=1000)) == 251


def test_wall_moves_the_candles_to_now_and_keeps_them_there(tmp_path):
    words = [*SMALL, "--home", str(tmp_path), "--wall", "--json"]

    def newest(text):
        found = json.loads(text)
        with sync_client(found["url"], key=found["key"], secret=found["secret"]) as client:
            rows = client.fetch_ohlcv("SYNTH/USDT", "1m", limit=1000)
            assert abs(client.fetch_time() - time.time() * 1000) < 2_000
        assert rows[-1][0] <= time.time() * 1000 < rows[-1][0] + 61_000
        return {row[0]: row for row in rows[:-1]}

    with started(*words, wait_for="}") as (process, text):
        first = newest(text)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    with started(*words, wait_for="}") as (_, text):
        second = newest(text)
    common = first.keys() & second.keys()
    assert len(common) > 900
    assert all(first[moment] == second[moment] for moment in common)


def test_a_port_in_use_is_one_clear_error(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["exchange", "serve", *SMALL[:-1], port, "--home", str(tmp_path)]) == 2
    assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err
    assert not (tmp_path / "exchange.json").exists()


def test_a_server_in_a_thread_says_so_too():
    with ExchangeServer(local_exchange()) as first:
        second = ExchangeServer(local_exchange(), port=first.port)
        with pytest.raises(Exception, match="is in use"):
            second.start()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs something to trade"),
        (["--symbol", "BTC/USDT"], "BTCUSDT"),
        (["--synth", "--speed", "5", "--wall"], "choose one"),
        (["--synth", "--lockstep", "--wall"], "choose one"),
        (["--synth", "--cash", "much"], "expected an amount"),
        (["--synth", "--cash", "-5"], "above 0"),
        (["--synth", "--cash", "NaN"], "above 0"),
        (["--synth", "--commission", "0.5"], "the commission is 0.5"),
        (["--synth", "--slippage", "0.5"], "--slippage is 0.5"),
        (["--synth", "--timeframe", "1x"], "is not a timeframe"),
        (["--synth", "--edge", "3"], "edge"),
        (["--synth", "--symbol", "BTC/EUR"], "--quote EUR"),
        (["--synth", "--symbol", "ETHBTC"], "--quote BTC"),
        (["--synth", "--symbol", "BTC/USDT", "--symbol", "BTCUSDT"], "given twice"),
        (["--synth", "--start", "2017-01-01"], "cannot begin at 2017-01-01"),
        (["--synth", "--start", "soon"], "is not a date"),
    ],
)
def test_bad_options(tmp_path, capsys, words, message):
    assert main(["exchange", "serve", *words, "--home", str(tmp_path), "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "exchange.json").exists()
