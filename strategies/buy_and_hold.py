"""BuyAndHold: the baseline that every strategy must be compared with."""

from __future__ import annotations

from strategies.decision import Gate, ask
from strategies.ml_strategy import MLStrategy

__all__ = ["BuyAndHold"]


class BuyAndHold(MLStrategy):
    """Buy at the first bar that may trade and keep it; the limits of risk hold here too."""

    def wants_entry(self) -> bool:
        """Want in as long as nothing was ever held."""
        return not self.counts["entries"] or self.counts["refused_by_broker"] >= self.counts["entries"]

    def wants_exit(self) -> str:
        """Stay."""
        return ""

    def signal_gates(self) -> list[Gate]:
        """Return how often it was in before this close; see ``MLStrategy.signal_gates``."""
        before = self.counts["entries"] - self.counts["refused_by_broker"]
        if self.reason == "signal":  # this close's own order is counted already
            before -= 1
        return [ask("times_held", max(before, 0), "<=", 0.0)]
