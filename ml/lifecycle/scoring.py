"""What a version says of bars that it never saw: the rows by which the prequential record of its recipe grows.

A row holds what would have been published, to the bit, and what came of it, beside what the baselines of the version's own
training said. Expiry is ignored: the record is of what the model knows, not of when it may be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.bundles import BundleRunner, open_files, open_runner, read_json
from ml.dataset import build_dataset
from ml.errors import BrokenModel, TrainingFailed, UnsupportedTask
from ml.features.blocks import block_index, index_start_ms
from ml.features.pipeline import FeatureMatrix
from ml.predictions import PREDICTION_COLUMNS
from ml.record import record_class
from ml.sequences import candle_reach
from ml.tasks.catalogue import TASKS
from ml.training.walk_forward import score_positions

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.record import OutOfSample, RiskRecord, VolatilityRecord
    from ml.tasks.contract import Task
    from registry.model import StrategyModel

    Integers = npt.NDArray[np.int64]
    AnyRecord = OutOfSample | RiskRecord | VolatilityRecord

__all__ = ["score_version"]

_CONFIDENCE = PREDICTION_COLUMNS.index("confidence")
_MOST_VERSIONS = int(np.iinfo(np.int16).max)


def score_version(
    model: StrategyModel | Mapping[str, bytes],
    candles: Candles,
    *,
    since_ms: int,
    until_ms: int | None = None,
    version_number: int = 0,
) -> AnyRecord:
    """Return what a version says of bars that it never saw, and what came of it.

    A row is made for each bar that closes after ``trained_until_ms`` and opens in ``[since_ms, until_ms)``, where the version
    states something (the bar has features and lies on the grid) and the outcome is known: the candle at the horizon itself,
    for risk and volatility every candle up to it, is among ``candles``. A tie is kept and not scored. The rows do not depend
    on where the candles begin, as long as they hold the slices of the bars, nor on how the bars are cut into calls.

    Parameters
    ----------
    model
        A registered version, or the files of a bundle by name.
    candles
        Closed candles of the version's timeframe.
    since_ms, until_ms
        Open times, milliseconds UTC; None for no end.
    version_number
        ``fold`` of the rows: which version of its recipe it is. Numbers below the folds of the recipe's walk forward are
        those of its first record.

    Returns
    -------
    OutOfSample, RiskRecord or VolatilityRecord
        In order of time; empty where no bar qualifies.

    Raises
    ------
    UnsupportedTask
        When the version forecasts whole paths, or is an ensemble.
    SchemaMismatch, MissingColumns
        When the candles are not what the version reads.
    BrokenModel, InvalidBundle
        When the bundle cannot be opened, or lacks the baselines that it was judged against.
    ValueError
        When the number of the version is negative or above 32,767.
    """
    if not 0 <= version_number <= _MOST_VERSIONS:
        raise ValueError(f"the number of a version is 0 to {_MOST_VERSIONS:,}, got {version_number}")
    metadata, place = _metadata(model)
    task = TASKS[metadata.get("task", "direction")]
    bundle = open_files(model, place) if isinstance(model, Mapping) else _opened(model)
    metrics = read_json(model, "metrics.json", place) if isinstance(model, Mapping) else model.metrics
    baselines = task.read_baselines(_of(metrics, "baselines", place))
    bundle.schema.require_columns(candles)
    trained_until = int(_of(metadata, "trained_until_ms", place))
    first_ms = max(since_ms, trained_until - candles.step_ms + 1)
    dataset = _dataset(candles, bundle, task, _of(metadata, "hyperparams", place), first_ms, until_ms)
    if dataset is None:
        return _empty(task.name)
    positions = np.flatnonzero((dataset.open_ms >= first_ms) & dataset.usable & np.isfinite(dataset.target))
    raw = score_positions(bundle.runner, dataset, positions)
    published = bundle.calibration.publish(raw, dataset.sigma[positions], np.ones(len(raw)))
    said = np.isfinite(published[:, _CONFIDENCE])
    positions, raw = positions[said], raw[said]
    if not len(positions):
        return _empty(task.name)
    part: dict[str, Any] = {
        "open_ms": dataset.open_ms[positions],
        "k": dataset.k[positions],
        "fold": np.full(len(positions), version_number, dtype=np.int16),
        "raw_score": raw,
        **task.outcomes(dataset, positions, baselines),
        "close": dataset.close[positions],
        "sigma": dataset.sigma[positions],
        "scored": dataset.scored[positions],
    }
    record: Any = task.record(part | task.stated(part, bundle.calibration))
    found: AnyRecord = record
    return found


def _dataset(
    candles: Candles,
    bundle: BundleRunner,
    task: Task,
    parameters: Mapping[str, Any],
    first_ms: int,
    until_ms: int | None,
) -> Dataset | None:
    """Return features and outcomes of the bars to score and of what their outcomes read; None where there is no bar.

    It ends with the candle that the last of these bars needs, so no later bar has an outcome in it.
    """
    schema, horizon = bundle.schema, bundle.horizon
    first = int(np.searchsorted(candles.open_ms, first_ms))
    last = len(candles) if until_ms is None else int(np.searchsorted(candles.open_ms, until_ms))
    if first >= last:
        return None
    k = block_index(candles, schema.index)
    rows_back, candles_back = task.reach(horizon)
    oldest = max(0, min(first - candle_reach(bundle.sequence), int(np.searchsorted(k, k[first] - rows_back))))
    block = k[oldest : oldest + 1] // schema.anchor_bars
    start_ms = int(index_start_ms((block - 1) * schema.anchor_bars, candles.timeframe, schema.index)[0])
    start_ms = min(start_ms, int(candles.open_ms[max(0, oldest - candles_back)]))
    end_ms = int(index_start_ms(k[last - 1 : last] + horizon + 1, candles.timeframe, schema.index)[0])
    cut = candles.between(start_ms, end_ms)
    known = int(np.searchsorted(cut.open_ms, candles.open_ms[oldest]))
    newest = bundle.pipeline.newest(cut, known)
    rows = np.full((len(cut), len(schema.names)), np.nan, dtype=np.float32)
    rows[known:] = newest.rows
    valid = np.concatenate([np.zeros(known, dtype=np.bool_), newest.valid])
    whole = build_dataset(cut, schema, horizon, FeatureMatrix(rows, valid))
    try:
        return replace(whole, outcome=task.target(cut, whole, parameters))
    except TrainingFailed:  # no bar of these has an outcome yet, which is no fault here
        return None


def _metadata(model: StrategyModel | Mapping[str, bytes]) -> tuple[dict[str, Any], str]:
    """Return metadata and the name for messages; refuse what is no model of single predictions."""
    if isinstance(model, Mapping):
        place = "the bundle"
        metadata = read_json(model, "metadata.json", place)
    else:
        place, metadata = str(model), model.metadata
    if "members" in metadata:
        raise UnsupportedTask(f"{place} is an ensemble: its members are scored, each as the version of its own recipe")
    if metadata.get("task", "direction") not in TASKS:
        raise UnsupportedTask(
            f"{place} forecasts whole paths of candles, and recipes of whole paths are not scored by the pipeline yet"
        )
    return metadata, place


def _opened(model: StrategyModel) -> BundleRunner:
    runner: BundleRunner = open_runner(model) if model.open_runner is None else model.runner
    return runner


def _of(document: Mapping[str, Any], name: str, place: str) -> Any:
    """Return a part of a document of the bundle."""
    if document.get(name) is None:
        raise BrokenModel(
            f"{place}: nothing can be scored without {name}, which the bundle does not hold; train it again"
        )
    return document[name]


def _empty(task: str) -> AnyRecord:
    kind = record_class(task)
    return kind(**{name: np.empty(0, dtype=dtype) for name, dtype in kind.dtypes().items()})
