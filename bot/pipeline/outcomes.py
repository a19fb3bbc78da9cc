"""What a cycle did, as values for the store, the screen and the JSON document."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ml.candles import format_ms

__all__ = ["CycleReport", "RecipeOutcome"]


@dataclass(slots=True)
class RecipeOutcome:
    """What a cycle did about one recipe.

    Attributes
    ----------
    state
        ``registered``, ``skipped`` or ``failed``.
    version
        What was registered.
    reason
        Why it was skipped or failed; what the gate says of a version that was registered.
    scored
        Rows that its record grew by.
    seconds
        That the build took.
    """

    recipe: str
    stream: str
    key: str
    state: str = ""
    version: str | None = None
    reason: str = ""
    scored: int = 0
    seconds: float | None = None

    def fail(self, reason: str) -> None:
        """Note that nothing came of it; the first reason counts."""
        if self.state != "failed":
            self.state, self.reason = "failed", reason

    def register(self, version: str, reason: str) -> None:
        """Note the version that came of it, and what is said of it; what failed besides is told all the same."""
        self.version = version
        if self.state != "failed":
            self.state, self.reason = "registered", reason

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class CycleReport:
    """What a cycle did.

    Attributes
    ----------
    moment_ms
        The time that it stands for.
    resumed
        Whether an earlier process began it.
    recipes
        By name.
    decisions
        What the judges decided, with the key of each.
    kept
        The kept set of each key, the best first.
    problems
        What went wrong besides, in words.
    """

    moment_ms: int
    resumed: bool
    recipes: list[RecipeOutcome] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether anything went wrong."""
        return bool(self.problems) or any(each.state == "failed" for each in self.recipes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "moment": format_ms(self.moment_ms),
            "resumed": self.resumed,
            "recipes": [each.to_dict() for each in self.recipes],
            "decisions": self.decisions,
            "kept": self.kept,
            "problems": self.problems,
        }
