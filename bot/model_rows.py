"""A registered version and its history as plain data: each figure beside its baseline and its interval, None where absent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from registry.ledger import LedgerRow
    from registry.model import StrategyModel

__all__ = ["gate_verdict", "headline", "history_document", "model_row"]

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


def history_document(row: LedgerRow) -> dict[str, Any]:
    """Return one row as JSON."""
    return {
        "time": row.at.isoformat(),
        "action": row.action,
        "timeframe": row.timeframe,
        "version": row.version,
        "reason": row.reason,
        "evidence": dict(row.evidence),
        "manifest": row.manifest,
    }


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return value
