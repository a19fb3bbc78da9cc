"""Live bots as the service shows them: last words, decisions with their gates, what is new, and nobody who waits."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from dataclasses import replace

import pytest
from live_statuses import MORNING_MS, live_status, symbol_status
from recorded_runs import SHORT, basic_config, home_with, record_run
from scripted_bot import ScriptedBot, wall_ms
from small_models import AT, FEATURES

from bot.errors import StorageError, UsageError
from bot.home import Home
from bot.live.control import Control
from bot.live.kill_switch import KillSwitch
from bot.parity.recorded import copied_state, decision_rows
from bot.service.views.bots import bot, bots, changes, decisions
from bot.service.views.plain import NotHere
from bot.service.views.reading import StateReader, reading
from bot.state import StateDatabase
from ml.candles import format_ms
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

BOT = "ml-basic-btc"
SYMBOLS = ("BTCUSDT", "ETHUSDT")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A home in which a bot traded two symbols, and said what it saw."""
    home = home_with(tmp_path_factory.mktemp("home"), symbols=SYMBOLS)
    register_second(home)
    file = basic_config(when=SHORT, **{"[BTCUSDT]": "[BTCUSDT, ETHUSDT]"})
    run_id = record_run(file, home)
    with StateDatabase(home.state_db) as state:
        last = [decision_rows(state, run_id, symbol)[-1] for symbol in SYMBOLS]
        symbols = tuple(
            symbol_status(row["symbol"], open_ms=row["open_ms"], position=row["position"], predictions=())
            for row in last
        )
        value = sum(row["value"] for row in last)
        words = live_status(bot="run", run_id=run_id, symbols=symbols, value=value, heartbeat_ms=wall_ms())
        Control(state, "run", wall_ms).publish(words)
    return home


def register_second(home):
    """Register a model of the second symbol, trained on the candles that `home_with` gave it."""
    settings = TrainingSettings(
        features=FEATURES, parameters={"num_boost_round": 25, "min_data_in_leaf": 50}, folds=3, plots=False
    )
    key = ModelKey(SYMBOLS[1], "basic", "1h")
    files = train(synthetic_candles(3_000, edge=0.2, seed=4), key, settings, at=AT, code_version="test").files
    PredictionModelRegistry(home.models).register(key, files, at=AT)


def say(home, **change):
    with StateDatabase(home.state_db) as state:
        status = live_status(**{"heartbeat_ms": wall_ms(), **change})
        Control(state, status.bot, wall_ms).publish(status)


def test_a_running_bot_is_shown_with_its_account_and_symbols(home):
    with ScriptedBot(home.root, protections=("daily loss reached",)):
        (row,) = bots(home)
        found = bot(home, BOT)
    assert (row["name"], row["running"], row["state"], row["mode"]) == (BOT, True, "running", "paper")
    assert (row["value"], row["protections"], row["connection"]) == (10_001.65, ["daily loss reached"], "connected")
    assert row["silent_seconds"] < 5
    assert (row["market_at"], row["run_id"]) == ("2026-11-20T09:00:00Z", live_status().run_id)
    (symbol,) = row["symbols"]
    assert (symbol["symbol"], symbol["position"], symbol["stop"]) == ("BTC_USDT", 0.01234, 61_983.09)
    assert symbol["bar_at"] == format_ms(MORNING_MS - 3_600_000)
    (shown,) = found["symbols"]
    assert [order["kind"] for order in shown["open_orders"]] == ["stop", "target"]
    assert shown["predictions"][0]["confidence"] == 0.5731
    assert shown["decision"] is None
    assert found["events"][0] == {"at": "2026-11-20T09:00:00Z", "text": "bought 0.01234 BTCUSDT at 63900.1"}
    (row,) = bots(home)
    assert (row["running"], row["state"]) == (False, "stopped")
    json.dumps([row, found], allow_nan=False)


def test_no_path_of_this_computer_is_told(home):
    say(home, events=((MORNING_MS, f"{home.root}/state.db cannot be written"),))
    KillSwitch(home.root).engage("enough")
    told = json.dumps([bots(home), bot(home, BOT), changes(home, None)[1]])
    assert str(home.root) not in told
    assert "home/KILL: enough" in told
    assert "home/state.db cannot be written" in told


def test_a_name_that_is_none_is_told_with_the_nearest(home):
    say(home)
    for look in (bot, decisions):
        with pytest.raises(NotHere, match=f"no bot 'ml-basic-bt' in this home; did you mean '{BOT}'"):
            look(home, "ml-basic-bt")


def test_words_of_another_version_are_a_problem_and_hide_no_other_bot(home):
    say(home)
    say(home, bot="other")
    with StateDatabase(home.state_db) as state:
        state.execute("UPDATE live_status SET document = '{\"bot\": 1}' WHERE bot = 'other'")
    good, bad = bots(home)
    assert (good["name"], good["problem"]) == (BOT, None)
    assert (bad["name"], bad["running"]) == ("other", True)
    assert bad["problem"].startswith("home/state.db: the status of other cannot be read")
    with pytest.raises(StorageError, match="cannot be read"):
        bot(home, "other")


def test_decisions_are_those_of_the_journal_with_words(recorded):
    rows = decisions(recorded, "run", 500)
    run_id = bot(recorded, "run")["run_id"]
    with copied_state(recorded) as state:
        journal = {symbol: decision_rows(state, run_id, symbol) for symbol in SYMBOLS}
    assert len(rows) == sum(map(len, journal.values())) == 144
    assert [row["open_at"] for row in rows] == sorted((row["open_at"] for row in rows), reverse=True)
    for symbol, shown in (("BTCUSDT", "BTC_USDT"), ("ETHUSDT", "ETH_USDT")):
        for row, stored in zip([row for row in rows if row["symbol"] == shown], journal[symbol][::-1], strict=True):
            assert row["open_at"] == format_ms(stored["open_ms"])
            assert row["closed_at"] == format_ms(stored["open_ms"] + 3_600_000)
            for name in ("candle", "position", "cash", "value", "orders"):
                assert row[name] == stored[name]
            assert row["predictions"]["prediction"]["digest"] == stored["predictions"]["prediction"]["digest"]
            assert [gate["passed"] for gate in row["decision"]["gates"]] == [
                gate["passed"] for gate in stored["decision"]["gates"]
            ]
    entered = next(row for row in rows if row["decision"]["action"] == "enter")
    assert entered["decision"]["action_words"] == "ordered to buy"
    assert {gate["verdict"] for gate in entered["decision"]["gates"]} <= {"ok", "no", "-"}
    assert any(gate["words"] == "probability of a rise" for gate in entered["decision"]["gates"])
    assert any("probability of a rise" in row["predictions"]["prediction"]["words"] for row in rows)
    assert [row["fills"][0]["bar_open_at"] for row in rows if row["fills"]]
    assert decisions(recorded, "run", 3) == rows[:3]
    json.dumps(rows, allow_nan=False)
    with pytest.raises(UsageError, match="expected 1 or more"):
        decisions(recorded, "run", 0)


def test_a_bot_has_equity_orders_and_its_last_decision(recorded):
    found, rows = bot(recorded, "run"), decisions(recorded, "run", 500)
    assert len(found["equity"]) == 72
    assert found["equity"][-1]["value"] == found["value"]
    by_bar = {}
    for row in rows:
        by_bar.setdefault(row["open_at"], []).append(row["value"])
    assert {each["bar_at"]: each["value"] for each in found["equity"]} == {
        at: pytest.approx(sum(values)) for at, values in by_bar.items()
    }
    for symbol in found["symbols"]:
        assert symbol["decision"] == next(row for row in rows if row["symbol"] == symbol["symbol"])
    assert {order["symbol"] for order in found["orders"]} == {"BTC_USDT", "ETH_USDT"}
    assert found["orders"][0]["sent_at"] >= found["orders"][-1]["sent_at"]
    assert {order["side"] for order in found["orders"]} == {"buy", "sell"}


def test_views_change_nothing_and_wait_for_nobody(recorded, tmp_path):
    shutil.copytree(recorded.root, tmp_path / "home")
    home = Home(tmp_path / "home")
    before = home.state_db.read_bytes()
    with sqlite3.connect(home.state_db, isolation_level=None) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("DELETE FROM live_status")
        began = time.monotonic()
        assert [row["name"] for row in bots(home)] == ["run"]
        assert len(decisions(home, "run", 10)) == 10
        assert time.monotonic() - began < 2
        writer.execute("ROLLBACK")
    writer.close()
    assert home.state_db.read_bytes() == before


def test_a_look_at_what_is_new(home):
    say(home)
    say(home, bot="other")
    token, rows = changes(home, None)
    assert [row["name"] for row in rows] == [BOT, "other"]
    assert changes(home, token) == (token, [])
    say(home, value=11_000.0, heartbeat_ms=wall_ms() + 1)
    after, rows = changes(home, token)
    assert [(row["name"], row["value"]) for row in rows] == [(BOT, 11_000.0)]
    assert changes(home, after)[1] == []
    with StateDatabase(home.state_db) as state:
        Control(state, "other", wall_ms).send("pause")
    after, rows = changes(home, after)
    assert [(row["name"], row["waiting_commands"]) for row in rows] == [("other", 1)]
    KillSwitch(home.root).engage("enough")
    after, rows = changes(home, after)
    assert [row["kill_switch"]["is_on"] for row in rows] == [True, True]
    with StateDatabase(home.state_db) as state:  # its process is gone, and it could not say so
        state.execute("UPDATE live_status SET heartbeat_ms = heartbeat_ms - 60000 WHERE bot = 'other'")
    assert [(row["name"], row["running"]) for row in changes(home, after)[1]] == [("other", False)]


def test_a_bot_that_ends_is_new_once(home):
    with ScriptedBot(home.root):
        token, rows = changes(home, None)
        assert [row["running"] for row in rows] == [True]
    token, rows = changes(home, token)
    assert [(row["running"], row["state"]) for row in rows] == [(False, "stopped")]
    assert changes(home, token)[1] == []


def test_the_reader_refuses_to_write_and_tells_damage(home):
    say(home)
    with reading(home.state_db) as state:
        assert isinstance(state, StateReader)
        assert state.has("live_status", "commands")
        assert not state.has("live_decisions")
        with pytest.raises(StorageError, match="only read here"):
            state.execute("DELETE FROM live_status")
        with pytest.raises(StorageError, match="cannot be written"):
            state.rows("DELETE FROM live_status RETURNING bot")
        with state.transaction():
            assert len(state.rows("SELECT * FROM live_status")) == 1
        assert Control(state, BOT, wall_ms).status() == replace(
            live_status(), heartbeat_ms=Control(state, BOT, wall_ms).status().heartbeat_ms
        )
    home.state_db.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError, match="is not an SQLite database"):
        bots(home)
