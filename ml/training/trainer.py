"""Training: from candles to the files of a bundle.

Nothing here touches the disk, the clock or a random state of its own: the same candles, settings and ``at`` give the same
bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.dataset import VOLATILITY_FEATURE, Dataset, build_dataset, purged_walk_forward, with_warm_up
from ml.errors import TrainingFailed
from ml.predictors.catalogue import predictor_class
from ml.tasks.catalogue import PATH, TASKS
from ml.training.assembly import assemble
from ml.training.gate import GateDecision, decide, refused_by_interruption
from ml.training.plan import TrainingPlan, check_length, plan_dataset
from ml.training.robustness import red_flag, refused_by_shuffle, robustness
from ml.training.walk_forward import fit_model, walk_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from ml.candles import Candles
    from ml.dataset import Fold
    from ml.features.history import FeatureHistory
    from ml.features.schema import FeatureSchema
    from ml.predictors.contract import Predictor
    from ml.publishing import Publisher
    from ml.training.settings import TrainingSettings
    from registry.names import ModelKey

    Progress = Callable[[float, str], None]

__all__ = ["Prepared", "TrainingResult", "prepare", "train", "train_prepared"]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Candles with everything that is known before fitting."""

    candles: Candles
    key: ModelKey
    settings: TrainingSettings
    schema: FeatureSchema
    predictor: Predictor
    dataset: Dataset
    plan: TrainingPlan


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What a training run made.

    Attributes
    ----------
    files
        Every file of the bundle but the manifest, by name.
    gate
        Whether the model may be promoted, and why.
    metrics
        Content of ``metrics.json``; undefined figures are NaN.
    plan
        What the data allowed.
    metadata
        Content of ``metadata.json``.
    record
        The out-of-sample record: ``OutOfSample`` for a direction, else the record of the task.
    calibration
        Numbers that the bundle publishes with.
    """

    files: dict[str, bytes]
    gate: GateDecision
    metrics: dict[str, Any]
    plan: TrainingPlan
    metadata: dict[str, Any]
    record: Any
    calibration: Publisher


def _silent(_fraction: float, _text: str) -> None:
    """Report progress to nobody."""


def prepare(
    candles: Candles, key: ModelKey, settings: TrainingSettings, features: FeatureHistory | None = None
) -> Prepared:
    """Check the request, compute features and labels, and say what the data allows.

    Parameters
    ----------
    candles, key, settings
        See ``train``.
    features
        Remembers rows from one training to the next, for whoever trains a recipe again and again; the same bits come out.

    Raises
    ------
    UnknownPredictor, InvalidParameter, UnknownFeature, MissingColumns
        When a name or a value is wrong.
    NotEnoughBars
        When too few bars are there, or are left after the warm-up.
    TrainingFailed
        When no bar has a label, or all labels are ties.
    ValueError
        When the candles are not of the key's timeframe.
    """
    from ml.features.schema import FeatureSchema

    if candles.timeframe != key.timeframe:
        raise ValueError(f"the candles are of {candles.timeframe}, the model is to be of {key.timeframe}")
    family = predictor_class(key.model_type, settings.architecture)
    if family.task == PATH:
        ready: Prepared = _path_trainer().prepare(candles, key, settings)
        return ready
    predictor = family(settings.parameters)
    task = TASKS[family.task]
    first_ms = int(candles.open_ms[0]) if settings.first_ms is None and len(candles) else settings.first_ms or 0
    wanted = candles.between(first_ms, None)
    check_length(wanted)
    names, required = settings.features, _required_features(predictor, settings.horizon)
    if names is None and required:
        names = ("default",)
    if names is not None:
        names = (*names, *(name for name in (VOLATILITY_FEATURE, *task.features, *required) if name not in names))
    schema = FeatureSchema.for_candles(wanted, names)
    candles = with_warm_up(candles, schema, first_ms)
    matrix = None if features is None else features.matrix(candles, schema)
    whole = build_dataset(candles, schema, settings.horizon, matrix)
    dataset = replace(whole, outcome=task.target(candles, whole, predictor.parameters)).since(first_ms)
    plan = plan_dataset(dataset, candles.timeframe, folds=settings.folds, embargo=settings.embargo)
    if plan.labelled == 0:
        raise TrainingFailed(
            f"none of the {plan.usable:,} bars with features has a label: {plan.ties:,} are ties, and for the others "
            f"the candle {settings.horizon} bars later is missing: "
            + ("shorten --horizon, or take more bars" if plan.ties < plan.usable / 2 else "this price never moves")
        )
    return Prepared(candles, key, settings, schema, predictor, dataset, plan)


def train(
    candles: Candles,
    key: ModelKey,
    settings: TrainingSettings,
    *,
    at: datetime,
    code_version: str,
    progress: Progress = _silent,
    recipe: Mapping[str, Any] | None = None,
    features: FeatureHistory | None = None,
) -> TrainingResult:
    """Train, validate and calibrate one model.

    Parameters
    ----------
    candles
        Closed candles of the key's timeframe, in time order.
    key
        Symbol, type and timeframe.
    settings
        Horizon, features, parameters, folds, seed.
    at
        The moment of training, for ``metadata.json``; must be aware of its zone.
    code_version
        Version of this program, for the record.
    progress
        Told the share that is done, and with what.
    recipe
        Of whom it is the first version: ``name`` and ``expires_after_ms``, for ``metadata.json``. None for a model by hand.
    features
        See ``prepare``.

    Returns
    -------
    TrainingResult
        Nothing is written; the caller registers ``files``.

    Raises
    ------
    MLError
        See ``prepare`` and the predictor's ``fit``.
    """
    progress(0.0, "features and labels")
    prepared = prepare(candles, key, settings, features)
    return train_prepared(prepared, at=at, code_version=code_version, progress=progress, recipe=recipe)


def train_prepared(
    prepared: Prepared,
    *,
    at: datetime,
    code_version: str,
    progress: Progress = _silent,
    recipe: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Do what ``train`` does, on what ``prepare`` returned."""
    dataset, settings, predictor = prepared.dataset, prepared.settings, prepared.predictor
    if predictor.task == PATH:
        trained: TrainingResult = _path_trainer().train_prepared(
            prepared, at=at, code_version=code_version, progress=progress
        )
        return trained
    task = TASKS[predictor.task]
    folds = purged_walk_forward(dataset, folds=settings.folds, embargo=settings.embargo)

    def fold_progress(fraction: float, text: str) -> None:
        progress(0.1 + 0.55 * fraction, text)

    record = walk_forward(
        dataset, folds, predictor, seed=settings.seed, threads=settings.threads, progress=fold_progress
    )
    progress(0.65, "final model")
    labelled = np.flatnonzero(dataset.labelled)

    def final_progress(fraction: float, text: str) -> None:
        progress(0.65 + 0.15 * fraction, f"final model, {text}")

    fitted = fit_model(
        predictor, dataset, labelled, seed=settings.seed, threads=settings.threads, progress=final_progress
    )
    interrupted = bool(getattr(predictor, "interrupted", False))
    progress(0.8, "calibration and metrics")
    baselines = task.fit_baselines(dataset, labelled)
    calibration = task.fit_publisher(record.scored_columns(), baselines, horizon=settings.horizon)
    figures = task.evaluate(record)
    gate = decide(figures, prepared.plan, task.words)
    if interrupted:
        battery: dict[str, Any] = {"skipped": "the training was interrupted"}
        gate = refused_by_interruption(gate)
    else:
        battery = _robustness(prepared, folds, record, figures, progress)
        gate = refused_by_shuffle(gate, battery)
    files, metrics, document = assemble(
        prepared,
        fitted,
        record,
        baselines,
        calibration,
        figures,
        gate,
        battery,
        plan=prepared.plan,
        at=at,
        code_version=code_version,
        interrupted=interrupted,
        recipe=recipe,
    )
    if settings.plots:
        from ml.training.plots import diagnostics

        progress(0.9, "plots")
        files |= diagnostics(record, figures, fitted.importance(), title=document["name"], task=task.name)
    progress(1.0, "done")
    return TrainingResult(files, gate, metrics, prepared.plan, document, record, calibration)


def _robustness(
    prepared: Prepared, folds: list[Fold], record: Any, figures: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """Return the battery; where it was to be left out, only figures that are too good start it."""
    settings, flag = prepared.settings, red_flag(figures)
    if not settings.robustness and flag is None:
        return {"skipped": "by the settings"}

    def battery_progress(fraction: float, text: str) -> None:
        progress(0.8 + 0.1 * fraction, f"{flag}; {text}" if flag else text)

    found = robustness(
        prepared.dataset,
        folds,
        prepared.predictor,
        record,
        seed=settings.seed,
        threads=settings.threads,
        progress=battery_progress,
    )
    return {"red_flag": flag, **found}


def _required_features(predictor: Predictor, horizon: int) -> tuple[str, ...]:
    """Return the names and groups that the family asks for beyond those that are chosen."""
    hook = getattr(predictor, "required_features", None)
    return () if hook is None else tuple(hook(horizon))


def _path_trainer() -> Any:
    """Return the module that trains models of whole paths; it has the two steps of this one."""
    return import_module("ml.training.path_trainer")
