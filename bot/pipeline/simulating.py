"""The cycle over stored candles as if time went by: what it would have built, promoted, noticed and taken back.

It is the same code with another clock and a home of its own; nothing of the real registry or of the real records is touched.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.config.values import duration_ms
from bot.errors import UsageError
from bot.home import Home
from bot.pipeline.cycle import Pipeline
from bot.pipeline.market import Market
from bot.pipeline.records import Records
from bot.pipeline.running import find_settings, read_recipes, rules_of
from bot.pipeline.steady import steady_builder
from bot.pipeline.store import PipelineStore
from ml.candles import format_ms
from ml.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bot.market.store import StoredSeries
    from bot.pipeline.building import Built, Failed, Job
    from bot.pipeline.outcomes import CycleReport
    from ml.lifecycle.tenure import Rules
    from ml.recipes import Recipe
    from registry.model import StrategyModel

__all__ = ["simulate"]


@dataclass(frozen=True)
class _Replay:
    """Series that are read once."""

    series: dict[str, StoredSeries]

    def fetch(self, symbol: str, timeframe: str, exchange: str | None, now_ms: int) -> str:  # noqa: ARG002 - the past stays
        """Fetch nothing."""
        return ""

    def read(self, recipe: Recipe) -> StoredSeries:
        """Return the whole series; the cycle cuts it at its moment."""
        return self.series[recipe.name]

    def read_for(self, model: StrategyModel) -> StoredSeries:
        """Return the series that a model was trained on."""
        wanted = model.symbol, model.timeframe, model.metadata["data"]["exchange"]
        return next(each for each in self.series.values() if (each.symbol, each.timeframe, each.exchange) == wanted)


def simulate(
    home: Home,
    settings_path: Path | None,
    recipes: Sequence[Path],
    *,
    start_ms: int,
    end_ms: int,
    every: str | None = None,
    workers: int | None = None,
    keep: Path | None = None,
    progress: Callable[[float, str], None] = lambda _share, _text: None,
) -> dict[str, Any]:
    """Run a cycle at each moment from the start to the end and return what came of it.

    Parameters
    ----------
    home
        Where the candles are.
    settings_path, recipes
        As ``bot.pipeline.running.open_pipeline``.
    start_ms, end_ms
        Moments of the first and the last cycle, milliseconds UTC.
    every
        Time between two cycles, such as ``12h``; that of the settings where it is left out.
    workers
        Processes that build; one builds in this process, and computes no feature of a bar twice.
    keep
        A new or empty folder for the simulated home; without it that is thrown away.

    Raises
    ------
    UsageError
        When the times make no sense, or the folder is not empty.
    """
    settings = find_settings(settings_path)
    try:
        step_ms = settings.every_ms if every is None else duration_ms(every)
    except ValueError as error:
        raise UsageError(f"--every: {error}") from None
    if start_ms >= end_ms:
        raise UsageError(f"the first cycle, {format_ms(start_ms)}, is not before the last, {format_ms(end_ms)}")
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: at least one process builds")
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"{keep} is not empty: the simulated home needs a folder of its own")
    found = read_recipes(settings, recipes)
    from bot.market.exchanges import connect
    from bot.market.store import CandleStore

    market = Market(CandleStore(home.candles), connect, lambda: end_ms)
    replay = _Replay({recipe.name: market.read(recipe) for recipe in found})
    started = time.monotonic()
    with ExitStack() as stack:
        root = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bot-simulation-")))
        if keep is not None:  # other commands find its candles
            keep.mkdir(parents=True, exist_ok=True)
            (keep / "candles").symlink_to(home.candles.resolve(), target_is_directory=True)
        pipeline = stack.enter_context(
            _simulated(root, found, replay, rules_of(settings), workers or len(os.sched_getaffinity(0)))
        )
        moments = range(start_ms, end_ms + 1, step_ms)
        reports = []
        for number, moment in enumerate(moments):
            reports.append(pipeline.run(moment))
            progress((number + 1) / len(moments), format_ms(moment))
        return _document(pipeline, reports, time.monotonic() - started, root if keep else None)


@contextmanager
def _simulated(
    root: Path, recipes: Sequence[Recipe], market: _Replay, rules: Rules, workers: int
) -> Iterator[Pipeline]:
    """Yield a pipeline in a home of its own."""
    from bot.version import code_version
    from ml.bundles import open_runner
    from registry.store import PredictionModelRegistry

    place = Home(root)
    with PipelineStore(place.pipeline_db) as store, steady_builder(min(workers, len(recipes))) as steady:

        def builder(jobs: Sequence[Job]) -> Iterator[Built | Failed]:
            """Yield in the order of the jobs, whichever process is faster: a version is numbered as it comes."""
            done = {each.stream: each for each in steady(jobs)}
            yield from (done[job.stream] for job in jobs)

        yield Pipeline(
            recipes,
            PredictionModelRegistry(place.models, open_runner=open_runner),
            store,
            Records(store.state),
            market,
            builder,
            code_version=code_version(),
            rules=rules,
            fetch=False,
        )


def _document(pipeline: Pipeline, reports: Sequence[CycleReport], seconds: float, kept: Path | None) -> dict[str, Any]:
    """Return what came of it, as plain data and as lines for a person."""
    decisions = [{"moment": format_ms(report.moment_ms)} | each for report in reports for each in report.decisions]
    failures = [each for report in reports for each in report.recipes if each.state == "failed"]
    built = sum(each.state == "registered" for report in reports for each in report.recipes)
    span = f"{format_ms(reports[0].moment_ms)} to {format_ms(reports[-1].moment_ms)}"
    done = f"{built:,} versions registered, {len(failures):,} failures"
    lines = [f"{len(reports):,} cycles from {span} in {seconds:,.0f} s: {done}"]
    streams = {}
    for recipe in pipeline.recipes:
        stream = pipeline.store.enroll(recipe, 0)
        figures = _figures(pipeline, recipe, stream)
        streams[stream] = figures
        lines.append(f"{recipe.name}: {figures['words']}")
    counts = Counter(each["kind"] for each in decisions)
    lines.append("decisions: " + (", ".join(f"{count} {kind}" for kind, count in counts.items()) or "none"))
    lines += [
        f"{each['moment']} {each['kind']} of {each['version']}: {each['reason']}"
        for each in decisions
        if each["kind"] != "refit"
    ]
    lines += [f"failed: {name}: {reason}" for (name, reason) in {(f.recipe, f.reason) for f in failures}]
    if kept is not None:
        lines.append(f"the simulated home is {kept}: look at it with --home {kept}")
    return {
        "cycles": len(reports),
        "seconds": seconds,
        "registered": built,
        "failures": [each.to_dict() for each in failures],
        "streams": streams,
        "decisions": decisions,
        "home": None if kept is None else str(kept),
        "lines": lines,
    }


def _figures(pipeline: Pipeline, recipe: Recipe, stream: str) -> dict[str, Any]:
    """Return what a recipe's versions said of new bars, without the walk forward of the first."""
    sources = pipeline.records.sources(stream)
    fresh = next((row[2] for row in sources if row[1] == "prequential"), None)
    if fresh is None:
        return {"words": "no version was asked about a new bar", "rows": 0}
    rows = pipeline.records.evaluations(stream, recipe.task, recipe.horizon).since(fresh)
    thinned = rows.phase(0)
    hits, count = int(np.count_nonzero(thinned.came_true)), len(thinned)
    low, high = wilson(hits, count)
    gains = {name: float(thinned.gain(name).mean()) for name in thinned.baseline_loss} if count else {}
    words = (
        f"{count:,} evaluations of new bars, {100 * hits / max(1, count):.1f} % came true ({100 * low:.1f} to "
        f"{100 * high:.1f} %); saved a bar in {rows.unit}: "
        + ", ".join(f"{gain:+.5f} against {name.replace('_', ' ')}" for name, gain in gains.items())
    )
    return {
        "rows": len(rows),
        "evaluations": count,
        "hits": hits,
        "low": low,
        "high": high,
        "gain": gains,
        "words": words,
    }
