"""The clock on the wall, for the edges: everything inside is given the time."""

from __future__ import annotations

import time

__all__ = ["wall_ms"]


def wall_ms() -> int:
    """Return this computer's time, milliseconds UTC."""
    return time.time_ns() // 1_000_000
