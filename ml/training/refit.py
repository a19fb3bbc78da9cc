"""A refit: one more fit of a recipe, published by what its earlier versions said of bars that they had not seen.

The first version of a recipe is trained with a walk forward (``ml.training.trainer``). Later ones need none: the prequential
record of the recipe, which began with that walk forward and has grown since by every version's later bars, is a longer and
a truer one. It alone calibrates and measures; no row that the new model learns from counts for what it states.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import InvalidRecord, UnsupportedTask
from ml.features.blocks import index_start_ms
from ml.predictors.catalogue import predictor_class
from ml.record import check_order, record_class
from ml.tasks.catalogue import PATH, TASKS
from ml.training.assembly import assemble
from ml.training.gate import decide, refused_by_interruption
from ml.training.trainer import TrainingResult, prepare
from ml.training.walk_forward import fit_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.history import FeatureHistory
    from ml.training.settings import TrainingSettings
    from ml.training.trainer import Prepared
    from registry.names import ModelKey

    Flags = npt.NDArray[np.bool_]
    Progress = Callable[[float, str], None]

__all__ = ["refit"]


def _silent(_fraction: float, _text: str) -> None:
    """Report progress to nobody."""


def refit(
    candles: Candles,
    key: ModelKey,
    settings: TrainingSettings,
    record: Any,
    *,
    at: datetime,
    code_version: str,
    recipe: Mapping[str, Any],
    progress: Progress = _silent,
    features: FeatureHistory | None = None,
) -> TrainingResult:
    """Fit a recipe once more, on the whole of its window.

    No walk forward, no battery, no plots: the verdict of the gate on the record is for information, since scheduled versions
    are promoted by tests that may be asked at any time.

    Parameters
    ----------
    candles
        Closed candles of the key's timeframe, in time order; those before ``settings.first_ms`` warm the features.
    key, settings
        As ``ml.training.trainer.train`` takes them.
    record
        Prequential record of the recipe, all of it: the walk forward of the first version (folds 0 to
        ``settings.folds - 1``), and what every version said of bars after its training (see ``ml.lifecycle.scoring``). It
        becomes the bundle's.
    at
        The moment of training; must be aware of its zone. Rows whose outcome was not known then do not calibrate.
    code_version
        Version of this program.
    recipe
        ``name`` and ``expires_after_ms`` (None for never), for ``metadata.json``.
    progress
        Told the share that is done, and with what.
    features
        Remembers rows from one refit to the next; the same bytes come out without.

    Returns
    -------
    TrainingResult
        The same arguments give the same bytes. Nothing is written; the caller registers ``files``.

    Raises
    ------
    UnsupportedTask
        For models of whole paths.
    InvalidRecord
        When the record is of another task, or holds a bar twice or out of order.
    MLError
        See ``ml.training.trainer.prepare`` and the predictor's ``fit``.
    """
    family = predictor_class(key.model_type, settings.architecture)
    if family.task == PATH:
        raise UnsupportedTask(
            f"{key.model_type} forecasts whole paths of candles, and recipes of whole paths are not refitted by the pipeline "
            "yet: train it with `bot train model`"
        )
    place = f"the record of {recipe['name']}"
    _check(record, family.task, place)
    progress(0.0, "features and labels")
    prepared = prepare(candles, key, settings, features)
    dataset, predictor, task = prepared.dataset, prepared.predictor, TASKS[family.task]
    labelled = np.flatnonzero(dataset.labelled)

    def fit_progress(fraction: float, text: str) -> None:
        progress(0.1 + 0.7 * fraction, text)

    progress(0.1, "model")
    fitted = fit_model(
        predictor, dataset, labelled, seed=settings.seed, threads=settings.threads, progress=fit_progress
    )
    interrupted = bool(getattr(predictor, "interrupted", False))
    progress(0.8, "calibration and metrics")
    baselines = task.fit_baselines(dataset, labelled)
    known = record.rows(_known(record, prepared, at))
    publisher = task.fit_publisher(known.scored_columns(), baselines, horizon=settings.horizon)
    figures = task.evaluate(record)
    plan = replace(prepared.plan, scored=int(record.counted.sum()))
    gate = decide(figures, plan, task.words)
    if interrupted:
        gate = refused_by_interruption(gate)
    files, metrics, document = assemble(
        prepared,
        fitted,
        record,
        baselines,
        publisher,
        figures,
        gate,
        {"skipped": "a refit is judged by the bars that come after it"},
        plan=plan,
        at=at,
        code_version=code_version,
        interrupted=interrupted,
        recipe=recipe,
        refits=len(np.unique(record.fold[record.fold >= settings.folds])),
    )
    progress(1.0, "done")
    return TrainingResult(files, gate, metrics, plan, document, record, publisher)


def _check(record: Any, task: str, place: str) -> None:
    """Refuse a record that is not one of the task, in order of time."""
    wanted = record_class(task)
    if not isinstance(record, wanted):
        raise InvalidRecord(f"{place} is a {type(record).__name__}, models of {task} keep a {wanted.__name__}")
    check_order(record, place)


def _known(record: Any, prepared: Prepared, at: datetime) -> Flags:
    """Return the rows whose outcome was known: the candle that it takes had closed at the moment of training."""
    ends = index_start_ms(record.k + prepared.settings.horizon, prepared.candles.timeframe, prepared.schema.index)
    closed: Flags = ends + prepared.candles.step_ms <= int(at.timestamp() * 1000)
    return closed
