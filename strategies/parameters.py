"""Checks of parameters, with errors that name the parameter and say what was expected."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from strategies.errors import StrategyError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_choice", "check_count", "check_fraction", "check_name"]


def check_fraction(
    name: str,
    value: Any,
    *,
    low: float,
    high: float,
    low_open: bool = False,
    optional: bool = False,
) -> None:
    """Raise ``StrategyError`` unless ``value`` is a number in [low, high], or (low, high] with ``low_open``."""
    if value is None and optional:
        return
    number = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not number or not low <= value <= high or (low_open and value == low):
        bracket = "(" if low_open else "["
        none = " or null" if optional else ""
        raise StrategyError(f"{name} is {value!r}: expected a number in {bracket}{low:g}, {high:g}]{none}")


def check_count(name: str, value: Any, *, low: int, high: int | None = None, optional: bool = False) -> None:
    """Raise ``StrategyError`` unless ``value`` is a whole number from ``low`` to ``high``; None is no upper end."""
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value > high):
        upper, none = "" if high is None else f" to {high}", " or null" if optional else ""
        raise StrategyError(f"{name} is {value!r}: expected a whole number from {low}{upper}{none}")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raise ``StrategyError`` unless ``value`` is one of the choices."""
    known = list(choices)
    if value not in known:
        raise StrategyError(f"{name} is {value!r}: expected {' or '.join(known)}{_nearest(str(value), known)}")


def check_name(what: str, name: str, known: Iterable[str]) -> None:
    """Raise ``StrategyError`` unless ``name`` is known; the message lists the known ones."""
    names = list(known)
    if name not in names:
        raise StrategyError(f"unknown {what} {name!r}{_nearest(name, names)} (there are {', '.join(names)})")


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
