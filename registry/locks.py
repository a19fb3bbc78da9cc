"""One writer at a time: an advisory lock on a model's folder, released by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from registry.errors import RegistryBusy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["LOCK_NAME", "exclusive"]

LOCK_NAME = ".lock"
_PAUSE = 0.01  # seconds between two attempts


@contextmanager
def exclusive(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of a folder for the length of the block.

    The lock is ``flock`` on an empty file in the folder: it excludes other processes and other threads, needs no
    cleaning after a crash, and readers never take it. It is not re-entrant.

    Parameters
    ----------
    folder
        An existing folder.
    timeout
        Seconds to wait for another writer.

    Raises
    ------
    RegistryBusy
        When another writer still holds the lock after that time.
    OSError
        When the lock file cannot be created.
    """
    path = folder / LOCK_NAME
    deadline = time.monotonic() + timeout
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _wait(descriptor, path, deadline, timeout)
            if not _still_named(descriptor, path):  # somebody deleted the file that we locked: lock its successor
                continue
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            return
        finally:
            os.close(descriptor)


def _wait(descriptor: int, path: Path, deadline: float, timeout: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise RegistryBusy(
                    f"{path.parent}: another process registers or promotes here (waited {timeout:g} s): try again"
                ) from None
            time.sleep(_PAUSE)
        else:
            return


def _still_named(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_ino, mine.st_dev) == (named.st_ino, named.st_dev)
