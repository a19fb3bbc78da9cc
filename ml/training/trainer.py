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
from ml.record import RECORD_FILE
from ml.tasks.catalogue import PATH, TASKS
from ml.training.card import model_card
from ml.training.documents import json_bytes, metadata
from ml.training.gate import GateDecision, decide, refused_by_interruption
from ml.training.plan import TrainingPlan, check_length, plan_dataset
from ml.training.robustness import red_flag, refused_by_shuffle, robustness
from ml.training.walk_forward import fit_model, walk_forward

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ml.candles import Candles
    from ml.dataset import Fold
    from ml.features.schema import FeatureSchema
    from ml.predictors.contract import FittedPredictor, Predictor
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


def prepare(candles: Candles, key: ModelKey, settings: TrainingSettings) -> Prepared:
    """Check the request, compute features and labels, and say what the data allows.

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
    whole = build_dataset(candles, schema, settings.horizon)
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
    return train_prepared(prepare(candles, key, settings), at=at, code_version=code_version, progress=progress)


def train_prepared(
    prepared: Prepared, *, at: datetime, code_version: str, progress: Progress = _silent
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
    metrics: dict[str, Any] = {
        "schema_version": 1,
        "out_of_sample": figures,
        "robustness": battery,
        "baselines": baselines.to_dict(),
        "gate": gate.to_dict(),
        "plan": prepared.plan.to_dict(),
        "importance": fitted.importance(),
    }
    ends = dataset.k[labelled[-1]] + settings.horizon
    last = int(np.searchsorted(dataset.k, ends))
    document = metadata(
        prepared.key,
        prepared.candles,
        prepared.schema,
        predictor,
        settings,
        prepared.plan,
        figures,
        trained_from_ms=int(dataset.open_ms[labelled[0]]),
        trained_until_ms=int(dataset.open_ms[last]) + prepared.candles.step_ms,
        at=at,
        code_version=code_version,
    )
    if interrupted:
        document["training"]["interrupted"] = True
    files = {
        **fitted.to_files(),
        "metadata.json": json_bytes(document),
        "feature_schema.json": json_bytes(prepared.schema.to_dict()),
        "metrics.json": json_bytes(metrics),
        "calibration.json": json_bytes(calibration.to_dict()),
        RECORD_FILE: record.to_parquet(),
        "README.md": model_card(document, metrics, gate).encode(),
    }
    files["golden.json"] = _golden(prepared, fitted, calibration)
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


def _golden(prepared: Prepared, fitted: FittedPredictor, calibration: Publisher) -> bytes:
    """Return ``golden.json``: windows, rows and outputs that loading the bundle re-runs."""
    from ml.bundles import build_golden

    return build_golden(prepared.candles, prepared.schema, fitted.to_files(), calibration)


def _required_features(predictor: Predictor, horizon: int) -> tuple[str, ...]:
    """Return the names and groups that the family asks for beyond those that are chosen."""
    hook = getattr(predictor, "required_features", None)
    return () if hook is None else tuple(hook(horizon))


def _path_trainer() -> Any:
    """Return the module that trains models of whole paths; it has the two steps of this one."""
    return import_module("ml.training.path_trainer")
