"""Figures of a bundle as commands show them: each beside its baseline and its interval; what is absent is None."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from registry.model import StrategyModel

__all__ = ["age_text", "flatten", "gate_verdict", "headline", "model_row", "percent", "short"]

HEADLINE = (
    "n",
    "direction_accuracy",
    "direction_accuracy_low",
    "direction_accuracy_high",
    "majority_baseline",
    "last_sign_baseline",
    "log_loss_skill",
    "calibration_error",
    "gross_return_per_bet",
    "gross_return_per_bet_low",
    "gross_return_per_bet_high",
    "break_even_cost",
)


def headline(model: StrategyModel) -> dict[str, float | None]:
    """Return the out-of-sample figures that stand first; all None for a bundle that is broken or has no metrics."""
    figures = {} if model.problem else model.metrics.get("out_of_sample")
    figures = figures if isinstance(figures, dict) else {}
    return {name: _number(figures.get(name)) for name in HEADLINE}


def gate_verdict(model: StrategyModel) -> tuple[bool | None, str]:
    """Return whether the gate allowed this version when it was trained, and its reason; None when none is stored."""
    gate = model.metrics.get("gate")
    if not isinstance(gate, dict) or not isinstance(gate.get("promoted"), bool):
        return None, "the bundle holds no verdict of the gate"
    return gate["promoted"], str(gate.get("reason") or "no reason is stored")


def model_row(model: StrategyModel, now: datetime) -> dict[str, Any]:
    """Return one version as JSON of ``models list``."""
    return {
        "symbol": model.symbol,
        "timeframe": model.timeframe,
        "model_type": model.model_type,
        "version": model.version_id,
        "status": model.status,
        "champion": model.status == "champion",
        "promoted": model.promoted,
        "problem": model.problem,
        "digest": model.digest or None,
        "path": str(model.path),
        "registered_at": model.registered_at.isoformat(),
        "promoted_at": model.promoted_at.isoformat() if model.promoted_at else None,
        "age_seconds": int((now - model.registered_at).total_seconds()),
        "trained_until": None if model.problem else model.metadata.get("trained_until"),
        **headline(model),
    }


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


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value
