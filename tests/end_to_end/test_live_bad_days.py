"""``bot live`` on bad days: a second bot on the account, an exchange that is gone, a full disk."""

from __future__ import annotations

import resource
import time
from decimal import Decimal

import pytest
from real_time_market import (
    CONFIG,
    KEYS,
    OWNER,
    LiveBot,
    assert_no_secret,
    is_holding,
    journal,
    real_time_exchange,
    write_config,
)

from bot.cli.main import main
from bot.exchange.clocks import Wall
from bot.exchange.server import ExchangeServer, unlimited


@pytest.fixture
def home(tmp_path):
    return tmp_path / "var"


@pytest.fixture
def server():
    with real_time_exchange(keys=OWNER) as running:
        yield running


def purchases(server):
    return [order for order in server.call(lambda: server.exchange.orders("BTCUSDT")) if order.side == "BUY"]


# ---------------------------------------------------------------- real money, on an exchange in real time


def test_a_second_bot_on_the_account_is_refused(tmp_path, home, server, capsys, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    config = write_config(tmp_path, CONFIG, URL=server.url)
    with LiveBot(config, home, "--real-money", keys=True) as bot:
        bot.wait_for(is_holding, "position")
        other = tmp_path / "other"
        assert main(["live", str(config), "--home", str(other), "--real-money"]) == 2
        second = capsys.readouterr().err
        assert f"trial (process {bot.process.pid}) trades this account on binance already" in second
        assert main(["live", str(config), "--home", str(home), "--real-money"]) == 2
        assert f"trial (process {bot.process.pid}) runs already in {home}" in capsys.readouterr().err
        assert main(["live", str(config), "--home", str(other), "--real-money", "--check"]) == 3
        assert len(purchases(server)) == 1
        assert bot.stop() == 0
    assert_no_secret(home, bot.output, second)
    assert_no_secret(other)


def test_an_exchange_that_is_gone_for_a_while_and_at_the_stop(tmp_path, home):
    server = real_time_exchange(keys=OWNER)
    server.start()
    exchange, port = server.exchange, server.port
    config = write_config(tmp_path, CONFIG, URL=server.url)
    try:
        with LiveBot(config, home, "--real-money", keys=True) as bot:
            before = bot.wait_for(is_holding, "position")
            server.stop()
            bot.wait_for(lambda status: status.connection.startswith("broken"), "disconnection")
            time.sleep(1.0)
            server = ExchangeServer(exchange, clock=Wall(), limits=unlimited(), keys=OWNER, port=port)
            server.start()
            after = bot.wait_for(
                lambda status: status.connection == "live" and status.bars > before.bars + 2, "connection"
            )
            assert after.symbols[0].position == before.symbols[0].position
            server.stop()
            bot.wait_for(lambda status: status.connection.startswith("broken"), "disconnection")
            assert bot.stop() == 0
    finally:
        server.stop()
    bars = [open_ms for (open_ms,) in journal(home, "SELECT open_ms FROM live_bars ORDER BY open_ms")]
    assert bars == list(range(bars[0], bars[-1] + 1, 1_000))
    assert_no_secret(home, bot.output)


EAGER = """
import backtrader as bt


class Eager(bt.Strategy):
    params = (("trade_from_ms", None),)

    def next(self):
        self.buy(size=0.001)
"""


def test_on_a_full_disk_no_order_is_sent_that_is_not_in_the_journal(tmp_path, home, server, monkeypatch):
    (tmp_path / "eager.py").write_text(EAGER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = write_config(tmp_path, CONFIG, URL=server.url, BuyAndHold="eager:Eager")
    with LiveBot(config, home, "--real-money", keys=True) as bot:
        bot.wait_for(lambda status: status.symbols[0].position > 0.001, "purchases")
        resource.prlimit(bot.process.pid, resource.RLIMIT_FSIZE, (4_096, 4_096))  # what is written beyond it fails
        assert bot.process.wait(30) == 1
    known = {client_id for (client_id,) in journal(home, "SELECT client_id FROM live_orders")}
    sent = {order.client_id for order in purchases(server)}
    assert len(sent) >= 2
    assert sent <= known
    with LiveBot(config, home, "--real-money", keys=True) as bot:  # with room again it goes on
        bot.wait_for(lambda status: status.symbols[0].position > 0.001 * len(sent), "purchases")
        assert bot.stop() == 0
    held, _ = server.call(lambda: server.exchange.balances()["BTC"])
    booked = journal(home, "SELECT size FROM live_executions")
    assert held == sum((Decimal(size) for (size,) in booked), Decimal(0))
