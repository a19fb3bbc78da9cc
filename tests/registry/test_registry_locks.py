from __future__ import annotations

import threading
import time

import pytest

from registry.errors import RegistryBusy
from registry.locks import LOCK_NAME, exclusive


def test_a_second_writer_waits_and_gives_up(tmp_path):
    with exclusive(tmp_path, 1.0):
        started = time.monotonic()
        with (
            pytest.raises(RegistryBusy, match=r"another process registers or promotes here .waited 0.1 s.: try again"),
            exclusive(tmp_path, 0.1),
        ):
            pytest.fail("two writers held the lock")
        assert 0.1 <= time.monotonic() - started < 5
    with exclusive(tmp_path, 0.0):
        pass


def test_the_lock_is_released_by_an_error(tmp_path):
    with pytest.raises(KeyError), exclusive(tmp_path, 0.0):
        raise KeyError
    with exclusive(tmp_path, 0.0):
        pass


def test_threads_exclude_each_other(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(20):
            with exclusive(tmp_path, 30.0):
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_lock_file_that_was_deleted_is_not_the_lock(tmp_path):
    """A writer that waited on a file which is gone must not share the folder with one that locked its successor."""
    entered = threading.Event()

    def wait_for_it():
        with exclusive(tmp_path, 30.0):
            entered.set()

    with exclusive(tmp_path, 0.0):
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        time.sleep(0.05)
        (tmp_path / LOCK_NAME).unlink()
    waiting.join(30)
    assert entered.is_set()
    assert (tmp_path / LOCK_NAME).exists()  # it made the successor and locked that
