"""Figures as commands print them: shares, ages, and nested documents laid flat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["age_text", "flatten", "percent", "short"]


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the single figures of nested objects under dotted names; tables are left out."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if isinstance(value, dict):
            found |= flatten(value, f"{prefix}{name}.")
        elif not isinstance(value, list):
            found[prefix + name] = value
    return found


def percent(value: float | None, digits: int = 1) -> str:
    """Return ``55.2 %``, or ``-`` for an absent figure."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def short(value: Any) -> str:
    """Return a figure in few characters for a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def age_text(seconds: float) -> str:
    """Return an age in the largest unit that fits: ``3 d``, ``5 h``, ``12 min``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"
