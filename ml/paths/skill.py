"""How far a path can be trusted: skill at every step, on starts that the model had not seen.

At step k the squared error of the predicted log return from the start is compared with that of two forecasts which need
no model: persistence (no change) and drift (k times the mean return of the training rows). Errors are in units of the
volatility at the start, so that calm and wild times count alike. Starts overlap, so the standard errors are those of Newey
and West with a lag of at least one and a half paths.

``trusted_steps`` is the number of steps, from the first on, whose one-sided 95 % lower bound of the mean gain is above zero
against both. The tests are run in order and stop at the first failure: a sequence that is fixed beforehand keeps the
chance of a false claim at 5 % without any correction (Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ml.calibration import MINIMUM_ROWS, calibrated, calibration_error, fit_slope
from ml.intervals import mean_interval, wilson

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.paths.record import PathRecord, StepRecord

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = [
    "BASELINES",
    "LEAST_INDEPENDENT",
    "confidence_figures",
    "first_step_figures",
    "fit_shrink",
    "fit_step_slopes",
    "skill_by_step",
    "trusted_steps",
]

BASELINES = ("persistence", "drift")

LEAST_INDEPENDENT = 30
"""A step counts only where so many paths of its length fit into the record one after another."""

_OVERLAP = 1.5  # lag of the standard errors, in lengths of a path


def skill_by_step(record: PathRecord) -> dict[str, list[float]]:
    """Return the figures of every step as columns; NaN where nothing is known.

    Returns
    -------
    dict
        ``step``; ``n`` starts with a known outcome; ``independent`` how many paths of that length fit one after another;
        ``r2_os`` share of the squared return that is explained, against no change; for each baseline ``gain_<name>`` (mean of
        ``((r - baseline)^2 - (r - forecast)^2) / sigma^2``) with ``_se``, ``_lower`` (one-sided 95 %), ``_low`` and
        ``_high`` (two-sided 95 %); ``hit_rate`` of the direction, where the price did not stand still.
    """
    forecast, outcome = record.forecasts(), record.outcomes()
    spacing = record.spacing
    columns: dict[str, list[float]] = {"step": [], "n": [], "independent": [], "r2_os": [], "hit_rate": []}
    for name in BASELINES:
        columns |= {f"gain_{name}{part}": [] for part in ("", "_se", "_lower", "_low", "_high")}
    for step in range(1, record.steps + 1):
        said, came = forecast[:, step - 1], outcome[:, step - 1]
        known = np.isfinite(said) & np.isfinite(came) & (record.sigma > 0)
        said, came, sigma = said[known], came[known], record.sigma[known]
        error = (came - said) ** 2
        moved = came != 0
        total = float(np.sum(came**2))
        columns["step"].append(step)
        columns["n"].append(int(known.sum()))
        columns["independent"].append(_independent(record, known, step))
        columns["r2_os"].append(1.0 - float(np.sum(error)) / total if total > 0 else math.nan)
        hits = (said >= 0) == (came > 0)
        columns["hit_rate"].append(float(hits[moved].mean()) if moved.any() else math.nan)
        lag = math.ceil(_OVERLAP * step / spacing) if spacing > 0 else 0
        for name, baseline in (("persistence", 0.0), ("drift", step * record.drift[known])):
            found = mean_interval(((came - baseline) ** 2 - error) / sigma**2, lag)
            figures = (found.mean, found.standard_error, found.lower_one_sided, found.low, found.high)
            for part, figure in zip(("", "_se", "_lower", "_low", "_high"), figures, strict=True):
                columns[f"gain_{name}{part}"].append(figure)
    return columns


def _independent(record: PathRecord, known: Flags, step: int) -> int:
    """Return how many paths of ``step`` steps fit one after another between the first and the last known one."""
    k = record.k[known]
    return int((k[-1] - k[0]) // step) + 1 if len(k) else 0


def trusted_steps(figures: dict[str, list[float]]) -> int:
    """Return how many steps pass, from the first on; 0 is a legal answer, and the usual one on real candles."""
    for row, step in enumerate(figures["step"]):
        lower = min(figures[f"gain_{name}_lower"][row] for name in BASELINES)
        if not (lower > 0 and figures["independent"][row] >= LEAST_INDEPENDENT):
            return int(step) - 1
    return len(figures["step"])


def fit_shrink(steps: StepRecord, known: Flags | None = None) -> tuple[float, ...]:
    """Return one factor for each forest: how much of what it says of the next candle came true.

    It is the slope of the target on the score, without intercept, over bars that the model had not seen, cut to [0, 1]. A
    forest that says nothing has 0, and a path of it stands still. Wicks are sizes, not guesses of a side: their factor is 1.

    Parameters
    ----------
    steps
        The record of single steps.
    known : bool array, shape (n,), optional
        Rows to use; all unless given.
    """
    rows = np.ones(len(steps.k), dtype=np.bool_) if known is None else known
    score, target = steps.score[rows].astype(np.float64), steps.target[rows].astype(np.float64)
    whole = np.isfinite(score).all(axis=1) & np.isfinite(target).all(axis=1)
    score, target = score[whole], target[whole]
    parts = score.shape[1]
    factors = []
    for part in range(parts):
        if parts > 1 and part in {1, 2}:
            factors.append(1.0)
            continue
        square = float(np.sum(score[:, part] ** 2))
        slope = float(np.sum(score[:, part] * target[:, part])) / square if square > 0 else 0.0
        factors.append(min(1.0, max(0.0, slope)))
    return tuple(factors)


def fit_step_slopes(record: PathRecord, steps: int) -> tuple[Floats, Floats]:
    """Return slope and scale of the map from predicted return to probability, for the steps 1 to ``steps``.

    The score is the predicted return in units of the volatility at the start; the map is that of ``ml.calibration``. Paths
    overlap: all together they count for as many as fit one after another, so that the penalty of the slope holds back
    what few independent paths have shown.

    Returns
    -------
    two float64 arrays, shape (steps,)
        Both 0 for a step with too few rows: its confidence is 0.5.
    """
    slopes, scales = np.zeros(steps), np.zeros(steps)
    for step in range(1, steps + 1):
        score, rose, known = _scores(record, step)
        slopes[step - 1], scales[step - 1] = fit_slope(score[known], rose[known], _weight(record, known, step))
    return slopes, scales


def _weight(record: PathRecord, known: Flags, step: int) -> float:
    """Return how many independent paths one of the known ones counts for, at most 1."""
    count = int(known.sum())
    return min(1.0, _independent(record, known, step) / count) if count else 1.0


def _scores(record: PathRecord, step: int) -> tuple[Floats, Flags, Flags]:
    """Return the scores of a step, whether the price rose, and where both are known."""
    said, came = record.forecasts()[:, step - 1], record.outcomes()[:, step - 1]
    score = said / np.where(record.sigma > 0, record.sigma, np.nan)
    return score, came > 0, np.isfinite(score) & np.isfinite(came) & (came != 0)


def confidence_figures(record: PathRecord, step: int) -> dict[str, float]:
    """Return how the confidence of a step kept its word, each fold calibrated on the folds before it.

    Only paths whose outcome was known when the fold began are calibrated on, and only folds with at least 500 of them count.
    Keys: ``step``, ``n``, ``mean_confidence``, ``hit_rate`` with ``hit_rate_low`` and ``_high`` (Wilson 95 %, too narrow
    where paths overlap), ``calibration_error`` and ``calibration_error_upper``.
    """
    score, rose, known = _scores(record, step)
    stated = np.full(len(record), np.nan)
    for fold in np.unique(record.fold):
        here = record.fold == fold
        past = known & (record.fold < fold) & (record.k + step <= record.k[here].min())
        if int(past.sum()) >= MINIMUM_ROWS:
            slope, scale = fit_slope(score[past], rose[past], _weight(record, past, step))
            stated[here] = calibrated(np.nan_to_num(score[here]), slope, scale)
    counted = known & np.isfinite(stated)
    confidence = np.maximum(stated[counted], 1.0 - stated[counted])
    hits = (score[counted] >= 0) == rose[counted]
    low, high = wilson(int(hits.sum()), len(hits))
    error = calibration_error(confidence, hits)
    return {
        "step": step,
        "n": len(hits),
        "mean_confidence": float(confidence.mean()) if len(hits) else math.nan,
        "hit_rate": float(hits.mean()) if len(hits) else math.nan,
        "hit_rate_low": low,
        "hit_rate_high": high,
        "calibration_error": error.value,
        "calibration_error_upper": error.upper,
    }


def first_step_figures(steps: StepRecord, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Return R2 against no change and root mean square error of the unshrunk scores one step ahead, by part.

    Units are those of the targets: volatilities of one bar. Key ``n`` counts the bars of all test folds.
    """
    found = {}
    for part, name in enumerate(names):
        score, target = steps.score[:, part].astype(np.float64), steps.target[:, part].astype(np.float64)
        known = np.isfinite(score) & np.isfinite(target)
        error, square = float(np.sum((target - score)[known] ** 2)), float(np.sum(target[known] ** 2))
        count = int(known.sum())
        found[name] = {
            "n": count,
            "r2": 1.0 - error / square if square > 0 else math.nan,
            "rmse": math.sqrt(error / count) if count else math.nan,
        }
    return found
