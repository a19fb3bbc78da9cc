"""Errors of the registry, and what a caller does about each.

RegistryError                 the root; the command fails (exit 1)
├── InvalidName               a symbol, timeframe, type or version is misspelled (exit 2)
├── ModelNotFound             nothing under that name: train, or choose another (exit 2)
├── NoChampion                the model exists, but none of its versions is promoted (exit 2)
├── InvalidBundle             a file is missing, changed or not allowed: refuse it (exit 3)
└── RegistryBusy              another process registers or promotes: try again (exit 1)
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "InvalidBundle",
    "InvalidName",
    "ModelNotFound",
    "NoChampion",
    "RegistryBusy",
    "RegistryError",
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


class RegistryBusy(RegistryError):
    """Another process holds the lock of this model's folder."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
