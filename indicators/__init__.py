"""Predictions and features as Backtrader lines.

``from indicators import MLPrediction, MLForecast, Feature, HoldingEdge``; Backtrader is imported with the first of them, not
before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indicators.edge import HoldingEdge
    from indicators.feature import Feature
    from indicators.forecast import MLForecast
    from indicators.prediction import MLPrediction

__all__ = ["Feature", "HoldingEdge", "MLForecast", "MLPrediction"]

_MODULES = {"Feature": "feature", "HoldingEdge": "edge", "MLForecast": "forecast", "MLPrediction": "prediction"}


def __getattr__(name: str) -> Any:
    """Import an indicator when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
