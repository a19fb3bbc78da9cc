"""Which code this is: the version of the package and a digest of its sources."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["code_version"]

_PACKAGES = ("bot", "indicators", "ml", "registry", "strategies")


@cache
def code_version() -> str:
    """Return ``0.1.0+1a2b3c4d5e6f``: the version and the first 12 digits of the SHA-256 over every source file.

    A changed line is another code version, whether or not somebody gave it a number.
    """
    root = Path(__file__).resolve().parent.parent
    state = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in {".py", ".html", ".css"}:
                state.update(path.relative_to(root).as_posix().encode() + b"\0")
                state.update(hashlib.sha256(path.read_bytes()).digest())
    try:
        number = version("mlbot")
    except PackageNotFoundError:
        number = "0"
    return f"{number}+{state.hexdigest()[:12]}"
