"""Reading a ledger again by reading only what was appended to it.

What was verified once is remembered: where it ended, and what it adds up to. The next reading verifies the rows after
that place, as long as the file is the same one, has not shrunk, was not written without growing, and still holds the last
verified line where it was; anything else is read from the beginning, or from the checkpoint of a ledger that still begins
with the bytes which the checkpoint was made of. So a row costs its own length however long the ledger has become.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO

from registry.checkpoint import INTERVAL, Checkpoint, read_checkpoint, write_checkpoint
from registry.errors import InvalidLedger
from registry.ledger import Ledger, LedgerRow, Position, parse_rows, patiently
from registry.promotion import Standing, advance

if TYPE_CHECKING:
    from hashlib import _Hash
    from pathlib import Path

__all__ = ["LedgerReader", "Reading"]

_BLOCK = 1 << 18


@dataclass(frozen=True, slots=True)
class Reading:
    """A ledger at one moment.

    Attributes
    ----------
    ledger
        Where it ends; its ``rows`` are those that were new to this reader.
    standing
        What all of its rows add up to.
    """

    ledger: Ledger
    standing: Standing


@dataclass(frozen=True, slots=True)
class _Known:
    """What a reader has verified: never changed in place, so threads and forks may share it."""

    position: Position
    standing: Standing
    content: _Hash  # of all verified bytes; copied, never updated in place
    saved: int = 0  # rows that the checkpoint covers
    last_line: bytes = b""
    file: tuple[int, int] = (0, 0)
    seen: tuple[int, int] = (0, 0)  # size and time of the last change, in ns
    rows: tuple[LedgerRow, ...] | None = None  # kept only once somebody asked for them


class LedgerReader:
    """A reader of one ledger, which takes no lock.

    Parameters
    ----------
    path
        ``ledger.jsonl``; it need not exist.
    model
        ``SYMBOL/TYPE``.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        self._model = model
        self._known = self._nothing()

    def read(self) -> Reading:
        """Return the ledger as it is now.

        Raises
        ------
        InvalidLedger
            When it was damaged or edited, or its rows contradict each other.
        """
        return patiently(lambda: self._read(keep_rows=False))[0]

    def rows(self) -> tuple[LedgerRow, ...]:
        """Return every row of the ledger, verified, in order; raises InvalidLedger as `read` does."""
        return patiently(lambda: self._read(keep_rows=True))[1]

    def checkpoint(self) -> Checkpoint | None:
        """Return the checkpoint that a new reader would begin with; None when there is none."""
        try:
            with self._path.open("rb") as stream:
                return self._believed(stream)[0]
        except FileNotFoundError:
            return None

    def remember(self) -> None:
        """Write a checkpoint when the last one is old; the caller holds the model's lock."""
        known = self._known
        if known.position.count - known.saved >= INTERVAL:
            content, last = known.content.hexdigest(), len(known.last_line)
            write_checkpoint(self._path.parent, Checkpoint(self._model, known.position, content, last, known.standing))
            self._known = replace(known, saved=known.position.count)

    def _nothing(self) -> _Known:
        return _Known(Position.beginning(self._model), Standing(), hashlib.sha256())

    def _read(self, *, keep_rows: bool) -> tuple[Reading, tuple[LedgerRow, ...]]:
        try:
            return self._catch_up(keep_rows=keep_rows)
        except InvalidLedger:
            self._known = self._nothing()
            raise

    def _catch_up(self, *, keep_rows: bool) -> tuple[Reading, tuple[LedgerRow, ...]]:
        known = self._known
        if keep_rows and known.rows is None:
            known = replace(self._nothing(), rows=())
        known, data = self._new_bytes(known)
        ledger = parse_rows(data, self._path, self._model, known.position)
        last = ledger.rows[-1:] if ledger.unterminated else ()  # read again until its newline is there
        fresh = ledger.rows[: len(ledger.rows) - len(last)]
        place = str(self._path)
        if fresh:
            end = data.rindex(b"\n")
            content = known.content.copy()
            content.update(memoryview(data)[: end + 1])
            known = replace(
                known,
                content=content,
                position=Position(known.position.count + len(fresh), known.position.size + end + 1, fresh[-1].digest),
                standing=advance(known.standing, fresh, place),
                last_line=data[data.rfind(b"\n", 0, end) + 1 : end + 1],
                rows=None if known.rows is None else known.rows + fresh,
            )
        self._known = known
        standing = advance(known.standing, last, place) if last else known.standing
        return Reading(ledger, standing), (known.rows or ()) + last

    def _new_bytes(self, known: _Known) -> tuple[_Known, bytes]:
        """Return what is verified of the file as it is now, and the bytes after that."""
        nothing = replace(self._nothing(), rows=None if known.rows is None else ())
        try:
            with self._path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if known.position.size == 0 or not _continues(known, status, stream):
                    known = nothing if nothing.rows is not None else self._from_checkpoint(stream) or nothing
                stream.seek(known.position.size)
                data = stream.read()
        except FileNotFoundError:
            return nothing, b""
        return replace(known, file=(status.st_dev, status.st_ino), seen=(status.st_size, status.st_mtime_ns)), data

    def _from_checkpoint(self, stream: BinaryIO) -> _Known | None:
        saved, content, last_line = self._believed(stream)
        if saved is None:
            return None
        return _Known(saved.position, saved.standing, content, saved.position.count, last_line)

    def _believed(self, stream: BinaryIO) -> tuple[Checkpoint | None, _Hash, bytes]:
        """Return the checkpoint if the ledger begins with the bytes that it was made of, their hash and the last line."""
        saved, content = read_checkpoint(self._path.parent, self._model), hashlib.sha256()
        if saved is None:
            return None, content, b""
        stream.seek(0)
        left = saved.position.size
        while left and (block := stream.read(min(left, _BLOCK))):  # in blocks: never a second copy of a long ledger
            content.update(block)
            left -= len(block)
        if left or content.hexdigest() != saved.ledger_digest:
            return None, content, b""
        stream.seek(saved.position.size - saved.last_bytes)
        return saved, content, stream.read(saved.last_bytes)


def _continues(known: _Known, status: os.stat_result, stream: BinaryIO) -> bool:
    """Tell whether a file still begins with what was verified."""
    if known.file != (status.st_dev, status.st_ino) or status.st_size < known.position.size:
        return False
    if status.st_size == known.seen[0] and status.st_mtime_ns != known.seen[1]:
        return False  # written to without growing
    stream.seek(known.position.size - len(known.last_line))
    return stream.read(len(known.last_line)) == known.last_line
