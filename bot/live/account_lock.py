"""One bot on one account, and one process a bot: locks on this machine, released when their holder dies."""

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

__all__ = ["account_lock", "bot_lock"]


@contextmanager
def account_lock(exchange: str, account: str, bot: str) -> Iterator[None]:
    """Hold the lock of an account for the length of the block, whatever home another bot uses.

    Parameters
    ----------
    exchange
        Where the account is.
    account
        What tells accounts apart, such as a key. Only its hash is written.
    bot
        Who holds it, for the message that the other one gets.

    Raises
    ------
    UsageError
        When another bot trades the account.
    StorageError
        When the lock cannot be made.
    """
    why = f"trades this account on {exchange} already: two bots on one account undo each other"
    with _held(f"{exchange}|{account}", exchange, bot, why):
        yield


@contextmanager
def bot_lock(home: Path, bot: str) -> Iterator[None]:
    """Hold the lock of a bot of a home for the length of the block; raises as ``account_lock``."""
    why = f"runs already in {home}: stop it first (bot live-control stop), or give this one another name"
    with _held(f"{home}|{bot}", "bot", bot, why):
        yield


@contextmanager
def _held(identity: str, kind: str, bot: str, why: str) -> Iterator[None]:
    name = hashlib.sha256(identity.encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"mlbot-{os.getuid()}"
    path = folder / f"{kind}-{name}.lock"
    holder = path.with_suffix(".holder")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = acquire(path, 0.0)
    except OSError as error:
        raise StorageError(f"{path}: the lock cannot be made: {error.strerror or error}") from error
    if descriptor is None:
        try:
            other = holder.read_text(encoding="utf-8").strip()
        except OSError:
            other = "another bot"
        raise UsageError(f"{other} {why}")
    try:
        holder.write_text(f"{bot} (process {os.getpid()})\n", encoding="utf-8")
        yield
    finally:
        release(descriptor)
