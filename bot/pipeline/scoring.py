"""Scoring: what each recipe's versions said of the bars that came since, appended to the recipe's record.

A bar belongs to the version that was the newest when it closed: what was said then is what counts, also of a bar whose
outcome was known only after the next refit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.errors import UsageError
from bot.pipeline.market import until
from ml.errors import MLError
from ml.lifecycle.facts import Champion, version_stream
from ml.lifecycle.scoring import score_version
from ml.record import RECORD_FILE, record_class
from registry.errors import RegistryError, suggestion
from registry.names import ModelKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.pipeline.cycle import Pipeline
    from bot.pipeline.records import Records
    from ml.candles import Candles
    from ml.lifecycle.facts import Held
    from registry.model import StrategyModel

__all__ = ["begin_stream", "begins_ms", "repair_stream", "score_stream"]

_LARGEST_FOLD = 32_767


def begin_stream(records: Records, stream: str, model: StrategyModel, source: str) -> int:
    """Begin a record with the one that a bundle brings: its walk forward, or that of its recipe; returns the rows."""
    if records.last_ms(stream) is not None:
        return 0
    task = str(model.metadata["task"])
    record = record_class(task).from_parquet(model.read(RECORD_FILE))
    return records.append(
        stream, task, record, version=model.version_id, source=source, training_rows=_training_rows(model)
    )


def begins_ms(one: Champion | Held) -> int:
    """Return from which bar on a version is scored by itself: the first that it answered for."""
    return one.crowned_ms if isinstance(one, Champion) else one.since_ms


def score_stream(
    records: Records,
    stream: str,
    versions: Sequence[tuple[str, int]],
    open_version: Callable[[str], StrategyModel],
    candles: Candles,
    *,
    first_fold: int = 0,
    tell: Callable[[str], None] = lambda _text: None,
) -> int:
    """Append what a stream's versions said of the bars after its last one whose outcome is known now.

    Parameters
    ----------
    records, stream
        Where to.
    versions
        Each version with the moment from which on it was the newest, milliseconds UTC, the oldest first.
    open_version
        Returns a version of the registry.
    candles
        Closed candles up to now.
    first_fold
        Number of the first version in the record; the folds of a walk forward come before it.
    tell
        Told of a version that cannot be asked any more: its bars stay without a row.

    Returns
    -------
    int
        Rows that were appended.
    """
    step_ms, appended = candles.step_ms, 0
    last_ms = records.last_ms(stream)
    for position, (version, moment_ms) in enumerate(versions):
        until_ms = versions[position + 1][1] - step_ms + 1 if position + 1 < len(versions) else None
        since_ms = moment_ms - step_ms + 1 if last_ms is None else max(last_ms + 1, moment_ms - step_ms + 1)
        if until_ms is not None and until_ms <= since_ms:
            continue
        if since_ms > candles.open_ms[-1]:
            break
        try:
            model = open_version(version)
            _ = model.runner  # one that is lost, or that this program refuses, costs its own bars only
        except (MLError, RegistryError) as error:
            tell(f"{stream}: {version} cannot be asked, its bars stay without a row: {error}")
            continue
        found = score_version(
            model,
            candles,
            since_ms=since_ms,
            until_ms=until_ms,
            version_number=min(first_fold + position, _LARGEST_FOLD),
        )
        appended += records.append(
            stream,
            str(model.metadata["task"]),
            found,
            version=version,
            source="prequential",
            training_rows=_training_rows(model),
        )
        last_ms = int(found.open_ms[-1]) if len(found) else last_ms
    return appended


def repair_stream(pipeline: Pipeline, record: str, now_ms: int) -> tuple[int, int]:
    """Take a record away from its first damaged append on and score that span anew: both, or neither.

    What versions said follows from their bundles and the candles; so does the walk forward of the first one.

    Parameters
    ----------
    pipeline
        Of the home.
    record
        Its name: that of a recipe's stream, or ``SYMBOL/TIMEFRAME/TYPE@VERSION`` of a version that is watched by itself.
    now_ms
        The moment, milliseconds UTC.

    Returns
    -------
    dropped, scored : int
        Appends that were taken away, rows that were appended.

    Raises
    ------
    UsageError
        When there is no such record.
    RegistryError
        When a version that is needed cannot be read; the record stays as it is.
    """
    key, stream, versions, first_fold = _who_said(pipeline, record)
    bench = pipeline.bench_for_repair(key)
    newest = bench.open(versions[-1][0])
    task = str(newest.metadata["task"])
    damaged = pipeline.records.first_damage(record, task)
    if damaged is None:
        return 0, 0
    recipe = next((each for each in pipeline.recipes if pipeline.store.stream_for(each) == stream), None)
    read = pipeline.market.read_for(newest) if recipe is None else pipeline.market.read(recipe)
    candles = until(read, now_ms).candles
    for version in {version for version, *_ in pipeline.records.sources(record)[damaged - 1 :]}:
        bench.open(version).verify()  # one that cannot be asked now would lose its rows for ever
    with pipeline.store.state.transaction():
        dropped = pipeline.records.drop(record, task, damaged)
        source = "bundle" if stream == version_stream(newest.version_id) else "walk_forward"
        scored = begin_stream(pipeline.records, record, bench.open(versions[0][0]), source)
        scored += score_stream(pipeline.records, record, versions, bench.open, candles, first_fold=first_fold)
    return dropped, scored


def _who_said(pipeline: Pipeline, record: str) -> tuple[ModelKey, str, list[tuple[str, int]], int]:
    """Return model, stream, versions with their moments, and the first fold, of a record."""
    known = pipeline.store.known_recipes()
    if record in known:
        versions = pipeline.store.versions(record)
        if versions:
            recipe = known[record]
            key = ModelKey(recipe["symbol"], recipe["model_type"], recipe["timeframe"])
            return key, record, versions, int(recipe["folds"])
    for key in pipeline.store.model_keys():
        facts = pipeline.store.facts(str(key))
        for one in (facts.champion, facts.held):
            if one is not None and f"{key}{one.stream}" == record:
                return key, one.stream, [(one.version, begins_ms(one))], 0
    raise UsageError(f"there is no record {record!r}{suggestion(record, known)}; `bot pipeline status` lists them")


def _training_rows(model: StrategyModel) -> int:
    """Return how many rows the version's base rate was counted on."""
    baselines = model.metrics.get("baselines", {})
    return int(baselines.get("rows", model.metadata["training"]["data_points"]))
