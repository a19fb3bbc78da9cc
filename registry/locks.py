"""One writer at a time: advisory locks on files, released by the kernel when their holder dies."""

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

__all__ = ["LOCK_NAME", "acquire", "exclusive", "release"]

LOCK_NAME = ".lock"
_PAUSE = 0.01  # seconds between two attempts


@contextmanager
def exclusive(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of a model's folder for the length of the block.

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
    descriptor = acquire(folder / LOCK_NAME, timeout)
    if descriptor is None:
        raise RegistryBusy(f"{folder}: another process registers or promotes here (waited {timeout:g} s): try again")
    try:
        yield
    finally:
        release(descriptor)


def acquire(path: Path, timeout: float) -> int | None:
    """Lock a file, made where it is missing, and return its descriptor; None when another holds it all that time.

    The lock is ``flock`` on an empty file: it excludes other processes and other threads, needs no cleaning after a
    crash, and readers never take it. It is not re-entrant.

    Parameters
    ----------
    path
        The lock file, in an existing folder.
    timeout
        Seconds to wait.

    Raises
    ------
    OSError
        When the lock file cannot be created.
    """
    deadline = time.monotonic() + timeout
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        kept = False
        try:
            if not _wait(descriptor, deadline):
                return None
            kept = _still_named(descriptor, path)
            if kept:
                return descriptor
        finally:  # what was not returned is closed: somebody deleted the file that we locked, so lock its successor
            if not kept:
                os.close(descriptor)


def release(descriptor: int) -> None:
    """Give a lock back, also where a child process inherited the descriptor."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)


def _wait(descriptor: int, deadline: float) -> bool:
    """Return whether the lock was had before the deadline."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_PAUSE)
        else:
            return True


def _still_named(descriptor: int, path: Path) -> bool:
    mine = os.fstat(descriptor)
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (mine.st_ino, mine.st_dev) == (named.st_ino, named.st_dev)
