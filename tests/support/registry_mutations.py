"""Ways to damage a bundle's folder, each described by a few values, so that hypothesis or a plain generator can draw them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FRESH", "KINDS", "Mutation", "pickle_that_runs"]

KINDS = (
    *("flip", "insert", "delete", "truncate", "swap", "remove", "rename", "add", "link", "folder", "case"),
    *("pickle", "forge"),
)
FRESH = ("x.txt", "x.pkl", "model.py", ".hidden", "x", "manifest.json.txt", "a b.txt")
MANIFEST = "manifest.json"


class _Runs:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def pickle_that_runs(marker: Path) -> bytes:
    """Return a pickle which makes a folder when somebody loads it."""
    return pickle.dumps(_Runs(marker))


@dataclass(frozen=True)
class Mutation:
    """One change of one file; `apply` tells whether there was anything to change."""

    kind: str
    name: str
    other: str
    where: float  # of the file's length, in [0, 1)
    bit: int
    added: bytes
    fresh: str

    def apply(self, folder: Path) -> bool:
        path = folder / self.name
        data = path.read_bytes()
        at = int(self.where * len(data))
        if self.kind in ("flip", "delete", "truncate") and not data:
            return False
        if self.kind in ("flip", "forge"):
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << self.bit)]) + data[at + 1 :] if data else self.added)
            if self.kind == "forge":  # and the manifest says what the file is now
                _forge(folder, self.name)
        elif self.kind == "insert":
            path.write_bytes(data[:at] + self.added + data[at:])
        elif self.kind == "delete":
            path.write_bytes(data[:at] + data[at + 1 :])
        elif self.kind == "truncate":
            path.write_bytes(data[:at])
        elif self.kind == "swap":
            theirs = (folder / self.other).read_bytes()
            path.write_bytes(theirs)
            (folder / self.other).write_bytes(data)
        elif self.kind == "remove":
            path.unlink()
        elif self.kind == "rename":
            path.rename(folder / self.fresh)
        elif self.kind == "add":
            (folder / self.fresh).write_bytes(self.added)
        elif self.kind == "link":  # to the same content
            path.rename(folder.parent / "outside")
            path.symlink_to("../outside")
        elif self.kind == "folder":
            (folder / "sub.txt").mkdir()
        elif self.kind == "case":
            path.rename(folder / self.name.swapcase())
        elif self.kind == "pickle":
            path.write_bytes(pickle_that_runs(folder.parent / "pickle-ran"))
        else:
            raise ValueError(self.kind)
        return True


def _forge(folder: Path, name: str) -> None:
    path = folder / MANIFEST
    if name == MANIFEST:
        return
    document = json.loads(path.read_bytes())
    data = (folder / name).read_bytes()
    document["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    path.write_bytes((json.dumps(document, indent=2) + "\n").encode())
