"""What a long ledger adds up to, kept beside it, so that a new process need not verify a hundred thousand rows again.

A checkpoint is a cache: it may be deleted at any time, and it counts only while the ledger still begins with exactly the
bytes that it was made of (one SHA-256 over them, a thousandth of the work of reading the rows). The rows that it holds are
the sealed lines of the ledger itself. `validate` reads the ledger without it, and compares.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args
from uuid import uuid4

from registry.durable import TEMPORARY
from registry.errors import InvalidLedger
from registry.ledger import Position
from registry.manifest import sha256
from registry.promotion import Standing, Status, VersionState
from registry.rows import LedgerRow, compose_row, sealed_row

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHECKPOINT_NAME", "INTERVAL", "Checkpoint", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_NAME = ".checkpoint.json"
INTERVAL = 250
"""Rows after which a writer makes a new one; a shorter ledger has none."""

_VERSION = 1
_STATUSES = frozenset(get_args(Status))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a ledger at a position.

    Attributes
    ----------
    model
        ``SYMBOL/TYPE``.
    position
        Where.
    ledger_digest
        SHA-256 of all bytes before it.
    last_bytes
        Bytes of the row before it, newline included.
    standing
        What the rows before it add up to.
    """

    model: str
    position: Position
    ledger_digest: str
    last_bytes: int
    standing: Standing


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a folder; when the disk refuses, the old one stays, or none."""
    standing, position = checkpoint.standing, checkpoint.position
    document = {
        "schema_version": _VERSION,
        "model": checkpoint.model,
        "count": position.count,
        "size": position.size,
        "digest": position.digest,
        "ledger_sha256": checkpoint.ledger_digest,
        "last_bytes": checkpoint.last_bytes,
        "versions": [
            [state.status, _line(state.registered), _line(state.promoted)] for state in standing.versions.values()
        ],
        "champions": standing.champions,
        "predecessors": standing.predecessors,
        "latest": standing.latest,
    }
    body = json.dumps(document, separators=(",", ":")).encode()
    fresh = folder / f"{TEMPORARY}{uuid4().hex}"
    with suppress(OSError):  # not flushed: after a power cut its seal is wrong, and the ledger is read instead
        fresh.write_bytes(sha256(body).encode() + b"\n" + body)
        os.replace(fresh, folder / CHECKPOINT_NAME)  # noqa: PTH105 - crashes are tested at the calls of os


def read_checkpoint(folder: Path, model: str) -> Checkpoint | None:
    """Return the checkpoint of a folder; None when there is none, or it is damaged, or another model's, or newer."""
    try:
        seal, _, body = (folder / CHECKPOINT_NAME).read_bytes().partition(b"\n")
        if seal != sha256(body).encode():
            return None
        document = json.loads(body)
        if document["schema_version"] != _VERSION or document["model"] != model:
            return None
        return Checkpoint(
            model,
            Position(int(document["count"]), int(document["size"]), str(document["digest"])),
            document["ledger_sha256"],
            int(document["last_bytes"]),
            _standing(document),
        )
    except (OSError, ValueError, KeyError, TypeError, InvalidLedger):
        return None


def _standing(document: dict[str, Any]) -> Standing:
    versions = {}
    for status, registered, promoted in document["versions"]:
        row = _row(registered)
        if status not in _STATUSES:
            raise ValueError(status)
        versions[row.version] = VersionState(
            row.version, row.timeframe, row.manifest, status, row, None if promoted is None else _row(promoted)
        )
    return Standing(versions, dict(document["champions"]), dict(document["predecessors"]), document["latest"])


def _line(row: LedgerRow | None) -> str | None:
    if row is None:
        return None
    line, _ = compose_row(
        row.sequence,
        row.previous,
        at=row.at,
        action=row.action,
        timeframe=row.timeframe,
        version=row.version,
        manifest=row.manifest,
        reason=row.reason,
        evidence=row.evidence,
        staged=row.staged,
    )
    return line.decode().rstrip("\n")


def _row(line: str) -> LedgerRow:
    row = sealed_row(line.encode())
    if row is None:
        raise ValueError(line)
    return row
