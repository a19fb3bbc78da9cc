"""``bot live`` that is told to stop while its exchange is gone: it ends in seconds, and what it left open is found again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from decimal import Decimal

import pytest
from real_time_market import CONFIG, OWNER, SIM, LiveBot, is_holding, journal, real_time_exchange, write_config

from bot.exchange.clocks import Wall
from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer, unlimited

MOST_S = 10.0
ORDER = "/api/v3/order"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "var"


def ask(bot: LiveBot, verb: str) -> int:
    """Send a command and wait until the bot has taken it, not for its answer."""
    with bot.control() as control:
        number = control.send(verb)
    deadline = time.monotonic() + 10.0
    while not journal(bot.home, f"SELECT id FROM commands WHERE id = {number} AND taken_ms IS NOT NULL"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return number


def stop_in_time(bot: LiveBot, number: int) -> None:
    began = time.monotonic()
    assert bot.stop(number) == 0
    assert time.monotonic() - began < MOST_S
    assert bot.status().state == "stopped"


def orders(server: ExchangeServer) -> list:
    return server.call(lambda: list(server.exchange.orders("BTCUSDT")))


def left_open(bot: LiveBot) -> str:
    """Return what it said at its end of what it leaves to the next start: one line."""
    (line,) = [line for line in bot.output.splitlines() if line.startswith("left open: ")]
    return line


def test_an_order_whose_reply_is_lost_with_the_exchange_is_found_at_the_next_start(tmp_path, home):
    server = real_time_exchange(keys=OWNER)
    server.start()
    exchange, port = server.exchange, server.port
    config = write_config(tmp_path, CONFIG, URL=server.url)
    server.faults.add(
        Fault("reset_after", path=ORDER, method="POST"), Fault("reset_before", path=ORDER, method="GET", count=None)
    )
    try:
        with LiveBot(config, home, "--real-money", keys=True) as bot:
            deadline = time.monotonic() + 20.0
            while not orders(server):
                bot.check("purchase")
                assert time.monotonic() < deadline
                time.sleep(0.02)
            server.stop()
            command = ask(bot, "close-all")
            stop_in_time(bot, signal.SIGTERM)
            said = left_open(bot)
        ((entry, state),) = journal(home, "SELECT client_id, state FROM live_orders")
        assert state == "intended"
        assert entry in said
        assert "close-all" in said
        ((ok, answer),) = journal(home, f"SELECT ok, answer FROM commands WHERE id = {command}")
        assert not ok
        assert "stopped before" in answer

        server = ExchangeServer(exchange, clock=Wall(), limits=unlimited(), keys=OWNER, port=port)
        server.start()
        with LiveBot(config, home, "--real-money", keys=True) as bot:
            paused = bot.wait_for(lambda status: status.symbols[0].position > 0, "position")
            assert paused.state == "paused"  # the first thing that close-all does
            assert [order.kind for order in paused.symbols[0].open_orders] == ["stop"]
            assert bot.stop() == 0
            assert "left open" not in bot.output
    finally:
        server.stop()
    assert [order.client_id for order in exchange.orders("BTCUSDT") if order.side == "BUY"] == [entry]
    booked = journal(home, "SELECT size FROM live_executions")
    assert exchange.balances()["BTC"][1] == sum((Decimal(size) for (size,) in booked), Decimal(0))  # all under its stop


def test_an_exchange_that_is_frozen_does_not_hold_the_end(tmp_path, home):
    words = ["exchange", "serve", "--symbol", "SYNTH", "--synth", "--bars", "9000", "--speed", "36000", "--port", "0"]
    served = subprocess.Popen(
        [sys.executable, "-m", "bot", *words, "--home", str(home), "--json", "--slippage", "0.0005"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (home / "exchange.json").exists():
            assert served.poll() is None
            time.sleep(0.02)
        config = write_config(tmp_path, SIM)
        with LiveBot(config, home) as bot:
            before = bot.wait_for(is_holding, "position")
            served.send_signal(signal.SIGSTOP)
            command = ask(bot, "close-all")
            stop_in_time(bot, signal.SIGINT)
            assert "close-all" in left_open(bot)
        served.send_signal(signal.SIGCONT)  # it finds the requests of a bot that is gone
        with LiveBot(config, home) as bot:
            after = bot.wait_for(lambda status: status.state == "paused" and status.bars > before.bars, "next bar")
            assert after.symbols[0].position == before.symbols[0].position
            assert [order.kind for order in after.symbols[0].open_orders] == ["stop"]
            ok, text, _ = bot.tell("close-all")
            assert (ok, text) == (True, f"SYNTH: sold {before.symbols[0].position:g}")
            assert bot.stop() == 0
        assert journal(home, f"SELECT ok FROM commands WHERE id = {command}") == [(0,)]
    finally:
        served.send_signal(signal.SIGCONT)
        served.send_signal(signal.SIGINT)
        served.wait(timeout=20)
