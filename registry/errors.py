"""Errors of the registry, and what a caller does about each.

RegistryError                 the root; the command fails (exit 1)
├── InvalidName               a symbol, timeframe, type or version is misspelled (exit 2)
├── ModelNotFound             nothing under that name: train, or choose another (exit 2)
├── NoChampion                the model exists, but none of its versions is promoted (exit 2)
├── InvalidBundle             a file is missing, changed or not allowed: refuse it (exit 3)
│   └── InvalidLedger         the history of a model was damaged or edited: restore or repair it (exit 3)
│       └── LedgerTooNew      it was written by a newer program: update this one (exit 3)
├── TransitionRefused         the champion cannot be archived, nothing to roll back to (exit 2)
├── RegistryUnwritable        the disk is full or read-only; nothing half-written stays (exit 1)
└── RegistryBusy              another process registers or promotes: try again (exit 1)
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "InvalidBundle",
    "InvalidLedger",
    "InvalidName",
    "LedgerTooNew",
    "ModelNotFound",
    "NoChampion",
    "RegistryBusy",
    "RegistryError",
    "RegistryUnwritable",
    "TransitionRefused",
    "suggestion",
]


class RegistryError(Exception):
    """Root of everything that the registry raises."""

    exit_code: ClassVar[int] = 1


class InvalidName(RegistryError, ValueError):
    """A symbol, timeframe, model type or version is not spelled as one."""

    exit_code = 2


class ModelNotFound(RegistryError, LookupError):
    """No bundle is registered under that name."""

    exit_code = 2


class NoChampion(ModelNotFound):
    """The model is known, but no version of it has been promoted."""


class InvalidBundle(RegistryError):
    """A bundle is damaged, incomplete, foreign or of an unknown format: it is refused."""

    exit_code = 3


class InvalidLedger(InvalidBundle):
    """The ledger of a model is damaged or was edited: what it says cannot be trusted."""


class LedgerTooNew(InvalidLedger):
    """A row was written by a newer program: it is no damage, and no repair removes it."""


class TransitionRefused(RegistryError):
    """The version's status does not allow this: a champion is never archived, a rollback needs a predecessor."""

    exit_code = 2


class RegistryUnwritable(RegistryError):
    """A file of the registry cannot be written: no space, read-only, no permission."""


class RegistryBusy(RegistryError):
    """Another process holds the lock of this model's folder."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
