"""Predictions and features as Backtrader lines.

``from indicators import MLPrediction, Feature, HoldingEdge``; Backtrader is imported with the first of them, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indicators.edge import HoldingEdge
    from indicators.feature import Feature
    from indicators.prediction import MLPrediction

__all__ = ["Feature", "HoldingEdge", "MLPrediction"]

_MODULES = {"Feature": "feature", "HoldingEdge": "edge", "MLPrediction": "prediction"}


def __getattr__(name: str) -> Any:
    """Import an indicator when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
