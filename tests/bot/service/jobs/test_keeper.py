"""The keeper of jobs: what was asked for is done once, told, cancelled and resumed, also on a bad day."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import job_works
import pytest

from bot.errors import BotError, StorageError, UsageError
from bot.live.control import is_alive
from bot.service.jobs.records import JobNotFound, TooManyJobs, content_key
from bot.wall_clock import wall_ms

DIED = "its process died: killed from outside, or out of memory"


def running(keeper, job):
    """Return the pid of a job's process once it has said something."""
    while keeper.store.get(job.id).message == "":
        time.sleep(0.01)
    return next(child.pid for child in multiprocessing.active_children())


def test_a_job_is_done_in_a_process_of_its_own(keeper, home, done):
    before = wall_ms()
    job, is_new = keeper.submit("echo", {"b": [1, None], "a": "é"}, "owner")
    ended = done(keeper, job)

    assert is_new
    assert (ended.status, ended.progress, ended.attempts, ended.owner) == ("completed", 1.0, 1, "owner")
    assert ended.result == {"home": str(home.root), "said": {"b": [1, None], "a": "é"}}
    assert before <= ended.created_ms <= ended.started_ms <= ended.ended_ms <= wall_ms()


@pytest.mark.parametrize(
    ("kind", "request_", "words"),
    [
        ("refuse", {}, "3 bars: expected at least 100"),
        ("crash", {}, "its process failed: KeyError: 'missing'"),
        ("crash", {"exit": 3}, "its process failed: SystemExit: 3"),
        ("hoard", {}, "out of memory: ask for fewer days, or fewer features"),
        ("die", {"signal": "SIGKILL"}, DIED),
        ("die", {"signal": "SIGSEGV"}, "its process died of SIGSEGV (Segmentation fault)"),
        ("die", {"signal": "SIGABRT"}, "its process died of SIGABRT (Aborted)"),
        ("die", {"signal": "SIGTERM"}, "given up after 3 attempts: its process was ended from outside"),
        ("leave", {"code": 7}, "its process ended with exit code 7 and no result"),
        ("leave", {"code": 0}, "its process ended with exit code 0 and no result"),
        ("odd", {"what": "list"}, "its process failed: TypeError: job_works:odd returned list, expected dict"),
        ("odd", {"what": "nan"}, "its process failed: ValueError: Out of range float values are not JSON compliant"),
        ("odd", {"what": "bytes"}, "its process failed: TypeError: Object of type bytes is not JSON serializable"),
        ("absent", {}, "its process failed: AttributeError: module 'job_works' has no attribute 'there_is_no_such_function'"),
    ],
)  # fmt: skip
def test_a_job_that_fails_says_why_in_one_line_and_the_next_is_done(keeper, tmp_path, done, kind, request_, words):
    job, _ = keeper.submit(kind, {**request_, "folder": str(tmp_path)}, "x")
    ended = done(keeper, job)

    assert (ended.status, ended.error, ended.result) == ("failed", words, None)
    assert ended.attempts == (3 if request_.get("signal") == "SIGTERM" else 1)
    assert ended.ended_ms is not None
    assert done(keeper, keeper.submit("echo", {}, "x")[0]).status == "completed"


def test_a_process_that_was_ended_with_the_machine_is_begun_again(keeper, tmp_path, done):
    job, _ = keeper.submit("die", {"signal": "SIGTERM", "times": 1, "folder": str(tmp_path)}, "x")
    ended = done(keeper, job)

    assert (ended.status, ended.attempts, ended.result) == ("completed", 2, {"lived": True})


def test_the_same_request_from_eight_threads_runs_once(keeper, tmp_path, done):
    request = {"folder": str(tmp_path), "number": 1, "seconds": 0.5}
    answers, begin = [], threading.Barrier(8)

    def ask():
        begin.wait()
        while True:
            try:
                answers.append(keeper.submit("mark", request, "x"))
                return
            except StorageError:  # so many threads may wait longer than the database does here
                continue

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(is_new for _, is_new in answers) == [False] * 7 + [True]
    assert len({job.id for job, _ in answers}) == 1
    assert done(keeper, answers[0][0]).status == "completed"
    assert len((tmp_path / "log").read_text().splitlines()) == 2  # one begin, one marker
    assert keeper.submit("mark", request, "x")[1]  # it is done, so it is another


def test_no_more_run_at_once_than_allowed_the_oldest_first(new_keeper, tmp_path, done, until):
    keeper = new_keeper(processes=2)
    jobs = [keeper.submit("mark", {"folder": str(tmp_path), "number": n, "seconds": 0.2}, "x")[0] for n in range(5)]
    keeper.start()
    most = 0
    while not all(keeper.store.get(job.id).is_done for job in jobs):
        most = max(most, keeper.store.counts()["running"])
        assert len(multiprocessing.active_children()) <= 2
        time.sleep(0.01)

    assert most == 2
    begun = [keeper.store.get(job.id).started_ms for job in jobs]
    assert begun == sorted(begun)
    assert {keeper.store.get(job.id).status for job in jobs} == {"completed"}


def test_a_row_that_another_process_wrote_is_done_too(keeper, store, done):
    key = content_key("echo", {"n": 1})
    job, _ = store.submit("echo", {"n": 1}, key=key, owner="x", now_ms=1, most_waiting=9)

    assert done(keeper, job, 5.0).status == "completed"


def test_progress_is_written_at_most_twice_a_second(keeper, state, done):
    state.execute("CREATE TABLE seen (progress REAL)")
    state.execute(
        "CREATE TRIGGER see AFTER UPDATE OF progress ON service_jobs WHEN new.status = 'running' AND new.progress > 0 "
        "BEGIN INSERT INTO seen VALUES (new.progress); END"
    )
    ended = done(keeper, keeper.submit("sleep", {"seconds": 1.6}, "x")[0])
    seen = [row["progress"] for row in state.rows("SELECT progress FROM seen")]

    assert 2 <= len(seen) <= 5
    assert seen == sorted(seen)
    assert ended.message == "part 9"


def test_a_job_that_waits_is_cancelled_at_once(keeper, tmp_path, done):
    long, _ = keeper.submit("sleep", {"seconds": 60}, "x")
    waiting, _ = keeper.submit("mark", {"folder": str(tmp_path), "number": 1, "seconds": 0}, "x")
    running(keeper, long)

    assert keeper.cancel(waiting.id)
    assert keeper.store.get(waiting.id).status == "cancelled"
    assert not keeper.cancel(waiting.id)
    assert keeper.cancel(long.id)
    assert done(keeper, long).status == "cancelled"
    assert not (tmp_path / "log").exists()


def test_a_job_that_runs_is_ended_and_its_process_is_gone(keeper, done, until):
    job, _ = keeper.submit("sleep", {"seconds": 60}, "x")
    pid = running(keeper, job)
    began = time.monotonic()

    assert keeper.cancel(job.id)
    keeper.cancel(job.id)  # twice is no error
    ended = done(keeper, job)
    assert time.monotonic() - began < 3
    assert (ended.status, ended.error, ended.result) == ("cancelled", None, None)
    until(lambda: not is_alive(pid), 1.0)
    assert keeper.submit("sleep", {"seconds": 60}, "x")[1]


def test_a_process_that_does_not_listen_is_killed(keeper, done, until, monkeypatch):
    monkeypatch.setattr("bot.service.jobs.crew._CANCEL_SECONDS", 0.5)
    job, _ = keeper.submit("deaf", {}, "x")
    pid = running(keeper, job)
    began = time.monotonic()
    keeper.cancel(job.id)
    ended = done(keeper, job)

    assert time.monotonic() - began >= 0.5
    assert ended.status == "cancelled"
    until(lambda: not is_alive(pid), 1.0)


def test_what_is_done_or_unknown_cannot_be_cancelled(keeper, done):
    job = done(keeper, keeper.submit("echo", {}, "x")[0])

    assert not keeper.cancel(job.id)
    assert keeper.store.get(job.id) == job
    with pytest.raises(JobNotFound, match="there is no job 'nothing'"):
        keeper.cancel("nothing")


@pytest.mark.parametrize(("kind", "request_"), [("mark", {"seconds": 0.8}), ("deaf", {})])
def test_a_job_that_ran_when_the_server_was_stopped_is_resumed(new_keeper, tmp_path, done, kind, request_):
    keeper = new_keeper()
    keeper.start()
    job, _ = keeper.submit(kind, {**request_, "folder": str(tmp_path), "number": 1}, "x")
    pid = running(keeper, job)
    began = time.monotonic()
    keeper.stop(0.4)

    assert time.monotonic() - began < 3
    assert not is_alive(pid)
    row = keeper.store.get(job.id)
    assert (row.status, row.attempts, row.message) == ("queued", 0, "the server was stopped")
    if kind == "mark":
        again = new_keeper()
        again.start()
        assert done(again, job).result["by"] != pid
        assert again.store.get(job.id).attempts == 1


def test_what_was_asked_for_while_nobody_kept_is_done_later(new_keeper, done):
    keeper = new_keeper()
    first, _ = keeper.submit("echo", {"n": 1}, "x")
    keeper.start()
    assert done(keeper, first).status == "completed"
    keeper.stop(1.0)
    keeper.stop(1.0)  # twice is no error
    second, _ = keeper.submit("echo", {"n": 2}, "x")
    third, _ = keeper.submit("echo", {"n": 3}, "x")
    assert keeper.cancel(third.id)
    keeper.start()

    assert done(keeper, second).status == "completed"
    assert keeper.store.get(third.id).status == "cancelled"


def test_a_job_of_a_server_that_is_gone_waits_for_its_old_process(new_keeper, home, tmp_path, store, done):
    job, _ = store.submit(
        "mark",
        {"folder": str(tmp_path), "number": 1, "seconds": 0},
        key="k",
        owner="x",
        now_ms=1,
        most_waiting=9,
    )
    store.take(2)
    (home.root / "service" / "jobs").mkdir(parents=True)
    code = (
        "import sys\nfrom pathlib import Path\nfrom registry.locks import acquire\n"
        "acquire(Path(sys.argv[1]), 0)\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    old = subprocess.Popen(
        [sys.executable, "-c", code, str(home.root / "service" / "jobs" / f"{job.id}.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[4],
    )
    assert old.stdout.readline() == b"held\n"
    keeper = new_keeper()
    keeper.start()
    assert done(keeper, keeper.submit("echo", {}, "x")[0]).status == "completed"  # nothing else waits
    time.sleep(0.5)
    assert store.get(job.id).status == "running"
    assert not (tmp_path / "log").exists()
    old.communicate(timeout=30)

    ended = done(keeper, job)
    assert (ended.status, ended.attempts) == ("completed", 2)
    assert ended.message == "marking"


@pytest.mark.parametrize("attempts", [1, 2, 3])
def test_a_job_that_ended_three_servers_is_given_up(new_keeper, store, done, attempts):
    job, _ = store.submit("echo", {}, key="k", owner="x", now_ms=1, most_waiting=9)
    for _ in range(attempts - 1):
        store.take(2)
        store.requeue(job.id, "the server ended")
    store.take(2)
    keeper = new_keeper()
    keeper.start()
    ended = done(keeper, job)

    assert (ended.status, ended.attempts) == (("failed", 3) if attempts == 3 else ("completed", attempts + 1))
    assert ended.error == ("given up after 3 attempts: the server ended while it ran" if attempts == 3 else None)


def test_a_job_that_was_being_cancelled_when_the_server_ended_is_not_begun_again(new_keeper, store, done):
    job, _ = store.submit("echo", {}, key="k", owner="x", now_ms=1, most_waiting=9)
    store.take(2)
    store.ask_to_cancel(job.id, 3)
    keeper = new_keeper()
    keeper.start()

    assert done(keeper, job).status == "cancelled"


def test_listeners_are_told_each_change_by_the_keeper(keeper, done, until, monkeypatch):
    monkeypatch.setattr("bot.service.jobs.crew._TELL_SECONDS", 0.1)
    told, threads = [], set()

    def fail(job):
        raise RuntimeError("a closed loop")

    def listen(job):
        threads.add(threading.current_thread().name)
        told.append((job.status, job.progress, job.message))

    stop_failing = keeper.listen(fail)
    forget = keeper.listen(listen)
    job, _ = keeper.submit("sleep", {"seconds": 1.0}, "x")
    done(keeper, job)
    until(lambda: told[-1][0] == "completed")

    order = ["queued", "running", "completed"]
    assert threads == {"jobs"}
    assert [status for status, _, _ in told] == sorted((status for status, _, _ in told), key=order.index)
    assert {status for status, _, _ in told} >= {"running", "completed"}
    shares = [share for status, share, _ in told if status == "running"]
    assert len(set(shares)) >= 3
    assert shares == sorted(shares)
    assert told.count(told[-1]) == 1

    forget()
    forget()
    stop_failing()
    count = len(told)
    done(keeper, keeper.submit("echo", {}, "x")[0])
    assert len(told) == count


def test_a_cancelled_job_is_told_too(keeper, until):
    told = []
    keeper.listen(lambda job: told.append((job.id, job.status)))
    long, _ = keeper.submit("sleep", {"seconds": 60}, "x")
    waiting, _ = keeper.submit("echo", {}, "x")
    running(keeper, long)
    keeper.cancel(waiting.id)
    keeper.cancel(long.id)

    until(lambda: {(waiting.id, "cancelled"), (long.id, "cancelled")} <= set(told))


def test_a_database_that_another_process_holds_is_said_and_no_result_is_lost(
    keeper, home, done, until, caplog, monkeypatch
):
    monkeypatch.setattr("bot.service.jobs.keeper._IDLE_SECONDS", 0.1)  # until it is tried again
    job, _ = keeper.submit("sleep", {"seconds": 0.8}, "x")
    running(keeper, job)
    code = (
        "import sqlite3, sys\n"
        "link = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "link.execute('BEGIN EXCLUSIVE')\nprint('held', flush=True)\nsys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(home.state_db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(StorageError, match="locked by another process"):
        keeper.submit("echo", {}, "x")
    with pytest.raises(StorageError, match="locked by another process"):
        keeper.cancel(job.id)
    until(lambda: multiprocessing.active_children() == [])  # it has ended while nothing could be written
    assert keeper.store.get(job.id).status == "running"
    until(lambda: "jobs: " in caplog.text)
    holder.communicate(timeout=30)

    assert done(keeper, job).result == {"slept": 0.8}
    assert caplog.text.count("locked by another process") == 1
    assert done(keeper, keeper.submit("echo", {}, "x")[0]).status == "completed"


def test_a_database_that_is_held_when_the_server_stops_leaves_the_job_for_the_next(new_keeper, home, state, done):
    keeper = new_keeper()
    keeper.start()
    job, _ = keeper.submit("sleep", {"seconds": 0.6}, "x")
    running(keeper, job)
    held = threading.Event()
    stopped = threading.Event()

    def hold():
        with state.transaction():
            held.set()
            stopped.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    keeper.stop(1.0)
    stopped.set()
    holder.join()
    assert keeper.store.get(job.id).status == "running"
    assert multiprocessing.active_children() == []

    keeper.start()
    ended = done(keeper, job)
    assert (ended.status, ended.attempts) == ("completed", 2)


def test_a_process_that_cannot_be_started_is_tried_again(new_keeper, home, done, until, monkeypatch, caplog):
    monkeypatch.setattr("bot.service.jobs.crew._RETRY_SECONDS", 0.1)
    monkeypatch.setattr("bot.service.jobs.keeper._IDLE_SECONDS", 0.1)
    keeper = new_keeper()
    keeper.start()
    assert done(keeper, keeper.submit("echo", {"n": 1}, "x")[0]).status == "completed"
    until(lambda: not list((home.root / "service" / "jobs").iterdir()))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))  # no file and no pipe more
    try:
        job, _ = keeper.submit("echo", {"n": 2}, "x")
        until(lambda: keeper.store.get(job.id).attempts == 1)
        until(lambda: "Too many open files" in caplog.text)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    ended = done(keeper, job)
    assert (ended.status, ended.attempts) == ("completed", 2)
    assert "its process could not be started: Too many open files" in ended.message


def test_one_keeper_a_home(new_keeper, home):
    keeper, other = new_keeper(), new_keeper()
    keeper.start()

    with pytest.raises(BotError, match=rf"another server \(process {os.getpid()}\) keeps the jobs of .*stop it first"):
        other.start()
    keeper.stop(1.0)
    other.start()
    other.stop(1.0)
    assert (home.root / "service").stat().st_mode & 0o777 == 0o700


def test_a_keeper_of_another_process_is_named(new_keeper, home):
    server = subprocess.Popen(
        [sys.executable, job_works.__file__, str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout.readline() == "ready\n"
    keeper = new_keeper()
    with pytest.raises(BotError, match=f"process {server.pid}"):
        keeper.start()
    assert server.communicate(timeout=30)[0] == ""
    keeper.start()


@pytest.mark.parametrize("place", ["home", "service", "lock"])
def test_a_home_that_cannot_be_written_is_one_clear_error(place):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        root = Path(name)
        root.chmod(0o777)
        if place != "home":
            (root / "service").mkdir()
        if place == "lock":
            (root / "service" / "jobs").mkdir(mode=0o777)
            (root / "service" / "keeper.lock").touch()
        (root if place == "home" else root / "service").chmod(0o555)
        ended = subprocess.run(
            [sys.executable, job_works.__file__, str(root), "--nobody"],
            check=False,
            input="",
            capture_output=True,
            text=True,
        )
        for folder in (root, root / "service"):
            if folder.is_dir():
                folder.chmod(0o777)

    words = {
        "home": f"error: {root}/state.db: the state database cannot be",
        "service": f"error: {root}/service/jobs: the lock of the jobs cannot be made: Permission denied\n",
        "lock": f"error: {root}/service/keeper.lock: the lock of the jobs cannot be made: Permission denied\n",
    }
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(words[place])
    assert ended.stdout.count("\n") == 1


def test_a_file_in_place_of_the_folder_is_said_and_can_be_mended(new_keeper, home, done):
    (home.root / "service").write_text("")
    keeper = new_keeper()
    with pytest.raises(StorageError, match="the lock of the jobs cannot be made"):
        keeper.start()
    (home.root / "service").unlink()
    keeper.start()

    assert done(keeper, keeper.submit("echo", {}, "x")[0]).status == "completed"


def test_bad_requests_are_refused(new_keeper):
    keeper = new_keeper(most_waiting=2)

    with pytest.raises(UsageError, match="no jobs of the kind 'slepp'; did you mean 'sleep'"):
        keeper.submit("slepp", {}, "x")
    with pytest.raises(UsageError, match="plain data"):
        keeper.submit("echo", {"a": float("inf")}, "x")
    with pytest.raises(UsageError, match="0 processes"):
        new_keeper(processes=0)
    keeper.submit("echo", {"n": 1}, "x")
    keeper.submit("echo", {"n": 2}, "x")
    with pytest.raises(TooManyJobs):
        keeper.submit("echo", {"n": 3}, "x")
    keeper.start()


def test_a_row_of_an_unknown_kind_fails_and_stops_nothing(keeper, store, done):
    job, _ = store.submit("dream", {}, key="k", owner="x", now_ms=1, most_waiting=9)
    last, _ = keeper.submit("echo", {}, "x")

    assert done(keeper, last).status == "completed"
    assert keeper.store.get(job.id).error == "there are no jobs of the kind 'dream'"


def test_old_rows_and_locks_are_tidied_at_the_start(new_keeper, home, store, monkeypatch, until):
    monkeypatch.setattr("bot.service.jobs.records.KEPT_ROWS", 1)
    day = 86_400_000
    for number, ended in enumerate((1, 20 * day, 40 * day)):
        job, _ = store.submit("echo", {}, key=str(number), owner="x", now_ms=1, most_waiting=9)
        store.take(1)
        store.complete(job.id, {}, ended)
    folder = home.root / "service" / "jobs"
    folder.mkdir(parents=True)
    (folder / f"{job.id}.lock").touch()
    keeper = new_keeper(clock=lambda: 41 * day)
    keeper.start()

    until(lambda: len(store.list()) == 2)
    assert [each.ended_ms for each in store.list()] == [40 * day, 20 * day]
    until(lambda: not list(folder.iterdir()))


def test_jobs_leave_no_descriptor(keeper, done):
    done(keeper, keeper.submit("echo", {"n": -1}, "x")[0])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for n in range(5):
        done(keeper, keeper.submit("echo", {"n": n}, "x")[0])
        keeper.cancel(keeper.submit("sleep", {"seconds": 60}, "x")[0].id)
    while keeper.store.counts()["running"] or multiprocessing.active_children():
        time.sleep(0.01)

    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_ctrl_c_at_the_terminal_stops_the_server_and_not_the_job(home, tmp_path, store, new_keeper, done):
    server = subprocess.Popen(
        [sys.executable, job_works.__file__, str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout.readline() == "ready\n"
    request = {"folder": str(tmp_path), "number": 1, "seconds": 1.0}
    job, _ = store.submit("mark", request, key="k", owner="x", now_ms=1, most_waiting=9)
    while store.get(job.id).status != "running":
        time.sleep(0.01)
    os.killpg(server.pid, signal.SIGINT)
    out, err = server.communicate(timeout=30)

    assert (server.returncode, out) == (0, "interrupted\n")
    assert err == ""
    assert store.get(job.id).status == "queued"
    keeper = new_keeper()
    keeper.start()
    assert done(keeper, job).status == "completed"
