"""One cycle or drift check of a home at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bot.errors import BotError, StorageError
from registry.locks import acquire, release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["pipeline_lock"]


@contextmanager
def pipeline_lock(home: Path) -> Iterator[None]:
    """Hold the pipeline of a home for the length of the block.

    Raises
    ------
    BotError
        When another cycle or drift check runs.
    StorageError
        When the lock cannot be made.
    """
    path = home / "pipeline.lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = acquire(path, 0.0)
    except OSError as error:
        raise StorageError(f"{path}: the lock cannot be made: {error.strerror or error}") from error
    if descriptor is None:
        raise BotError(f"another cycle or drift check runs in {home}: wait until it is done")
    try:
        yield
    finally:
        release(descriptor)
