"""The process of a job: modest, alone, deaf to Ctrl-C, and brief in what it says."""

from __future__ import annotations

import os
import signal
import time

import pytest
from job_works import WORKS

from bot.service.jobs.records import content_key
from bot.service.jobs.worker import JobProcess, is_free, lock_path


@pytest.fixture
def begin(home, store):
    """Return a function that starts the process of a new job."""
    lock_path(home.root, "any").parent.mkdir(parents=True)
    begun = []

    def start(kind, request=None, job=None):
        request = request or {}
        if job is None:
            key = content_key(kind, request)
            store.submit(kind, request, key=key, owner="x", now_ms=1, most_waiting=99)
            job = store.take(2)
        begun.append((job, JobProcess(str(home.root), job, WORKS[kind])))
        return begun[-1]

    yield start
    for _, process in begun:
        process.kill()
        process.close()


def finish(process):
    """Read until the process is gone; returns each different thing that it said of its progress."""
    said = []
    while not process.has_died or (process.read() or False):
        process.read()
        if process.progress is not None and (not said or said[-1] != process.progress):
            said.append(process.progress)
        time.sleep(0.002)
    process.read()
    return said


def test_it_is_modest_and_holds_its_lock(home, begin):
    job, process = begin("look")
    finish(process)

    assert process.error is None
    assert process.result == {
        "pid": process.pid,
        "niceness": max(10, os.nice(0)),
        "had_numpy": False,  # it would have read the number of threads already
        "new_threads": 0,
        "omp": "1",
        "ignores_interrupt": True,
        "is_locked": True,
    }
    assert is_free(home.root, job.id)
    assert not lock_path(home.root, job.id).exists()


def test_however_much_a_work_says_few_messages_come_each_a_line(begin):
    _, process = begin("chatter")
    said = finish(process)

    assert process.result["told"] > 1_000
    assert 5 <= len(said) <= 18  # 1.3 seconds, and the last
    assert all(0 <= share <= 1 and len(text) <= 200 and "\n" not in text for share, text in said)
    assert (0.0, f"{'long ' * 39}long…") in said  # NaN is nothing done
    assert said[-1] == (1.0, "last")


def test_a_second_process_of_one_job_waits_until_the_first_is_gone(tmp_path, begin):
    job, first = begin("mark", {"folder": str(tmp_path), "number": 1, "seconds": 0.6})
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    _, second = begin("mark", job=job)
    finish(first)
    finish(second)

    assert first.result == second.result == {"number": 1, "by": first.pid}
    log = (tmp_path / "log").read_text().splitlines()
    assert log == [f"begin 1 {first.pid}", "made 1", f"begin 1 {second.pid}"]


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05, 0.3])
def test_ctrl_c_of_a_terminal_does_not_end_it(begin, delay):
    _, process = begin("sleep", {"seconds": 0.5})
    time.sleep(delay)
    os.kill(process.pid, signal.SIGINT)
    finish(process)

    assert (process.result, process.error) == ({"slept": 0.5}, None)


def test_a_process_that_is_gone_says_how(begin):
    _, process = begin("sleep", {"seconds": 60})
    assert not process.has_died
    process.terminate()
    finish(process)

    assert not process.has_told
    assert process.was_ended_from_outside()
    assert process.last_words() == "its process died of SIGTERM (Terminated)"
