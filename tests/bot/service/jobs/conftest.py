"""A home, its state database, and keepers that leave nothing behind."""

from __future__ import annotations

import multiprocessing
import threading
import time

import pytest
from job_works import WORKS

from bot.home import Home
from bot.service.jobs.keeper import JobKeeper
from bot.service.jobs.records import JobStore
from bot.state import StateDatabase


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def state(home):
    with StateDatabase(home.state_db, busy_seconds=0.3) as opened:
        yield opened


@pytest.fixture
def store(state):
    return JobStore(state)


@pytest.fixture
def new_keeper(home, state):
    """Return a maker of keepers of the home; each is stopped at the end, and no process or thread of it is left."""
    keepers = []

    def make(works=WORKS, **options):
        keepers.append(JobKeeper(home, state, works, **options))
        return keepers[-1]

    yield make
    for keeper in keepers:
        keeper.stop(2.0)
    assert multiprocessing.active_children() == []
    assert [thread for thread in threading.enumerate() if thread.name == "jobs"] == []
    assert list((home.root / "service" / "jobs").glob("*")) == []


@pytest.fixture
def keeper(new_keeper):
    started = new_keeper()
    started.start()
    return started


@pytest.fixture
def until():
    """Return a function that waits until something holds, and returns what it was."""

    def wait(condition, seconds=30.0):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not come to that"
            time.sleep(0.01)
        return found

    return wait


@pytest.fixture
def done(until):
    """Return a function that waits until a job of a keeper is done, and returns it."""

    def wait(keeper, job, seconds=30.0):
        until(lambda: keeper.store.get(job.id).is_done, seconds)
        return keeper.store.get(job.id)

    return wait
