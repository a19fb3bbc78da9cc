"""What a strategy decided at a close, and what decided it: plain values for the journal and for whoever asks why.

A strategy computes them when it is asked, after its ``next``; a run that does not ask pays nothing for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from operator import eq, ge, gt, le, lt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["ACTIONS", "Decision", "Gate", "ask", "not_asked", "until_the_first_failure"]

ACTIONS = ("enter", "leave", "hold", "wait")
"""What a close may lead to: an order that opens, an order that closes, staying in, staying out."""

_RULES: dict[str, Callable[[float, float], bool]] = {">=": ge, ">": gt, "<=": le, "<": lt, "==": eq}


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition of a decision: of opening while nothing is held, of staying while something is.

    Gates are asked in their order. The first that decides and fails is why nothing is opened, or why the position is closed.

    Attributes
    ----------
    name : str
        What is looked at, such as ``p_up`` or ``drawdown``.
    value : float or None
        What it was at this close; None where it is undefined.
    threshold : float
        What it is held against.
    passed : bool or None
        Whether the condition holds; None where nobody asked, since an earlier gate had decided.
    rule : str
        How value and threshold must stand: ``>=``, ``>``, ``<=``, ``<`` or ``==``.
    decides : bool
        False where a failure alone decides nothing, such as an index that only opens the question of the next gate.
    """

    name: str
    value: float | None
    threshold: float
    passed: bool | None
    rule: str = ">="
    decides: bool = True

    def __post_init__(self) -> None:
        """Refuse a gate without a name, a rule that nobody knows and a number that is none."""
        if not self.name or self.rule not in _RULES:
            raise ValueError(
                f"gate {self.name!r} with the rule {self.rule!r}: expected a name and one of {', '.join(_RULES)}"
            )
        if isnan(self.threshold) or (self.value is not None and isnan(self.value)):
            raise ValueError(f"gate {self.name!r}: NaN is no value of a gate; an undefined one is None")

    def to_dict(self) -> dict[str, Any]:
        """Return the gate as plain data."""
        return {
            "name": self.name,
            "value": self.value,
            "rule": self.rule,
            "threshold": self.threshold,
            "passed": self.passed,
            "decides": self.decides,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy did at one close, and why.

    Attributes
    ----------
    action : str
        ``enter`` and ``leave`` where an order was placed, ``hold`` and ``wait`` where none was, with and without a position.
    reason : str
        A stable code. Of ``enter``: ``signal``; of ``leave``: what closes, such as ``signal`` or ``max_drawdown``; of both
        ``refused_by_broker: TEXT`` where the broker refused the order at once. Of ``hold`` and ``wait`` the reason for doing
        nothing: ``no_exit_signal``, ``no_entry_signal``, ``order_pending``, ``no_prediction`` (held without one),
        ``blocked_by_NAME``, ``before_start``, ``minimum_period``, and what a strategy adds.
    gates : tuple of Gate
        In the order in which they are asked; none before the first bar that may trade.
    """

    action: str
    reason: str
    gates: tuple[Gate, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an unknown action and an empty reason."""
        if self.action not in ACTIONS or not self.reason:
            raise ValueError(
                f"action {self.action!r}, reason {self.reason!r}: expected one of {', '.join(ACTIONS)}, and why"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the decision as plain data."""
        return {"action": self.action, "reason": self.reason, "gates": [gate.to_dict() for gate in self.gates]}


def ask(
    name: str, value: float, rule: str, threshold: float, *, passed: bool | None = None, decides: bool = True
) -> Gate:
    """Return the gate of a value against a threshold.

    Parameters
    ----------
    name, rule, threshold, decides
        As ``Gate`` describes.
    value
        NaN is undefined: it passes no rule.
    passed
        The verdict where it was reached by other words than the rule's; by default the rule's.
    """
    verdict = bool(_RULES[rule](value, threshold)) if passed is None else passed
    return Gate(name, None if isnan(value) else float(value), float(threshold), verdict, rule, decides)


def not_asked(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Return the gates without their verdicts: nobody asked them."""
    return tuple(Gate(gate.name, gate.value, gate.threshold, None, gate.rule, gate.decides) for gate in gates)


def until_the_first_failure(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Return the gates with the verdicts up to the first that decides and fails; those behind it were not asked."""
    found = tuple(gates)
    failed = next((place for place, gate in enumerate(found) if gate.decides and gate.passed is False), len(found))
    return found[: failed + 1] + not_asked(found[failed + 1 :])
