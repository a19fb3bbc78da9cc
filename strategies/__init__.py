"""Decisions: signals, sizes and risk rules that read lines and state a target.

``from strategies import MLBasic, BuyAndHold, MLStrategy``; Backtrader is imported with the first of them, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategies.buy_and_hold import BuyAndHold
    from strategies.ml_basic import MLBasic
    from strategies.ml_enhanced import MLEnhanced
    from strategies.ml_predictive import MLPredictive
    from strategies.ml_strategy import MLStrategy

__all__ = ["BuyAndHold", "MLBasic", "MLEnhanced", "MLPredictive", "MLStrategy"]

_MODULES = {
    "BuyAndHold": "buy_and_hold",
    "MLBasic": "ml_basic",
    "MLEnhanced": "ml_enhanced",
    "MLPredictive": "ml_predictive",
    "MLStrategy": "ml_strategy",
}


def __getattr__(name: str) -> Any:
    """Import a strategy when it is first asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
