"""The same jobs on a real Dask scheduler with two worker processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from threading import Timer

import pytest
from small_recipes import Works, moment

from bot.errors import BotError

pytest.importorskip("distributed", reason="the dist extra is not installed")

PROGRAMS = {
    "scheduler": ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"),
    "worker": ("distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"),
}


class Cluster:
    """A scheduler and worker processes on loopback."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.address = self._wait(self._start("scheduler"), r"Scheduler at:\s+(tcp://\S+)")
        for _ in range(2):
            self._wait(self._start("worker", self.address), r"Registered to:\s+(tcp://\S+)")

    def _start(self, name, *words):
        log = self.folder / f"{name}-{len(self.processes)}.log"
        path = os.pathsep.join(sys.path)
        with log.open("w") as stream:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-W", "ignore", "-m", *PROGRAMS[name], *words],
                    stdout=stream,
                    stderr=stream,
                    cwd=self.folder,
                    env={**os.environ, "PYTHONPATH": path},
                )
            )
        return log

    def _wait(self, log, pattern):
        until = time.monotonic() + 90
        while time.monotonic() < until:
            if (found := re.search(pattern, log.read_text())) is not None:
                return found[1]
            time.sleep(0.1)
        raise AssertionError(log.read_text())

    def end(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                process.wait(30)


@pytest.fixture
def cluster(tmp_path):
    found = Cluster(tmp_path)
    yield found
    found.end()


def works_in(folder):
    works = Works(folder)
    works.recipe("one")
    works.recipe("two", seed=1)
    works.recipe("three", seed=2)
    return works


def digests(works):
    with works.pipeline() as pipeline:
        bundles = pipeline.registry.list_bundles()
        return {(model.metadata["recipe_name"], model.registered_at): model.digest for model in bundles}


@pytest.mark.slow
def test_a_cycle_on_a_cluster_makes_the_bundles_that_this_machine_makes(cluster, tmp_path):
    there, here, single = (works_in(tmp_path / name) for name in ("there", "here", "single"))
    for bars in (3_000, 3_012):
        there.cycle(bars, builder=None, dask=cluster.address)
        here.cycle(bars, builder=None, workers=2)
        single.cycle(bars)
    assert len(digests(there)) == 6
    assert digests(there) == digests(here) == digests(single)


@pytest.mark.slow
def test_a_worker_of_the_cluster_that_dies_costs_nothing(cluster, tmp_path):
    works = works_in(tmp_path / "works")
    works.store(3_000)
    os.kill(cluster.processes[1].pid, signal.SIGSTOP)  # it holds what it was given and answers no more
    with works.pipeline(builder=None, dask=cluster.address) as pipeline:
        kill = Timer(3, lambda: os.kill(cluster.processes[1].pid, signal.SIGKILL))
        kill.start()
        report = pipeline.run(moment(3_000))
        kill.join()
    assert [each.state for each in report.recipes] == ["registered"] * 3


def test_without_a_scheduler_there_is_one_clear_error_and_the_cycle_is_finished_later(tmp_path, monkeypatch):
    monkeypatch.setattr("bot.pipeline.building._SCHEDULER_SECONDS", 1.0)
    works = works_in(tmp_path)
    with pytest.raises(BotError, match=r"the Dask scheduler tcp://127\.0\.0\.1:9 does not answer"):
        works.cycle(3_000, builder=None, dask="tcp://127.0.0.1:9")
    report = works.cycle(3_001)
    assert report.resumed
    assert report.moment_ms == moment(3_000)
    assert [each.state for each in report.recipes] == ["registered"] * 3
