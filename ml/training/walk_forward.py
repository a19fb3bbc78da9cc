"""The walk forward: models of the past, asked about the bars that came after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.baselines import fit_baselines
from ml.calibration import apply_calibration, calibrated, fit_calibration
from ml.record import OutOfSample

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ml.dataset import Dataset, Fold
    from ml.predictors.contract import FittedPredictor, Predictor

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["score_positions", "walk_forward"]


def score_positions(fitted: FittedPredictor, dataset: Dataset, positions: Integers) -> Floats:
    """Return raw scores of the bars at ``positions``, NaN where a model of sequences finds too few rows before one."""
    if fitted.sequence == 1:
        return fitted.scores(np.ascontiguousarray(dataset.rows[positions]))
    scores = np.full(len(positions), np.nan)
    for place, position in enumerate(positions):
        first = position - fitted.sequence + 1
        if first >= 0 and dataset.usable[first : position + 1].all():
            scores[place] = fitted.scores(dataset.rows[first : position + 1])[0]
    return scores


def walk_forward(
    dataset: Dataset,
    folds: list[Fold],
    predictor: Predictor,
    *,
    seed: int,
    threads: int,
    progress: Callable[[float, str], None],
) -> OutOfSample:
    """Fit one model a fold and record what it says of the fold's bars.

    The probability of a fold is calibrated on the thinned rows of the folds before it whose labels were known when
    the first bar of the fold closed; what it was fitted on never counts. The first fold has none and is not scored.

    Parameters
    ----------
    dataset
        Features and labels.
    folds
        Of ``purged_walk_forward``, in time order.
    predictor
        Fitted anew for every fold, with the same parameters.
    seed, threads
        Passed to the predictor.
    progress
        Told the share of folds that are done.
    """
    parts: list[dict[str, Any]] = []
    for fold in folds:
        progress(fold.number / len(folds), f"fold {fold.number + 1} of {len(folds)}")
        fitted = predictor.fit(dataset, fold.train, seed=seed, threads=threads)
        raw = score_positions(fitted, dataset, fold.test)
        baselines = fit_baselines(dataset.returns[fold.train], dataset.past[fold.train])
        count = len(fold.test)
        part: dict[str, Any] = {
            "open_ms": dataset.open_ms[fold.test],
            "k": dataset.k[fold.test],
            "fold": np.full(count, fold.number, dtype=np.int16),
            "raw_score": raw,
            "forward_return": dataset.returns[fold.test],
            "train_base_rate": np.full(count, baselines.base_rate),
            "last_sign_p": baselines.last_sign_probability(dataset.past[fold.test]),
            "close": dataset.close[fold.test],
            "sigma": dataset.sigma[fold.test],
            "scored": dataset.scored[fold.test] & np.isfinite(raw),
        }
        parts.append(part | _calibrated(part, parts, dataset.horizon))
    return OutOfSample(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _calibrated(part: dict[str, Any], earlier: list[dict[str, Any]], horizon: int) -> dict[str, Floats]:
    """Return what a fold's scores mean by the record of the folds before it; NaN for the first."""
    raw: Floats = part["raw_score"]
    if not earlier:
        nothing = np.full(len(raw), np.nan)
        return {"p_up": nothing, "expected_return": nothing, "low": nothing, "high": nothing}
    known = [old["scored"] & (old["k"] + horizon <= part["k"][0]) for old in earlier]
    past_raw, past_returns, past_sigma = (
        np.concatenate([old[name][rows] for old, rows in zip(earlier, known, strict=True)])
        for name in ("raw_score", "forward_return", "sigma")
    )
    calibration = fit_calibration(past_raw, past_returns, past_sigma, horizon=horizon)
    values = apply_calibration(raw, part["sigma"], np.ones(len(raw)), calibration)
    return {
        "p_up": calibrated(raw, calibration.slope, calibration.score_scale),
        "expected_return": values[:, 1],
        "low": np.log(values[:, 5]),
        "high": np.log(values[:, 6]),
    }
