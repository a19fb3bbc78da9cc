"""``bot live-control`` as a person in another terminal uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from live_statuses import MORNING_MS, live_status, symbol_status
from scripted_bot import ScriptedBot, wall_ms

from bot.cli.main import main
from bot.live.control import Control, is_alive
from bot.live.kill_switch import KillSwitch
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from bot.state import StateDatabase
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

BOT = "ml-basic-btc"
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def bot(home, capsys):
    """Run a command; returns exit code, standard output and standard error."""

    def run(*words):
        code = main(["live-control", *words, "--home", str(home)])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run


@pytest.fixture
def bot_json(bot):
    """Run a command with --json; returns exit code and the document."""

    def run(*words):
        code, out, _ = bot(*words, "--json")
        return code, json.loads(out)

    return run


def was_here(home, pid=None, **change):
    """Leave the last words of a bot that is gone."""
    status = live_status(**{"heartbeat_ms": wall_ms(), **change})
    with StateDatabase(home / "state.db") as state:
        Control(state, status.bot, wall_ms).publish(status)
        state.execute("UPDATE live_status SET pid = ? WHERE bot = ?", (pid or dead_pid(), status.bot))


def dead_pid():
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def register(home, model_type="basic", symbol="BTCUSDT", promote=False, at=AT):
    files = {
        "metadata.json": json.dumps({"schema_version": 1, "horizon": 1, "feature_count": 3}).encode(),
        "metrics.json": b'{"gate": {"promoted": true, "reason": "allowed"}}',
        "model.txt": b"tree",
    }
    registry = PredictionModelRegistry(home / "models")
    key = ModelKey(symbol, model_type, "1h")
    version = registry.register(key, files, at=at).version_id
    if promote:
        registry.promote(key, version, at=at, reason="gate")
    return version


# ---------------------------------------------------------------- no bot, one bot, several bots


@pytest.mark.parametrize("words", [["status"], ["pause"], ["stop"], ["list-models"], ["deploy-model", "p", "X/basic"]])
def test_where_no_bot_ever_ran_the_message_says_how_to_start_one(bot, home, words):
    code, _, err = bot(*words)
    assert code == 2
    assert err == f"error: no bot ran in {home} yet: start one with: bot live CONFIG\n"
    assert not home.exists()

    StateDatabase(home / "state.db").close()
    assert bot(*words)[0] == 2


def test_the_status_of_a_running_bot(bot, bot_json, home):
    with ScriptedBot(home):
        code, out, _ = bot("status")
        assert code == 0
        assert out.startswith(f"{BOT}   PAPER   sim   1h   running")
        assert "hold: p_up 0.573 is above the exit of 0.45: the position stays\n" in out
        assert "kill switch" not in out

        code, document = bot_json("status")
        assert code == 0
        assert document["running"] is True
        assert document["silent_seconds"] < 5
        assert document["kill_switch"] == {"is_on": False, "closes": False, "reason": ""}
        assert document["status"]["symbols"][0]["stop"] == 61_983.09


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            "running",
            "is not running: last heard of at 2026-11-20 09:00:01 UTC, then running; it did not end in good order",
        ),
        ("stopped", "is not running: it stopped at 2026-11-20 09:00:01 UTC"),
        ("failed", "is not running: it failed at 2026-11-20 09:00:01 UTC"),
    ],
)
def test_the_status_of_a_bot_that_is_down_says_since_when(bot, bot_json, home, state, words):
    was_here(home, state=state, heartbeat_ms=MORNING_MS + 1_500)

    code, out, _ = bot("status")
    assert code == 0
    assert f"{BOT} {words}. Its last words:" in out
    assert "0.01234 at 63,900.10" in out
    assert bot_json("status")[1]["running"] is False


def test_a_bot_that_hangs_is_told_from_one_that_is_gone(bot, home):
    was_here(home, pid=os.getpid(), heartbeat_ms=wall_ms() - 180_000)

    _, out, _ = bot("status")
    assert f"{BOT} has been silent for 3 min (its process {os.getpid()} is there" in out


def test_several_bots_are_listed_and_commands_want_a_name(bot, bot_json, home):
    was_here(home, bot="eth-bot", state="stopped")
    with ScriptedBot(home):
        code, out, _ = bot("status")
        assert code == 0
        rows = {line.split()[0]: line for line in out.splitlines() if "paper" in line}
        assert "down (stopped)" in rows["eth-bot"]
        assert "running" in rows[BOT]
        assert [each["bot"] for each in bot_json("status")[1]["bots"]] == ["eth-bot", BOT]

        code, _, err = bot("pause")
        assert code == 2
        assert f"several bots are known here: eth-bot (down), {BOT} (running); choose one with --bot NAME" in err
        assert bot("pause", "--bot", BOT)[0] == 0
        code, _, err = bot("pause", "--bot", "eth-bto")
        assert code == 2
        assert "did you mean 'eth-bot'" in err


def test_the_kill_switch_and_waiting_commands_are_in_the_status(bot, bot_json, home):
    was_here(home)
    bot("close-all", "--queue")
    KillSwitch(home).engage("ten errors", close=True)

    _, out, _ = bot("status")
    assert "The kill switch is on: no new entries and positions are closed" in out
    assert "ten errors); delete the file to trade again." in out
    assert "1 command(s) wait for it." in out
    document = bot_json("status")[1]
    assert (document["kill_switch"]["closes"], document["waiting_commands"]) == (True, 1)


# ---------------------------------------------------------------- commands


@pytest.mark.parametrize("verb", ["pause", "resume", "close-all"])
def test_a_command_acts_within_a_second_and_its_answer_is_printed(bot, home, verb):
    with ScriptedBot(home) as running:
        began = time.monotonic()
        assert bot(verb) == (0, f"{BOT}: {verb} is done\n", "")
        assert time.monotonic() - began < 1
    assert [command.verb for command in running.taken] == [verb]


def test_a_command_as_json(bot_json, home):
    with ScriptedBot(home):
        code, document = bot_json("pause")

    assert code == 0
    expected = {"bot": BOT, "verb": "pause", "arguments": {}, "id": 1, "outcome": "done", "answer": "pause is done"}
    assert document == expected


def test_a_refusal_is_an_error_with_the_words_of_the_bot(bot, home):
    with ScriptedBot(home, answer=lambda _: (False, "nothing is held")):
        assert bot("close-all") == (1, "", f"error: {BOT} refused: nothing is held\n")


@pytest.mark.parametrize("verb", ["pause", "close-all", "stop"])
def test_a_bot_that_is_down_gets_no_command(bot, bot_json, home, verb):
    was_here(home)

    code, _, err = bot(verb)
    assert code == 1
    assert f"{BOT} is not running: last heard of" in err
    assert ("--queue" in err) == (verb != "stop")
    assert bot_json("status")[1]["waiting_commands"] == 0


def test_a_queued_command_is_found_at_the_next_start(bot, home):
    was_here(home)
    code, out, _ = bot("pause", "--queue")
    assert code == 0
    assert "it will find the command at its next start" in out

    with ScriptedBot(home) as running:
        deadline = time.monotonic() + 10
        while not running.taken and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [command.verb for command in running.taken] == ["pause"]


def test_a_command_that_nobody_takes_is_withdrawn(bot, bot_json, home):
    was_here(home, pid=os.getpid())  # alive and fresh, and looks at nothing

    code, _, err = bot("close-all", "--wait", "0.2")
    assert code == 1
    assert f"{BOT} did not take the command within 0.2 s, so it was withdrawn" in err
    assert bot_json("status")[1]["waiting_commands"] == 0
    assert bot_json("close-all", "--wait", "0.2", "--queue")[1]["outcome"] == "queued"
    assert bot_json("pause", "--wait", "0")[1]["outcome"] == "sent"
    assert bot_json("status")[1]["waiting_commands"] == 2


def test_a_command_that_takes_long_is_not_withdrawn(bot, home):
    with ScriptedBot(home, answer=lambda _: None) as running:
        code, _, err = bot("close-all", "--wait", "0.3")

    assert code == 1
    assert "has taken the command and not finished it within 0.3 s" in err
    assert len(running.taken) == 1


def test_stop_returns_when_the_process_is_gone(bot, home):
    home.mkdir()
    root = Path(__file__).parents[3]
    words = [sys.executable, str(root / "tests" / "support" / "scripted_bot.py"), str(home)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    try:
        assert process.stdout.readline() == "ready\n"
        code, out, err = bot("stop")
        assert (code, out, err) == (0, f"{BOT}: stop is done\n", "")
        with StateDatabase(home / "state.db") as state:
            assert Control(state, BOT, wall_ms).status().state == "stopped"
        assert not is_alive(process.pid)  # though nobody has asked for its exit code yet
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.communicate()


# ---------------------------------------------------------------- models


def test_deploy_names_the_version_that_the_bot_shall_take(bot, home):
    old = register(home, promote=True)
    new = register(home, at=AT.replace(hour=13))
    with ScriptedBot(home) as running:
        for reference, version in (
            ("BTC/USDT/basic@newest", new),
            ("BTCUSDT/basic@latest", old),
            (f"BTCUSDT/basic@{new}", new),
        ):
            code, out, _ = bot("deploy-model", "prediction", reference)
            assert code == 0
            assert f"BTCUSDT prediction: BTCUSDT/basic@{version}" in out
            assert running.taken[-1].arguments == {
                "role": "prediction",
                "model": reference,
                "versions": {"BTCUSDT": f"BTCUSDT/basic@{version}"},
            }


def test_a_template_deploys_to_each_symbol_and_a_literal_to_its_own(bot_json, home):
    btc, eth = register(home, promote=True), register(home, symbol="ETHUSDT", promote=True)
    with ScriptedBot(home, symbols=(symbol_status("BTCUSDT"), symbol_status("ETHUSDT"))):
        assert bot_json("deploy-model", "prediction", "{symbol}/basic@latest")[1]["arguments"]["versions"] == {
            "BTCUSDT": f"BTCUSDT/basic@{btc}",
            "ETHUSDT": f"ETHUSDT/basic@{eth}",
        }
        assert bot_json("deploy-model", "prediction", "ETHUSDT/basic@latest")[1]["arguments"]["versions"] == {
            "ETHUSDT": f"ETHUSDT/basic@{eth}"
        }


def test_none_and_the_champion_of_now_can_be_deployed(bot_json, home):
    btc = register(home, promote=True)
    with ScriptedBot(home, symbols=(symbol_status("BTCUSDT"), symbol_status("ETHUSDT"))):
        for reference, versions in (
            ("none", {"BTCUSDT": "BTCUSDT/basic@none", "ETHUSDT": "ETHUSDT/basic@none"}),
            ("BTC/USDT/basic@none", {"BTCUSDT": "BTCUSDT/basic@none"}),
            ("BTCUSDT/basic@as-of", {"BTCUSDT": f"BTCUSDT/basic@{btc}"}),
        ):
            code, document = bot_json("deploy-model", "prediction", reference)
            assert (code, document["arguments"]["versions"]) == (0, versions)


@pytest.mark.parametrize(
    ("role", "reference", "code", "message"),
    [
        ("predicton", "BTCUSDT/basic@newest", 2, "no role 'predicton'; did you mean 'prediction'?"),
        ("prediction", "BTCUSDT/basics@newest", 2, "basics"),
        ("prediction", "ETHUSDT/basic@newest", 2, "is a model of ETHUSDT, but ml-basic-btc trades BTCUSDT"),
        ("prediction", "basic", 2, "'basic' is not a model"),
        ("predicton", "none", 2, "no role 'predicton'; did you mean 'prediction'?"),
        ("prediction", "BTCUSDT/basic@asof", 2, "did you mean @as-of?"),
        ("prediction", "BTCUSDT/basic@2020", 2, "2020"),
        ("prediction", "BTCUSDT/basic@latest", 2, "promote"),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_the_bot_is_told(bot, home, role, reference, code, message):
    register(home)
    with ScriptedBot(home) as running:
        found, _, err = bot("deploy-model", role, reference)

    assert found == code
    assert message in err
    assert running.taken == []


def test_real_money_takes_no_newest(bot, home):
    version = register(home)
    with ScriptedBot(home, mode="real") as running:
        code, _, err = bot("deploy-model", "prediction", "BTCUSDT/basic@newest")
        assert code == 2
        assert "trades real money and takes no @newest" in err
        assert bot("deploy-model", "prediction", f"BTCUSDT/basic@{version}")[0] == 0
    assert len(running.taken) == 1


def test_the_models_of_the_bot_are_listed_also_when_it_is_down(bot, bot_json, home):
    mine = register(home, promote=True)
    register(home, symbol="ETHUSDT")
    was_here(home)

    code, out, _ = bot("list-models")
    assert code == 0
    assert mine in out
    assert "ETHUSDT" not in out
    document = bot_json("list-models")[1]
    assert [(each["symbol"], each["version"], each["champion"]) for each in document["models"]] == [
        ("BTCUSDT", mine, True)
    ]


QUICK = ["--params", "num_boost_round=20", "--features", "rsi_14,taker_imbalance_20"]


def test_train_makes_a_version_of_the_role_and_deploys_it(bot, bot_json, home):
    store_synthetic(CandleStore(home / "candles"), "SYNTH", bars=3_000, edge=0.15, seed=4)
    with ScriptedBot(home, symbols=(symbol_status("SYNTH"),)) as running:
        code, document = bot_json("train", "prediction", "--no-promote", "--deploy", *QUICK)
        assert code == 0
        assert document["key"] == "SYNTH/1h/basic"
        assert document["deployed"]["outcome"] == "done"
        deployed = f"SYNTH/basic@{document['version']}"
        assert running.taken[0].arguments == {"role": "prediction", "model": deployed, "versions": {"SYNTH": deployed}}

        code, out, _ = bot("train", "prediction", "--no-promote", *QUICK)
        assert code == 0
        assert "Registered as" in out
        assert len(running.taken) == 1


def test_train_for_a_bot_that_is_down_does_not_begin_when_it_shall_deploy(bot, home):
    was_here(home)

    code, _, err = bot("train", "prediction", "--deploy")
    assert code == 1
    assert "is not running" in err
    code, _, err = bot("train", "predicton")
    assert code == 2
    assert "did you mean 'prediction'" in err
    code, _, err = bot("train", "prediction", "--symbol", "ETHUSDT")
    assert code == 2
    assert "does not trade ETHUSDT; it trades BTCUSDT" in err
