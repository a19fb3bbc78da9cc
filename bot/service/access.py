"""Who may ask: tokens with a name and a scope, of which the disk holds digests only.

``<home>/service/tokens.json`` is replaced as a whole by whoever holds the lock beside it. A running server looks at the file
again as soon as it was replaced, so a token that is revoked from another process is refused from the next request on.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bot.errors import StorageError, UsageError
from bot.wall_clock import wall_ms
from registry.durable import TEMPORARY, make_folders, sync_folder, write_all
from registry.errors import suggestion
from registry.locks import LOCK_NAME, acquire, release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OWNER", "Identity", "Scope", "TokenRow", "TokenStore"]

OWNER = "owner"
"""Name of the token that a start makes where no token may write."""

_VERSION = 1
_PREFIX = "mlbot_"
_RANDOM_BYTES = 32  # 43 characters of base64
_NAME = re.compile(r"[a-z0-9-]{1,32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LOCK_S = 5.0
_MOST_BYTES = 1 << 20
_OTHERS = 0o077
_LEFTOVER = f"{TEMPORARY}tokens-"


class Scope(StrEnum):
    """What a token may do; who may write may read as well."""

    READ = "read"
    WRITE = "write"

    def allows(self, needed: Scope) -> bool:
        """Return whether this scope includes another."""
        return needed is Scope.READ or self is Scope.WRITE


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    name: str
    scope: Scope

    @property
    def may_write(self) -> bool:
        """Whether anything may be changed in this name."""
        return self.scope.allows(Scope.WRITE)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What is known of a token; the token itself is not."""

    name: str
    scope: Scope
    created_ms: int


@dataclass(frozen=True, slots=True)
class _Stored:
    row: TokenRow
    digest: str = field(repr=False)


class TokenStore:
    """The tokens of one home.

    Parameters
    ----------
    folder
        ``service`` of the home; made by the first token.
    now_ms
        The clock that dates tokens.

    Raises
    ------
    StorageError
        In every method: the file is damaged, foreign or readable by others, or the disk refuses.
    """

    def __init__(self, folder: Path, now_ms: Callable[[], int] = wall_ms) -> None:
        self.path = folder / "tokens.json"
        self._folder = folder
        self._now_ms = now_ms
        self._known: tuple[tuple[int, ...], tuple[_Stored, ...]] | None = None

    def first(self) -> str | None:
        """Make the owner's token, which may write, and return it; None where there is one that may write already.

        Where its name is taken it is ``owner-2``, and so on.
        """
        if _may_write(self._read() or ()):
            return None
        with self._changing():
            stored = self._read() or ()
            if _may_write(stored):  # another process was first
                return None
            return self._add(stored, _owner_name({one.row.name for one in stored}), Scope.WRITE)

    def create(self, name: str, scope: Scope) -> str:
        """Make a token and return it: this is the only time that it can be seen.

        Raises
        ------
        UsageError
            When the name is taken, or is none.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"the token name {name!r}: expected 1 to 32 of a-z, 0-9 and -")
        with self._changing():
            stored = self._read() or ()
            if any(one.row.name == name for one in stored):
                raise UsageError(f"there is a token {name!r} already: choose another name, or revoke it first")
            return self._add(stored, name, Scope(scope))

    def revoke(self, name: str) -> None:
        """Take a token back.

        Raises
        ------
        UsageError
            When there is no such token, or it is the last that may write.
        """
        if not self._read():
            raise UsageError(f"there is no token {name!r}: there are none yet")
        with self._changing():
            stored = self._read() or ()
            rest = tuple(one for one in stored if one.row.name != name)
            if len(rest) == len(stored):
                names = [one.row.name for one in stored]
                raise UsageError(f"there is no token {name!r}{suggestion(name, names)} (there are: {', '.join(names)})")
            if _may_write(stored) and not _may_write(rest):
                raise UsageError(f"{name!r} is the last token that may write: create another one first")
            self._write(rest)

    def list(self) -> tuple[TokenRow, ...]:
        """Return what is known of every token, oldest first."""
        return tuple(one.row for one in self._read() or ())

    def identify(self, raw: str) -> Identity | None:
        """Return whose token this is, or None; every digest is compared, whichever is the right one."""
        digest = hashlib.sha256(raw.encode(errors="replace")).hexdigest()
        found = None
        for one in self._read() or ():
            if hmac.compare_digest(one.digest, digest):
                found = Identity(one.row.name, one.row.scope)
        return found

    def _add(self, stored: tuple[_Stored, ...], name: str, scope: Scope) -> str:
        raw = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
        row = TokenRow(name, scope, self._now_ms())
        self._write((*stored, _Stored(row, hashlib.sha256(raw.encode()).hexdigest())))
        return raw

    def _read(self) -> tuple[_Stored, ...] | None:
        """Return what the file holds, read again only where it is another one; None where there is none."""
        try:
            found = self.path.stat()
            known = self._known
            if known is not None and known[0] == _signature(found):
                return known[1]
            # a pipe would wait for its writer
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                found = os.fstat(descriptor)
                self._check(found)
                data = os.pread(descriptor, _MOST_BYTES + 1, 0)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror or error}") from None
        stored = self._parse(data)
        self._known = (_signature(found), stored)
        return stored

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise StorageError(f"{self.path} is not a file: move it away, and the next start makes a new token")
        if found.st_mode & _OTHERS:
            raise StorageError(
                f"{self.path} may be read by others (mode {stat.S_IMODE(found.st_mode):o}): chmod 600 '{self.path}'"
            )

    def _parse(self, data: bytes) -> tuple[_Stored, ...]:
        try:
            if len(data) > _MOST_BYTES:
                raise ValueError("it is too large")
            document = json.loads(data)
            if not isinstance(document, dict) or document.get("schema_version") != _VERSION:
                raise ValueError(f"expected schema_version {_VERSION}")
            stored = tuple(_token(entry) for entry in document["tokens"])
            if len({one.row.name for one in stored}) < len(stored) or len({one.digest for one in stored}) < len(stored):
                raise ValueError("a token stands in it twice")
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise StorageError(
                f"{self.path} is no token file of this program ({reason}): move it away, and the next start makes a new token"
            ) from None
        return stored

    def _write(self, stored: tuple[_Stored, ...]) -> None:
        """Replace the file, under the lock."""
        document = {
            "schema_version": _VERSION,
            "tokens": [
                {
                    "name": one.row.name,
                    "scope": str(one.row.scope),
                    "created_ms": one.row.created_ms,
                    "sha256": one.digest,
                }
                for one in stored
            ],
        }
        fresh = self._folder / f"{_LEFTOVER}{uuid4().hex}"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(descriptor, (json.dumps(document, indent=1) + "\n").encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            fresh.replace(self.path)
            sync_folder(self._folder)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._unwritable(error) from None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock; the folder is made where it is missing, and closed to others."""
        try:
            make_folders(self._folder.parent)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if self._folder.stat().st_mode & _OTHERS:
                self._folder.chmod(0o700)
            descriptor = acquire(self._folder / LOCK_NAME, _LOCK_S)
        except OSError as error:
            raise self._unwritable(error) from None
        if descriptor is None:
            raise StorageError(f"{self.path}: another process changes the tokens: try again")
        try:
            for left in self._folder.glob(f"{_LEFTOVER}*"):  # of a process that was killed
                left.unlink(missing_ok=True)
            yield
        finally:
            release(descriptor)

    def _unwritable(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path} cannot be written: {error.strerror or error}")


def _may_write(stored: tuple[_Stored, ...]) -> bool:
    """Return whether any of the tokens may write."""
    return any(one.row.scope.allows(Scope.WRITE) for one in stored)


def _owner_name(taken: set[str]) -> str:
    """Return the first of ``owner``, ``owner-2``, ``owner-3``, ... that is free."""
    names = chain((OWNER,), (f"{OWNER}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def _token(entry: Any) -> _Stored:
    """Return a token of the file, each of its fields checked."""
    name, scope, created_ms, digest = (entry[key] for key in ("name", "scope", "created_ms", "sha256"))
    if not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise ValueError("a name is none")
    if type(created_ms) is not int:
        raise ValueError(f"created_ms of {name} is no whole number")
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        raise ValueError(f"sha256 of {name} is no digest")
    return _Stored(TokenRow(name, Scope(scope), created_ms), digest)
