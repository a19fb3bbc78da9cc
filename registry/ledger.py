"""The append-only ledger of one model: what was registered, promoted, rolled back and archived, when and why.

One JSON object a line. Each row holds the digest of the row before it (the first one: of the model's name) and ends with
its own, so a row that was changed, removed or inserted is found. A crash may leave an unfinished last line:
it has no newline and is no complete object, nothing ever depended on it, readers pass over it and the next writer
cuts it off.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from registry.durable import TEMPORARY, sync_folder, write_all
from registry.errors import InvalidLedger, InvalidName
from registry.manifest import sha256
from registry.names import parse_version

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ACTIONS", "LEDGER_NAME", "LEDGER_VERSION", "Ledger", "LedgerRow", "append_row", "read_ledger"]

LEDGER_NAME = "ledger.jsonl"
LEDGER_VERSION = 1
ACTIONS = ("register", "promote", "rollback", "archive")

_FIELDS = {
    "action": str,
    "evidence": dict,
    "manifest": str,
    "previous": str,
    "reason": str,
    "schema_version": int,
    "sequence": int,
    "staged": str,
    "time": str,
    "timeframe": str,
    "version": str,
}
_SEAL = b',"sha256":"%b"}'  # the last field of a row: the digest of the row without it
_SEAL_LENGTH = len(_SEAL % (b"0" * 64))
_STAGED = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{32}")
_ATTEMPTS = 5  # a reader may meet a writer that cuts an unfinished line off; damage that stays is damage
_PAUSE = 0.004


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One decision about one version.

    Attributes
    ----------
    sequence
        1 for the first row of the ledger.
    at
        When, UTC.
    action
        One of `ACTIONS`.
    timeframe, version
        Which bundle; for a rollback the version that is champion again.
    manifest
        SHA-256 of the bundle's ``manifest.json``.
    reason
        Why, in words.
    evidence
        Figures behind the decision; plain JSON.
    staged
        Of a registration: the temporary folder that becomes the bundle; empty otherwise.
    previous
        Digest of the row before.
    digest
        Digest of this row.
    """

    sequence: int
    at: datetime
    action: str
    timeframe: str
    version: str
    manifest: str
    reason: str
    evidence: Mapping[str, Any]
    staged: str
    previous: str
    digest: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger as it was read.

    Attributes
    ----------
    rows
        Complete, verified rows in order.
    size
        Bytes that these rows take, final newline included.
    unfinished
        Bytes of a last line that a crash cut short.
    unterminated
        The last row is complete and only its newline is missing.
    last_digest
        What the next row will hold as ``previous``.
    """

    rows: tuple[LedgerRow, ...]
    size: int
    unfinished: int
    unterminated: bool
    last_digest: str


def read_ledger(path: Path, model: str) -> Ledger:
    """Read and verify a ledger without a lock; a missing file is an empty ledger.

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
    for _ in range(_ATTEMPTS - 1):
        try:
            return _parse(_bytes(path), path, model)
        except InvalidLedger:
            time.sleep(_PAUSE)
    return _parse(_bytes(path), path, model)


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
    document = {
        "action": action,
        "evidence": _plain(dict(evidence or {})),
        "manifest": manifest,
        "previous": ledger.last_digest,
        "reason": reason,
        "schema_version": LEDGER_VERSION,
        "sequence": len(ledger.rows) + 1,
        "staged": staged,
        "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "timeframe": timeframe,
        "version": version,
    }
    body = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = sha256(body)
    line = body[:-1] + _SEAL % digest.encode() + b"\n"
    row = _row(document, digest)
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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(data: bytes, path: Path, model: str) -> Ledger:
    lines = data.split(b"\n")
    tail = lines.pop()
    rows: list[LedgerRow] = []
    last = sha256(model.encode())
    for number, line in enumerate(lines, start=1):
        rows.append(_verified(line, number, last, path))
        last = rows[-1].digest
    size = len(data) - len(tail)
    unterminated = bool(tail) and _is_complete(tail)
    if unterminated:
        rows.append(_verified(tail, len(lines) + 1, last, path))
        last, size, tail = rows[-1].digest, len(data) + 1, b""
    return Ledger(tuple(rows), size, len(tail), unterminated, last)


def _is_complete(tail: bytes) -> bool:
    """Tell a whole object (its newline is missing, or a byte was changed) from a line that was cut short."""
    try:
        json.JSONDecoder().raw_decode(tail.decode("ascii", "replace"))
    except (ValueError, RecursionError):
        return False
    return True


def _verified(line: bytes, number: int, previous: str, path: Path) -> LedgerRow:
    place = f"{path}:{number}"
    hint = "restore the ledger from a backup; nothing of this model is used until then"
    body, seal = line[:-_SEAL_LENGTH] + b"}", line[-_SEAL_LENGTH:]
    digest = sha256(body)
    if seal != _SEAL % digest.encode():
        raise InvalidLedger(f"{place}: this row was damaged or changed after it was written; {hint}")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidLedger(f"{place}: this line is not JSON; {hint}") from None
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > LEDGER_VERSION:
        raise InvalidLedger(f"{place}: schema_version {version}, this program reads {LEDGER_VERSION}: update it")
    if not isinstance(document, dict) or set(document) != set(_FIELDS):
        raise InvalidLedger(f"{place}: this line is not a row of a ledger; {hint}")
    if any(type(document[field]) is not kind for field, kind in _FIELDS.items()):
        raise InvalidLedger(f"{place}: a field of this row has the wrong type; {hint}")
    if document["previous"] != previous or document["sequence"] != number:
        raise InvalidLedger(f"{place}: a row before this one was changed, removed or inserted; {hint}")
    if document["action"] not in ACTIONS:
        raise InvalidLedger(f"{place}: unknown action {document['action']!r}, expected one of {', '.join(ACTIONS)}")
    if document["staged"] and not _STAGED.fullmatch(document["staged"]):
        raise InvalidLedger(f"{place}: {document['staged']!r} is not a temporary folder of ours; {hint}")
    try:
        if parse_version(document["version"]).timeframe != document["timeframe"]:
            raise InvalidLedger(f"{place}: version {document['version']!r} is not of {document['timeframe']!r}; {hint}")
        return _row(document, digest)
    except (InvalidName, ValueError) as error:
        raise InvalidLedger(f"{place}: {error}; {hint}") from None


def _row(document: Mapping[str, Any], digest: str) -> LedgerRow:
    return LedgerRow(
        sequence=document["sequence"],
        at=datetime.fromisoformat(document["time"]),
        action=document["action"],
        timeframe=document["timeframe"],
        version=document["version"],
        manifest=document["manifest"],
        reason=document["reason"],
        evidence=document["evidence"],
        staged=document["staged"],
        previous=document["previous"],
        digest=digest,
    )


def _plain(value: Any) -> Any:
    """Return plain JSON: figures that are not finite are null, numpy scalars are numbers."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return str(value)
