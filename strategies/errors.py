"""Errors of the strategies.

StrategyError                 the root; the message names the parameter or strategy (exit 2)
└── UnknownStrategy           no strategy of that name; the message suggests the nearest
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["StrategyError", "UnknownStrategy"]


class StrategyError(Exception):
    """A strategy's parameter is out of its range or of the wrong type."""

    exit_code: ClassVar[int] = 2


class UnknownStrategy(StrategyError, LookupError):
    """No strategy of that name is in the catalogue, and no module:Class could be loaded."""
