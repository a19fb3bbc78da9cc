"""Figures as words, for model cards and verdicts."""

from __future__ import annotations

import math

__all__ = ["basis_points", "percent"]


def percent(value: float, digits: int = 1) -> str:
    """Return ``55.2 %``, or ``undefined``."""
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else "undefined"


def basis_points(value: float) -> str:
    """Return ``+1.50 bp`` for a fraction, or ``undefined``."""
    return f"{10_000 * value:+.2f} bp" if math.isfinite(value) else "undefined"
