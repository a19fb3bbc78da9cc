"""Promotion and rollback by hand, from the command or over the service: the ledger first, then the bots that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from bot.live.following import tell_home
from bot.model_rows import gate_verdict, headline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bot.home import Home
    from registry.model import StrategyModel
    from registry.names import ModelKey
    from registry.store import PredictionModelRegistry

__all__ = ["Decided", "GateRefused", "promote_by_hand", "rollback_by_hand"]


class GateRefused(UsageError):
    """The gate did not pass this version when it was trained, and nobody insisted; ``verdict`` is what it said."""

    def __init__(self, model: StrategyModel, verdict: str) -> None:
        super().__init__(f"{model} did not pass the gate: {verdict}")
        self.verdict = verdict


@dataclass(frozen=True, eq=False)
class Decided:
    """What a decision changed.

    Attributes
    ----------
    champion
        The version in force now.
    before
        The one before it; None where there was none.
    changed
        False where it was the champion already.
    against_gate
        What the gate had said, where it was promoted all the same; else empty.
    """

    champion: StrategyModel
    before: str | None
    changed: bool
    against_gate: str = ""


def promote_by_hand(
    home: Home,
    registry: PredictionModelRegistry,
    model: StrategyModel,
    *,
    at: datetime,
    reason: str,
    force: bool,
    figures: Mapping[str, Any] | None = None,
) -> Decided:
    """Make a version the champion; ``figures`` go into the ledger, by default those that stand first on its card.

    Raises
    ------
    GateRefused
        When the gate did not pass it and ``force`` is false.
    RegistryError
        As ``PredictionModelRegistry.promote``.
    """
    allowed, verdict = gate_verdict(model)
    changed = model.status != "champion"
    if changed and not allowed and not force:
        raise GateRefused(model, verdict)
    before = registry.champion_version(model.key)
    told = headline(model) if figures is None else figures
    evidence = {"by_hand": True, "forced": not allowed, "gate_reason": verdict, **told}
    done = registry.promote(model.key, model.version_id, at=at, reason=reason, evidence=evidence)
    if changed:
        tell_home(home, model.key, model.version_id, reason)
    return Decided(done, before, changed, "" if allowed else verdict)


def rollback_by_hand(
    home: Home,
    registry: PredictionModelRegistry,
    key: ModelKey,
    *,
    at: datetime,
    reason: str,
    version: str | None = None,
) -> Decided:
    """Make an earlier champion champion again; raises what ``PredictionModelRegistry.rollback`` raises."""
    before = registry.champion_version(key)
    done = registry.rollback(key, at=at, reason=reason, version=version)
    changed = done.version_id != before
    if changed:
        tell_home(home, key, done.version_id, reason)
    return Decided(done, before, changed)
