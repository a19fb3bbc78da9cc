"""One row of a ledger as bytes and as a value: how it is sealed, chained and verified."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from registry.durable import TEMPORARY
from registry.errors import InvalidLedger, InvalidName, LedgerTooNew
from registry.manifest import sha256
from registry.names import parse_version

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ACTIONS", "LEDGER_VERSION", "LedgerRow", "compose_row", "damage_hint", "sealed_row", "verified_row"]

LEDGER_VERSION = 2
ACTIONS = ("register", "promote", "rollback", "archive", "quarantine", "withdraw", "restore", "repair")

_FIRST_VERSION = dict.fromkeys(
    ACTIONS[:4], 1
)  # a row says the oldest format that knows its action: old readers read on
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
_NAMES = frozenset(_FIELDS)
_SEAL = b',"sha256":"%b"}'  # the last field of a row: the digest of the row without it
_SEAL_LENGTH = len(_SEAL % (b"0" * 64))
_STAGED = re.compile(re.escape(TEMPORARY) + "[0-9a-f]{32}")


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
        Which bundle; for a rollback the version that is champion again. Both empty for a repair, which is of the
        whole ledger.
    manifest
        SHA-256 of the bundle's ``manifest.json``; empty for a repair.
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


def compose_row(
    number: int,
    previous: str,
    *,
    at: datetime,
    action: str,
    timeframe: str,
    version: str,
    manifest: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    staged: str = "",
) -> tuple[bytes, LedgerRow]:
    """Return a sealed row as a line, newline included, and as a value.

    Parameters
    ----------
    number, previous
        Its place in the chain: its sequence and the digest of the row before.
    at, action, timeframe, version, manifest, reason, evidence, staged
        As in `LedgerRow`.
    """
    document = {
        "action": action,
        "evidence": _plain(dict(evidence or {})),
        "manifest": manifest,
        "previous": previous,
        "reason": reason,
        "schema_version": _FIRST_VERSION.get(action, LEDGER_VERSION),
        "sequence": number,
        "staged": staged,
        "time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "timeframe": timeframe,
        "version": version,
    }
    body = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    digest = sha256(body)
    return body[:-1] + _SEAL % digest.encode() + b"\n", _row(document, digest)


def verified_row(line: bytes, number: int, previous: str, place: str, hint: str) -> LedgerRow:
    """Return the row of a line that stands where it says.

    Parameters
    ----------
    line
        Bytes without the newline.
    number, previous
        Its place in the chain: its sequence and the digest of the row before.
    place, hint
        For messages: ``path:line``, and what to do (`damage_hint`).

    Raises
    ------
    InvalidLedger
        When the row was changed, or a row before it was changed, removed or inserted.
    """
    row = _well_formed(line, place, hint)
    if row.previous != previous or row.sequence != number:
        raise InvalidLedger(f"{place}: a row before this one was changed, removed or inserted; {hint}")
    return row


def sealed_row(line: bytes) -> LedgerRow | None:
    """Return the row of a line whose own seal is intact, wherever it stands; None when it is damaged."""
    try:
        return _well_formed(line, "", "")
    except LedgerTooNew:
        raise
    except InvalidLedger:
        return None


def damage_hint(model: str) -> str:
    """Return what to do about a damaged ledger of ``SYMBOL/TYPE``."""
    repair = f"bot models repair {model.replace('/', ' ')}"
    return f"restore the ledger from a backup or run '{repair}'; nothing of this model is used until then"


def _well_formed(line: bytes, place: str, hint: str) -> LedgerRow:
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
        raise LedgerTooNew(f"{place}: schema_version {version}, this program reads {LEDGER_VERSION}: update it")
    if not isinstance(document, dict) or document.keys() != _NAMES:
        raise InvalidLedger(f"{place}: this line is not a row of a ledger; {hint}")
    if any(type(document[field]) is not kind for field, kind in _FIELDS.items()):
        raise InvalidLedger(f"{place}: a field of this row has the wrong type; {hint}")
    if document["action"] not in ACTIONS:
        raise InvalidLedger(f"{place}: unknown action {document['action']!r}, expected one of {', '.join(ACTIONS)}")
    if document["staged"] and not _STAGED.fullmatch(document["staged"]):
        raise InvalidLedger(f"{place}: {document['staged']!r} is not a temporary folder of ours; {hint}")
    try:
        if document["action"] == "repair":
            if document["version"] or document["timeframe"]:
                raise InvalidLedger(f"{place}: a repair is of no single version; {hint}")
        elif parse_version(document["version"]).timeframe != document["timeframe"]:
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
