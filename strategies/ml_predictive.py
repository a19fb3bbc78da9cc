"""MLPredictive: open when the forecast pays for the trade, and hold until its peak."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar

from indicators.forecast import MLForecast
from indicators.prediction import MLPrediction
from strategies.decision import Gate, ask, not_asked
from strategies.errors import StrategyError
from strategies.ml_strategy import MLStrategy
from strategies.parameters import check_count, check_fraction
from strategies.signals import DOWN, UP, probability_of_rise, reaches, simple_return

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MLPredictive"]

_SEEDS_RETURN, _SEEDS_CONFIDENCE = 0.002, 0.7
"""Thresholds that are often quoted for this strategy; every run tells how many bars reach them."""


class MLPredictive(MLStrategy):
    """Open when the predicted return pays for its costs and is sure enough; close at the peak of the forecast, or before.

    With a model of paths in the role ``forecast`` it looks at the peak: the highest close that the path predicts among the
    steps that may be trusted. A path without a trusted step opens nothing. With any other model in the role ``prediction``
    the only step is the model's horizon. The ``forecast`` is read where both are bound.

    It opens when the return at the peak is ``min_predicted_return`` or more and the probability of a rise until then is
    ``confidence_threshold`` or more. It closes at the first close at which

    - a new forecast expects less than ``exit_return`` at its own peak,
    - or a rise has become less probable than ``exit_confidence``,
    - or as many bars have passed as the peak at the entry was steps away. If the forecast at that close would open a
      position, it is kept until the new peak instead of being sold and bought back.

    Returns are simple: 0.002 is a gain of 0.2 %. Long only: a predicted fall opens nothing.

    Params:
      - ``min_predicted_return``: ``cost`` for the costs of a round trip, or a number (fraction) of 0 or more
      - ``confidence_threshold``: calibrated probability of a rise, in [0.5, 1]
      - ``exit_return``: fraction, at most ``min_predicted_return``
      - ``exit_confidence``: probability, at most ``confidence_threshold``
      - ``max_holding``: most bars until a position is judged anew, even when the peak is later; null for the peak alone
      - and those of ``MLStrategy``
    """

    roles: ClassVar[tuple[str, ...]] = ("forecast", "prediction")
    usual_types: ClassVar[Mapping[str, str]] = {"forecast": "autoregressive", "prediction": "basic"}
    reads: ClassVar[Mapping[str, str]] = {"forecast": "path", "prediction": "expected_return"}
    params: ClassVar[Any] = (
        ("min_predicted_return", "cost"),
        ("confidence_threshold", 0.55),
        ("exit_return", 0.0),
        ("exit_confidence", 0.5),
        ("max_holding", None),
    )

    def __init__(self) -> None:
        super().__init__()
        wanted = self.p.min_predicted_return
        self.needed_return = self.p.round_trip_cost if wanted == "cost" else float(wanted)
        self._path = "forecast" in (self.p.models or {})
        if self._path:
            self.forecast = MLForecast(self.data, model=self.model("forecast"))  # type: ignore[call-arg]
            lines = self.forecast.lines
            self._log_return, self._confidence, self._step = lines.peak_return, lines.peak_confidence, lines.peak_step
            self._trusted_steps = lines.trusted_steps
        else:
            model = self.model("prediction")
            self.prediction = MLPrediction(self.data, model=model)  # type: ignore[call-arg]  # params are keywords
            lines = self.prediction.lines
            self._log_return, self._confidence, self._direction = (
                lines.expected_return,
                lines.confidence,
                lines.direction,
            )
            self._horizon = self._told_horizon()
        self._status = lines.status
        self._gain = self._rise = float("nan")
        self._peak = 0  # steps to the peak of the newest forecast; 0 where no step may be trusted
        self._due = -1  # number of the bar at which the position is judged anew
        self._predicted = self._untrusted = 0
        self._tally = dict.fromkeys(("return", "confidence", "both", "seeds_return", "seeds_confidence"), 0)
        self._highest = float("-inf")

    @classmethod
    def check_values(cls, values: Mapping[str, Any]) -> None:
        """Raise ``StrategyError`` for values out of range."""
        super().check_values(values)
        wanted = values["min_predicted_return"]
        if isinstance(wanted, str):
            if wanted != "cost":
                raise StrategyError(f"min_predicted_return is {wanted!r}: expected cost or a number")
            wanted = None
        else:
            check_fraction("min_predicted_return", wanted, low=0.0, high=1.0)
        check_fraction("confidence_threshold", values["confidence_threshold"], low=0.5, high=1.0)
        check_fraction("exit_return", values["exit_return"], low=-1.0, high=1.0)
        check_fraction("exit_confidence", values["exit_confidence"], low=0.0, high=1.0)
        cost = float(values["round_trip_cost"])  # 0 while a config is read: it is known when the strategy is made
        least = (cost or 1.0) if wanted is None else wanted
        if values["exit_return"] > least:
            raise StrategyError(
                f"exit_return is {values['exit_return']}: expected at most min_predicted_return, which is {least:g}"
            )
        if values["exit_confidence"] > values["confidence_threshold"]:
            raise StrategyError(
                f"exit_confidence is {values['exit_confidence']}: expected at most confidence_threshold, which is "
                f"{values['confidence_threshold']}"
            )
        check_count("max_holding", values["max_holding"], low=1, optional=True)

    @classmethod
    def needed_roles(cls, params: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:  # noqa: ARG003
        """Return that one of both roles suffices; see ``MLStrategy.needed_roles``."""
        return (("forecast", "prediction"),)

    def _told_horizon(self) -> int:
        """Return how far a single prediction looks; 0 without a model, or of one of paths that trusts none of its steps."""
        model = self.model("prediction")
        return model.horizon if getattr(model, "trusted_steps", 1) else 0

    def observe_bar(self) -> None:
        """Read the forecast of this close, and count which thresholds it reaches."""
        self._gain = self._rise = float("nan")
        self._peak = 0
        if self._status[0] != 0.0:
            return
        self._predicted += 1
        if not (self._path or self._horizon):  # a model may have been deployed since
            self._horizon = self._told_horizon()
        if not (self._trusted_steps[0] >= 1.0 if self._path else self._horizon):
            self._untrusted += 1
            return
        if self._path:
            self._peak = int(self._step[0])
            said = UP if self._log_return[0] > 0.0 else DOWN
        else:
            self._peak = self._horizon
            said = self._direction[0]
        self._gain = gain = simple_return(self._log_return[0])
        self._rise = rise = probability_of_rise(said, self._confidence[0])
        enough, sure = reaches(gain, self.needed_return), reaches(rise, self.p.confidence_threshold)
        tally = self._tally
        tally["return"] += enough
        tally["confidence"] += sure
        tally["both"] += enough and sure
        tally["seeds_return"] += reaches(gain, _SEEDS_RETURN)
        tally["seeds_confidence"] += reaches(rise, _SEEDS_CONFIDENCE)
        self._highest = max(self._highest, gain)

    def wants_entry(self) -> bool:
        """Tell whether the forecast pays for a position and is sure enough."""
        if self._status[0] != 0.0:
            self.reason = "blocked_by_no_prediction"
        elif not self._peak:
            self.reason = "blocked_by_no_trusted_step"
        elif not reaches(self._gain, self.needed_return):
            self.reason = "blocked_by_predicted_return"
        elif not reaches(self._rise, self.p.confidence_threshold):
            self.reason = "blocked_by_confidence"
        else:
            self._plan()
            return True
        self.counts[self.reason] += 1
        return False

    def wants_exit(self) -> str:
        """Return ``path``, ``confidence`` or ``peak`` as the class describes, ``no_model`` where that closes."""
        if self._status[0] != 0.0:
            return self.without_prediction()
        if self._gain < self.p.exit_return:
            return "path"
        if self._rise < self.p.exit_confidence:
            return "confidence"
        if len(self.data) < self._due:
            return ""
        if reaches(self._gain, self.needed_return) and reaches(self._rise, self.p.confidence_threshold):
            self.counts["kept_until_a_new_peak"] += 1
            self.reason = "kept_until_a_new_peak"
            self._plan()
            return ""
        return "peak"

    def signal_gates(self) -> list[Gate]:
        """Return what the forecast must say; see ``MLStrategy.signal_gates``."""
        return [
            ask("status", self._status[0], "==", 0.0),
            ask("trusted_step", self._peak, ">=", 1.0),
            ask("predicted_return", self._gain, ">=", self.needed_return),
            ask("p_up", self._rise, ">=", self.p.confidence_threshold),
        ]

    def stay_gates(self) -> list[Gate]:
        """Return what the forecast must still say, and the bars to its peak; see ``MLStrategy.stay_gates``."""
        status, gain, rise = self._status[0], self._gain, self._rise
        least, sure = self.p.exit_return, self.p.exit_confidence
        asked = [
            ask("predicted_return", gain, ">=", least, passed=not gain < least),
            ask("p_up", rise, ">=", sure, passed=not rise < sure),
            ask("bars_to_peak", self._due - len(self.data), ">", 0.0),
        ]
        return [self.stay_status(status), *(asked if status == 0.0 else not_asked(asked))]

    def _plan(self) -> None:
        """Set the bar at which a position that this close opens or keeps is judged anew."""
        longest = self.p.max_holding
        self._due = len(self.data) + (self._peak if longest is None else min(self._peak, longest))

    def summary(self) -> dict[str, Any]:
        """Return the counts, ``needed_return`` and ``highest_return`` (fractions), and how many bars reach what.

        ``predicted_bars`` are those with a forecast, ``untrusted_bars`` those of them without a trusted step.
        """
        tally, judged = self._tally, self._predicted - self._untrusted
        span = "of the next bar" if self._path or self._horizon == 1 else f"over {self._horizon} bars"
        rows = [
            (
                f"predicted return {'at its peak' if self._path else span}: {_percent(self.needed_return)} or more",
                "return",
            ),
            (f"probability of a rise: {_percent(self.p.confidence_threshold)} or more", "confidence"),
            ("both, as it takes to open", "both"),
            (f"for comparison, a predicted return of {_percent(_SEEDS_RETURN)} or more", "seeds_return"),
            (f"for comparison, a probability of {_percent(_SEEDS_CONFIDENCE)} or more", "seeds_confidence"),
        ]
        return {
            **super().summary(),
            "needed_return": self.needed_return,
            "highest_return": self._highest if isfinite(self._highest) else None,
            "predicted_bars": self._predicted,
            "untrusted_bars": self._untrusted,
            "reached": [{"what": words, "bars": tally[name], "of": judged} for words, name in rows],
            "notes": self._notes(judged),
        }

    def _notes(self, judged: int) -> list[str]:
        """Return what the head of the report says of the thresholds."""
        if judged:
            tally = self._tally
            text = (
                f"MLPredictive: {tally['return']:,} of {judged:,} bars reach the predicted return of "
                f"{_percent(self.needed_return)} that is needed (the highest is {_percent(self._highest)}); "
                f"{tally['confidence']:,} reach the probability of {_percent(self.p.confidence_threshold)}, "
                f"{tally['both']:,} both."
            )
            return [text]
        if not self._predicted:
            return []
        text = (
            "MLPredictive: the model trusts no step of its own paths (trusted_steps is 0: not even the first was shown to "
            "beat a price that stands still), so no position may rest on them and nothing was opened."
        )
        return [text]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
