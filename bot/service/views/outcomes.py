"""Predictions against what came true: rolling shares beside their baselines, and calibration, on unseen bars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import UsageError
from bot.model_selection import open_registry
from bot.service.answers import pair_text
from bot.service.views.plain import plain
from ml.candles import format_ms
from registry.names import ModelKey

if TYPE_CHECKING:
    import numpy.typing as npt

    from bot.home import Home
    from ml.evaluation import Forecasts
    from ml.lifecycle.evaluations import Evaluations
    from registry.model import StrategyModel

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["accuracy"]

_POINTS = 300
_LEAST = 30  # evaluations from which a rolling share is drawn
_LEAST_WINDOW, _MOST_WINDOW = 30, 100_000
_BASE = "baseline "


def accuracy(home: Home, symbol: str, model_type: str, timeframe: str, window: int = 500) -> dict[str, Any]:
    """Return how often a model was right on bars that it had not seen, as time went by, and how true its probabilities are.

    The record is that of the champion's recipe (of the newest version's where nobody serves); of a model that no recipe built
    it is the walk forward of its own bundle. Only bars whose labels do not overlap are counted.

    Parameters
    ----------
    home
        Whose models and pipeline.
    symbol, model_type, timeframe
        The model; any accepted spelling.
    window
        Evaluations of the rolling figures, 30 to 100,000.

    Returns
    -------
    dict
        ``symbol``, ``timeframe``, ``type``, ``version``, ``champion``, ``task``, ``horizon``, ``source`` (``prequential`` or
        ``walk_forward``; null where there is no record of single predictions), ``recipe``, ``prequential_from``, ``rows``
        (evaluations), ``window``, ``overall`` and ``rolling`` (at most 300 points, in time order): ``n``, ``accuracy`` with
        ``low`` and ``high`` (Wilson, 95 %), ``stated`` (mean of the stated probabilities) and ``baselines`` by name;
        ``calibration`` (bins of equal mass: ``stated`` beside ``observed`` with its interval), ``calibration_error`` with its
        upper bound, and ``notes``.

    Raises
    ------
    ModelNotFound, InvalidName, UsageError
        When there is no such model, or a name or number is none.
    InvalidBundle, DataError, StorageError
        When the bundle, the record or the database is damaged.
    """
    if not _LEAST_WINDOW <= window <= _MOST_WINDOW:
        raise UsageError(f"window is {window}: expected {_LEAST_WINDOW} to {_MOST_WINDOW:,} evaluations")
    registry = open_registry(home.models)
    key = ModelKey.of(symbol, model_type, timeframe)
    version = registry.champion_version(key) or "newest"
    model = registry.select_bundle(
        symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=version
    )
    record = _record(home, model)
    document = {
        "symbol": pair_text(key.symbol),
        "timeframe": key.timeframe,
        "type": key.model_type,
        "version": model.version_id,
        "champion": model.status == "champion",
        "task": model.metadata.get("task"),
        "horizon": model.metadata.get("horizon"),
        "source": record.source,
        "recipe": record.stream,
        "prequential_from": None if record.prequential_ms is None else format_ms(record.prequential_ms),
        "window": window,
        **_figures(record.outcomes, window),
        "notes": [] if record.outcomes is not None else ["This model has no record of single predictions."],
    }
    found: dict[str, Any] = plain(document, home)
    return found


@dataclass(frozen=True, eq=False)
class _Outcomes:
    """Evaluations in time order: what was stated, whether it came true, and whether each baseline was right (half: a tie)."""

    open_ms: npt.NDArray[np.int64]
    stated: Floats
    came_true: Flags
    baselines: dict[str, Floats]


@dataclass(frozen=True, eq=False)
class _Record:
    """Where outcomes come from."""

    outcomes: _Outcomes | None
    source: str | None = None
    stream: str | None = None
    prequential_ms: int | None = None


def _record(home: Home, model: StrategyModel) -> _Record:
    """Return the record that speaks of a version: its recipe's, its own in the pipeline, or that of its bundle."""
    from ml.record import RECORD_FILE, record_class
    from ml.tasks.catalogue import TASKS

    task = str(model.metadata.get("task", "direction"))
    if task not in TASKS:
        return _Record(None)
    if home.pipeline_db.exists():
        found = _kept(home, model, task)
        if found is not None:
            return found
    if RECORD_FILE not in model.manifest.files:
        return _Record(None)
    return _Record(_outcomes(record_class(task).from_parquet(model.read(RECORD_FILE)), model, task), "walk_forward")


def _kept(home: Home, model: StrategyModel, task: str) -> _Record | None:
    """Return the record that the pipeline keeps of a version; None where it keeps none."""
    from bot.pipeline.records import Records
    from bot.pipeline.store import PipelineStore
    from ml.lifecycle.facts import version_stream

    with PipelineStore(home.pipeline_db) as store:
        records = Records(store.state)
        stream = store.stream_of(model.version_id, str(model.key))
        name = f"{model.key}{version_stream(model.version_id)}" if stream is None else stream
        if records.last_ms(name) is None:
            return None
        outcomes = _outcomes(records.read(name, task), model, task)
        since = [first_ms for _, source, first_ms, _, _ in records.sources(name) if source == "prequential"]
    return _Record(outcomes, "prequential", stream, min(since, default=None))


def _outcomes(record: Any, model: StrategyModel, task: str) -> _Outcomes:
    from ml.evaluation import counted_forecasts
    from ml.lifecycle.evaluations import evaluations_of
    from ml.record import DIRECTION_TASKS

    if task in DIRECTION_TASKS:
        said: Forecasts = counted_forecasts(record)
        baselines = {
            "majority": ((said.base_rate >= 0.5) == said.rose).astype(np.float64),
            "last_sign": np.where(said.last_sign_p == 0.5, 0.5, (said.last_sign_p > 0.5) == said.rose),
        }
        return _Outcomes(record.open_ms[record.counted], said.confidence, said.hits, baselines)
    rows: Evaluations = evaluations_of(record, task, int(model.metadata["horizon"])).phase(0)
    null = {} if np.isnan(rows.null_rate).any() else {"base_rate": rows.null_rate}
    return _Outcomes(rows.open_ms, rows.stated, rows.came_true, null)


def _figures(outcomes: _Outcomes | None, window: int) -> dict[str, Any]:
    """Return the figures of all evaluations, of a window that moves over them, and the calibration."""
    from ml.calibration import calibration_error, reliability

    if outcomes is None or not len(outcomes.open_ms):
        return {"rows": 0, "overall": None, "rolling": [], "calibration": [], "calibration_error": None}
    count = len(outcomes.open_ms)
    sums = {
        name: np.concatenate([[0.0], np.cumsum(column.astype(np.float64))])
        for name, column in {
            "hits": outcomes.came_true,
            "stated": outcomes.stated,
            **{f"{_BASE}{name}": column for name, column in outcomes.baselines.items()},
        }.items()
    }
    ends = np.unique(np.linspace(min(_LEAST, count), count, min(_POINTS, count)).astype(np.int64))
    error = calibration_error(outcomes.stated, outcomes.came_true)
    return {
        "rows": count,
        "overall": _shares(sums, 0, count),
        "rolling": [
            {"time": format_ms(int(outcomes.open_ms[end - 1])), **_shares(sums, max(0, end - window), end)}
            for end in ends.tolist()
        ],
        "calibration": reliability(outcomes.stated, outcomes.came_true),
        "calibration_error": {"value": error.value, "upper": error.upper},
    }


def _shares(sums: dict[str, Floats], start: int, end: int) -> dict[str, Any]:
    """Return the figures of the evaluations ``start:end`` from running sums."""
    from ml.intervals import wilson

    count = end - start
    totals = {name: float(column[end] - column[start]) for name, column in sums.items()}
    low, high = wilson(totals["hits"], count)
    return {
        "n": count,
        "accuracy": totals["hits"] / count,
        "low": low,
        "high": high,
        "stated": totals["stated"] / count,
        "baselines": {
            name.removeprefix(_BASE): total / count for name, total in totals.items() if name.startswith(_BASE)
        },
    }
