"""The task ``risk``: whether the price falls by more than m average true ranges before the horizon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import TrainingFailed
from ml.labels import adverse_excursions
from ml.record import RiskRecord
from ml.risk_publisher import fit_risk
from ml.tasks.contract import GateWords
from ml.tasks.risk_baselines import RiskBaselines, fit_risk_baselines, volatility_logarithms
from ml.tasks.risk_figures import evaluate_risk
from ml.tasks.volatility_baselines import HAR_WINDOWS, past_variances
from ml.tasks.words import percent
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.publishing import Publisher

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["RANGE_FEATURE", "RiskTask"]

RANGE_FEATURE = "atr_14_pct"
"""Average true range of 14 candles over the close: the unit of an adverse move, as the model's own row holds it."""


def _measured(figures: Mapping[str, Any]) -> str:
    return (
        f"over {int(figures['n']):,} bars that it had not seen, adverse moves came in {percent(figures['came_true'])} and "
        f"it stated {percent(figures['mean_risk'])} on average"
    )


class RiskTask:
    """An adverse move within the horizon, judged by log-loss against three rules that need no model."""

    name: ClassVar[str] = "risk"
    features: ClassVar[tuple[str, ...]] = (RANGE_FEATURE,)
    unit: ClassVar[str] = "nats"
    words: ClassVar[GateWords] = GateWords(
        baselines={
            "base_rate": "always stating the share of adverse moves in the training data",
            "last_outcome": "the rule that goes by whether the last one came",
            "volatility": "the rule that goes by volatility and range",
        },
        measured=_measured,
        won=(
            "its probabilities beat the base rate, the last outcome and the volatility rule by more than chance explains. "
            "It tells how likely a fall is, not where the price goes"
        ),
        advice="try years instead of days, another horizon or another adverse_atr",
    )

    def default_horizon(self, timeframe: str) -> int:
        """Return 4 bars, and 12 below five minutes.

        The unit of an adverse move is the range of one bar: over a few bars it is neither rare nor nearly certain, which is
        when a probability says most, and the labels that may be counted, one per horizon, stay many.
        """
        return 12 if timeframe_ms(timeframe) < timeframe_ms("5m") else 4

    def target(self, candles: Candles, dataset: Dataset, parameters: Mapping[str, Any]) -> Floats:
        """Return 1.0 where a low of the next ``horizon`` candles is over ``adverse_atr`` ranges below the close, else 0.0.

        NaN where one of these candles is missing, off the grid, or the range is not positive.
        """
        excursion = adverse_excursions(candles, dataset.horizon, dataset.k)
        unit = dataset.feature(RANGE_FEATURE)
        known = np.isfinite(excursion) & (unit > 0)
        breach = np.full(len(dataset), np.nan)
        breach[known] = excursion[known] > float(parameters["adverse_atr"]) * unit[known]
        if not known.any() and dataset.usable.any():
            raise TrainingFailed(
                f"no bar has {dataset.horizon} candles without a gap after it and a range above 0: shorten --horizon, or "
                "look at the candles with `bot data check`"
            )
        return breach

    def fit_baselines(self, dataset: Dataset, positions: Integers) -> RiskBaselines:
        """Return the rules of the training rows: all, by last outcome, by volatility."""
        return fit_risk_baselines(
            dataset.target[positions], _last_outcome(dataset)[positions], _logarithms(dataset)[positions]
        )

    def read_baselines(self, data: Mapping[str, Any]) -> RiskBaselines:
        """Return the baselines of a bundle."""
        return RiskBaselines.from_dict(data)

    def reach(self, horizon: int) -> tuple[int, int]:
        """Return the row one horizon before, whose outcome was the last that was known, and the longest window of squares."""
        return horizon, HAR_WINDOWS[-1] * horizon

    def outcomes(self, dataset: Dataset, positions: Integers, baselines: RiskBaselines) -> dict[str, Floats]:
        """Return ``outcome`` and what the three rules said: ``train_base_rate``, ``last_outcome_p``, ``volatility_p``."""
        return {
            "outcome": dataset.target[positions],
            "train_base_rate": np.full(len(positions), baselines.base_rate),
            "last_outcome_p": baselines.last_outcome_probability(_last_outcome(dataset)[positions]),
            "volatility_p": baselines.volatility_probability(_logarithms(dataset)[positions]),
        }

    def fit_publisher(self, past: Mapping[str, Floats], baselines: RiskBaselines, *, horizon: int) -> Publisher:
        """Fit the slope; see ``ml.risk_publisher.fit_risk``."""
        return fit_risk(
            past["raw_score"], past["outcome"] > 0.5, past["train_base_rate"], baselines.base_rate, horizon=horizon
        )

    def stated(self, part: Mapping[str, Floats], publisher: Publisher | None) -> dict[str, Floats]:
        """Return ``p_adverse``, the stated probability."""
        raw = part["raw_score"]
        if publisher is None:
            return {"p_adverse": np.full(len(raw), np.nan)}
        return {"p_adverse": publisher.publish(raw, part["sigma"], np.ones(len(raw)))[:, 7] / 100.0}

    def record(self, columns: Mapping[str, Any]) -> RiskRecord:
        """Return the record of these columns."""
        return RiskRecord(**columns)

    def evaluate(self, record: RiskRecord) -> dict[str, Any]:
        """Return the figures; see ``ml.tasks.risk_figures.evaluate_risk``."""
        return evaluate_risk(record)

    def performance(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return log-loss, skill and the area under the curve; a risk has no hit rate."""
        return {
            "backtest_accuracy": None,
            "log_loss": figures["log_loss"],
            "log_loss_skill": figures["log_loss_skill"],
            "auc": figures["auc"],
        }

    def question(self, document: Mapping[str, Any]) -> str:
        """Return the question that the model answers."""
        multiple, horizon = document["hyperparams"]["adverse_atr"], document["horizon"]
        within = f"the next {horizon} bars" if horizon > 1 else "the next bar"
        return (
            f"It answers: how likely is it, 0 to 100, that within {within} of {document['timeframe']} the price falls more "
            f"than {multiple:g} average true ranges (of 14 bars) below the close?"
        )

    def headline(self, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return rows (what, measured, beside) of the figures that matter, in words."""
        gains = figures["gain"]
        return [
            (
                "adverse moves",
                f"stated {percent(figures['mean_risk'])} on average, n = {figures['n']:,}",
                f"came {percent(figures['came_true'])}, in the training data {percent(figures['mean_base_rate'])}",
            ),
            (
                "log-loss saved (skill)",
                f"{percent(gains['base_rate']['skill'], 2)} of the base rate's",
                (
                    f"{percent(gains['last_outcome']['skill'], 2)} of the last outcome's, "
                    f"{percent(gains['volatility']['skill'], 2)} of the volatility rule's"
                ),
            ),
            (
                "ranks risks rightly (area under the curve)",
                percent(figures["auc"]),
                f"a coin 50.0 %, the volatility rule {percent(figures['auc_volatility'])}",
            ),
            (
                "calibration error",
                percent(figures["calibration_error"]),
                f"at most {percent(figures['calibration_error_upper'])}",
            ),
        ]

    def tables(self, figures: Mapping[str, Any]) -> list[str]:
        """Return what was stated and what came true."""
        lines = [
            "",
            "Stated risk against what came true:",
            "",
            "| stated | came true | 95 % interval | n |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {100 * row['stated']:.1f} | {percent(row['observed'])} | {percent(row['observed_low'])} to "
            f"{percent(row['observed_high'])} | {row['n']:,} |"
            for row in figures["reliability"]
        ]
        return lines

    def training_words(self, baselines: Mapping[str, Any]) -> str:
        """Return the rates that the rules go by."""
        return (
            f"{percent(baselines['base_rate'])} of them followed by an adverse move, {percent(baselines['after_adverse'])} "
            f"where the last one came, {percent(baselines['after_calm'])} where it did not"
        )

    def limits(self, document: Mapping[str, Any]) -> str:
        """Return what the model must not be used for."""
        return (
            "One series, one market regime after another: the past may not repeat. The score is about falls of one size "
            "within one horizon, for a long position entered at the close. It must not be used as a forecast of direction, "
            "as the size of a position, for short positions, or for larger falls and longer times than it was trained on: of "
            "these it says nothing. A stop may be filled worse than the low that the label looks at."
        )

    def plots(self, record: RiskRecord, figures: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
        """Return ``calibration.png``."""
        from ml.training.plots import calibration_plot

        return {"calibration.png": calibration_plot(figures, title=title, least=0.0, what="stated risk")}


def _last_outcome(dataset: Dataset) -> Floats:
    """Return the outcome of the bar ``horizon`` indices before: the newest that was known at the close; NaN where none is."""
    place = np.searchsorted(dataset.k, dataset.k - dataset.horizon)
    found = dataset.k[place] == dataset.k - dataset.horizon
    last: Floats = np.where(found, dataset.target[place], np.nan)
    return last


def _logarithms(dataset: Dataset) -> Floats:
    """Return what the volatility rule reads: the volatility now, that of the last 22 horizons, and the range."""
    return volatility_logarithms(dataset.sigma, past_variances(dataset)[:, -1], dataset.feature(RANGE_FEATURE))
