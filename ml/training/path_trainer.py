"""Training of models of paths: fitted on the next candle, judged on whole paths of bars that they had not seen.

The same two steps as ``ml.training.trainer``, which calls these for families of the task ``path``. The walk forward is purged
by the length of a path. About 1,000 paths start from bars that are spread evenly over the test pieces (no draw, no seed); the
first piece has none: how far a model may be followed (``shrink``) is fitted on the pieces before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.dataset import VOLATILITY_FEATURE, Fold, purged_walk_forward, with_warm_up
from ml.errors import NotEnoughBars, TrainingFailed
from ml.features.catalogue import feature
from ml.lightgbm_text import parse_lightgbm
from ml.paths.bands import fit_bands
from ml.paths.bundle import build_path_golden
from ml.paths.dataset import NEXT_CANDLE, PathDataset, build_path_dataset, realised_paths
from ml.paths.features import check_path_names, default_path_names
from ml.paths.publishing import PathPublisher
from ml.paths.record import PATHS_FILE, STEPS_FILE, PathRecord, StepRecord
from ml.paths.rollout import PathModel
from ml.paths.skill import fit_shrink, fit_step_slopes
from ml.predictors.catalogue import predictor_class
from ml.predictors.path_trees import LOOKBACK_PERIODS
from ml.training.card import model_card
from ml.training.documents import json_bytes, metadata
from ml.training.path_evaluation import PathPlan, decide_path, path_figures
from ml.training.path_robustness import path_robustness
from ml.training.robustness import refused_by_shuffle

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.schema import FeatureSchema
    from ml.predictors.contract import FittedPredictor
    from ml.training.settings import TrainingSettings
    from ml.training.trainer import Prepared, TrainingResult
    from registry.names import ModelKey

    Integers = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]

__all__ = ["PATHS", "path_feature_names", "prepare", "train_prepared"]

PATHS = 1_000
"""Paths that the record holds, where there are as many test bars."""

_LEAST_TRAINING_ROWS = 200
_ADDED = ("return_{n}", "sma_{n}_distance", "zscore_{n}", "volatility_{n}", "trend_{n}")


def path_feature_names(kind: str, timeframe: str, lookback_periods: tuple[int, ...]) -> tuple[str, ...]:
    """Return the features that a model of paths takes unless told otherwise.

    Of the defaults, those with a period of 5, 10, 20 or 50 are kept where that period is chosen; each chosen period beyond
    these four adds return, distance to the mean, z-score, volatility and trend of that length.

    Parameters
    ----------
    kind
        ``close`` or ``ohlc``.
    timeframe
        Of the candles.
    lookback_periods
        Chosen periods.
    """
    dropped = set(LOOKBACK_PERIODS) - set(lookback_periods)
    names = [name for name in default_path_names(kind, timeframe) if feature(name).period not in dropped]
    added = (pattern.format(n=n) for n in lookback_periods if n not in LOOKBACK_PERIODS for pattern in _ADDED)
    return tuple(dict.fromkeys((*names, *added, VOLATILITY_FEATURE)))


def prepare(candles: Candles, key: ModelKey, settings: TrainingSettings) -> Prepared:
    """Check the request, compute features and next candles, and say what the data allows.

    Raises
    ------
    MLError
        As ``ml.training.trainer.prepare``; ``InvalidParameter`` for a feature that no path can carry.
    """
    from dataclasses import replace

    from ml.features.schema import FeatureSchema
    from ml.training.plan import check_length
    from ml.training.trainer import Prepared

    predictor: Any = predictor_class(key.model_type, settings.architecture)(settings.parameters)
    parameters = predictor.parameters
    first_ms = int(candles.open_ms[0]) if settings.first_ms is None and len(candles) else settings.first_ms or 0
    wanted = candles.between(first_ms, None)
    check_length(wanted)
    names = settings.features
    if names is None:
        names = path_feature_names(predictor.path_kind, candles.timeframe, tuple(parameters["lookback_periods"]))
    elif VOLATILITY_FEATURE not in names:
        names = (*names, VOLATILITY_FEATURE)
    check_path_names(names, predictor.path_kind)
    schema = FeatureSchema.for_candles(wanted, names)
    candles = with_warm_up(candles, schema, first_ms)
    dataset = build_path_dataset(candles, schema).since(first_ms)
    plan = _plan(dataset, settings, parameters["n_steps_ahead"])
    if plan.labelled == 0:
        raise TrainingFailed(f"none of the {plan.usable:,} bars with features is followed by a candle")
    return Prepared(candles, key, replace(settings, horizon=1), schema, predictor, dataset, plan)


def _folds(dataset: PathDataset, settings: TrainingSettings, steps: int) -> list[Fold]:
    """Return the walk forward, purged by the length of a path."""
    return purged_walk_forward(dataset, folds=settings.folds, embargo=settings.embargo + steps - 1)


def _plan(dataset: PathDataset, settings: TrainingSettings, steps: int) -> PathPlan:
    usable = int(dataset.usable.sum())
    try:
        folds = _folds(dataset, settings, steps)
    except NotEnoughBars as error:
        raise NotEnoughBars(
            f"Insufficient data for training (got {len(dataset)} rows): {error}. The first {len(dataset) - usable:,} bars "
            "only warm the features up; get more with `bot data download` or `bot data import`"
        ) from error
    if len(folds[0].train) < _LEAST_TRAINING_ROWS:
        raise NotEnoughBars(
            f"Insufficient data for training (got {len(dataset)} rows): {len(folds[0].train)} are left to the first model "
            f"once a path of {steps} steps is kept between them and its test, {_LEAST_TRAINING_ROWS} are needed: get more "
            "with `bot data download` or `bot data import`, or shorten the path with --params n_steps_ahead=..."
        )
    return PathPlan(
        bars=len(dataset),
        usable=usable,
        warming=len(dataset) - usable,
        labelled=int(dataset.labelled.sum()),
        ties=0,
        scored=len(_starts(folds)[0]),
        horizon=steps,
        folds=settings.folds,
    )


def _starts(folds: list[Fold]) -> tuple[Integers, Integers]:
    """Return where the paths of the record start, as positions in time order, and the fold of each."""
    pool = np.concatenate([fold.test for fold in folds[1:]])
    number = np.concatenate([np.full(len(fold.test), fold.number) for fold in folds[1:]])
    chosen = np.unique(np.round(np.linspace(0, len(pool) - 1, min(PATHS, len(pool)))).astype(np.int64))
    return pool[chosen], number[chosen]


def train_prepared(
    prepared: Prepared, *, at: datetime, code_version: str, progress: Callable[[float, str], None] | None = None
) -> TrainingResult:
    """Fit, walk forward, judge and publish; see ``ml.training.trainer.train_prepared``."""
    from ml.training.trainer import TrainingResult

    tell = progress or (lambda _fraction, _text: None)
    dataset: Any = prepared.dataset
    settings = prepared.settings
    predictor: Any = prepared.predictor
    record, steps = _walk_forward(prepared, tell)
    tell(0.65, "final model")
    labelled = np.flatnonzero(dataset.labelled)
    fitted = predictor.fit(dataset, labelled, seed=settings.seed, threads=settings.threads)
    tell(0.8, "skill, bands and metrics")
    shrink = fit_shrink(steps)
    parts = NEXT_CANDLE if len(shrink) > 1 else NEXT_CANDLE[-1:]
    figures = path_figures(record, steps, shrink, parts)
    slopes, scales = fit_step_slopes(record, figures["trusted_steps"])
    publisher = PathPublisher(
        path_kind=predictor.path_kind,
        trusted_steps=figures["trusted_steps"],
        shrink=shrink,
        slopes=slopes,
        scales=scales,
        bands=fit_bands(record),
        long_feature=long_feature(prepared.schema),
    )
    gate = decide_path(figures)
    battery: dict[str, Any] = {"skipped": "by the settings"}
    if settings.robustness:
        folds = _folds(dataset, settings, publisher.steps)
        battery = path_robustness(
            dataset,
            folds,
            predictor,
            seed=settings.seed,
            threads=settings.threads,
            progress=lambda _, text: tell(0.85, text),
        )
        gate = refused_by_shuffle(gate, battery)
    metrics: dict[str, Any] = {
        "schema_version": 1,
        "out_of_sample": figures,
        "baselines": {"drift": float(dataset.returns[labelled].mean())},
        "gate": gate.to_dict(),
        "robustness": battery,
        "plan": prepared.plan.to_dict(),
        "importance": fitted.importance(),
    }
    last = int(np.searchsorted(dataset.k, dataset.k[labelled[-1]] + 1))
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
    document |= {
        "horizon": publisher.horizon,
        "n_steps_ahead": publisher.steps,
        "trusted_steps": publisher.trusted_steps,
        "predictor_type": prepared.key.model_type,
        "lookback_periods": list(predictor.parameters["lookback_periods"]),
    }
    files = {
        **fitted.to_files(),
        "metadata.json": json_bytes(document),
        "feature_schema.json": json_bytes(prepared.schema.to_dict()),
        "metrics.json": json_bytes(metrics),
        "calibration.json": json_bytes(publisher.to_dict()),
        PATHS_FILE: record.to_parquet(),
        STEPS_FILE: steps.to_parquet(),
        "README.md": model_card(document, metrics, gate).encode(),
    }
    files["golden.json"] = build_path_golden(prepared.candles, prepared.schema, files, publisher)
    if settings.plots:
        from ml.training.path_plots import path_diagnostics

        tell(0.95, "plots")
        files |= path_diagnostics(figures, fitted.importance(), title=document["name"])
    tell(1.0, "done")
    return TrainingResult(files, gate, metrics, prepared.plan, document, record, publisher)


def long_feature(schema: FeatureSchema) -> str | None:
    """Return the feature of a schema that tells the long-run volatility; None where none reaches far enough."""
    from ml.conformal import LONG_VOLATILITY

    return LONG_VOLATILITY if LONG_VOLATILITY in schema.names else None


def _walk_forward(prepared: Prepared, tell: Callable[[float, str], None]) -> tuple[PathRecord, StepRecord]:
    """Fit one model a fold; record its scores of every test bar, and the paths of the chosen starts."""
    dataset: Any = prepared.dataset
    settings, schema = prepared.settings, prepared.schema
    predictor: Any = prepared.predictor
    length = predictor.parameters["n_steps_ahead"]
    folds = _folds(dataset, settings, length)
    positions, of_fold = _starts(folds)
    offset = len(prepared.candles) - len(dataset)
    long = long_feature(schema)
    steps: list[StepRecord] = []
    paths: list[dict[str, Any]] = []
    for fold in folds:
        tell(0.1 + 0.55 * fold.number / len(folds), f"fold {fold.number + 1} of {len(folds)}")
        fitted = predictor.fit(dataset, fold.train, seed=settings.seed, threads=settings.threads)
        starts = positions[of_fold == fold.number]
        if steps and len(starts):
            shrink = fit_shrink(_joined(steps), None)
            texts = fitted.to_files()
            forests = tuple(parse_lightgbm(texts[name]) for name in predictor.path_files)
            model = PathModel(schema, forests, shrink, predictor.path_kind)
            found = model.paths(prepared.candles, starts + offset, length, settings.threads)
            closes = found if found.ndim == 2 else found[:, :, NEXT_CANDLE.index("close")]
            count = len(starts)
            paths.append(
                {
                    "open_ms": dataset.open_ms[starts],
                    "k": dataset.k[starts],
                    "fold": np.full(count, fold.number, dtype=np.int16),
                    "close": dataset.close[starts],
                    "sigma": dataset.sigma[starts],
                    "long_sigma": np.full(count, np.nan) if long is None else dataset.feature(long)[starts],
                    "drift": np.full(count, dataset.returns[fold.train].mean()),
                    "predicted": np.log(closes / dataset.close[starts][:, None]).astype(np.float32),
                    "realised": realised_paths(dataset, starts, length).astype(np.float32),
                }
            )
        steps.append(_scores(fitted, dataset, fold))
    record = PathRecord(**{name: np.concatenate([part[name] for part in paths]) for name in paths[0]})
    return record, _joined(steps)


def _scores(fitted: FittedPredictor, dataset: PathDataset, fold: Fold) -> StepRecord:
    """Return what each forest says of every test bar."""
    rows = np.ascontiguousarray(dataset.rows[fold.test])
    every = getattr(fitted, "all_scores", None)
    score = fitted.scores(rows)[:, None] if every is None else every(rows)
    names = NEXT_CANDLE[-1:] if every is None else NEXT_CANDLE
    target = np.stack([dataset.scaled(name)[fold.test] for name in names], axis=1)
    return StepRecord(
        open_ms=dataset.open_ms[fold.test],
        k=dataset.k[fold.test],
        fold=np.full(len(fold.test), fold.number, dtype=np.int16),
        score=score.astype(np.float32),
        target=target.astype(np.float32),
    )


def _joined(parts: list[StepRecord]) -> StepRecord:
    names = ("open_ms", "k", "fold", "score", "target")
    return StepRecord(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
