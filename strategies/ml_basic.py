"""MLBasic: in the market while the model expects a rise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from indicators.prediction import MLPrediction
from strategies.decision import Gate, ask, not_asked
from strategies.edge_rule import EdgeRule, check_min_edge
from strategies.errors import StrategyError
from strategies.ml_strategy import MLStrategy
from strategies.parameters import check_fraction
from strategies.signals import wants_in, wants_out

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
    reads: ClassVar[Mapping[str, str]] = {"prediction": "p_up"}
    params: ClassVar[Any] = (("enter", 0.55), ("exit", 0.45), ("min_edge", "cost"))

    def __init__(self) -> None:
        super().__init__()
        model = self.model("prediction")
        self.prediction = MLPrediction(self.data, model=model)  # type: ignore[call-arg]  # params are keywords
        self._p_up = self.prediction.lines.p_up
        self._status = self.prediction.lines.status
        self._enter_at, self._exit_at = self.p.enter, self.p.exit
        self.edge_rule = EdgeRule(
            self.p.min_edge, self.p.round_trip_cost, self.prediction, model, enter=self.p.enter, exit=self.p.exit
        )

    @classmethod
    def check_values(cls, values: Mapping[str, Any]) -> None:
        """Raise ``StrategyError`` for values out of range."""
        super().check_values(values)
        check_fraction("enter", values["enter"], low=0.0, high=1.0)
        check_fraction("exit", values["exit"], low=0.0, high=1.0)
        if values["exit"] >= values["enter"]:
            raise StrategyError(f"exit is {values['exit']}: expected less than enter, which is {values['enter']}")
        check_min_edge(values["min_edge"])

    def wants_entry(self) -> bool:
        """Tell whether there is a prediction and it is high enough."""
        if self._status[0] != 0.0:
            self.counts["blocked_by_no_prediction"] += 1
            self.reason = "blocked_by_no_prediction"
            return False
        return wants_in(self._p_up[0], self._enter_at)

    def wants_exit(self) -> str:
        """Return ``signal`` when the probability is low enough, ``no_model`` where that closes."""
        if self._status[0] != 0.0:
            return self.without_prediction()
        return "signal" if wants_out(self._p_up[0], self._exit_at) else ""

    def permits_entry(self) -> bool:
        """Tell whether the record of such predictions earned more than is needed."""
        if self.edge_rule.permits():
            return True
        self.counts["blocked_by_min_edge"] += 1
        self.reason = "blocked_by_min_edge"
        return False

    def signal_gates(self) -> list[Gate]:
        """Return status and probability; see ``MLStrategy.signal_gates``."""
        return [ask("status", self._status[0], "==", 0.0), ask("p_up", self._p_up[0], ">=", self.p.enter)]

    def permit_gates(self) -> list[Gate]:
        """Return what the record must have earned; see ``MLStrategy.permit_gates``."""
        return self.edge_rule.gates()

    def stay_gates(self) -> list[Gate]:
        """Return status and probability; see ``MLStrategy.stay_gates``."""
        status, p_up = self._status[0], self._p_up[0]
        signal = [ask("p_up", p_up, ">", self.p.exit, passed=not wants_out(p_up, self.p.exit))]
        return [self.stay_status(status), *(signal if status == 0.0 else not_asked(signal))]

    def summary(self) -> dict[str, Any]:
        """Return the counts, ``needed_edge`` and ``best_edge``; see ``EdgeRule``."""
        return {**super().summary(), **self.edge_rule.summary()}
