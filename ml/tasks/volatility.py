"""The task ``volatility``: how far the price moves until the horizon, whichever way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import TrainingFailed
from ml.labels import realised_volatility
from ml.record import VolatilityRecord
from ml.tasks.contract import GateWords
from ml.tasks.volatility_baselines import (
    HAR_WINDOWS,
    VolatilityBaselines,
    fit_volatility_baselines,
    past_variances,
)
from ml.tasks.volatility_figures import evaluate_volatility
from ml.tasks.words import percent
from ml.volatility_publisher import fit_volatility
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.publishing import Publisher

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["VolatilityTask"]

_FOUR_HOURS_MS = 4 * 3_600_000


def _measured(figures: Mapping[str, Any]) -> str:
    return (
        f"over {int(figures['n']):,} bars that it had not seen its loss (QLIKE) is {figures['qlike']:.4f}, that of the "
        f"exponential average {figures['qlike_baselines']['ewma']:.4f}, of HAR {figures['qlike_baselines']['har']:.4f}"
    )


class VolatilityTask:
    """The realised volatility over the horizon, judged by QLIKE against EWMA, HAR and a constant."""

    name: ClassVar[str] = "volatility"
    features: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = "QLIKE"
    words: ClassVar[GateWords] = GateWords(
        baselines={
            "ewma": "the exponential average of squared returns (EWMA 0.94)",
            "har": "the autoregression on three windows (HAR)",
            "constant": "always stating the volatility of the training data",
        },
        measured=_measured,
        won=(
            "its forecasts beat EWMA, HAR and a constant by more than chance explains. "
            "It tells how far the price moves, not where it goes"
        ),
        advice="try years instead of days, or another horizon",
    )

    def default_horizon(self, timeframe: str) -> int:
        """Return the bars of four hours, at least 4 and at most 60.

        Fewer than four squared returns are too noisy to be judged by; on one minute 60 bars, an hour, leave four times as
        many labels that may be counted, one per horizon.
        """
        return min(60, max(4, _FOUR_HOURS_MS // timeframe_ms(timeframe)))

    def target(self, candles: Candles, dataset: Dataset, parameters: Mapping[str, Any]) -> Floats:
        """Return the root of the sum of squared log returns over the next ``horizon`` candles.

        NaN where one of these candles is missing or off the grid, where the price stood still, or where the bar has no
        volatility of its own to measure it by.
        """
        realised = realised_volatility(candles, dataset.horizon, dataset.k)
        unknown = ~(realised > 0) | ~(dataset.sigma > 0)
        realised[unknown] = np.nan
        if not np.isfinite(realised).any() and dataset.usable.any():
            raise TrainingFailed(
                f"no bar has {dataset.horizon} candles without a gap after it that move at all: shorten --horizon, or look "
                "at the candles with `bot data check`"
            )
        return realised

    def fit_baselines(self, dataset: Dataset, positions: Integers) -> VolatilityBaselines:
        """Return the constant and the heterogeneous autoregression of the training rows."""
        return fit_volatility_baselines(dataset.target[positions], past_variances(dataset)[positions], dataset.horizon)

    def read_baselines(self, data: Mapping[str, Any]) -> VolatilityBaselines:
        """Return the baselines of a bundle."""
        return VolatilityBaselines.from_dict(data)

    def reach(self, horizon: int) -> tuple[int, int]:
        """Return that no other row is read, and the longest window of squares."""
        return 0, HAR_WINDOWS[-1] * horizon

    def outcomes(self, dataset: Dataset, positions: Integers, baselines: VolatilityBaselines) -> dict[str, Floats]:
        """Return ``realised`` and the forecasts of the baselines: ``ewma``, ``har``, ``constant``."""
        ewma = dataset.sigma[positions] * math.sqrt(dataset.horizon)
        return {
            "realised": dataset.target[positions],
            "ewma": ewma,
            "har": baselines.har(past_variances(dataset)[positions], ewma, dataset.horizon),
            "constant": np.full(len(positions), baselines.constant),
        }

    def fit_publisher(self, past: Mapping[str, Floats], baselines: VolatilityBaselines, *, horizon: int) -> Publisher:
        """Fit offset, slope and confidence; see ``ml.volatility_publisher.fit_volatility``."""
        return fit_volatility(past["raw_score"], past["realised"], past["sigma"], horizon=horizon)

    def stated(self, part: Mapping[str, Floats], publisher: Publisher | None) -> dict[str, Floats]:
        """Return ``forecast`` and ``confidence``."""
        raw = part["raw_score"]
        if publisher is None:
            nothing = np.full(len(raw), np.nan)
            return {"forecast": nothing, "confidence": nothing}
        values = publisher.publish(raw, part["sigma"], np.ones(len(raw)))
        return {"forecast": values[:, 8], "confidence": values[:, 3]}

    def record(self, columns: Mapping[str, Any]) -> VolatilityRecord:
        """Return the record of these columns."""
        return VolatilityRecord(**columns)

    def evaluate(self, record: VolatilityRecord) -> dict[str, Any]:
        """Return the figures; see ``ml.tasks.volatility_figures.evaluate_volatility``."""
        return evaluate_volatility(record)

    def performance(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return the loss and the skill; a volatility has no hit rate."""
        return {
            "backtest_accuracy": None,
            "qlike": figures["qlike"],
            "skill_ewma": figures["skill_ewma"],
            "skill_har": figures["skill_har"],
        }

    def question(self, document: Mapping[str, Any]) -> str:
        """Return the question that the model answers."""
        horizon = document["horizon"]
        within = f"the next {horizon} bars" if horizon > 1 else "the next bar"
        return (
            f"It answers: how large will the volatility of {within} of {document['timeframe']} be "
            "(the root of the sum of the squared log returns), whichever way the price goes?"
        )

    def headline(self, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return rows (what, measured, beside) of the figures that matter, in words."""
        gains, losses = figures["gain"], figures["qlike_baselines"]
        return [
            (
                "loss (QLIKE)",
                f"{figures['qlike']:.4f}, n = {figures['n']:,}",
                f"EWMA {losses['ewma']:.4f}, HAR {losses['har']:.4f}, a constant {losses['constant']:.4f}",
            ),
            (
                "loss saved (skill)",
                f"{percent(gains['ewma']['skill'])} of EWMA's",
                f"{percent(gains['har']['skill'])} of HAR's, {percent(gains['constant']['skill'])} of a constant's",
            ),
            (
                "volatility over the horizon",
                f"forecast {percent(figures['mean_forecast'], 3)} on average",
                f"realised {percent(figures['mean_realised'], 3)}; correlation of logarithms {figures['correlation']:.2f}",
            ),
            (
                "stated confidence (realised within a quarter of the forecast)",
                f"{percent(figures['mean_confidence'])} on average",
                (
                    f"came true {percent(figures['within'])} "
                    f"({percent(figures['within_low'])} to {percent(figures['within_high'])})"
                ),
            ),
        ]

    def tables(self, figures: Mapping[str, Any]) -> list[str]:
        """Return what was forecast and what was realised."""
        lines = ["", "Forecast against what was realised, root mean squares by fifths of the forecast:", ""]
        lines += ["| forecast between | forecast | realised | n |", "|---|---|---|---|"]
        lines += [
            f"| {percent(row['from'], 3)} and {percent(row['to'], 3)} | {percent(row['stated'], 3)} "
            f"| {percent(row['realised'], 3)} | {row['n']:,} |"
            for row in figures["by_forecast"]
        ]
        return lines

    def training_words(self, baselines: Mapping[str, Any]) -> str:
        """Return the level of the training labels."""
        return f"volatility over the horizon {percent(baselines['constant'], 3)} (root mean square)"

    def limits(self, document: Mapping[str, Any]) -> str:
        """Return what the model must not be used for."""
        return (
            "One series, one market regime after another: the past may not repeat. It must not be used "
            "as a forecast of direction or of profit, nor as a bound on a loss: single moves are several times as large, and "
            "a jump on news stands in no candle before it. Confidence is the share of forecasts that came within a quarter, "
            "not that of a direction."
        )

    def plots(self, record: VolatilityRecord, figures: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
        """Return ``volatility.png``."""
        from ml.training.plots import volatility_plot

        return {"volatility.png": volatility_plot(figures, title=title)}
