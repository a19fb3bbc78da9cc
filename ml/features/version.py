"""The version of the feature code: a digest of its source, so that a changed kernel is another cache key."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["feature_code_version"]


@cache
def feature_code_version() -> str:
    """Return the SHA-256 (hex) over the source files of the kernels and of the features."""
    package = Path(__file__).resolve().parents[1]
    state = hashlib.sha256()
    for folder in ("kernels", "features"):
        for path in sorted((package / folder).rglob("*.py")):
            state.update(f"{path.relative_to(package).as_posix()}\0".encode())
            state.update(path.read_bytes())
            state.update(b"\0")
    return state.hexdigest()
