"""Commands to a running bot: each once, in order, also across kills and between processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from live_statuses import MORNING_MS, live_status

from bot.errors import StorageError, UsageError
from bot.live.control import FRESH_MS, Control, is_alive, known_bots
from bot.state import StateDatabase

BOT = "ml-basic-btc"


class Clock:
    """A wall clock that tests turn."""

    def __init__(self):
        self.now_ms = MORNING_MS

    def __call__(self):
        return self.now_ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state(tmp_path):
    with StateDatabase(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def make(state, clock):
    """Return a new control of a bot: a restart, or a client."""
    return lambda bot=BOT: Control(state, bot, clock)


def verbs(commands):
    return [command.verb for command in commands]


def test_a_command_is_taken_once_in_order_and_answered(make, clock):
    client, bot = make(), make()
    first = client.send("pause")
    clock.now_ms += 5
    client.send("deploy-model", {"role": "prediction", "model": "BTCUSDT/basic@newest"})

    pause, deploy = bot.pending()
    assert (pause.verb, deploy.verb) == ("pause", "deploy-model")
    assert (pause.created_ms, deploy.created_ms) == (MORNING_MS, MORNING_MS + 5)
    assert deploy.arguments == {"role": "prediction", "model": "BTCUSDT/basic@newest"}
    assert bot.pending() == []
    assert client.answer(first) is None

    clock.now_ms += 20
    bot.finish(pause, ok=True, answer="paused")
    answer = client.wait(first, 0)
    assert (answer.id, answer.verb, answer.ok, answer.text, answer.done_ms) == (
        first,
        "pause",
        True,
        "paused",
        MORNING_MS + 25,
    )
    assert bot.pending() == []
    assert client.waiting() == 1


def test_the_first_answer_stands(make):
    client, bot = make(), make()
    sent = client.send("pause")
    (command,) = bot.pending()
    bot.finish(command, ok=False, answer="no")
    bot.finish(command, ok=True, answer="yes")

    assert (client.answer(sent).ok, client.answer(sent).text) == (False, "no")


def test_bots_of_one_home_get_their_own(make):
    make("a").send("pause")
    make("b").send("resume")

    assert verbs(make("b").pending()) == ["resume"]
    assert verbs(make("a").pending()) == ["pause"]


def test_what_was_taken_and_not_finished_comes_again_after_a_restart_in_its_place(make):
    client, first_run = make(), make()
    client.send("pause")
    client.send("close-all")
    done, _ = first_run.pending()
    first_run.finish(done, ok=True, answer="paused")
    client.send("resume")

    second_run = make()
    assert verbs(second_run.pending()) == ["close-all", "resume"]
    assert second_run.pending() == []


def test_a_stop_that_ended_its_run_does_not_end_the_next(make):
    client, first_run = make(), make()
    sent = client.send("stop")
    assert verbs(first_run.pending()) == ["stop"]  # and then it is killed before it can answer

    second_run = make()
    assert second_run.pending() == []
    assert client.answer(sent).ok
    client.send("stop")
    assert verbs(second_run.pending()) == ["stop"]


def test_a_stop_that_nobody_took_waits_for_the_next_run(make):
    make().send("stop")

    assert verbs(make().pending()) == ["stop"]


def test_a_command_can_be_withdrawn_until_it_is_taken(make):
    client, bot = make(), make()
    early, late = client.send("close-all"), client.send("pause")

    assert client.withdraw(early)
    assert not client.withdraw(early)
    assert verbs(bot.pending()) == ["pause"]
    assert not client.withdraw(late)
    assert "withdrawn" in client.answer(early).text


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("puase", {}, "did you mean 'pause'"),
        ("deploy-model", {"role": "prediction"}, "deploy-model needs a model"),
        ("deploy-model", {"model": "X/basic"}, "deploy-model needs a role"),
    ],
)
def test_a_wrong_command_is_refused_and_not_written(make, verb, arguments, message):
    with pytest.raises(UsageError, match=message):
        make().send(verb, arguments)
    assert make().pending() == []


def test_waiting_gives_up_after_the_time_and_returns_at_once_with_the_answer(make):
    client = make()
    sent = client.send("pause")
    began = time.monotonic()
    assert client.wait(sent, 0.15) is None
    assert 0.15 <= time.monotonic() - began < 2

    def answer():
        time.sleep(0.1)
        bot = make()
        (command,) = bot.pending()
        bot.finish(command, ok=True, answer="done")

    thread = threading.Thread(target=answer)
    thread.start()
    began = time.monotonic()
    assert client.wait(sent, 30).text == "done"
    assert time.monotonic() - began < 10
    thread.join()


def test_a_status_is_the_last_one_published(make, state):
    bot, client = make(), make()
    assert client.status() is None
    assert client.pid() is None
    assert known_bots(state) == []

    bot.publish(live_status())
    bot.publish(live_status(bars=43))

    assert client.status() == live_status(bars=43)
    assert client.pid() == os.getpid()
    assert known_bots(state) == [BOT]
    with pytest.raises(UsageError, match="published as that of 'other'"):
        make("other").publish(live_status())


@pytest.mark.parametrize(("age_ms", "state_name", "expected"), [
    (0, "running", True),
    (FRESH_MS, "paused", True),
    (FRESH_MS + 1, "running", False),
    (0, "starting", True),
    (0, "stopping", True),
    (0, "stopped", False),
    (0, "failed", False),
])  # fmt: skip
def test_a_bot_runs_while_its_word_is_fresh_and_it_did_not_end(make, clock, age_ms, state_name, expected):
    make().publish(live_status(heartbeat_ms=clock.now_ms, state=state_name))
    clock.now_ms += age_ms

    assert make().is_running() is expected


def test_a_status_that_cannot_be_read_says_whose_it_is(make, state):
    make().publish(live_status())
    for document in ("{", "{}"):
        state.execute("UPDATE live_status SET document = ?", (document,))
        with pytest.raises(StorageError, match=f"the status of {BOT} cannot be read"):
            make().status()


CHILD = """
import sys, time
from pathlib import Path
from bot.live.control import Control
from bot.state import StateDatabase
sys.path.insert(0, "tests/support")
from live_statuses import live_status
clock = lambda: time.time_ns() // 1_000_000
control = Control(StateDatabase(Path(sys.argv[1])), "ml-basic-btc", clock)
control.publish(live_status(heartbeat_ms=clock()))
print("ready", flush=True)
while True:
    for command in control.pending():
        print(command.id, command.verb, flush=True)
        if command.verb != "close-all":  # which takes it long
            control.finish(command, ok=True, answer=command.verb + " done")
    time.sleep(0.02)
"""


def start_bot(path):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_bot_in_another_process_answers_within_a_second_and_after_kill_9_goes_on(tmp_path):
    def wall():
        return time.time_ns() // 1_000_000

    path = tmp_path / "state.db"
    with StateDatabase(path) as state:
        client = Control(state, BOT, wall)
        process = start_bot(path)
        try:
            assert client.is_running()
            began = time.monotonic()
            sent = client.send("pause")
            assert client.wait(sent, 10).text == "pause done"
            assert time.monotonic() - began < 1
            unfinished = client.send("close-all")
            assert process.stdout.readline() == f"{sent} pause\n"
            assert process.stdout.readline() == f"{unfinished} close-all\n"
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        assert not client.is_running()  # at once, though its last word is fresh
        assert not is_alive(process.pid)
        assert client.status().state == "running"  # its last words stay readable

        again = start_bot(path)
        try:
            assert again.stdout.readline() == f"{unfinished} close-all\n"
        finally:
            again.kill()
            again.wait()
            again.stdout.close()


def test_a_process_of_somebody_else_is_alive():
    assert is_alive(1)
    assert is_alive(os.getpid())
