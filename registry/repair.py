"""The repair of a ledger whose chain is broken: keep what can be trusted, save the damaged file, say what was lost.

Kept are the verified rows before the damage. Of the rows after it only three things are taken, each from a row whose own
seal is intact: bundles that the row registered and whose manifest still has the digest that it states come back as
candidates; what was quarantined or archived is so again; and a champion stays champion only where the lost rows and the
link on the disk both speak of the same version. Everything else is forgotten, and can be decided anew.

The new ledger replaces the damaged one in one atomic rename, after the links say what it will say: killed at any moment
the ledger is either the damaged one, which nobody uses and which can be repaired again, or the repaired one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from registry.durable import TEMPORARY, sync_folder, write_new
from registry.errors import InvalidBundle, InvalidLedger, LedgerTooNew, RegistryBusy
from registry.ledger import Position, is_complete
from registry.listing import model_of
from registry.locks import exclusive
from registry.manifest import sha256
from registry.promotion import Standing, VersionState, advance
from registry.rows import LedgerRow, compose_row, damage_hint, sealed_row, verified_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from registry.shelf import Shelf

__all__ = ["DAMAGED", "Repair", "examine", "repair"]

DAMAGED = "ledger.damaged-"
"""First characters of the name under which a damaged ledger is saved."""

_TOLD = 100  # lost decisions about the champion that the repair's own row recites


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair does, or did.

    Attributes
    ----------
    model
        ``SYMBOL/TYPE``.
    fault
        What is wrong with the ledger, and where.
    digest
        SHA-256 of the damaged file.
    saved_as
        Name of the file beside the ledger that keeps the damaged bytes.
    kept, lost, unreadable
        Rows before the damage; lines from it on; how many of those are damaged themselves.
    adopted
        Versions that the lost rows registered and that are candidates again.
    left_out
        Folders that look like versions and that no trustworthy row vouches for: version -> why.
    set_aside
        Versions that are quarantined or archived again, as the lost rows say: version -> status.
    champions
        Champion of each timeframe afterwards.
    withdrawn
        Champion of the kept rows -> why it is champion no more.
    """

    model: str
    fault: str
    digest: str
    saved_as: str
    kept: int
    lost: int
    unreadable: int
    adopted: tuple[str, ...]
    left_out: Mapping[str, str]
    set_aside: Mapping[str, str]
    champions: Mapping[str, str]
    withdrawn: Mapping[str, str]


@dataclass(slots=True)
class _Book:
    """A ledger in the making."""

    data: bytearray
    position: Position
    standing: Standing
    at: datetime

    def add(
        self, action: str, state: VersionState | None, reason: str, evidence: Mapping[str, Any], staged: str = ""
    ) -> None:
        line, row = compose_row(
            self.position.count + 1,
            self.position.digest,
            at=self.at,
            action=action,
            timeframe=state.timeframe if state else "",
            version=state.version if state else "",
            manifest=state.digest if state else "",
            reason=reason,
            evidence=evidence,
            staged=staged,
        )
        self.data += line
        self.position = Position(self.position.count + 1, len(self.data), row.digest)
        self.standing = advance(self.standing, [row], "the repaired ledger")


def examine(shelf: Shelf, at: datetime) -> Repair | None:
    """Return what a repair would do; None when the ledger is sound.

    Raises
    ------
    InvalidLedger
        When the ledger is another model's, or a newer program wrote it: then a repair would destroy it.
    """
    planned = _plan(shelf, at)
    return planned and planned[0]


def repair(shelf: Shelf, at: datetime, timeout: float, expected: str | None = None) -> Repair | None:
    """Repair the ledger of a folder; None when it is sound.

    Parameters
    ----------
    shelf
        The folder.
    at
        When.
    timeout
        Seconds to wait for another writer.
    expected
        Digest of the damaged file that was agreed to; None for any.

    Raises
    ------
    InvalidLedger, RegistryBusy, OSError
        Nothing is lost then: the damaged ledger is still there, or the repaired one is.
    """
    with exclusive(shelf.folder, timeout):
        planned = _plan(shelf, at)
        if planned is None:
            return None
        done, book, damaged = planned
        if expected not in (None, done.digest):
            raise RegistryBusy(f"{shelf.ledger_path} was changed in the meantime: look again")
        _write_beside(shelf, done.saved_as, damaged)
        fresh = shelf.folder / f"{TEMPORARY}{uuid4().hex}"
        write_new(fresh, bytes(book.data))
        shelf.project(book.standing)  # nobody's answer: while the ledger is damaged, no reader of ours has one
        os.replace(fresh, shelf.ledger_path)  # noqa: PTH105 - crashes are tested at the calls of os
        sync_folder(shelf.folder)
        shelf.heal(book.standing)
        return done


def _plan(shelf: Shelf, at: datetime) -> tuple[Repair, _Book, bytes] | None:
    """Return the repair, the ledger as it will be, and the damaged bytes; None when nothing is wrong."""
    try:
        data = shelf.ledger_path.read_bytes()
    except FileNotFoundError:
        return None
    position, standing, fault = _sound_part(shelf, data)
    if fault is None:
        return None
    lines = data[position.size :].split(b"\n")
    if not is_complete(lines[-1]):
        lines.pop()  # the end of the file, or a line that a crash cut short
    rows = [row for line in lines if (row := sealed_row(line)) is not None]
    _refuse_another_model(shelf, rows)
    digest = sha256(data)
    saved_as = _saved(shelf, digest) or f"{DAMAGED}{at.astimezone(UTC):%Y-%m-%dT%H%M%SZ}-{digest[:8]}.jsonl"
    head = bytearray(data[: position.size])
    if head and not head.endswith(b"\n"):
        head += b"\n"
    book = _Book(head, replace(position, size=len(head)), standing, at)
    told = [
        {"time": row.at.isoformat(), "action": row.action, "version": row.version, "reason": row.reason}
        for row in rows
        if row.action not in ("register", "archive", "repair")
    ]
    facts = {
        "damaged_sha256": digest,
        "saved_as": saved_as,
        "fault": fault,
        "rows_kept": position.count,
        "lines_lost": len(lines),
        "lines_unreadable": len(lines) - len(rows),
        "lost_decisions": told[-_TOLD:],
    }
    book.add("repair", None, f"the ledger was damaged: {fault}", facts)
    adopted = _adopt(shelf, book, rows)
    spoken, aside = _hearsay(rows, standing)
    set_aside = _set_aside(book, aside)
    withdrawn = _withdraw(shelf, book, spoken)
    known = book.standing.versions
    left_out = {name: "no intact row registered it" for name in shelf.version_folders() if name not in known}
    done = Repair(
        model=shelf.name,
        fault=f"{shelf.ledger_path}: {fault}",
        digest=digest,
        saved_as=saved_as,
        kept=position.count,
        lost=len(lines),
        unreadable=len(lines) - len(rows),
        adopted=adopted,
        left_out=left_out,
        set_aside=set_aside,
        champions=book.standing.champions,
        withdrawn=withdrawn,
    )
    return done, book, data


def _sound_part(shelf: Shelf, data: bytes) -> tuple[Position, Standing, str | None]:
    """Return where the verified rows end, what they add up to, and what is wrong there (None: nothing)."""
    hint = damage_hint(shelf.name)
    position, standing = Position.beginning(shelf.name), Standing()
    end = len(data)
    while position.size < end:
        stop = data.find(b"\n", position.size)
        line = data[position.size : end if stop < 0 else stop]
        if stop < 0 and not is_complete(line):
            break  # a line that a crash cut short is no damage
        number = position.count + 1
        try:
            row = verified_row(line, number, position.digest, f"row {number}", hint)
            standing = advance(standing, [row], f"row {number}")
        except LedgerTooNew:
            raise
        except InvalidLedger as error:
            return position, standing, str(error).removesuffix(f"; {hint}")
        position = Position(number, end if stop < 0 else stop + 1, row.digest)
    return position, standing, None


def _refuse_another_model(shelf: Shelf, rows: Sequence[LedgerRow]) -> None:
    origin = Position.beginning(shelf.name).digest
    if any(row.sequence == 1 and row.previous != origin for row in rows):
        raise InvalidLedger(
            f"{shelf.ledger_path} is the ledger of another model: put that of {shelf.name} in its place, "
            "or move it away; a repair would mix the two"
        )


def _saved(shelf: Shelf, digest: str) -> str | None:
    """Return the name of a copy that an interrupted repair made already."""
    for path in sorted(shelf.folder.glob(f"{DAMAGED}*-{digest[:8]}.jsonl")):
        if sha256(path.read_bytes()) == digest:
            return path.name
    return None


def _write_beside(shelf: Shelf, name: str, data: bytes) -> None:
    if (shelf.folder / name).exists():
        return
    fresh = shelf.folder / f"{TEMPORARY}{uuid4().hex}"
    write_new(fresh, data)
    os.rename(fresh, shelf.folder / name)  # noqa: PTH104 - as above
    sync_folder(shelf.folder)


def _adopt(shelf: Shelf, book: _Book, rows: Sequence[LedgerRow]) -> tuple[str, ...]:
    """Register again what intact rows registered and the disk still holds."""
    adopted = []
    for row in rows:
        if row.action != "register" or row.version in book.standing.versions:
            continue
        state = VersionState(row.version, row.timeframe, row.manifest, "candidate", row)
        model = model_of(shelf, state, None)
        if shelf.is_pending(state):
            model = replace(model, path=shelf.folder / row.staged)
        try:
            _ = model.metadata  # its manifest is the one that was registered, and it says that it is of this model
        except InvalidBundle:
            continue
        book.add("register", state, "adopted by the repair", {"registered": row.at.isoformat()}, staged=row.staged)
        adopted.append(row.version)
    return tuple(adopted)


def _hearsay(rows: Sequence[LedgerRow], standing: Standing) -> tuple[dict[str, str], dict[str, str]]:
    """Return the champions that the lost rows end with, and what they put aside: version -> action."""
    champions = dict(standing.champions)
    aside: dict[str, str] = {}
    for row in rows:
        if row.action in ("promote", "rollback"):
            champions[row.timeframe] = row.version
            aside.pop(row.version, None)
        elif row.action in ("quarantine", "withdraw", "archive"):
            if row.action != "archive" and champions.get(row.timeframe) == row.version:
                del champions[row.timeframe]
            if row.action != "withdraw":
                aside[row.version] = row.action
        elif row.action == "restore":
            aside.pop(row.version, None)
    return champions, aside


def _set_aside(book: _Book, aside: Mapping[str, str]) -> dict[str, str]:
    done: dict[str, str] = {}
    for version, action in aside.items():
        state = book.standing.versions.get(version)
        if state is None or state.status in ("quarantined", "archived"):
            continue
        if action == "archive" and state.status == "champion":
            continue  # it lost its place in rows that are lost too: withdrawn below
        book.add(action, state, "repeated by the repair", {})
        done[version] = book.standing.versions[version].status
    return done


def _withdraw(shelf: Shelf, book: _Book, spoken: Mapping[str, str]) -> dict[str, str]:
    """Take the champion away where lost rows or the link speak of another, or of none."""
    withdrawn = {}
    for timeframe, version in sorted(book.standing.champions.items()):
        heard, linked = spoken.get(timeframe), shelf.link_target(f"latest-{timeframe}")
        if heard == linked == version:
            continue
        witness, other = ("the lost rows speak of", heard) if heard != version else ("the link points to", linked)
        reason = f"after the damage {witness} {other or 'no champion'}"
        book.add("withdraw", book.standing.versions[version], reason, {})
        withdrawn[version] = reason
    return withdrawn
