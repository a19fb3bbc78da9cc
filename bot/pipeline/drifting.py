"""The drift check of one model key: what is new is scored, looked at from every side, and acted upon.

Only the sequential test of performance takes a champion out of service. Calibration, predictions and features are looked at
beside it: their alarms are findings for a person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import BotError
from bot.pipeline.live_record import LiveRecord, live_record
from bot.pipeline.market import until
from ml.candles import format_ms
from ml.drift.calibration import OverconfidenceTest, calibration_gap
from ml.drift.features import feature_drift, rows_to_judge
from ml.drift.naive import naive_figure
from ml.drift.predictions import prediction_drift
from ml.drift.reference import REFERENCE_FILE, read_reference, recorded_signal
from ml.lifecycle.phases import Phased
from ml.record import DIRECTION_TASKS
from ml.tasks.catalogue import TASKS
from registry.errors import ModelNotFound, RegistryError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bot.pipeline.cycle import Pipeline
    from bot.pipeline.judging import Bench
    from bot.report.drift_page import DriftDocument, Performance
    from ml.candles import Candles
    from ml.drift.reference import DriftReference
    from ml.lifecycle.evaluations import Evaluations
    from ml.lifecycle.facts import Champion
    from ml.lifecycle.watch import Watch
    from registry.model import StrategyModel
    from registry.names import ModelKey

__all__ = ["DriftCheck", "check_key", "look_at", "watched_keys"]


@dataclass(frozen=True)
class DriftCheck:
    """What a look at one key found.

    Attributes
    ----------
    document
        What the page and the JSON document show.
    alarms
        Each finding in words; empty when all is calm.
    """

    document: DriftDocument
    alarms: tuple[str, ...]


def look_at(bench: Bench, candles: Candles, state_db: Path) -> DriftCheck:
    """Look at the champion of a key, whose new bars are scored already, without acting.

    Parameters
    ----------
    bench
        The judge of the key.
    candles
        Closed candles up to now.
    state_db
        Where bots write what they were told.
    """
    bench.tenure.look()
    champion, watch = bench.tenure.facts.champion, bench.tenure.drift
    if champion is None or watch is None:
        return DriftCheck(_nothing(bench), ())
    model = bench.open(champion.version)
    task, horizon = str(model.metadata["task"]), int(model.metadata["horizon"])
    record, rows = bench.rows(champion.stream)
    counted = watch.counted()
    reference = _reference(_before(bench, champion, candles))
    signal = recorded_signal(record, task)[-rows_to_judge(bench.key.timeframe) :]
    predictions = prediction_drift(reference, signal, task=task)
    features = feature_drift(reference, *_feature_rows(model, candles))
    thinned = rows.phase(0)
    gap = calibration_gap(thinned.stated, thinned.came_true)
    overconfidence = _overconfidence(counted, watch)
    live = _live(bench, champion, task, record, rows, state_db)
    naive = None
    if task in DIRECTION_TASKS and champion.reference_rows:
        rate = champion.reference_hits / champion.reference_rows
        naive = naive_figure(thinned.open_ms, thinned.came_true, rate, int(candles.open_ms[-1]) + candles.step_ms)
    alarm = watch.alarm()
    alarms = [] if alarm is None else [f"performance: {alarm[0]}"]
    if gap.alarm:
        alarms.append(f"calibration: {gap.words()} A refit calibrates it anew.")
    if overconfidence is not None and overconfidence["statistic"] >= overconfidence["level"]:
        alarms.append("calibration: what it states comes true less often than stated, by the sequential test.")
    if predictions.status == "shifted":
        alarms.append(f"predictions: {predictions.words()}")
    if features.status == "regime shift":
        alarms.append(f"features: {features.words()}")
    if live.differing:
        first = format_ms(live.differing[0])
        alarms.append(
            f"integrity: at {len(live.differing)} bars, the first {first}, a bot was told something else than the bundle "
            "says now: candles or code were changed; see 'bot parity --run'"
        )
    document: DriftDocument = {
        "symbol": bench.key.symbol,
        "model_type": bench.key.model_type,
        "timeframe": bench.key.timeframe,
        "task": task,
        "horizon": horizon,
        "version": champion.version,
        "recipe": champion.stream,
        "since": format_ms(champion.since_ms),
        "until": None if counted is None or not len(counted) else format_ms(int(counted.open_ms[-1]) + candles.step_ms),
        "state": watch.state if alarm is None else "alarm",
        "words": alarm[0] if alarm is not None else _calm(watch, counted),
        "performance": None if counted is None else _performance(watch, counted),
        "calibration": gap.to_dict() | ({} if overconfidence is None else {"overconfidence": overconfidence}),
        "features": features.to_dict(),
        "predictions": predictions.to_dict(),
        "naive": None if naive is None else naive.to_dict(),
    }
    return DriftCheck(document, tuple(alarms))


def watched_keys(pipeline: Pipeline, symbol: str | None, model_type: str | None) -> list[ModelKey]:
    """Return the keys that have recipes or a champion, of one symbol and type where they are named.

    Raises
    ------
    ModelNotFound
        When one is named that has neither.
    """
    found = {recipe.key for recipe in pipeline.recipes}
    for model in pipeline.registry.list_bundles():
        if (
            model.status == "champion"
            and model.metadata.get("task", "direction") in TASKS
            and "members" not in model.metadata
        ):
            found.add(model.key)
    keys = sorted(found, key=str)
    for name, wanted, part in (("symbol", symbol, "symbol"), ("type", model_type, "model_type")):
        if wanted is None:
            continue
        known = sorted({getattr(key, part) for key in keys})
        keys = [key for key in keys if getattr(key, part) == wanted]
        if not keys:
            listed = f"; there are {', '.join(known)}" if known else ": there are none at all"
            raise ModelNotFound(
                f"no recipe and no champion of the {name} {wanted}{suggestion(wanted, known) or listed}"
            )
    return keys


def check_key(pipeline: Pipeline, key: ModelKey, now_ms: int, state_db: Path, *, act: bool = True) -> DriftCheck:
    """Score what is new of a key, look at its champion, and act: quarantine, fallback, rollback.

    Parameters
    ----------
    pipeline
        Of the home.
    key
        Whose champion.
    now_ms
        The moment, milliseconds UTC.
    state_db
        Where bots write what they were told.
    act
        Without it nothing is changed but the record.

    Raises
    ------
    BotError, MLError, RegistryError
        When candles, record or bundle cannot be used.
    """
    bench = pipeline.bench(key)
    series = {}
    for recipe in pipeline.recipes:
        if recipe.key == key and (stream := pipeline.store.stream_for(recipe)) is not None:
            series[stream] = until(pipeline.market.read(recipe), now_ms).candles
    bench.score(series, lambda model: pipeline.candles_for(model, now_ms), now_ms)
    lost = bench.require_bundle(now_ms) if act else ()
    champion = bench.tenure.facts.champion
    if champion is not None and champion.stream in bench.damaged:
        raise BotError(bench.damaged[champion.stream])
    if champion is None:
        check = DriftCheck(_nothing(bench), ())
    else:
        candles = series.get(champion.stream)
        if candles is None:
            candles = pipeline.candles_for(bench.open(champion.version), now_ms)
        check = look_at(bench, candles, state_db)
    decisions = [*lost, *(bench.watch(now_ms) if act else ())]
    if decisions:
        words = "; ".join(f"{each.kind} of {each.version}: {each.reason}" for each in decisions)
        check.document["action"] = f"Done: {words}."
        if not check.alarms:  # a bundle that is lost, or a rollback, is a finding too
            check = replace(check, alarms=tuple(f"{each.kind}: {each.reason}" for each in decisions))
        bench.keep(now_ms)
    return check


def _nothing(bench: Bench) -> DriftDocument:
    return {
        "symbol": bench.key.symbol,
        "model_type": bench.key.model_type,
        "timeframe": bench.key.timeframe,
        "task": "",
        "horizon": 0,
        "version": None,
        "recipe": None,
        "since": None,
        "until": None,
        "state": "no champion",
        "words": "Nobody serves, so there is nothing to watch.",
        "performance": None,
        "calibration": None,
        "features": None,
        "predictions": None,
        "naive": None,
    }


def _calm(watch: Watch, counted: Evaluations | None) -> str:
    if counted is None or not len(counted):
        return "No bar that it spoke of since it serves has an outcome yet."
    if watch.state == "no reference":
        return "Its record shows no skill that it could lose, so its hit rate is not watched."
    rate = float(np.mean(counted.came_true))
    share = watch.statistic / watch.threshold
    what = "came true" if counted.task not in DIRECTION_TASKS else "were right"
    return (
        f"{100 * rate:.1f} % of {len(counted):,} evaluations {what} since it is watched; the drift statistic stands at "
        f"{100 * share:.2g} % of its alarm level."
    )


def _performance(watch: Watch, counted: Evaluations) -> Performance:
    times, statistic = watch.path()
    champion = watch.champion
    fall = watch.fall()
    if len(times) != len(counted):  # no reference: nothing is tested
        statistic = np.zeros(len(counted))
    return {
        "open_ms": counted.open_ms.tolist(),
        "came_true": counted.came_true.tolist(),
        "stated": counted.stated.tolist(),
        "statistic": statistic.tolist(),
        "level": watch.level,
        "overlap": watch.overlap,
        "reference": champion.reference,
        "reference_rows": champion.reference_rows,
        "reference_hits": champion.reference_hits,
        "fall": None if fall is None else fall.to_dict(),
    }


def _overconfidence(counted: Evaluations | None, watch: Watch) -> dict[str, float] | None:
    if counted is None or not len(counted):
        return None
    phases: Phased[Any] = Phased(counted.horizon, (OverconfidenceTest(),) * watch.overlap)
    stated = np.clip(counted.stated, 1e-6, 1 - 1e-6)
    return {"statistic": phases.update(counted.k, counted.came_true, stated).value, "level": watch.level}


def _before(bench: Bench, champion: Champion, candles: Candles) -> StrategyModel:
    """Return the version of the champion's recipe that had learnt from none of the bars that are looked at.

    A refit of this morning has learnt from the newest month, and finds nothing new in it.
    """
    first = max(0, len(candles) - rows_to_judge(bench.key.timeframe))
    version = bench.newest_at(champion.stream, int(candles.open_ms[first]))
    try:
        return bench.open(version or champion.version)
    except RegistryError:
        return bench.open(champion.version)


def _reference(model: StrategyModel) -> DriftReference | None:
    if REFERENCE_FILE not in model.manifest.files:
        return None
    return read_reference(model.read(REFERENCE_FILE))


def _feature_rows(model: StrategyModel, candles: Candles) -> tuple[Any, Sequence[str]]:
    """Return the feature rows of the newest bars, and their names."""
    bundle = model.runner
    first = max(0, len(candles) - rows_to_judge(candles.timeframe))
    return bundle.pipeline.newest(candles, first).rows, bundle.schema.names


def _live(bench: Bench, champion: Champion, task: str, record: Any, rows: Evaluations, state_db: Path) -> LiveRecord:
    """Return what bots were told by the champion, beside its own rows of the record."""
    own = bench.said_by(champion.version, champion.stream, record)
    came_true = dict(zip(rows.open_ms.tolist(), rows.came_true.tolist(), strict=True))
    return live_record(state_db, bench.key, champion.version, task, own, came_true)
