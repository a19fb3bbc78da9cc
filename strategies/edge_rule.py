"""The rule that a position must pay for its costs in the model's own out-of-sample record, shared by our strategies."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any

from indicators.edge import HoldingEdge
from strategies.decision import Gate, ask
from strategies.errors import StrategyError
from strategies.parameters import check_fraction
from strategies.signals import earns_its_costs

__all__ = ["EdgeRule", "check_min_edge"]


def check_min_edge(edge: Any) -> None:
    """Raise ``StrategyError`` unless ``edge`` is ``cost``, ``none`` or a number in [-1, 1]."""
    if isinstance(edge, str):
        if edge not in {"cost", "none"}:
            raise StrategyError(f"min_edge is {edge!r}: expected cost, none or a number")
        return
    check_fraction("min_edge", edge, low=-1.0, high=1.0)


class EdgeRule:
    """Permit a position only where the model's record shows more than is needed.

    Made inside a strategy's ``__init__``, which then owns the indicator.

    Parameters
    ----------
    min_edge : str or float
        ``cost``, ``none`` (permit everything) or a number, a fraction.
    round_trip_cost : float
        Fraction that buying and selling once costs; what ``cost`` needs.
    prediction : MLPrediction
        Its line ``p_up`` is looked up in the record.
    model
        The engine of the prediction.
    enter, exit : float
        Probabilities of a rise with which the record is replayed, exit below enter.

    Attributes
    ----------
    needed : float or None
        What the lower bound must exceed, a fraction per holding; None where everything is permitted.
    best : float
        The highest lower bound among the bars that asked; minus infinity before the first that had one.
    enter, exit : float
        As given.
    model
        As given.
    """

    def __init__(
        self,
        min_edge: str | float,
        round_trip_cost: float,
        prediction: Any,
        model: Any,
        *,
        enter: float,
        exit: float,  # noqa: A002 - the config's word
    ) -> None:
        self.enter, self.exit, self.model = enter, exit, model
        self.needed: float | None = None
        self.best = float("-inf")
        if min_edge == "none":
            return
        self.needed = round_trip_cost if min_edge == "cost" else float(min_edge)
        edge = HoldingEdge(prediction, model=model, enter=enter, exit=exit)  # type: ignore[call-arg]
        self._lower_bound = edge.lines.lower_bound

    def permits(self) -> bool:
        """Tell whether the record of predictions like the newest one earned more than is needed."""
        if self.needed is None:
            return True
        bound = self._lower_bound[0]
        if not isnan(bound):
            self.best = max(self.best, bound)
        return earns_its_costs(bound, self.needed)

    def gates(self) -> list[Gate]:
        """Return the rule as a gate of opening; none where everything is permitted."""
        return [] if self.needed is None else [ask("edge", self._lower_bound[0], ">", self.needed)]

    def summary(self) -> dict[str, Any]:
        """Return ``needed_edge`` and ``best_edge``, fractions per holding; None where nothing was needed or asked."""
        return {"needed_edge": self.needed, "best_edge": self.best if isfinite(self.best) else None}
