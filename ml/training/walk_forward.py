"""The walk forward: models of the past, asked about the bars that came after them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ml.tasks.catalogue import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ml.dataset import Dataset, Fold
    from ml.predictors.contract import FittedPredictor, Predictor
    from ml.tasks.contract import Task

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["Scorer", "fit_model", "score_positions", "walk_forward"]


class Scorer(Protocol):
    """What gives raw scores: a fitted predictor, or the runner of a bundle."""

    @property
    def sequence(self) -> int:
        """Rows that one score reads."""
        ...

    def scores(self, rows: Rows) -> Floats:
        """Return one raw score for each complete window."""
        ...


def fit_model(
    predictor: Predictor,
    dataset: Dataset,
    positions: Integers,
    *,
    seed: int,
    threads: int,
    progress: Callable[[float, str], None],
) -> FittedPredictor:
    """Fit a model; networks tell their progress, and take long enough for it to matter."""
    if not getattr(predictor, "network", False):
        return predictor.fit(dataset, positions, seed=seed, threads=threads)
    fit: Any = predictor.fit  # the keyword is not part of the contract of every family
    fitted: FittedPredictor = fit(dataset, positions, seed=seed, threads=threads, progress=progress)
    return fitted


def score_positions(fitted: Scorer, dataset: Dataset, positions: Integers) -> Floats:
    """Return raw scores of the bars at ``positions``, NaN where a model of sequences finds too few rows before one."""
    if fitted.sequence == 1:
        return fitted.scores(np.ascontiguousarray(dataset.rows[positions]))
    windows = dataset.windows(fitted.sequence)
    scores = np.full(len(positions), np.nan)
    found = np.flatnonzero(windows.complete[positions])
    if len(found):
        bars = positions[found]
        raw = fitted.scores(dataset.rows[windows.rows(int(bars[0]), int(bars[-1]))])
        scores[found] = raw[windows.rank[bars] - windows.rank[bars[0]]]
    return scores


def walk_forward(
    dataset: Dataset,
    folds: list[Fold],
    predictor: Predictor,
    *,
    seed: int,
    threads: int,
    progress: Callable[[float, str], None],
    task: Task | None = None,
) -> Any:
    """Fit one model a fold and record what it says of the fold's bars.

    What a fold states is calibrated on the thinned rows of the folds before it whose labels were known when
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
    task
        Says what is learnt and recorded; that of the predictor unless given.

    Returns
    -------
    Record
        That of the task, such as ``ml.record.OutOfSample`` for ``direction``.
    """
    task = TASKS[predictor.task] if task is None else task
    parts: list[dict[str, Any]] = []
    for fold in folds:
        label = f"fold {fold.number + 1} of {len(folds)}"
        progress(fold.number / len(folds), label)

        def fit_progress(fraction: float, text: str, done: int = fold.number, label: str = label) -> None:
            progress((done + fraction) / len(folds), f"{label}, {text}")

        fitted = fit_model(predictor, dataset, fold.train, seed=seed, threads=threads, progress=fit_progress)
        raw = score_positions(fitted, dataset, fold.test)
        baselines = task.fit_baselines(dataset, fold.train)
        part: dict[str, Any] = {
            "open_ms": dataset.open_ms[fold.test],
            "k": dataset.k[fold.test],
            "fold": np.full(len(fold.test), fold.number, dtype=np.int16),
            "raw_score": raw,
            **task.outcomes(dataset, fold.test, baselines),
            "close": dataset.close[fold.test],
            "sigma": dataset.sigma[fold.test],
            "scored": dataset.scored[fold.test] & np.isfinite(raw),
        }
        past = _known(part, parts, dataset.horizon)
        publisher = task.fit_publisher(past, baselines, horizon=dataset.horizon) if past else None
        parts.append(part | task.stated(part, publisher))
    return task.record({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def _known(part: dict[str, Any], earlier: list[dict[str, Any]], horizon: int) -> dict[str, Floats]:
    """Return the columns of the scored rows of earlier folds whose labels were known at a fold's first bar."""
    if not earlier:
        return {}
    known = [old["scored"] & (old["k"] + horizon <= part["k"][0]) for old in earlier]
    return {name: np.concatenate([old[name][rows] for old, rows in zip(earlier, known, strict=True)]) for name in part}
