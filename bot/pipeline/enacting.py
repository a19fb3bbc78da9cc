"""Decisions as rows of the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from ml.lifecycle.facts import Decision
    from registry.model import StrategyModel
    from registry.names import ModelKey
    from registry.store import PredictionModelRegistry

__all__ = ["enact", "has_expired"]


def enact(registry: PredictionModelRegistry, key: ModelKey, decision: Decision, at: datetime) -> None:
    """Write a decision into the ledger, with its reason and evidence.

    The recipe that a rollback returns to has been refitted in the shadow since: its newest version, which was never champion
    itself, is promoted then.

    Raises
    ------
    RegistryError
        When the ledger cannot be written, or the version cannot be used.
    """
    reason = f"{decision.stream}: {decision.reason}"
    evidence = {"kind": decision.kind, "stream": decision.stream, **decision.evidence}
    if decision.kind == "quarantine":
        registry.quarantine(key, decision.version, at=at, reason=reason, evidence=evidence)
        return
    if decision.kind == "rollback":
        model = registry.select_bundle(
            symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=decision.version
        )
        if model.promoted_at is not None:
            registry.rollback(key, at=at, reason=reason, version=decision.version, evidence=evidence)
            return
    registry.promote(key, decision.version, at=at, reason=reason, evidence=evidence)


def has_expired(model: StrategyModel, now_ms: int) -> bool:
    """Tell whether a version would answer nothing any more by what its own metadata says."""
    length = model.metadata.get("expires_after_ms")
    return length is not None and int(model.metadata["trained_until_ms"]) + int(length) < now_ms
