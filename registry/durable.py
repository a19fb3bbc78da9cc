"""Writes that survive a crash: every function returns only when the disk has what it promises."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

from registry.errors import RegistryUnwritable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "TEMPORARY",
    "make_folders",
    "remove_leftover",
    "swap_link",
    "sync_folder",
    "write_all",
    "write_new",
    "writing",
]

TEMPORARY = ".tmp-"
"""First characters of every name that a crash may leave behind; readers ignore such names."""


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn an operating-system error of the block into one sentence.

    Parameters
    ----------
    what
        What could not be done, for the message: ``"BTCUSDT/basic: cannot register"``.

    Raises
    ------
    RegistryUnwritable
        In place of any ``OSError``, with its reason and its file.
    """
    try:
        yield
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        raise RegistryUnwritable(f"{what}: {error.strerror or error}{where}") from error


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, however many calls it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_new(path: Path, data: bytes) -> None:
    """Create a file that must not exist yet, write it and flush it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Flush the names that a folder holds, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path) -> None:
    """Create a folder and its parents; another process may create them at the same time."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        try:
            os.mkdir(each)  # noqa: PTH102 - the calls of this module are the steps at which a crash is tested
        except FileExistsError:
            if not each.is_dir():
                raise
        sync_folder(each.parent)


def swap_link(link: Path, target: str) -> None:
    """Point a symbolic link elsewhere in one atomic rename: a reader finds the old target or the new one.

    Parameters
    ----------
    link
        The link; may exist or not.
    target
        Relative target. The caller flushes the folder.
    """
    fresh = link.with_name(f"{TEMPORARY}{uuid4().hex}")
    try:
        os.symlink(target, fresh)  # noqa: PTH211 - as above
        os.replace(fresh, link)  # noqa: PTH105 - as above
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def remove_leftover(path: Path) -> None:
    """Remove a temporary file, link or folder that a crash left behind."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
