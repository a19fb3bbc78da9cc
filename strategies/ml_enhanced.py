"""MLEnhanced: extremes of the relative strength index, confirmed by a direction model and a risk score."""

from __future__ import annotations

from math import inf, isnan, nextafter
from typing import TYPE_CHECKING, Any, ClassVar

from indicators.errors import IndicatorError
from indicators.feature import Feature, feature_window
from indicators.prediction import MLPrediction
from strategies.decision import Gate, ask, not_asked
from strategies.edge_rule import EdgeRule, check_min_edge
from strategies.errors import StrategyError
from strategies.ml_strategy import MLStrategy
from strategies.parameters import check_count, check_fraction
from strategies.signals import DOWN, UP, asked_by_rsi, confirms, is_below_limit, probability_of_rise

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MLEnhanced"]


_OPINION = nextafter(0.5, 1.0)  # the smallest confidence that is one


class MLEnhanced(MLStrategy):
    """Open when the RSI is oversold, the model says UP and the risk is low; close when it says DOWN.

    The RSI asks: below ``oversold`` to be long, above ``overbought`` to be flat. The model of the role ``direction`` must
    confirm it, UP for long and DOWN for flat, and the score of the role ``risk`` must be below ``max_risk`` to open. Nothing
    else opens a position. It closes when the RSI asks to be flat and the model says DOWN, or when the model says DOWN as
    surely as ``down_confidence``, whatever the RSI; leaving never asks the risk score. Long only: a DOWN never opens a short.

    With ``min_edge`` it opens only where the direction model's out-of-sample record, replayed from each UP to the first DOWN
    that could close, earned more than is needed; see ``MLBasic``. Such a record knows nothing of the RSI.

    Params:
      - ``rsi_period``: of Wilder's index, in candles of ``rsi_timeframe``
      - ``rsi_timeframe``: such as ``5m``, a whole multiple of the bars'; null for theirs. Its newest closed candle counts
      - ``oversold``, ``overbought``: levels in [0, 100], oversold below overbought
      - ``min_confidence``: calibrated probability, in [0.5, 1], with which the model must confirm; at 0.5 any opinion will do
      - ``down_confidence``: the same for a DOWN that closes on its own; null for never
      - ``max_risk``: the risk score, 0 to 100, must be below it; null to open without asking, and without a risk model
      - ``min_edge``: ``cost`` for the costs of a round trip, ``none``, or a number (fraction) to exceed
      - and those of ``MLStrategy``; without a prediction of the direction model ``on_no_model`` decides
    """

    roles: ClassVar[tuple[str, ...]] = ("direction", "risk")
    usual_types: ClassVar[Mapping[str, str]] = {"direction": "direction", "risk": "risk"}
    reads: ClassVar[Mapping[str, str]] = {"direction": "direction", "risk": "risk"}
    params: ClassVar[Any] = (
        ("rsi_period", 14),
        ("rsi_timeframe", None),
        ("oversold", 30.0),
        ("overbought", 70.0),
        ("min_confidence", 0.5),
        ("down_confidence", 0.55),
        ("max_risk", 50.0),
        ("min_edge", "cost"),
    )

    def __init__(self) -> None:
        super().__init__()
        model = self.model("direction")
        self.prediction = MLPrediction(self.data, model=model)  # type: ignore[call-arg]  # params are keywords
        self._said = self.prediction.lines.direction
        self._confidence = self.prediction.lines.confidence
        self._status = self.prediction.lines.status
        self.rsi = Feature(  # type: ignore[call-arg]
            self.data, name=f"rsi_{self.p.rsi_period}", timeframe=self.p.rsi_timeframe
        )
        self._rsi = self.rsi.lines.value
        self._asks_risk = self.p.max_risk is not None
        if self._asks_risk:
            self.risk_score = MLPrediction(self.data, model=self.model("risk"))  # type: ignore[call-arg]
            self._risk_score = self.risk_score.lines.risk
            self._risk_status = self.risk_score.lines.status
        self._least = least = max(self.p.min_confidence, _OPINION)
        down = self.p.down_confidence
        leaves = self.p.min_confidence if down is None else min(self.p.min_confidence, down)
        self.edge_rule = EdgeRule(
            self.p.min_edge, self.p.round_trip_cost, self.prediction, model, enter=least, exit=1.0 - leaves
        )
        self._wanted = 0.0
        self._confirmed = self._low_risk = self._known = False
        self._oversold = self._oversold_confirmed = self._oversold_passed = 0
        self._overbought = self._overbought_confirmed = self._without_rsi = 0
        self._risks = inf, -inf  # the lowest and the highest score where the model confirmed an oversold RSI

    @classmethod
    def check_values(cls, values: Mapping[str, Any]) -> None:
        """Raise ``StrategyError`` for values out of range."""
        super().check_values(values)
        check_count("rsi_period", values["rsi_period"], low=2, high=1_000)
        if not isinstance(values["rsi_timeframe"], (str, type(None))):
            raise StrategyError(f"rsi_timeframe is {values['rsi_timeframe']!r}: expected a text such as 5m, or null")
        check_fraction("oversold", values["oversold"], low=0.0, high=100.0)
        check_fraction("overbought", values["overbought"], low=0.0, high=100.0)
        if values["oversold"] >= values["overbought"]:
            raise StrategyError(
                f"oversold is {values['oversold']}: expected less than overbought, which is {values['overbought']}"
            )
        check_fraction("min_confidence", values["min_confidence"], low=0.5, high=1.0)
        check_fraction("down_confidence", values["down_confidence"], low=0.5, high=1.0, optional=True)
        check_fraction("max_risk", values["max_risk"], low=0.0, high=100.0, low_open=True, optional=True)
        check_min_edge(values["min_edge"])

    @classmethod
    def needed_roles(cls, params: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        """Return ``direction``, and ``risk`` unless ``max_risk`` is null; see ``MLStrategy.needed_roles``."""
        return (("direction",),) if params.get("max_risk", 0) is None else (("direction",), ("risk",))

    @classmethod
    def history_bars(cls, timeframe: str, params: Mapping[str, Any]) -> int:
        """Return how many bars of ``timeframe`` the RSI needs before the first that may trade.

        Raises
        ------
        StrategyError
            When ``rsi_timeframe`` is not a whole multiple of ``timeframe``.
        """
        period, wanted = params.get("rsi_period", cls.params.rsi_period), params.get("rsi_timeframe")
        try:
            return feature_window(f"rsi_{period}", timeframe, wanted)
        except IndicatorError:
            raise StrategyError(
                f"rsi_timeframe is {wanted!r}: expected a whole multiple of the bars' {timeframe}"
            ) from None

    def observe_bar(self) -> None:
        """Read what the RSI asks at this close, and whether the models agree; count both."""
        rsi = self._rsi[0]
        self._known = self._status[0] == 0.0
        self._wanted = wanted = asked_by_rsi(rsi, self.p.oversold, self.p.overbought)
        if isnan(rsi):
            self._without_rsi += 1
        if not wanted:
            return
        self._confirmed = confirms(wanted, self._said[0], self._confidence[0], self.p.min_confidence)
        if wanted == UP:
            self._oversold += 1
            self._oversold_confirmed += self._confirmed
            if self._asks_risk:
                self._known = self._known and self._risk_status[0] == 0.0
                score = self._risk_score[0]
                self._low_risk = is_below_limit(score, self.p.max_risk)
                if self._confirmed and not isnan(score):
                    self._risks = min(self._risks[0], score), max(self._risks[1], score)
                self._oversold_passed += self._confirmed and self._low_risk
        else:
            self._overbought += 1
            self._overbought_confirmed += self._confirmed

    def wants_entry(self) -> bool:
        """Tell whether the RSI asks to be long and both models agree."""
        if self._wanted != UP:
            return False
        if not self._known:
            self.reason = "blocked_by_no_prediction"
        elif not self._confirmed:
            self.reason = "blocked_by_direction"
        elif self._asks_risk and not self._low_risk:
            self.reason = "blocked_by_risk"
        else:
            return True
        self.counts[self.reason] += 1
        return False

    def wants_exit(self) -> str:
        """Return ``overbought`` or ``down`` when the model says DOWN, ``no_model`` where that closes."""
        if self._status[0] != 0.0:
            return self.without_prediction()
        if self._wanted == DOWN and self._confirmed:
            return "overbought"
        least = self.p.down_confidence
        return "down" if least is not None and confirms(DOWN, self._said[0], self._confidence[0], least) else ""

    def permits_entry(self) -> bool:
        """Tell whether the record of such predictions earned more than is needed."""
        if self.edge_rule.permits():
            return True
        self.counts["blocked_by_min_edge"] += 1
        self.reason = "blocked_by_min_edge"
        return False

    def signal_gates(self) -> list[Gate]:
        """Return what the RSI and both models must say; see ``MLStrategy.signal_gates``."""
        rise = probability_of_rise(self._said[0], self._confidence[0])
        asks = self._asks_risk
        return [
            ask("rsi", self._rsi[0], "<", self.p.oversold),
            ask("status", self._status[0], "==", 0.0),
            *([ask("risk_status", self._risk_status[0], "==", 0.0)] if asks else []),
            ask("p_up", rise, ">=", self._least),
            *([ask("risk", self._risk_score[0], "<", self.p.max_risk)] if asks else []),
        ]

    def permit_gates(self) -> list[Gate]:
        """Return what the record must have earned; see ``MLStrategy.permit_gates``."""
        return self.edge_rule.gates()

    def stay_gates(self) -> list[Gate]:
        """Return what the RSI and the model must not say; see ``MLStrategy.stay_gates``.

        ``p_down`` is asked where the RSI is overbought, ``p_down_alone`` whatever it is.
        """
        status, fall = self._status[0], probability_of_rise(-self._said[0], self._confidence[0])
        overbought, alone = self._wanted == DOWN, self.p.down_confidence
        rsi = ask("rsi", self._rsi[0], "<=", self.p.overbought, passed=not overbought, decides=False)
        down = [ask("p_down", fall, "<", self._least, passed=not self._confirmed)]
        asked = [rsi, *(down if overbought else not_asked(down))]
        if alone is not None:
            least = max(alone, _OPINION)
            asked.append(ask("p_down_alone", fall, "<", least, passed=not fall >= least))
        return [self.stay_status(status), *(asked if status == 0.0 else not_asked(asked))]

    def summary(self) -> dict[str, Any]:
        """Return the counts, ``needed_edge`` and ``best_edge``, and how many bars had an extreme that was confirmed."""
        where = f"RSI {self.p.rsi_period}" + (f" on {self.p.rsi_timeframe}" if self.p.rsi_timeframe else "")
        sure = "" if self.p.min_confidence <= 0.5 else f", {100 * self.p.min_confidence:.4g} % sure or more"
        rows = [
            (f"{where} below {self.p.oversold:g}", self._oversold, self.bars),
            (f"of these the model says UP{sure}", self._oversold_confirmed, self._oversold),
        ]
        if self._asks_risk:
            rows.append((
                f"of these the risk is below {self.p.max_risk:g}", self._oversold_passed, self._oversold_confirmed,
            ))  # fmt: skip
        rows += [
            (f"{where} above {self.p.overbought:g}", self._overbought, self.bars),
            (f"of these the model says DOWN{sure}", self._overbought_confirmed, self._overbought),
        ]
        if self._without_rsi:
            rows.append((f"without {where}, for lack of history", self._without_rsi, self.bars))
        low, high = self._risks
        passed = scores = ""
        if self._asks_risk:
            passed = f", {self._oversold_passed:,} of these with a risk below {self.p.max_risk:g}"
            scores = f" (it was between {low:.3g} and {high:.3g})" if high >= low else ""
        note = (
            f"MLEnhanced: {where} was below {self.p.oversold:g} at {self._oversold:,} of {self.bars:,} bars; the model "
            f"confirmed {self._oversold_confirmed:,} of them{passed}{scores}."
        )
        return {
            **super().summary(),
            **self.edge_rule.summary(),
            "reached": [{"what": what, "bars": bars, "of": of} for what, bars, of in rows],
            "notes": [note],
        }
