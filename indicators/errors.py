"""Errors of the indicators.

IndicatorError                the root; a strategy or config asks for what cannot be drawn (exit 2)
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["IndicatorError"]


class IndicatorError(Exception):
    """An indicator was asked for something that its data cannot give."""

    exit_code: ClassVar[int] = 2
