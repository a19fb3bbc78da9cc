"""Rows of jobs: one of a kind at a time whoever asks, each taken once, and no way but the allowed ones."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from bot.errors import StorageError, UsageError
from bot.service.jobs.records import Job, JobNotFound, JobStatus, JobStore, TooManyJobs, content_key
from bot.state import StateDatabase

ROOT = Path(__file__).parents[4]
MOVES = {
    "tell": ({"running": "running"}, lambda store, job_id: store.tell(job_id, 0.5, "half")),
    "complete": ({"running": "completed"}, lambda store, job_id: store.complete(job_id, {"a": 1}, 30)),
    "fail": ({"running": "failed"}, lambda store, job_id: store.fail(job_id, "too few bars", 30)),
    "cancel": ({"queued": "cancelled", "running": "cancelled"}, lambda store, job_id: store.cancel(job_id, 30)),
    "requeue": ({"running": "queued"}, lambda store, job_id: store.requeue(job_id, "the server ended")),
    "ask": ({"queued": "cancelled", "running": "running"}, lambda store, job_id: store.ask_to_cancel(job_id, 30)),
}


def submit(store, number=0, *, kind="train", owner="owner", now_ms=10, most_waiting=100):
    request = {"symbol": "BTCUSDT", "number": number}
    return store.submit(
        kind, request, key=content_key(kind, request), owner=owner, now_ms=now_ms, most_waiting=most_waiting
    )


def at(store, status):
    """Return the id of a job in a status."""
    job, _ = submit(store)
    if status != "queued":
        assert store.take(20).id == job.id
    if status not in {"queued", "running"}:
        assert MOVES[{"completed": "complete", "failed": "fail", "cancelled": "cancel"}[status]][1](store, job.id)
    return job.id


def in_threads(work, count=8):
    found, begin = [], threading.Barrier(count)

    def run():
        begin.wait()
        found.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == count
    return found


def test_a_new_job_waits_and_holds_what_was_asked_for(store):
    job, is_new = submit(store, now_ms=1_700_000_000_000)

    assert is_new
    assert job == Job(
        id=job.id,
        kind="train",
        key=content_key("train", {"number": 0, "symbol": "BTCUSDT"}),
        request={"symbol": "BTCUSDT", "number": 0},
        owner="owner",
        status=JobStatus.QUEUED,
        created_ms=1_700_000_000_000,
        started_ms=None,
        ended_ms=None,
        progress=0.0,
        message="",
        attempts=0,
        result=None,
        error=None,
    )
    assert store.get(job.id) == job
    assert len(job.id) == 36


@pytest.mark.parametrize("status", JobStatus)
def test_the_unfinished_job_of_a_key_is_found_until_it_is_done(store, status):
    key = content_key("train", {"symbol": "BTCUSDT", "number": 0})
    assert store.unfinished(key) is None
    submit(store, 1)  # another key
    store.take(20)

    job_id = at(store, status)

    found = store.unfinished(key)
    if status in {"queued", "running"}:
        assert found == store.get(job_id)
    else:
        assert found is None


def test_eight_threads_that_ask_for_the_same_get_one_job(home):
    with StateDatabase(home.state_db, busy_seconds=30) as state:
        store = JobStore(state)
        answers = [pair for each in in_threads(lambda: [submit(store, n) for n in range(10)]) for pair in each]

        assert Counter(is_new for _, is_new in answers) == {True: 10, False: 70}
        assert {job.id for job, _ in answers} == {job.id for job in store.list()}
        assert len(store.list()) == 10


def test_two_processes_that_ask_for_the_same_get_one_job(home, state, store):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from bot.service.jobs.records import JobStore, content_key\n"
        "from bot.state import StateDatabase\n"
        "with StateDatabase(Path(sys.argv[1]), busy_seconds=30) as state:\n"
        "    store = JobStore(state)\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    for n in range(30):\n"
        "        key = content_key('train', {'n': n})\n"
        "        job, new = store.submit('train', {'n': n}, key=key, owner='x', now_ms=1, most_waiting=100)\n"
        "        print(n, job.id, new)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home.state_db)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    lines = [line.split() for process in processes for line in process.communicate(timeout=60)[0].splitlines()]

    assert Counter(new for _, _, new in lines) == {"True": 30, "False": 30}
    assert len({(n, job_id) for n, job_id, _ in lines}) == 30
    assert len(store.list()) == 30


def test_the_file_itself_refuses_a_second_unfinished_job_of_one_key(store, state):
    again = (
        "INSERT INTO service_jobs (id, kind, content_key, request, owner, status, created_ms) "
        "SELECT 'other', kind, content_key, request, owner, 'queued', created_ms FROM service_jobs"
    )
    job, _ = submit(store)

    for _ in range(2):  # queued, then running
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            state.execute(again)
        store.take(20)
    store.complete(job.id, {}, 30)
    assert state.execute(again) == 1


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_what_is_done_may_be_asked_for_again(store, status):
    before = at(store, status)
    job, is_new = submit(store)

    assert is_new
    assert job.id != before


def test_of_too_many_unfinished_jobs_none_is_added_but_the_same_is_still_answered(store):
    first, _ = submit(store, 0, most_waiting=2)
    submit(store, 1, most_waiting=2)
    store.take(20)

    with pytest.raises(TooManyJobs, match="2 jobs wait or run"):
        submit(store, 2, most_waiting=2)
    assert submit(store, 0, most_waiting=2) == (store.get(first.id), False)
    store.complete(first.id, {}, 30)
    assert submit(store, 2, most_waiting=2)[1]


@pytest.mark.parametrize("request_", [{"a": float("nan")}, {"a": b"b"}, {"a": {1, 2}}])
def test_a_request_that_is_no_plain_data_is_refused(store, request_):
    with pytest.raises(UsageError, match="plain data"):
        store.submit("train", request_, key="k", owner="o", now_ms=1, most_waiting=9)
    with pytest.raises(UsageError, match="plain data"):
        content_key("train", request_)
    assert store.list() == ()


def test_the_key_goes_by_content():
    key = content_key("train", {"a": 1, "b": {"x": None, "y": "é"}})

    assert content_key("train", {"b": {"y": "é", "x": None}, "a": 1}) == key
    others = [("generate", {"a": 1, "b": {"x": None, "y": "é"}}), ("train", {"a": 1}), ("train", {"a": "1"})]
    assert len({key, *(content_key(*other) for other in others)}) == 4
    assert len(key) == 64


@pytest.mark.parametrize("status", [*JobStatus])
@pytest.mark.parametrize("move", sorted(MOVES))
def test_each_move_is_made_from_the_statuses_that_allow_it_only(store, move, status):
    allowed, make = MOVES[move]
    job_id = at(store, status)
    before = store.get(job_id)

    assert bool(make(store, job_id)) == (status in allowed)
    after = store.get(job_id)
    assert after.status == allowed.get(status, status)
    if status not in allowed:
        assert after == before
    assert not make(store, "no such job")
    assert after.is_done == (after.status in {"completed", "failed", "cancelled"})


def test_what_the_moves_write(store):
    first, second, third = (submit(store, n)[0].id for n in range(3))
    assert store.take(20).id == first
    assert store.tell(first, 0.25, "rows")
    assert (store.get(first).progress, store.get(first).message) == (0.25, "rows")
    assert store.complete(first, {"b": [1, None], "a": "é"}, 40)
    row = store.get(first)
    assert (row.started_ms, row.ended_ms, row.progress, row.attempts) == (20, 40, 1.0, 1)
    assert list(row.result.items()) == [("b", [1, None]), ("a", "é")]

    assert store.take(50).id == second
    assert store.fail(second, "too few bars", 60)
    assert (store.get(second).error, store.get(second).ended_ms, store.get(second).result) == ("too few bars", 60, None)

    assert store.cancel(third, 70)
    assert (store.get(third).ended_ms, store.get(third).started_ms) == (70, None)
    assert store.take(80) is None
    assert store.counts() == {"queued": 0, "running": 0, "completed": 1, "failed": 1, "cancelled": 1}


def test_a_job_that_goes_back_waits_at_its_old_place(store):
    ids = [submit(store, n)[0].id for n in range(3)]
    assert [store.take(20).id, store.take(20).id] == ids[:2]
    store.tell(ids[0], 0.9, "nearly")
    store.requeue(ids[1], "the server was stopped", counted=False)
    store.requeue(ids[0], "the server ended")

    row = store.get(ids[0])
    assert (row.message, row.progress, row.started_ms, row.attempts) == ("the server ended", 0.0, None, 1)
    assert store.get(ids[1]).attempts == 0
    assert [store.take(30).id for _ in range(3)] == ids
    assert [store.get(job_id).attempts for job_id in ids] == [2, 1, 1]


def test_a_running_job_that_is_to_be_cancelled_does_not_go_back(store):
    job_id = at(store, "running")
    assert not store.is_cancelling(job_id)

    assert store.ask_to_cancel(job_id, 30).status == "running"
    assert store.is_cancelling(job_id)
    assert not store.requeue(job_id, "the server ended")
    assert store.cancel(job_id, 40)
    assert not store.is_cancelling(job_id)


def test_eight_threads_take_each_job_once(home):
    with StateDatabase(home.state_db, busy_seconds=30) as state:
        store = JobStore(state)
        for n in range(40):
            submit(store, n)

        def work():
            found = []
            while (job := store.take(20)) is not None:
                found.append(job)
            return found

        taken = in_threads(work)
        assert sorted(job.request["number"] for each in taken for job in each) == list(range(40))
        for each in taken:
            numbers = [job.request["number"] for job in each]
            assert numbers == sorted(numbers)
        assert {job.attempts for job in store.list()} == {1}


def test_a_clock_that_was_put_back_turns_no_times_round(store):
    for number, end in enumerate(("complete", "fail", "cancel", "ask")):
        job, _ = submit(store, number, now_ms=1_000)
        if end != "ask":
            assert store.take(500).started_ms == 1_000
        MOVES[end][1](store, job.id)  # at 30
        assert store.get(job.id).ended_ms == 1_000


def test_an_unknown_job_is_named_with_its_like(store):
    job, _ = submit(store)

    with pytest.raises(JobNotFound, match=f"there is no job '{job.id[:8]}'; did you mean '{job.id}'") as found:
        store.get(job.id[:8])
    assert isinstance(found.value, LookupError)
    near = job.id[:-1] + ("0" if job.id[-1] != "0" else "1")
    with pytest.raises(JobNotFound, match=f"did you mean '{job.id}'"):
        store.get(near)
    for other in ("", job.id[:3], "zzzzzzzz", job.id + "x", "%" * 36, "x" * 100_000):
        with pytest.raises(JobNotFound) as found:
            store.get(other)
        assert "did you mean" not in str(found.value)
        assert len(str(found.value)) < 80


def test_the_newest_are_listed_first_by_kind_and_status(store):
    ids = [submit(store, n, kind="train" if n % 2 else "generate")[0].id for n in range(6)]
    store.take(20)

    def listed(*args, **options):
        return [ids.index(job.id) for job in store.list(*args, **options)]

    assert listed() == [5, 4, 3, 2, 1, 0]
    assert listed(most=2) == [5, 4]
    assert listed(["train"]) == [5, 3, 1]
    assert listed(["train", "generate"], most=-1) == [5, 4, 3, 2, 1, 0]
    assert listed([]) == []
    assert listed(status="running") == [0]
    assert listed(["train"], "running") == []
    assert listed(status=JobStatus.QUEUED, most=3) == [5, 4, 3]


def test_an_answer_has_times_in_words_and_neither_key_nor_owner(store):
    job_id = at(store, "running")
    store.complete(job_id, {"version": "v1"}, 1_700_000_000_500)

    assert store.get(job_id).to_dict() == {
        "id": job_id,
        "kind": "train",
        "status": "completed",
        "created_at": "1970-01-01T00:00:00.010Z",
        "started_at": "1970-01-01T00:00:00.020Z",
        "ended_at": "2023-11-14T22:13:20.500Z",
        "progress": 1.0,
        "message": "",
        "attempts": 1,
        "request": {"symbol": "BTCUSDT", "number": 0},
        "result": {"version": "v1"},
        "error": None,
    }
    assert submit(store)[0].to_dict()["started_at"] is None


def test_pruning_takes_old_jobs_that_are_done_but_none_of_the_newest(store, monkeypatch):
    monkeypatch.setattr("bot.service.jobs.records.KEPT_ROWS", 3)
    ids = [submit(store, n)[0].id for n in range(8)]
    for _ in range(7):
        store.take(20)
    for number in (1, 2, 3, 6):
        store.complete(ids[number], {}, 1_000 * number)

    def left():
        return [job.request["number"] for job in reversed(store.list())]

    assert store.prune(3_000, 1_000) == 1  # what ended before 2,000
    assert left() == [0, 2, 3, 4, 5, 6, 7]
    assert store.prune(10**9, 1_000) == 2  # never what is unfinished, nor one of the newest three
    assert left() == [0, 4, 5, 6, 7]
    assert store.prune(10**9, 1_000) == 0


def test_rows_survive_and_a_newer_file_is_refused(home, state):
    job, _ = submit(JobStore(state))
    with StateDatabase(home.state_db) as other:
        assert JobStore(other).get(job.id) == job
        other.execute("INSERT INTO state_migrations VALUES ('service_jobs', 'from_the_future')")
    with pytest.raises(StorageError, match="newer version"):
        JobStore(state)
