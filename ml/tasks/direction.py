"""The task ``direction``: whether the close at the horizon is higher, and how sure one may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.baselines import Baselines, fit_baselines
from ml.calibration import Calibration, fit_calibration
from ml.evaluation import evaluate_record
from ml.record import OutOfSample
from ml.tasks.contract import GateWords
from ml.tasks.words import basis_points, percent
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.publishing import Publisher

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["DirectionTask"]


def _measured(figures: Mapping[str, Any]) -> str:
    return (
        f"right on {100 * figures['direction_accuracy']:.1f} % of {int(figures['n']):,} bars that it had not seen "
        f"({100 * figures['direction_accuracy_low']:.1f} to {100 * figures['direction_accuracy_high']:.1f} %)"
    )


class DirectionTask:
    """The sign of the log return at the horizon, judged by log-loss against a coin, the base rate and the last sign."""

    name: ClassVar[str] = "direction"
    features: ClassVar[tuple[str, ...]] = ()
    unit: ClassVar[str] = "nats"
    words: ClassVar[GateWords] = GateWords(
        baselines={
            "coin": "a coin toss (0.5 for every bar)",
            "base_rate": "always stating the share of rises in the training data",
            "last_sign": "the rule of the last sign",
        },
        measured=_measured,
        won=(
            "its probabilities beat a coin, the share of rises and the last-sign rule by more than chance "
            "explains. This is a statement about probability, not about profit"
        ),
        advice="try years instead of days, a longer timeframe or another horizon",
    )

    def default_horizon(self, timeframe: str) -> int:
        """Return 1, and 5 below five minutes.

        One minute ahead most of what can be predicted is the price bouncing between bid and ask, which nobody can trade on.
        """
        return 5 if timeframe_ms(timeframe) < timeframe_ms("5m") else 1

    def target(self, candles: Candles, dataset: Dataset, parameters: Mapping[str, Any]) -> None:
        """Return None: the log return at the horizon, of which the sign is learnt."""

    def fit_baselines(self, dataset: Dataset, positions: Integers) -> Baselines:
        """Return the share of rises and the better last-sign rule of the training rows."""
        return fit_baselines(dataset.returns[positions], dataset.past[positions])

    def read_baselines(self, data: Mapping[str, Any]) -> Baselines:
        """Return the baselines of a bundle."""
        return Baselines.from_dict(data)

    def reach(self, horizon: int) -> tuple[int, int]:
        """Return that no other row is read, and the close one horizon before, which the last sign needs."""
        return 0, horizon

    def outcomes(self, dataset: Dataset, positions: Integers, baselines: Baselines) -> dict[str, Floats]:
        """Return ``forward_return``, ``train_base_rate`` and ``last_sign_p``."""
        return {
            "forward_return": dataset.returns[positions],
            "train_base_rate": np.full(len(positions), baselines.base_rate),
            "last_sign_p": baselines.last_sign_probability(dataset.past[positions]),
        }

    def fit_publisher(self, past: Mapping[str, Floats], baselines: Baselines, *, horizon: int) -> Publisher:
        """Fit slope, return per edge and band; see ``ml.calibration.fit_calibration``."""
        return fit_calibration(past["raw_score"], past["forward_return"], past["sigma"], horizon=horizon)

    def stated(self, part: Mapping[str, Floats], publisher: Publisher | None) -> dict[str, Floats]:
        """Return ``p_up``, ``expected_return`` and the ``low`` and ``high`` of the log return."""
        raw = part["raw_score"]
        if publisher is None:
            nothing = np.full(len(raw), np.nan)
            return {"p_up": nothing, "expected_return": nothing, "low": nothing, "high": nothing}
        values = publisher.publish(raw, part["sigma"], np.ones(len(raw)))
        # a score without a volatility still has a probability, though nothing would be published
        p_up = publisher.probabilities(raw) if isinstance(publisher, Calibration) else values[:, 4]
        return {
            "p_up": p_up,
            "expected_return": values[:, 1],
            "low": np.log(values[:, 5]),
            "high": np.log(values[:, 6]),
        }

    def record(self, columns: Mapping[str, Any]) -> OutOfSample:
        """Return the record of these columns."""
        return OutOfSample(**columns)

    def evaluate(self, record: OutOfSample) -> dict[str, Any]:
        """Return the figures; see ``ml.evaluation.evaluate_record``."""
        return evaluate_record(record)

    def performance(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return accuracy, precision, recall and F1 of rises."""
        return {
            "backtest_accuracy": figures["direction_accuracy"],
            "backtest_precision": figures["precision"],
            "backtest_recall": figures["recall"],
            "backtest_f1": figures["f1"],
        }

    def question(self, document: Mapping[str, Any]) -> str:
        """Return the question that the model answers."""
        unit = "bar" if document["horizon"] == 1 else "bars"
        return (
            f"It answers: will the close {document['horizon']} {unit} of {document['timeframe']} ahead be higher, "
            "and how sure may one be?"
        )

    def headline(self, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return rows (what, measured, beside) of the figures that matter, in words."""
        gains = figures["gain"]
        return [
            (
                "direction right",
                (
                    f"{percent(figures['direction_accuracy'])} ({percent(figures['direction_accuracy_low'])} to "
                    f"{percent(figures['direction_accuracy_high'])}), n = {figures['n']:,}"
                ),
                (
                    f"always the majority {percent(figures['majority_baseline'])}, "
                    f"last-sign rule {percent(figures['last_sign_baseline'])}"
                ),
            ),
            (
                "log-loss saved (skill)",
                f"{percent(gains['coin']['skill'], 2)} of a coin's",
                (
                    f"{percent(gains['base_rate']['skill'], 2)} of the share of rises', "
                    f"{percent(gains['last_sign']['skill'], 2)} of the last-sign rule's"
                ),
            ),
            (
                "stated confidence",
                f"{percent(figures['mean_confidence'])} on average",
                (
                    f"came true {percent(figures['direction_accuracy'])}; calibration error "
                    f"{percent(figures['calibration_error'])} (at most {percent(figures['calibration_error_upper'])})"
                ),
            ),
            (
                "gross return per bet",
                (
                    f"{basis_points(figures['gross_return_per_bet'])} "
                    f"({basis_points(figures['gross_return_per_bet_low'])} to "
                    f"{basis_points(figures['gross_return_per_bet_high'])})"
                ),
                f"a round trip that costs more than {basis_points(figures['break_even_cost']).lstrip('+')} loses money",
            ),
            (
                "90 % price band",
                f"held {percent(figures['interval_coverage'])}",
                f"{percent(figures['interval_coverage_low'])} to {percent(figures['interval_coverage_high'])}",
            ),
        ]

    def tables(self, figures: Mapping[str, Any]) -> list[str]:
        """Return accuracy by size of the move and gross return by confidence."""
        lines = ["", "Accuracy by size of the move (a model may be right on small moves and wrong on large ones):", ""]
        lines += ["| absolute return | right | n |", "|---|---|---|"]
        lines += [
            f"| {percent(row['from'], 3)} to {percent(row['to'], 3)} | {percent(row['accuracy'])} | {row['n']:,} |"
            for row in figures["by_outcome_size"]
        ]
        lines += ["", "Gross return per bet (before any cost) above a stated confidence:", ""]
        lines += ["| confidence | share of bars | right | gross return per bet |", "|---|---|---|---|"]
        lines += [
            f"| {row['at_least']:.2f} | {percent(row['share'])} | {percent(row['accuracy'])} "
            f"| {basis_points(row['gross_return_per_bet'])} ({basis_points(row['gross_return_per_bet_low'])} to "
            f"{basis_points(row['gross_return_per_bet_high'])}) |"
            for row in figures["by_confidence"]
        ]
        return lines

    def training_words(self, baselines: Mapping[str, Any]) -> str:
        """Return the share of rises and the last-sign rule."""
        return f"{percent(baselines['base_rate'])} of them rises; last-sign rule: {baselines['last_sign']}"

    def limits(self, document: Mapping[str, Any]) -> str:
        """Return what the model must not be used for."""
        return (
            "One series, one market regime after another: the past may not repeat. Promotion speaks of probability, not of "
            "profit; compare the gross return per bet with the costs that you pay. It must not be used for another symbol, "
            "timeframe or horizon than it was trained on, nor as the only reason to risk money."
        )

    def plots(self, record: OutOfSample, figures: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
        """Return ``calibration.png`` and ``signal_equity.png``."""
        from ml.training.plots import calibration_plot, equity_plot

        return {
            "calibration.png": calibration_plot(figures, title=title),
            "signal_equity.png": equity_plot(record, title=title),
        }
