"""The append-only ledger of one model: what was registered, promoted, rolled back and archived, when and why.

One JSON object a line. Each row holds the digest of the row before it (the first one: of the model's name) and ends with
its own, so a row that was changed, removed or inserted is found. A crash may leave an unfinished last line:
it has no newline and is no complete object, nothing ever depended on it, readers pass over it and the next writer
cuts it off.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from registry.durable import sync_folder, write_all
from registry.errors import InvalidLedger
from registry.manifest import sha256
from registry.rows import ACTIONS, LEDGER_VERSION, LedgerRow, compose_row, damage_hint, verified_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

__all__ = [
    "ACTIONS",
    "LEDGER_NAME",
    "LEDGER_VERSION",
    "Ledger",
    "LedgerRow",
    "Position",
    "append_row",
    "is_complete",
    "parse_rows",
    "patiently",
    "read_ledger",
]

LEDGER_NAME = "ledger.jsonl"

_ATTEMPTS = 5  # a reader may meet a writer that cuts an unfinished line off; damage that stays is damage
_PAUSE = 0.004

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two rows, from which a ledger is read on.

    Attributes
    ----------
    count
        Rows before it.
    size
        Bytes before it.
    digest
        Digest of the row before it; of the model's name at the beginning.
    """

    count: int
    size: int
    digest: str

    @classmethod
    def beginning(cls, model: str) -> Position:
        """Return the place before the first row of ``SYMBOL/TYPE``."""
        return cls(0, 0, sha256(model.encode()))


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger as it was read, from its beginning or from a position on.

    Attributes
    ----------
    rows
        Complete, verified rows in order, those after the position.
    count
        Complete rows of the whole ledger.
    size
        Bytes that they take, final newline included.
    unfinished
        Bytes of a last line that a crash cut short.
    unterminated
        The last row is complete and only its newline is missing.
    last_digest
        What the next row will hold as ``previous``.
    """

    rows: tuple[LedgerRow, ...]
    count: int
    size: int
    unfinished: int
    unterminated: bool
    last_digest: str


def read_ledger(path: Path, model: str) -> Ledger:
    """Read and verify a whole ledger without a lock; a missing file is an empty ledger.

    Parameters
    ----------
    path
        ``ledger.jsonl``.
    model
        ``SYMBOL/TYPE``: a ledger that was copied from another model is refused.

    Raises
    ------
    InvalidLedger
        When a row was changed, removed or inserted, or was written by a newer program; the message names the line.
    """
    return patiently(lambda: parse_rows(_bytes(path), path, model, Position.beginning(model)))


def patiently(read: Callable[[], _T]) -> _T:
    """Call a reader of a ledger, a few times while it finds damage: damage that stays is damage."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return read()
        except InvalidLedger:
            time.sleep(_PAUSE)
    return read()


def parse_rows(data: bytes, path: Path, model: str, start: Position) -> Ledger:
    """Verify the bytes of a ledger from a position on; raises InvalidLedger at the first row that is wrong.

    Parameters
    ----------
    data
        Everything from ``start.size`` on.
    path, model
        Of the ledger, for messages.
    start
        Where `data` begins.
    """
    hint = damage_hint(model)
    lines = data.split(b"\n")
    tail = lines.pop()
    rows: list[LedgerRow] = []
    last, number = start.digest, start.count
    for number, line in enumerate(lines, start=start.count + 1):
        rows.append(verified_row(line, number, last, f"{path}:{number}", hint))
        last = rows[-1].digest
    size = start.size + len(data) - len(tail)
    unterminated = bool(tail) and is_complete(tail)
    if unterminated:
        number += 1
        rows.append(verified_row(tail, number, last, f"{path}:{number}", hint))
        last, size, tail = rows[-1].digest, start.size + len(data) + 1, b""
    return Ledger(tuple(rows), number, size, len(tail), unterminated, last)


def append_row(
    path: Path,
    ledger: Ledger,
    *,
    at: datetime,
    action: str,
    timeframe: str,
    version: str,
    manifest: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    staged: str = "",
) -> LedgerRow:
    """Append one row and flush it to the disk; the caller holds the model's lock and has just read the ledger.

    Returns
    -------
    LedgerRow
        The row as it was written.

    Raises
    ------
    OSError
        When the disk refuses; the ledger is then as it was before (or, if even that fails, ends in an unfinished line).
    """
    line, row = compose_row(
        ledger.count + 1,
        ledger.last_digest,
        at=at,
        action=action,
        timeframe=timeframe,
        version=version,
        manifest=manifest,
        reason=reason,
        evidence=evidence,
        staged=staged,
    )
    created = not path.exists()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        if ledger.unfinished:
            os.ftruncate(descriptor, ledger.size)
            os.fsync(descriptor)
        start = ledger.size
        try:
            if ledger.unterminated:
                line = b"\n" + line
                start -= 1
            write_all(descriptor, line)
            os.fsync(descriptor)
        except BaseException:
            os.ftruncate(descriptor, start)
            raise
    finally:
        os.close(descriptor)
    if created:
        sync_folder(path.parent)
    return row


def is_complete(tail: bytes) -> bool:
    """Tell a whole object (its newline is missing, or a byte was changed) from a line that was cut short."""
    try:
        json.JSONDecoder().raw_decode(tail.decode("ascii", "replace"))
    except (ValueError, RecursionError):
        return False
    return True


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
