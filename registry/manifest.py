"""The manifest of a bundle: which files it has, and the digest of each. A file it does not name is refused."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from registry.errors import InvalidBundle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "ALLOWED_SUFFIXES",
    "MANIFEST_NAME",
    "MANIFEST_VERSION",
    "FileRecord",
    "Manifest",
    "check_file_name",
    "read_manifest",
    "read_regular_file",
    "sha256",
]

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
ALLOWED_SUFFIXES = (".txt", ".json", ".ubj", ".onnx", ".parquet", ".md", ".png")
"""Formats that hold data and cannot run code when they are read."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def sha256(data: bytes) -> str:
    """Return the SHA-256 of some bytes in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def check_file_name(name: str, place: str) -> None:
    """Refuse a name that leaves the bundle's folder or that stands for a format which may run code.

    Parameters
    ----------
    name
        A name as a manifest or a caller gives it. A bundle is flat: it has no folders.
    place
        The bundle, for the message.

    Raises
    ------
    InvalidBundle
        For absolute names, ``..``, folders, hidden files and suffixes that are not in `ALLOWED_SUFFIXES`.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidBundle(f"{place}: {name!r} is not a file name: a bundle is one flat folder, without paths or '..'")
    if not name.endswith(ALLOWED_SUFFIXES):
        raise InvalidBundle(
            f"{place}: {name!r} is not allowed in a bundle: expected one of {' '.join(ALLOWED_SUFFIXES)}"
        )


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Digest and size of one file.

    Attributes
    ----------
    sha256
        64 hexadecimal digits.
    bytes
        Size in bytes.
    """

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle consists of, without the manifest itself.

    Attributes
    ----------
    files
        Record of each file by its name.
    """

    files: Mapping[str, FileRecord]

    @classmethod
    def of(cls, files: Mapping[str, bytes], place: str) -> Manifest:
        """Describe the files of a bundle that is being written; names are checked."""
        for name in files:
            check_file_name(name, place)
            if name == MANIFEST_NAME:
                raise InvalidBundle(f"{place}: {MANIFEST_NAME} is written by the registry, not given to it")
        return cls({name: FileRecord(sha256(data), len(data)) for name, data in sorted(files.items())})

    def to_bytes(self) -> bytes:
        """Return the JSON of ``manifest.json``: ``schema_version`` and ``files``."""
        files = {name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in self.files.items()}
        return (json.dumps({"schema_version": MANIFEST_VERSION, "files": files}, indent=2) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes, place: str) -> Manifest:
        """Read ``manifest.json``.

        Raises
        ------
        InvalidBundle
            When it is not JSON of that form, names a file that is not allowed, or has an unknown schema version.
        """
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidBundle(f"{place}: {MANIFEST_NAME} is not JSON ({error})") from None
        version = document.get("schema_version") if isinstance(document, dict) else None
        if version != MANIFEST_VERSION:
            raise InvalidBundle(
                f"{place}: {MANIFEST_NAME} has schema_version {version!r}, this program reads {MANIFEST_VERSION}"
            )
        files = document.get("files")
        if not isinstance(files, dict):
            raise InvalidBundle(f"{place}: {MANIFEST_NAME} lists no files")
        records = {}
        for name, entry in files.items():
            check_file_name(name, place)
            records[name] = _record(entry, f"{place}: {MANIFEST_NAME}, {name!r}")
        return cls(records)

    def check_names(self, folder: Path) -> None:
        """Compare names and sizes with a folder; contents are not read.

        Raises
        ------
        InvalidBundle
            Naming the first file that is missing, not in the manifest, of another size, or no regular file.
        """
        found = set()
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda each: each.name):
                if entry.is_symlink() or not entry.is_file(follow_symlinks=False):
                    kind = "a symbolic link" if entry.is_symlink() else "not a file"
                    raise InvalidBundle(f"{folder}: {entry.name!r} is {kind}: a bundle holds files only")
                if entry.name == MANIFEST_NAME:
                    continue
                if entry.name not in self.files:
                    raise InvalidBundle(f"{folder}: {entry.name!r} is not named by {MANIFEST_NAME}")
                size = entry.stat(follow_symlinks=False).st_size
                if size != self.files[entry.name].bytes:
                    raise InvalidBundle(
                        f"{folder}: {entry.name!r} was changed: {size} bytes, "
                        f"{MANIFEST_NAME} says {self.files[entry.name].bytes}"
                    )
                found.add(entry.name)
        for name in self.files:
            if name not in found:
                raise InvalidBundle(f"{folder}: {name!r} is missing")

    def read(self, folder: Path, name: str) -> bytes:
        """Return a file's bytes after checking those very bytes against the manifest.

        Raises
        ------
        InvalidBundle
            When the manifest does not name the file, or it is missing, changed or a symbolic link.
        """
        record = self.files.get(name)
        if record is None:
            raise InvalidBundle(f"{folder}: this bundle has no {name!r}; it has {', '.join(self.files) or 'no files'}")
        data = read_regular_file(folder, name)
        if len(data) != record.bytes or sha256(data) != record.sha256:
            raise InvalidBundle(f"{folder}: {name!r} was changed: its digest is not the one in {MANIFEST_NAME}")
        return data


def read_manifest(folder: Path, digest: str) -> Manifest:
    """Read a bundle's manifest, whose own digest the ledger keeps.

    Parameters
    ----------
    folder
        The bundle.
    digest
        SHA-256 of ``manifest.json`` as the ledger recorded it.

    Raises
    ------
    InvalidBundle
        When the folder or the manifest is missing, changed or of an unknown format.
    """
    data = read_regular_file(folder, MANIFEST_NAME)
    if sha256(data) != digest:
        raise InvalidBundle(f"{folder}: {MANIFEST_NAME} was changed: its digest is not the one in the ledger")
    return Manifest.from_bytes(data, str(folder))


def read_regular_file(folder: Path, name: str) -> bytes:
    """Return the bytes of a file directly below a folder; links, pipes and devices are refused.

    Raises
    ------
    InvalidBundle
        When there is no such regular file, or it cannot be read.
    """
    if folder.is_symlink() or not folder.is_dir():
        what = "is a symbolic link, not a bundle" if folder.is_symlink() else "does not exist"
        raise InvalidBundle(f"{folder}: this bundle's folder {what}")
    try:
        descriptor = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InvalidBundle(f"{folder}: {name!r} is missing") from None
    except OSError as error:
        reason = "it is a symbolic link" if (folder / name).is_symlink() else error.strerror
        raise InvalidBundle(f"{folder}: {name!r} cannot be read: {reason}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidBundle(f"{folder}: {name!r} is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def _record(entry: Any, place: str) -> FileRecord:
    if not isinstance(entry, dict) or set(entry) != {"sha256", "bytes"}:
        raise InvalidBundle(f"{place}: expected sha256 and bytes")
    digest, size = entry["sha256"], entry["bytes"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InvalidBundle(f"{place}: sha256 is not 64 hexadecimal digits")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise InvalidBundle(f"{place}: bytes is not a size")
    return FileRecord(digest, size)
