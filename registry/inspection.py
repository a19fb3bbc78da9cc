"""The inspection of a whole registry: everything that is wrong, one finding each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.checkpoint import CHECKPOINT_NAME
from registry.durable import TEMPORARY
from registry.errors import RegistryError
from registry.ledger import LEDGER_NAME
from registry.listing import model_of
from registry.locks import LOCK_NAME
from registry.model import OpenRunner
from registry.promotion import Standing, VersionState, replay
from registry.repair import DAMAGED
from registry.shelf import Shelf, is_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from registry.ledger import Ledger

__all__ = ["Finding", "inspect_registry", "leftovers"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong in a registry.

    Attributes
    ----------
    place
        ``SYMBOL/TYPE@VERSION``, ``SYMBOL/TYPE`` or a path.
    problem
        What is wrong, in one sentence.
    """

    place: str
    problem: str

    def __str__(self) -> str:
        """Return ``place: problem``."""
        return f"{self.place}: {self.problem}"


def inspect_registry(
    root: Path, shelves: Sequence[Shelf], open_runner: OpenRunner | None, progress: Callable[[float, str], None]
) -> list[Finding]:
    """Check every folder below a registry.

    Parameters
    ----------
    root
        The registry; when it does not exist nothing is wrong.
    shelves
        Its SYMBOL/TYPE folders.
    open_runner
        Opens each bundle as a reader would, its self-test included; None skips that.
    progress
        Called with the fraction done and what is checked now.

    Returns
    -------
    list of Finding
        Empty when all is sound.
    """
    if not root.exists():
        return []
    if not root.is_dir():
        return [Finding(str(root), "is not a folder")]
    findings = _strangers(root, shelves)
    for number, shelf in enumerate(shelves):
        findings += _inspect_shelf(
            shelf,
            open_runner,
            lambda part, text, n=number: progress((n + part) / len(shelves), text),  # type: ignore[misc]
        )
    return findings


def leftovers(shelves: Sequence[Shelf]) -> list[Finding]:
    """Return the harmless traces of interrupted writes; the next writer removes them."""
    findings = []
    for shelf in shelves:
        findings += [
            Finding(str(path), "was left by an interrupted write")
            for path in sorted(shelf.folder.glob(f"{TEMPORARY}*"))
        ]
        try:
            ledger = shelf.ledger()
            standing = replay(ledger.rows, str(shelf.ledger_path))
        except RegistryError:
            continue
        if ledger.unfinished:
            findings.append(Finding(str(shelf.ledger_path), "ends in an unfinished line"))
        for link, version in standing.links().items():
            if shelf.link_target(link) != version:
                findings.append(Finding(str(shelf.folder / link), f"does not point to {version} yet"))
    return findings


def _strangers(root: Path, shelves: Sequence[Shelf]) -> list[Finding]:
    """Report what stands where only SYMBOL and TYPE folders belong."""
    known = {shelf.folder for shelf in shelves}
    findings = []
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if not path.is_dir():
            findings.append(Finding(str(path), "is not a SYMBOL folder"))
            continue
        findings += [
            Finding(str(child), "is not a TYPE folder with a canonical name")
            for child in sorted(path.iterdir())
            if child not in known and not child.name.startswith(".")
        ]
    return findings


def _inspect_shelf(
    shelf: Shelf, open_runner: OpenRunner | None, progress: Callable[[float, str], None]
) -> list[Finding]:
    try:
        ledger = shelf.ledger()
        standing = replay(ledger.rows, str(shelf.ledger_path))
    except (RegistryError, OSError) as error:
        return [Finding(shelf.name, str(error))]
    findings = []
    states = list(standing.versions.values())
    for number, state in enumerate(states):
        progress(number / len(states), f"{shelf.name}@{state.version}")
        problem = _problem(shelf, state, open_runner)
        if problem is not None:
            findings.append(Finding(f"{shelf.name}@{state.version}", problem))
    findings += _unknown_entries(shelf, standing)
    findings += _wrong_checkpoint(shelf, ledger)
    findings += _wrong_links(shelf, ledger, standing)
    progress(1.0, shelf.name)
    return findings


def _problem(shelf: Shelf, state: VersionState, open_runner: OpenRunner | None) -> str | None:
    model = model_of(shelf, state, open_runner)
    pending = shelf.is_pending(state)
    if pending:
        model = replace(model, path=shelf.folder / state.registered.staged)
    try:
        model.verify()
        _ = model.metrics
        if open_runner is not None and not pending:
            _ = model.runner
    except Exception as error:  # noqa: BLE001 - whatever a damaged model file makes its reader raise is the finding
        return f"{error}" or type(error).__name__
    return None


def _unknown_entries(shelf: Shelf, standing: Standing) -> list[Finding]:
    findings = []
    links = standing.link_names()
    for path in sorted(shelf.folder.iterdir()):
        name = path.name
        if name in (LEDGER_NAME, LOCK_NAME) or name in standing.versions or name in links or name.startswith("."):
            continue
        if name.startswith(DAMAGED):
            continue  # a repair saved it
        if is_version(name):
            findings.append(Finding(f"{shelf.name}@{name}", "the ledger does not know this folder"))
        else:
            findings.append(Finding(str(path), "is no bundle, link or ledger of ours"))
    return findings


def _wrong_checkpoint(shelf: Shelf, ledger: Ledger) -> list[Finding]:
    """Report a checkpoint that is believed and does not say what the ledger says."""
    found = shelf.reader.checkpoint()
    if found is None:
        return []
    rows = ledger.rows[: found.position.count]
    if rows and rows[-1].digest == found.position.digest and replay(rows, str(shelf.ledger_path)) == found.standing:
        return []
    return [Finding(str(shelf.folder / CHECKPOINT_NAME), "does not say what the ledger says: delete it")]


def _wrong_links(shelf: Shelf, ledger: Ledger, standing: Standing) -> list[Finding]:
    """Report links that say neither what the ledger says now nor what it said before its last row.

    The second is what a crash between the last row and the swap leaves; every writer mends it before it adds a row.
    """
    wanted = standing.links()
    before = replay(ledger.rows[:-1], str(shelf.ledger_path)).links()
    findings = []
    for link in sorted(standing.link_names()):
        path = shelf.folder / link
        target = shelf.link_target(link)
        if target is None and path.exists():
            findings.append(Finding(str(path), "is not a symbolic link"))
        elif target is not None and not path.exists():
            findings.append(Finding(str(path), f"points to {target!r}, which does not exist"))
        elif target not in (wanted.get(link), before.get(link)):
            said = "points nowhere" if target is None else f"points to {target!r}"
            findings.append(Finding(str(path), f"{said}, the ledger says {wanted.get(link, 'no version')!r}"))
    return findings
