"""MLBasic: in the market while the model expects a rise."""

from __future__ import annotations

from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, ClassVar

from indicators.edge import HoldingEdge
from indicators.prediction import MLPrediction
from strategies.errors import StrategyError
from strategies.ml_strategy import MLStrategy
from strategies.parameters import check_fraction
from strategies.signals import earns_its_costs, wants_in, wants_out

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MLBasic"]


class MLBasic(MLStrategy):
    """Open when the calibrated probability of a rise is ``enter`` or more, close when it is ``exit`` or less.

    With ``min_edge`` it opens only where the model's out-of-sample record, replayed with the same ``enter`` and
    ``exit``, shows a mean gross return per holding period whose lower bound exceeds what is needed: a model may be
    right more often than not and still earn less than its costs.

    Params:
      - ``enter``, ``exit``: probabilities, exit below enter
      - ``min_edge``: ``cost`` for the costs of a round trip, ``none``, or a number (fraction) to exceed
      - and those of ``MLStrategy``
    """

    roles: ClassVar[tuple[str, ...]] = ("prediction",)
    params: ClassVar[Any] = (("enter", 0.55), ("exit", 0.45), ("min_edge", "cost"))

    def __init__(self) -> None:
        super().__init__()
        model = self.model("prediction")
        self.prediction = MLPrediction(self.data, model=model)  # type: ignore[call-arg]  # params are keywords
        self._p_up = self.prediction.lines.p_up
        self._status = self.prediction.lines.status
        self._closes_without_model = self.p.on_no_model == "close"
        self.needed_edge: float | None = None
        self.best_edge = float("-inf")
        if self.p.min_edge != "none":
            self.needed_edge = self.p.round_trip_cost if self.p.min_edge == "cost" else float(self.p.min_edge)
            self.edge = HoldingEdge(  # type: ignore[call-arg]
                self.prediction, model=model, enter=self.p.enter, exit=self.p.exit
            )
            self._lower_bound = self.edge.lines.lower_bound

    @classmethod
    def check_values(cls, values: Mapping[str, Any]) -> None:
        """Raise ``StrategyError`` for values out of range."""
        super().check_values(values)
        check_fraction("enter", values["enter"], low=0.0, high=1.0)
        check_fraction("exit", values["exit"], low=0.0, high=1.0)
        if values["exit"] >= values["enter"]:
            raise StrategyError(f"exit is {values['exit']}: expected less than enter, which is {values['enter']}")
        edge = values["min_edge"]
        if edge in {"cost", "none"}:
            return
        if isinstance(edge, str):
            raise StrategyError(f"min_edge is {edge!r}: expected cost, none or a number")
        check_fraction("min_edge", edge, low=-1.0, high=1.0)

    def wants_entry(self) -> bool:
        """Tell whether there is a prediction and it is high enough."""
        if self._status[0] != 0.0:
            self.counts["blocked_by_no_prediction"] += 1
            return False
        return wants_in(self._p_up[0], self.p.enter)

    def wants_exit(self) -> str:
        """Return ``signal`` when the probability is low enough, ``no_model`` where that closes."""
        if self._status[0] != 0.0:
            return "no_model" if self._closes_without_model else ""
        return "signal" if wants_out(self._p_up[0], self.p.exit) else ""

    def permits_entry(self) -> bool:
        """Tell whether the record of such predictions earned more than is needed."""
        if self.needed_edge is None:
            return True
        bound = self._lower_bound[0]
        if not isnan(bound):
            self.best_edge = max(self.best_edge, bound)
        if earns_its_costs(bound, self.needed_edge):
            return True
        self.counts["blocked_by_min_edge"] += 1
        return False

    def summary(self) -> dict[str, Any]:
        """Return the counts, ``needed_edge`` and ``best_edge``.

        Both are fractions per holding period: what was needed to open, and the highest lower bound among the bars that
        asked; None where nothing was needed or nothing asked.
        """
        asked = self.best_edge if isfinite(self.best_edge) else None
        return {**super().summary(), "needed_edge": self.needed_edge, "best_edge": asked}
