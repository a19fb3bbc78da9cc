"""The figures of a volatility: QLIKE beside its baselines, and how often what was realised came close."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.intervals import mean_interval, wilson
from ml.volatility_publisher import WITHIN

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.record import VolatilityRecord

    Floats = npt.NDArray[np.float64]

__all__ = ["VOLATILITY_BASELINES", "evaluate_volatility", "qlike"]

VOLATILITY_BASELINES = ("ewma", "har", "constant")
"""The baselines; their columns of the record have these names."""


def qlike(realised: Floats, forecast: Floats) -> Floats:
    """Return the loss of volatility forecasts, float64 (n,): ``x - ln x - 1`` with x the ratio of the variances.

    0 for a perfect forecast; robust to noise in what is realised (Patton 2011).
    """
    ratio = (realised / forecast) ** 2
    losses: Floats = ratio - np.log(ratio) - 1.0
    return losses


def evaluate_volatility(record: VolatilityRecord) -> dict[str, Any]:
    """Return every figure of the counted rows; what is undefined is NaN.

    Keys: ``task``, ``n``, ``bars``, ``first_ms``, ``last_ms``, ``qlike``, ``qlike_baselines``, ``gain`` by baseline
    (``mean``, ``standard_error``, ``lower_95``, ``skill`` the share of the baseline's loss that is saved), ``skill_ewma``,
    ``skill_har``, ``mean_forecast``, ``mean_realised``, ``rmse_log`` and ``rmse_log_ewma`` (of the logarithm),
    ``correlation`` (of the logarithms), ``within`` with ``within_low`` and ``within_high`` (share that came within a
    quarter of the forecast), ``mean_confidence``, and the table ``by_forecast``.
    """
    counted = record.counted
    forecast, realised = record.forecast[counted], record.realised[counted]
    losses = qlike(realised, forecast)
    gains, baselines = {}, {}
    for name in VOLATILITY_BASELINES:
        base = qlike(realised, getattr(record, name)[counted])
        interval = mean_interval(base - losses)
        total = float(base.sum())
        baselines[name] = _mean(base)
        gains[name] = {
            "mean": interval.mean,
            "standard_error": interval.standard_error,
            "lower_95": interval.lower_one_sided,
            "skill": 1 - float(losses.sum()) / total if total > 0 else math.nan,
        }
    close = np.abs(realised / forecast - 1.0) <= WITHIN
    low, high = wilson(int(close.sum()), len(close))
    error, error_ewma = np.log(realised / forecast), np.log(realised / record.ewma[counted])
    times = record.open_ms[counted]
    return {
        "task": "volatility",
        "n": len(forecast),
        "bars": len(record),
        "first_ms": int(times[0]) if len(times) else None,
        "last_ms": int(times[-1]) if len(times) else None,
        "qlike": _mean(losses),
        "qlike_baselines": baselines,
        "gain": gains,
        "skill_ewma": gains["ewma"]["skill"],
        "skill_har": gains["har"]["skill"],
        "mean_forecast": _mean(forecast),
        "mean_realised": _mean(realised),
        "rmse_log": math.sqrt(_mean(error**2)),
        "rmse_log_ewma": math.sqrt(_mean(error_ewma**2)),
        "correlation": _correlation(np.log(forecast), np.log(realised)),
        "within": _mean(close.astype(np.float64)),
        "within_low": low,
        "within_high": high,
        "mean_confidence": _mean(record.confidence[counted]),
        "by_forecast": _by_forecast(forecast, realised),
    }


def _by_forecast(forecast: Floats, realised: Floats) -> list[dict[str, float]]:
    """Return, by fifths of the forecast, the root mean squares of both: a forecast that is right has equal ones."""
    if len(forecast) < 5:
        return []
    return [
        {
            "from": float(forecast[part].min()),
            "to": float(forecast[part].max()),
            "stated": math.sqrt(float(np.mean(forecast[part] ** 2))),
            "realised": math.sqrt(float(np.mean(realised[part] ** 2))),
            "n": len(part),
        }
        for part in np.array_split(np.argsort(forecast, kind="stable"), 5)
    ]


def _correlation(a: Floats, b: Floats) -> float:
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return math.nan
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else math.nan
