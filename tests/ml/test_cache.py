"""The prediction cache: what goes in comes out, damage is a miss, and a file that cannot serve says why."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlite_utils

from ml.cache import PredictionCache
from ml.errors import CacheUnavailable
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status

COLUMNS = len(PREDICTION_COLUMNS)
KEY = bytes(range(16))


def batch(count: int = 5, seed: int = 0) -> PredictionBatch:
    rng = np.random.default_rng(seed)
    status = rng.integers(0, 3, count).astype(np.int8)
    values = rng.normal(size=(count, COLUMNS))
    values[status != 0] = np.nan
    return PredictionBatch(values, status)


def same(a: PredictionBatch, b: PredictionBatch) -> bool:
    return a.values.tobytes() == b.values.tobytes() and a.status.tobytes() == b.status.tobytes()


@pytest.fixture
def cache(tmp_path):
    cache = PredictionCache(tmp_path / "deep" / "predictions.db", busy_seconds=0.2)
    yield cache
    cache.close()


def test_chunks_come_back_to_the_bit(cache):
    chunks = {os.urandom(16): batch(count, seed=count) for count in (1, 2, 1024)}
    cache.put_chunks(chunks)
    found = cache.get_chunks([*chunks, KEY])
    assert found.keys() == chunks.keys()
    assert all(same(found[key], chunks[key]) for key in chunks)


def test_more_keys_than_one_select_takes(cache):
    chunks = {number.to_bytes(16, "big"): batch(1, number) for number in range(1203)}
    cache.put_chunks(chunks)
    assert len(cache.get_chunks(list(chunks))) == 1203


def test_bars_come_back_to_the_bit(cache):
    row = (1.5, -1e-300, 1.0, 0.5000000000000001, 0.1, float("inf"), -0.0, 5e-324, 100.0)
    cache.put_bar(KEY, row, Status.OK)
    assert cache.get_bar(KEY) == (row, 0)
    assert cache.get_bar(bytes(16)) is None
    cache.put_bar(KEY, row[::-1], Status.ERROR)
    assert cache.get_bar(KEY) == (row[::-1], 5)


def test_entries_outlive_the_connection(cache):
    cache.put_bar(KEY, (0.0,) * COLUMNS, 0)
    cache.put_chunks({KEY: batch()})
    cache.close()
    again = PredictionCache(cache.path)
    assert again.get_bar(KEY) is not None
    assert same(again.get_chunks([KEY])[KEY], batch())
    again.clear()
    assert again.get_bar(KEY) is None
    assert again.get_chunks([KEY]) == {}
    again.close()


@pytest.mark.parametrize("at", [0, 3, 5, 40, -9, -1])
def test_a_flipped_bit_in_an_entry_is_a_miss(cache, at):
    cache.put_chunks({KEY: batch()})
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    with sqlite3.connect(cache.path) as other:
        for table in ("prediction_chunks", "prediction_bars"):
            content = bytearray(other.execute(f"SELECT content FROM {table}").fetchone()[0])
            content[at] ^= 4
            other.execute(f"UPDATE {table} SET content = ?", (bytes(content),))
    other.close()
    assert cache.get_chunks([KEY]) == {}
    assert cache.get_bar(KEY) is None


@pytest.mark.parametrize("content", [b"", b"short", bytes(8), bytes(65), bytes(66)])
def test_an_entry_of_another_size_is_a_miss(cache, content):
    database = sqlite_utils.Database(cache.path)
    for table in ("prediction_chunks", "prediction_bars"):
        database[table].insert({"key": KEY, "content": content})
    database.close()
    assert cache.get_chunks([KEY]) == {}
    assert cache.get_bar(KEY) is None


def test_an_entry_under_another_key_is_a_miss(cache):
    cache.put_chunks({KEY: batch()})
    with sqlite3.connect(cache.path) as other:
        other.execute("UPDATE prediction_chunks SET key = ?", (bytes(16),))
    other.close()
    assert cache.get_chunks([bytes(16)]) == {}


def test_write_ahead_log_and_migrations_are_in_place(cache):
    database = sqlite_utils.Database(cache.path)
    assert database.journal_mode == "wal"
    assert {row["name"] for row in database["_sqlite_migrations"].rows} == {"create_tables"}
    database.close()


def test_an_empty_file_becomes_a_cache(tmp_path):
    path = tmp_path / "predictions.db"
    path.touch()
    cache = PredictionCache(path)
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    assert cache.get_bar(KEY)
    cache.close()


def test_the_file_may_be_deleted_between_runs(cache):
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    cache.close()
    for path in cache.path.parent.iterdir():
        path.unlink()
    assert cache.get_bar(KEY) is None


def test_a_stale_write_ahead_log_of_a_deleted_file_does_no_harm(tmp_path):
    path = tmp_path / "predictions.db"
    cache = PredictionCache(path)
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    log = (tmp_path / "predictions.db-wal").read_bytes()
    cache.close()
    path.unlink()
    (tmp_path / "predictions.db-wal").write_bytes(log)
    again = PredictionCache(path)
    assert again.get_bar(KEY) is None
    again.close()


def test_a_file_that_is_no_database(tmp_path):
    path = tmp_path / "predictions.db"
    path.write_text("this is a letter, not a database\n" * 50)
    with pytest.raises(
        CacheUnavailable, match=r"predictions\.db: the prediction cache is not an SQLite database; .*delete"
    ):
        PredictionCache(path)
    assert path.read_text().startswith("this is a letter")
    assert list(tmp_path.iterdir()) == [path]


def test_a_database_whose_pages_are_damaged(tmp_path):
    path = tmp_path / "predictions.db"
    cache = PredictionCache(path)
    cache.put_chunks({bytes([i]) * 16: batch(200, i) for i in range(30)})
    cache.close()
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(bytes(data))
    with pytest.raises(CacheUnavailable, match="is damaged"):
        PredictionCache(path).get_chunks([bytes([3]) * 16])


def test_a_path_that_is_a_folder_or_has_a_file_for_a_folder(tmp_path):
    with pytest.raises(CacheUnavailable, match="cannot be opened"):
        PredictionCache(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnavailable, match="cannot be used: "):
        PredictionCache(tmp_path / "file" / "predictions.db")


def test_a_database_that_another_process_has_locked(tmp_path):
    path = tmp_path / "predictions.db"
    PredictionCache(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CacheUnavailable, match=r"is locked by another process \(waited 0.1 s\)"):
        PredictionCache(path, busy_seconds=0.1)
    other.execute("ROLLBACK")
    other.close()
    PredictionCache(path, busy_seconds=0.1).close()


def test_a_new_file_that_another_process_has_locked(tmp_path):
    path = tmp_path / "predictions.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(CacheUnavailable, match="is locked"):
        PredictionCache(path, busy_seconds=0.1)
    other.close()


def test_opening_waits_for_another_process_that_is_about_to_finish(tmp_path):
    path = tmp_path / "predictions.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.3, other.execute, ["ROLLBACK"])
    release.start()
    cache = PredictionCache(path, busy_seconds=20)
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    assert cache.get_bar(KEY) is not None
    cache.close()
    release.join()
    other.close()


def test_a_place_without_write_ahead_logging():
    with pytest.raises(CacheUnavailable, match=r"does not allow write-ahead logging \(journal mode memory\)"):
        PredictionCache(Path(":memory:"))


def test_a_database_that_may_not_be_written(cache):
    cache._connection().execute("PRAGMA query_only = 1")
    with pytest.raises(CacheUnavailable, match="read-only; make them writable"):
        cache.put_bar(KEY, (1.0,) * COLUMNS, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anything")
def test_a_file_without_the_permission_to_write(cache):
    cache.close()
    cache.path.chmod(0o444)
    with pytest.raises(CacheUnavailable, match="read-only"):
        PredictionCache(cache.path)


def test_a_full_disk_leaves_what_was_there(cache):
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    pages = cache._connection().execute("PRAGMA page_count").fetchone()[0]
    cache._connection().execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(CacheUnavailable, match="cannot grow: the disk is full"):
        cache.put_chunks({bytes([i]) * 16: batch(500, i) for i in range(30)})
    assert cache.get_bar(KEY) == ((1.0,) * COLUMNS, 0)
    assert cache.get_chunks([bytes([0]) * 16]) == {}


def test_a_full_disk_that_the_system_reports(cache, monkeypatch):
    def full(*_arguments, **_keywords):
        raise OSError(28, "No space left on device")

    cache.close()
    monkeypatch.setattr("ml.cache._open", full)
    with pytest.raises(CacheUnavailable, match="the disk is full"):
        cache.get_bar(KEY)


def test_each_thread_has_its_own_connection(cache):
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    found = []

    def read():
        found.append(cache.get_bar(KEY))
        cache.close()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [((1.0,) * COLUMNS, 0)] * 4
    assert cache.get_bar(KEY) is not None


def test_a_copy_opens_its_own_connection(cache):
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    copy = pickle.loads(pickle.dumps(cache))
    assert copy.busy_seconds == cache.busy_seconds
    assert copy.get_bar(KEY) == ((1.0,) * COLUMNS, 0)
    copy.close()


def _work(path, number, barrier, failures) -> None:
    try:
        barrier.wait(30)
        cache = PredictionCache(path, busy_seconds=30)
        for turn in range(20):
            cache.put_chunks({bytes([number, turn]) * 8: batch(50, number * 100 + turn)})
            cache.put_bar(bytes([turn]) * 16, (float(turn),) * COLUMNS, 0)
            shared = cache.get_bar(bytes([turn]) * 16)
            if shared != ((float(turn),) * COLUMNS, 0):
                failures.put(f"process {number}, turn {turn}: {shared}")
        cache.close()
    except Exception as error:
        failures.put(f"process {number}: {error!r}")


def test_several_processes_start_on_a_missing_file_and_write_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    path, count = tmp_path / "predictions.db", 4
    barrier, failures = context.Barrier(count), context.Queue()
    workers = [context.Process(target=_work, args=(path, number, barrier, failures)) for number in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failures.empty(), failures.get()
    assert [worker.exitcode for worker in workers] == [0] * count
    cache = PredictionCache(path)
    keys = [bytes([number, turn]) * 8 for number in range(count) for turn in range(20)]
    found = cache.get_chunks(keys)
    assert all(same(found[key], batch(50, key[0] * 100 + key[1])) for key in keys)
    cache.close()


def test_a_connection_does_not_cross_a_fork(cache, monkeypatch):
    cache.put_bar(KEY, (1.0,) * COLUMNS, 0)
    mine = cache._connection()
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert cache._connection() is not mine
    cache.close()
    monkeypatch.undo()
    mine.close()


def test_the_exit_code_is_that_of_a_finding():
    assert CacheUnavailable.exit_code == 3
