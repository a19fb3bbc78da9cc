"""Evaluation: skill beside its baselines, each with its uncertainty. Undefined figures are NaN.

Nothing here is measured on bars that a model was fitted on; callers pass rows in time order whose label intervals do not
overlap. R2 of a price level is not computed: it is near 1 for any forecast.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.calibration import calibration_error, reliability
from ml.intervals import mean_interval, wilson

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.record import OutOfSample

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["BASELINES", "Forecasts", "evaluate", "evaluate_record", "log_loss", "log_loss_gain"]

BASELINES = ("coin", "base_rate", "last_sign")
"""0.5 for every bar; the training share of rises; the last sign persisting or reverting, chosen on training rows."""

_SMALLEST_P = 1e-9


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts of n bars, what came of them, and what the baselines said; in time order, without ties.

    Attributes
    ----------
    p_up : float64 array, shape (n,)
        Stated probability of a rise.
    returns : float64 array, shape (n,)
        Log return at the horizon; finite and not 0.
    base_rate, last_sign_p : float64 arrays, shape (n,)
        Probability of a rise by the two baselines.
    """

    p_up: Floats
    returns: Floats
    base_rate: Floats
    last_sign_p: Floats

    @property
    def rose(self) -> Flags:
        """Whether the price rose."""
        flags: Flags = self.returns > 0
        return flags

    @property
    def direction(self) -> Floats:
        """+1.0 or -1.0, what the forecast says."""
        return np.where(self.p_up >= 0.5, 1.0, -1.0)

    @property
    def confidence(self) -> Floats:
        """Stated probability that the direction is right, in [0.5, 1]."""
        return np.maximum(self.p_up, 1.0 - self.p_up)

    @property
    def hits(self) -> Flags:
        """Whether the direction was right."""
        flags: Flags = (self.p_up >= 0.5) == self.rose
        return flags

    def baseline(self, name: str) -> Floats:
        """Return the probabilities of one of ``BASELINES``."""
        if name == "coin":
            return np.full(len(self.p_up), 0.5)
        return self.base_rate if name == "base_rate" else self.last_sign_p


def log_loss(p_up: Floats, rose: Flags) -> Floats:
    """Return ``-ln`` of the probability given to what happened, in nats, shape (n,)."""
    given = np.where(rose, p_up, 1.0 - p_up)
    losses: Floats = -np.log(np.clip(given, _SMALLEST_P, 1.0))
    return losses


def log_loss_gain(forecasts: Forecasts, baseline: str) -> Floats:
    """Return how much less each forecast lost than the baseline, in nats, shape (n,)."""
    rose = forecasts.rose
    gain: Floats = log_loss(forecasts.baseline(baseline), rose) - log_loss(forecasts.p_up, rose)
    return gain


def evaluate(forecasts: Forecasts) -> dict[str, Any]:
    """Return every figure of a set of forecasts.

    The keys that reports read: ``n``, ``direction_accuracy`` with ``direction_accuracy_low`` and ``_high`` (Wilson 95 %),
    ``majority_baseline`` (hit rate of always saying the training majority), ``last_sign_baseline``, ``log_loss``,
    ``log_loss_skill`` (share of the base rate's loss that is saved), ``gain`` by baseline, ``brier``, ``mcc``,
    ``balanced_accuracy``, ``precision``, ``recall``, ``f1``, ``mean_confidence``, ``sharpness``, ``calibration_error`` with
    ``calibration_error_upper``, ``gross_return_per_bet`` with ``_low`` and ``_high``, ``break_even_cost``, and the tables
    ``reliability``, ``by_outcome_size`` and ``by_confidence``.
    """
    count = len(forecasts.p_up)
    rose, hits = forecasts.rose, forecasts.hits
    low, high = wilson(int(hits.sum()), count)
    error = calibration_error(forecasts.confidence, hits)
    bets = bet_returns(forecasts)
    bet = mean_interval(bets)
    return {
        "n": count,
        "direction_accuracy": _share(hits),
        "direction_accuracy_low": low,
        "direction_accuracy_high": high,
        "majority_baseline": _share((forecasts.base_rate >= 0.5) == rose),
        "last_sign_baseline": _sign_share(forecasts.last_sign_p, rose),
        "log_loss": _mean(log_loss(forecasts.p_up, rose)),
        "log_loss_skill": _skill(forecasts, "base_rate"),
        "gain": {name: _gain(forecasts, name) for name in BASELINES},
        "brier": _mean((forecasts.p_up - rose) ** 2),
        **_confusion(forecasts.p_up >= 0.5, rose),
        "mean_confidence": _mean(forecasts.confidence),
        "sharpness": float(forecasts.confidence.std()) if count else math.nan,
        "calibration_error": error.value,
        "calibration_error_upper": error.upper,
        "gross_return_per_bet": bet.mean,
        "gross_return_per_bet_low": bet.low,
        "gross_return_per_bet_high": bet.high,
        "break_even_cost": max(0.0, bet.mean) if count else math.nan,
        "reliability": reliability(forecasts.confidence, hits),
        "by_outcome_size": _by_outcome_size(forecasts),
        "by_confidence": _by_confidence(forecasts, bets),
    }


def evaluate_record(record: OutOfSample) -> dict[str, Any]:
    """Return the figures of the counted rows of an out-of-sample record, with those of its return forecasts.

    Further keys: ``bars`` and ``ties`` of the test folds, ``first_ms`` and ``last_ms`` of what was counted, ``r2_os`` (share
    of the squared return that the forecast explains, against a forecast of zero), ``rmse``, ``mae`` and their ``_zero``
    counterparts, and ``interval_coverage`` of the 90 % band with its Wilson interval.
    """
    counted = record.counted
    forecasts = counted_forecasts(record)
    realised, expected = record.forward_return[counted], record.expected_return[counted]
    residual = realised - expected
    square = float(np.sum(realised**2))
    inside = (record.low[counted] <= realised) & (realised <= record.high[counted])
    covered_low, covered_high = wilson(int(inside.sum()), len(inside))
    times = record.open_ms[counted]
    return {
        **evaluate(forecasts),
        "bars": len(record),
        "ties": int((record.forward_return == 0.0).sum()),
        "first_ms": int(times[0]) if len(times) else None,
        "last_ms": int(times[-1]) if len(times) else None,
        "r2_os": 1 - float(np.sum(residual**2)) / square if square > 0 else math.nan,
        "rmse": math.sqrt(_mean(residual**2)),
        "rmse_zero": math.sqrt(_mean(realised**2)),
        "mae": _mean(np.abs(residual)),
        "mae_zero": _mean(np.abs(realised)),
        "interval_coverage": _share(inside),
        "interval_coverage_low": covered_low,
        "interval_coverage_high": covered_high,
    }


def counted_forecasts(record: OutOfSample) -> Forecasts:
    """Return the counted rows of a record as forecasts."""
    counted = record.counted
    return Forecasts(
        p_up=record.p_up[counted],
        returns=record.forward_return[counted],
        base_rate=record.train_base_rate[counted],
        last_sign_p=record.last_sign_p[counted],
    )


def bet_returns(forecasts: Forecasts) -> Floats:
    """Return the simple return of a bet of one unit on each direction, before costs, shape (n,)."""
    bets: Floats = forecasts.direction * np.expm1(forecasts.returns)
    return bets


def _gain(forecasts: Forecasts, name: str) -> dict[str, float]:
    """Return the mean log-loss gain over a baseline with its error, and the skill it amounts to."""
    interval = mean_interval(log_loss_gain(forecasts, name))
    return {
        "mean": interval.mean,
        "standard_error": interval.standard_error,
        "lower_95": interval.lower_one_sided,
        "skill": _skill(forecasts, name),
    }


def _skill(forecasts: Forecasts, name: str) -> float:
    """Return ``1 - sum LL(model) / sum LL(baseline)``."""
    base = float(log_loss(forecasts.baseline(name), forecasts.rose).sum())
    return 1 - float(log_loss(forecasts.p_up, forecasts.rose).sum()) / base if base > 0 else math.nan


def _confusion(said: Flags, rose: Flags) -> dict[str, float]:
    """Return figures of the two-by-two table; a rise is the positive class."""
    tp, fp = int((said & rose).sum()), int((said & ~rose).sum())
    fn, tn = int((~said & rose).sum()), int((~said & ~rose).sum())
    precision, recall, specificity = _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    root = math.sqrt(float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "mcc": _ratio(tp * tn - fp * fn, root),
        "balanced_accuracy": (recall + specificity) / 2,
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


def _by_outcome_size(forecasts: Forecasts) -> list[dict[str, float]]:
    """Return accuracy by fifths of the absolute return: a model may be right on small moves and wrong on large ones."""
    size = np.abs(forecasts.returns)
    table = []
    for part in np.array_split(np.argsort(size, kind="stable"), 5) if len(size) >= 5 else ():
        hits = int(forecasts.hits[part].sum())
        low, high = wilson(hits, len(part))
        table.append(
            {
                "from": float(size[part].min()),
                "to": float(size[part].max()),
                "accuracy": hits / len(part),
                "accuracy_low": low,
                "accuracy_high": high,
                "n": len(part),
            }
        )
    return table


def _by_confidence(forecasts: Forecasts, bets: Floats) -> list[dict[str, float]]:
    """Return, above each level of confidence, how often forecasts came, were right, and what a bet returned."""
    table = []
    for level in (0.5, 0.52, 0.54, 0.56, 0.58, 0.6, 0.65, 0.7):
        inside = forecasts.confidence >= level
        count, hits = int(inside.sum()), int(forecasts.hits[inside].sum())
        low, high = wilson(hits, count)
        bet = mean_interval(bets[inside])
        table.append(
            {
                "at_least": level,
                "share": _ratio(count, len(inside)),
                "n": count,
                "accuracy": _ratio(hits, count),
                "accuracy_low": low,
                "accuracy_high": high,
                "gross_return_per_bet": bet.mean,
                "gross_return_per_bet_low": bet.low,
                "gross_return_per_bet_high": bet.high,
            }
        )
    return table


def _sign_share(probability: Floats, rose: Flags) -> float:
    """Return the hit rate of a rule; where it says exactly 0.5 it counts as half a hit."""
    if len(rose) == 0:
        return math.nan
    return float(np.where(probability == 0.5, 0.5, (probability > 0.5) == rose).mean())


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else math.nan


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
