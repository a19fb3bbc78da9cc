"""The figures of a risk: log-loss beside its baselines, calibration, and whether risks are ranked rightly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.calibration import calibration_error, reliability
from ml.evaluation import log_loss
from ml.intervals import mean_interval

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.record import RiskRecord

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["RISK_BASELINES", "evaluate_risk"]

RISK_BASELINES = {"base_rate": "train_base_rate", "last_outcome": "last_outcome_p", "volatility": "volatility_p"}
"""The baselines and their columns of the record."""


def evaluate_risk(record: RiskRecord) -> dict[str, Any]:
    """Return every figure of the counted rows; what is undefined is NaN.

    Keys: ``task``, ``n``, ``bars``, ``first_ms``, ``last_ms``, ``came_true`` (share of adverse moves), ``mean_risk`` (mean
    stated probability), ``mean_base_rate``, ``mean_confidence``, ``log_loss``, ``log_loss_skill`` (share of the base rate's
    loss that is saved), ``gain`` by baseline, ``brier``, ``auc`` and ``auc_volatility``, ``calibration_error`` with
    ``calibration_error_upper``, and the table ``reliability``.
    """
    counted = record.counted
    stated, happened = record.p_adverse[counted], record.outcome[counted] > 0.5
    losses = log_loss(stated, happened)
    gains = {}
    for name, column in RISK_BASELINES.items():
        base = log_loss(getattr(record, column)[counted], happened)
        interval = mean_interval(base - losses)
        total = float(base.sum())
        gains[name] = {
            "mean": interval.mean,
            "standard_error": interval.standard_error,
            "lower_95": interval.lower_one_sided,
            "skill": 1 - float(losses.sum()) / total if total > 0 else math.nan,
        }
    error = calibration_error(stated, happened)
    times = record.open_ms[counted]
    return {
        "task": "risk",
        "n": len(stated),
        "bars": len(record),
        "first_ms": int(times[0]) if len(times) else None,
        "last_ms": int(times[-1]) if len(times) else None,
        "came_true": _mean(happened.astype(np.float64)),
        "mean_risk": _mean(stated),
        "mean_base_rate": _mean(record.train_base_rate[counted]),
        "mean_confidence": _mean(np.maximum(stated, 1.0 - stated)),
        "log_loss": _mean(losses),
        "log_loss_skill": gains["base_rate"]["skill"],
        "gain": gains,
        "brier": _mean((stated - happened) ** 2),
        "auc": area_under_curve(stated, happened),
        "auc_volatility": area_under_curve(record.volatility_p[counted], happened),
        "calibration_error": error.value,
        "calibration_error_upper": error.upper,
        "reliability": reliability(stated, happened),
    }


def area_under_curve(stated: Floats, happened: Flags) -> float:
    """Return the probability that a bar that came true was given more than one that did not, ties counting half.

    Mann and Whitney 1947, by average ranks; NaN where one of the two classes is empty.
    """
    from scipy.stats import rankdata

    positive = int(happened.sum())
    negative = len(happened) - positive
    if positive == 0 or negative == 0:
        return math.nan
    ranks = rankdata(stated)
    return float((ranks[happened].sum() - positive * (positive + 1) / 2) / (positive * negative))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
