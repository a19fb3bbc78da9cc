"""One bot on one account: a lock on this machine, whatever home the other bot uses, released when its holder dies."""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import StorageError, UsageError
from registry.locks import acquire, release

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["account_lock"]


@contextmanager
def account_lock(exchange: str, account: str, bot: str) -> Iterator[None]:
    """Hold the lock of an account for the length of the block.

    Parameters
    ----------
    exchange
        Where the account is.
    account
        What tells accounts apart: a key, or a folder. Only its hash is written.
    bot
        Who holds it, for the message that the other one gets.

    Raises
    ------
    UsageError
        When another bot trades the account.
    StorageError
        When the lock cannot be made.
    """
    name = hashlib.sha256(f"{exchange}|{account}".encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"mlbot-{os.getuid()}"
    path = folder / f"{exchange}-{name}.lock"
    holder = path.with_suffix(".holder")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = acquire(path, 0.0)
    except OSError as error:
        raise StorageError(f"{path}: the lock of the account cannot be made: {error.strerror or error}") from error
    if descriptor is None:
        try:
            other = holder.read_text(encoding="utf-8").strip()
        except OSError:
            other = "another bot"
        raise UsageError(f"{other} trades this account on {exchange} already: two bots on one account undo each other")
    try:
        holder.write_text(f"{bot} (process {os.getpid()})\n", encoding="utf-8")
        yield
    finally:
        release(descriptor)
