"""A server that is killed again and again while its jobs run: no job is lost, none is done twice, no process stays."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import job_works
import pytest

from bot.live.control import is_alive
from bot.service.jobs.records import content_key

ENDS = {"completed", "failed", "cancelled"}


def begin(home, errors):
    return subprocess.Popen(
        [sys.executable, job_works.__file__, str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def watch_rows(state):
    """Have the database itself write down each change of a status."""
    state.execute("CREATE TABLE moves (n INTEGER PRIMARY KEY, id TEXT, old TEXT, new TEXT)")
    state.execute(
        "CREATE TRIGGER watch AFTER UPDATE OF status ON service_jobs "
        "BEGIN INSERT INTO moves (id, old, new) VALUES (old.id, old.status, new.status); END"
    )


def submit(store, folder, number, seconds):
    request = {"folder": str(folder), "number": number, "seconds": seconds}
    key = content_key("mark", request)
    return store.submit("mark", request, key=key, owner="x", now_ms=1, most_waiting=10_000)[0]


@pytest.mark.parametrize(
    "kills", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)  # fmt: skip
def test_no_job_is_lost_and_none_done_twice(home, state, store, tmp_path, until, kills):
    watch_rows(state)
    chance = random.Random(kills)
    per_life = 4
    jobs = [submit(store, tmp_path, n, chance.uniform(0.05, 0.4)) for n in range(per_life * kills)]
    with (tmp_path / "errors").open("w") as errors:
        for life in range(kills):
            server = begin(home, errors)
            if life % 4 != 3:  # else it may be killed before it keeps anything
                assert server.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.05, 0.7))
            server.send_signal(signal.SIGKILL)
            server.communicate(timeout=30)
        assert store.counts()["queued"] + store.counts()["running"] > 0  # the kills met work
        server = begin(home, errors)
        until(lambda: all(job.is_done for job in store.list(most=-1)), 300)
        server.communicate(timeout=30)
        assert server.returncode == 0

    assert "bot/service" not in (tmp_path / "errors").read_text()  # Python complains where it is killed while it spawns
    assert state.problems() == []
    assert {job.id for job in store.list(most=-1)} == {job.id for job in jobs}
    log = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    made = Counter(int(line[1]) for line in log if line[0] == "made")
    assert [line for line in log if line[0] == "overlap"] == []
    assert set(made.values()) == {1}
    until(lambda: not any(is_alive(int(line[2])) for line in log if line[0] == "begin"), 5)

    given_up = 0
    for job in jobs:
        ended = store.get(job.id)
        moves = [
            (row["old"], row["new"]) for row in state.rows("SELECT * FROM moves WHERE id = ? ORDER BY n", (job.id,))
        ]
        assert moves[0] == ("queued", "running")
        assert all(before[1] == after[0] for before, after in pairwise(moves))
        assert [new for _, new in moves if new in ENDS] == [ended.status]
        assert moves[-1] == ("running", ended.status)
        assert ended.attempts == moves.count(("queued", "running"))
        if ended.status == "completed":
            assert (tmp_path / f"{job.request['number']}.done").exists()
        else:
            given_up += 1
            assert (ended.status, ended.attempts) == ("failed", 3)
            assert ended.error == "given up after 3 attempts: the server ended while it ran"
    assert given_up <= kills * 2 / 3  # two run at once
    assert len(jobs) - given_up >= kills
    assert store.counts()["running"] == 0
    assert not list((home.root / "service" / "jobs").iterdir())


def test_a_process_ends_with_its_server_within_a_moment(home, store, tmp_path, until):
    with (tmp_path / "errors").open("w") as errors:
        server = begin(home, errors)
        assert server.stdout.readline() == "ready\n"
        job = submit(store, tmp_path, 1, 60.0)
        until(lambda: store.get(job.id).message == "marking")  # from now on it has nothing to say
        pid = int((tmp_path / "log").read_text().split()[2])
        assert is_alive(pid)
        server.kill()
        server.wait(30)
        until(lambda: not is_alive(pid), 2.0)
        server.communicate(timeout=30)

    assert store.get(job.id).status == "running"  # nobody could write it: the next start takes it up
    assert (tmp_path / "errors").read_text() == ""
