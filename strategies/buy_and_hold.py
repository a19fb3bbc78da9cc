"""BuyAndHold: the baseline that every strategy must be compared with."""

from __future__ import annotations

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
