"""``bot live`` as a process: signals, restarts, commands, the kill switch, dry runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from real_time_market import (
    CONFIG,
    OWNER,
    SIM,
    LiveBot,
    is_flat,
    is_holding,
    journal,
    real_time_exchange,
    write_config,
)

from bot.cli.main import main
from bot.live.kill_switch import KillSwitch


@pytest.fixture
def home(tmp_path):
    return tmp_path / "var"


@pytest.fixture
def server():
    with real_time_exchange(keys=OWNER) as running:
        yield running


# ---------------------------------------------------------------- on paper, on the exchange inside the process


def test_sigterm_and_ctrl_c_end_it_in_order_and_a_restart_goes_on(tmp_path, home):
    config = write_config(tmp_path, SIM)
    with LiveBot(config, home, "--speed", "36000") as bot:
        first = bot.wait_for(is_holding, "position")
        assert bot.stop(signal.SIGTERM) == 0
        assert "stopping: what was ordered is seen through" in bot.output
        stopped = bot.status()
        assert stopped.state == "stopped"
    with LiveBot(config, home, "--speed", "36000") as bot:
        again = bot.wait_for(lambda status: is_holding(status) and status.bars > stopped.bars, "next bar")
        bot.process.send_signal(signal.SIGINT)  # some supervisors signal the process and its group
        assert bot.stop(signal.SIGINT) == 0
    assert again.run_id == first.run_id
    assert again.symbols[0].position == first.symbols[0].position
    assert again.symbols[0].stop == first.symbols[0].stop
    assert journal(home, "SELECT count(*) FROM live_runs") == [(1,)]
    assert journal(home, "SELECT count(*) FROM live_orders WHERE role = 'entry'") == [(1,)]
    bars = [open_ms for (open_ms,) in journal(home, "SELECT open_ms FROM live_bars ORDER BY open_ms")]
    assert bars == list(range(bars[0], bars[-1] + 1, 3_600_000))  # none twice, none left out


def test_the_exchange_of_the_home_is_used_while_it_runs(tmp_path, home):
    words = ["exchange", "serve", "--symbol", "SYNTH", "--synth", "--bars", "9000", "--speed", "36000", "--port", "0"]
    served = subprocess.Popen(
        [sys.executable, "-m", "bot", *words, "--home", str(home), "--json", "--slippage", "0.0005"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        while not (home / "exchange.json").exists():
            assert served.poll() is None
            time.sleep(0.02)
        found = json.loads((home / "exchange.json").read_text())
        config = write_config(tmp_path, SIM)
        with LiveBot(config, home) as bot:
            bot.wait_for(is_holding, "position")
            assert bot.stop() == 0
        assert found["secret"] not in bot.output
        with urllib.request.urlopen(f"{found['url']}/local/state") as answer:
            state = json.load(answer)
        assert state["open_orders"] == 1  # the stop rests there
        assert main(["live", str(config), "--home", str(home), "--speed", "60"]) == 2
    finally:
        served.send_signal(signal.SIGINT)
        served.communicate(timeout=20)
    assert served.returncode == 0


# ---------------------------------------------------------------- commands, pause, kill switch


def test_commands_act_within_a_second_and_a_pause_survives_a_restart(tmp_path, home):
    config = write_config(tmp_path, SIM)
    speed = ("--speed", "1200")  # a bar takes three seconds: nobody waits for the next one
    home.mkdir()
    KillSwitch(home).engage("not today")
    with LiveBot(config, home, *speed) as bot:
        bot.wait_for(lambda status: status.bars > 0, "first bar", 30)
        refused = bot.wait_for(lambda status: status.symbols[0].reason, "decision")
        assert refused.symbols[0].position == 0
        assert any("kill switch" in text for text in refused.protections)
        ok, text, seconds = bot.tell("pause")
        assert ok
        assert text.startswith("paused")
        assert seconds < 1.0
        KillSwitch(home).release()
        assert bot.stop() == 0
    assert journal(home, "SELECT state, reason FROM live_orders")[0] == (
        "gated",
        f"no entries: kill switch ({home / 'KILL'}: not today)",
    )
    with LiveBot(config, home, "--speed", "36000") as bot:
        paused = bot.wait_for(lambda status: status.state == "paused" and status.bars > 4, "pause")
        assert paused.protections == ("paused: by command",)
        assert paused.symbols[0].position == 0
        ok, text, seconds = bot.tell("resume")
        assert (ok, text) == (True, "resumed")
        assert seconds < 1.0
        bot.wait_for(is_holding, "position")
        KillSwitch(home).engage("enough", close=True)
        began = time.monotonic()
        closed = bot.wait_for(lambda status: any("sold" in text for _, text in status.events), "sale")
        assert time.monotonic() - began < 2.0
        assert any("kill switch" in text for text in closed.protections)
        bot.wait_for(is_flat, "sale in the books")
        ok, text, seconds = bot.tell("close-all")
        assert (ok, text) == (True, "SYNTH: nothing is held")
        assert seconds < 1.0
        ok, text, seconds = bot.tell("stop")
        assert ok
        assert seconds < 1.0
        assert bot.process.wait(20) == 0
    assert not any("decides otherwise" in text for _, text in closed.events)


# ---------------------------------------------------------------- a dry run


def test_a_dry_run_needs_no_keys_and_sends_no_order(tmp_path, home, server):
    config = write_config(tmp_path, CONFIG, **{"URL": server.url, "mode: real": "mode: paper"})
    with LiveBot(config, home) as bot:
        status = bot.wait_for(is_holding, "position")
        assert (status.mode, status.exchange) == ("dry", "binance")
        assert [order.kind for order in status.symbols[0].open_orders] == ["stop"]
        assert bot.stop() == 0
    with LiveBot(config, home) as bot:
        again = bot.wait_for(lambda found: is_holding(found) and found.bars > status.bars + 1, "next bar")
        assert again.symbols[0].position == status.symbols[0].position
        ok, text, seconds = bot.tell("close-all")
        assert ok
        assert "in the simulated account" in text
        assert seconds < 1.0
        bot.wait_for(is_flat, "sale in the books")
        assert bot.stop() == 0
    assert journal(home, "SELECT role, state FROM live_orders ORDER BY rowid") == [
        ("entry", "filled"),
        ("stop", "cancelled"),
        ("close", "filled"),
    ]
    assert {request["path"] for request in server.requests} == {
        "/api/v3/exchangeInfo",
        "/api/v3/klines",
        "/api/v3/time",
    }
