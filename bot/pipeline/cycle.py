"""One cycle: new candles, the record of what was said of them, judgement, refits, promotion by rule.

Every step leaves what it did on the disk before the next begins, so a cycle that a crash cut short is resumed where it was:
what is registered is not built again, what is recorded is not scored again. A recipe that fails keeps no other from its turn.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.errors import BotError
from bot.pipeline.building import Built, Failed, Job
from bot.pipeline.judging import Bench
from bot.pipeline.market import until
from bot.pipeline.outcomes import CycleReport, RecipeOutcome
from bot.pipeline.recipes import missing_library
from bot.pipeline.scoring import begin_stream
from bot.wall_clock import wall_ms
from ml.candles import format_ms
from ml.errors import MLError
from ml.lifecycle.tenure import Rules
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bot.market.store import StoredSeries
    from bot.pipeline.market import CandlesOf
    from bot.pipeline.records import Records
    from bot.pipeline.store import Cycle, PipelineStore
    from ml.candles import Candles
    from ml.recipes import Recipe
    from registry.model import StrategyModel
    from registry.names import ModelKey
    from registry.store import PredictionModelRegistry

    Builder = Callable[[Sequence[Job]], Iterator[Built | Failed]]

__all__ = ["Pipeline"]

_EARLY = 0.02  # of a recipe's rhythm: a timer that fires a little early finds it due
_FAULTS = (BotError, MLError, RegistryError)
_MOST_ROWS = 26_280
"""Newest rows of a record that a version is calibrated and measured by, and carries: three years of hours."""


class Pipeline:
    """The recipes of a home and everything that a cycle needs; `run` does one, `check` looks for drift only.

    Parameters
    ----------
    recipes
        What is built.
    registry, store, records
        Where to.
    market
        Where the candles come from.
    builder
        Does the jobs, such as ``bot.pipeline.building.build_here``.
    code_version
        Of this program.
    rules
        Of judgement.
    fetch
        Whether exchanges are asked first.
    promote
        Whether the judges may promote; quarantine and rollback happen all the same.
    tell, follow, clock
        As in ``bot.pipeline.judging.Bench``.
    progress
        Told the share that is done, and with what.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        registry: PredictionModelRegistry,
        store: PipelineStore,
        records: Records,
        market: CandlesOf,
        builder: Builder,
        *,
        code_version: str,
        rules: Rules | None = None,
        fetch: bool = True,
        promote: bool = True,
        tell: Callable[[str, str], None] = lambda _kind, _text: None,
        follow: Callable[[ModelKey, str | None, str], None] = lambda _key, _version, _reason: None,
        progress: Callable[[float, str], None] = lambda _share, _text: None,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.recipes = tuple(recipes)
        self.registry, self.store, self.records = registry, store, records
        self.market, self._builder, self._code_version = market, builder, code_version
        self.rules = rules or Rules()
        self._fetch, self._promote = fetch, promote
        self._tell, self._follow, self._progress, self._clock = tell, follow, progress, clock
        self.benches: dict[ModelKey, Bench] = {}

    def run(self, now_ms: int, *, force: bool = False) -> CycleReport:
        """Do one cycle, or finish the one that was cut short.

        Parameters
        ----------
        now_ms
            The moment, milliseconds UTC.
        force
            Refit every recipe, due or not.

        Raises
        ------
        BotError
            When the clock stands before the last cycle.
        StorageError
            When the pipeline's database cannot be used.
        """
        self.require_time(now_ms)
        cycle, resumed = self.store.begin(now_ms, wall_ms())
        report = CycleReport(cycle.moment_ms, resumed)
        series = self._series(report, fetch=self._fetch)
        failed = self._judge(series, report)
        jobs = self._jobs(cycle, series, report, force=force)
        self._build(cycle, jobs, report)
        self._promotions(cycle.moment_ms, report, failed)
        status = "failed" if report.failed else "done"
        self.store.end(cycle, status=status, summary=report.to_dict(), now_ms=wall_ms())
        self._progress(1.0, "done")
        return report

    def bench(self, key: ModelKey) -> Bench:
        """Return the judge of a key; one that is new is told every row that is recorded."""
        if key not in self.benches:
            bench = self.bench_for_repair(key)
            bench.feed(self.store.known_recipes(str(key)))
            self.benches[key] = bench
        return self.benches[key]

    def candles_for(self, model: StrategyModel, now_ms: int) -> Candles:
        """Return the candles of a version, closed by a moment: those that it was trained on, as they are now."""
        return until(self.market.read_for(model), now_ms).candles

    def fetch_for(self, key: ModelKey, now_ms: int) -> None:
        """Ask the exchanges for the new candles of a key's recipes and champion, where the settings ask for that.

        Raises
        ------
        BotError
            When it does not answer: nothing new is known then.
        """
        if not self._fetch:
            return
        places = {(each.symbol, each.timeframe, each.exchange) for each in self.recipes if each.key == key}
        champion = self.bench(key).tenure.facts.champion
        if champion is not None:
            data = self.bench(key).open(champion.version).metadata.get("data", {})
            places.add((key.symbol, key.timeframe, data.get("exchange")))
        for symbol, timeframe, exchange in sorted(places, key=str):
            self.market.fetch(symbol, timeframe, exchange, now_ms)

    def bench_for_repair(self, key: ModelKey) -> Bench:
        """Return a judge that has seen no row yet, for whoever mends the records that it would read."""
        parts = self.registry, self.store, self.records, self.rules
        return Bench(key, *parts, tell=self._tell, follow=self._follow, clock=self._clock)

    def require_time(self, now_ms: int) -> None:
        """Refuse a clock that stands before the last cycle; raises `BotError`."""
        last = self.store.cycles(1)
        if last and now_ms < last[0].moment_ms:
            raise BotError(
                f"the clock stands at {format_ms(now_ms)}, but the last cycle was of {format_ms(last[0].moment_ms)}: "
                "set the clock right; nothing was done"
            )

    # ------------------------------------------------------------------ steps

    def _series(self, report: CycleReport, *, fetch: bool) -> dict[str, StoredSeries]:
        """Return the candles of each recipe up to the moment, by name; what has none is a failure of that recipe."""
        found: dict[str, StoredSeries] = {}
        asked: dict[tuple[str, str, str | None], str] = {}
        for number, recipe in enumerate(self.recipes):
            stream = self.store.enroll(recipe, report.moment_ms)
            outcome = RecipeOutcome(recipe.name, stream, str(recipe.key))
            report.recipes.append(outcome)
            place = recipe.symbol, recipe.timeframe, recipe.exchange
            self._progress(0.05 + 0.1 * number / len(self.recipes), f"candles of {recipe.symbol} {recipe.timeframe}")
            try:
                if fetch and place not in asked:
                    asked[place] = ""
                    self.market.fetch(*place, report.moment_ms)
            except _FAULTS as error:
                asked[place] = f"no new candles: {_line(error)}"
            try:
                found[recipe.name] = until(self.market.read(recipe), report.moment_ms)
            except _FAULTS as error:
                outcome.fail(_line(error))
                continue
            if asked.get(place):
                outcome.fail(asked[place])
        return found

    def _judge(self, series: dict[str, StoredSeries], report: CycleReport) -> set[ModelKey]:
        """Score, and carry out what must be done at once; returns the keys for which that failed.

        Champions whose recipe is gone are watched as long as they serve.
        """
        failed: set[ModelKey] = set()
        groups = self._by_key(report)
        groups |= {
            key: [] for key in self.store.model_keys() if key not in groups and self.bench(key).tenure.facts.champion
        }
        for number, (key, outcomes) in enumerate(groups.items()):
            self._progress(0.15 + 0.15 * number / len(groups), f"record of {key}")
            try:
                bench = self.bench(key)
                known = {each.stream: series[each.recipe].candles for each in outcomes if each.recipe in series}
                grown = bench.score(known, lambda model: self.candles_for(model, report.moment_ms), report.moment_ms)
                for each in outcomes:
                    each.scored = grown.get(each.stream, 0)
                    if each.stream in bench.damaged:
                        each.fail(bench.damaged[each.stream])
                bench.watch(report.moment_ms)
                self._note(bench, report)
            except _FAULTS as error:
                self.benches.pop(key, None)  # what it meant to decide is not in the ledger: it begins again from there
                failed.add(key)
                for each in outcomes:
                    each.fail(_line(error))
                if not outcomes:
                    report.problems.append(f"{key}: {_line(error)}")
        return failed

    def _jobs(self, cycle: Cycle, series: dict[str, StoredSeries], report: CycleReport, *, force: bool) -> list[Job]:
        """Return what is to be built: recipes that are due, have new candles and were not built in this cycle yet."""
        done = self.store.builds(cycle)
        jobs = []
        for outcome in report.recipes:
            if (before := done.get(outcome.stream)) is not None and before.state == "registered":
                outcome.register(str(before.version), before.reason)
                continue
            try:
                if report.resumed and self._adopted(cycle, outcome):
                    continue
                if outcome.state == "failed":
                    continue
                recipe, one = self._of(outcome.recipe), series[outcome.recipe]
                if (lacking := missing_library(recipe)) is not None:
                    outcome.fail(lacking)
                elif reason := self._not_due(recipe, outcome.stream, one, cycle, force=force):
                    outcome.state, outcome.reason = "skipped", reason
                else:
                    jobs.append(self._job(recipe, outcome.stream, one, cycle))
            except _FAULTS as error:
                outcome.fail(_line(error))
        return jobs

    def _build(self, cycle: Cycle, jobs: Sequence[Job], report: CycleReport) -> None:
        """Build, and register each version as it is done."""
        outcomes = {each.stream: each for each in report.recipes}
        by_stream = {job.stream: job for job in jobs}
        self._progress(0.3, f"building {len(jobs)} version(s)")
        for finished, result in enumerate(self._builder(jobs) if jobs else (), 1):
            outcome = outcomes[result.stream]
            outcome.seconds = result.seconds
            try:
                if isinstance(result, Failed):
                    outcome.fail(result.reason)
                else:
                    self._register(cycle, by_stream[result.stream], result, outcome)
            except _FAULTS as error:
                outcome.fail(_line(error))
            self._progress(0.3 + 0.65 * finished / len(jobs), f"{outcome.recipe}: {outcome.state}")
        for outcome in report.recipes:
            if outcome.state in {"failed", "skipped"}:
                self.store.keep_build(
                    cycle,
                    outcome.stream,
                    "failed" if outcome.state == "failed" else "skipped",
                    reason=outcome.reason,
                    seconds=outcome.seconds,
                    now_ms=wall_ms(),
                )
            if outcome.state == "failed":
                self._tell("errors", f"{outcome.recipe}: {outcome.reason}")

    def _register(self, cycle: Cycle, job: Job, built: Built, outcome: RecipeOutcome) -> None:
        model = self.registry.register(job.recipe.key, built.files, at=job.at)
        self._enter(cycle, outcome, model.version_id, built.verdict, built.seconds)

    def _enter(self, cycle: Cycle, outcome: RecipeOutcome, version: str, verdict: str, seconds: float | None) -> None:
        """Write down a version that is registered; the first one of a recipe brings the record of its folds."""
        key = self._of(outcome.recipe).key
        model = self.bench(key).open(version)
        begin_stream(self.records, outcome.stream, model, "walk_forward")
        self.bench(key).feed([outcome.stream])
        self.bench(key).enroll(outcome.stream, cycle.moment_ms)
        self.bench(key).keep(cycle.moment_ms)
        self.store.keep_build(
            cycle, outcome.stream, "registered", version=version, reason=verdict, seconds=seconds, now_ms=wall_ms()
        )
        outcome.register(version, verdict)

    def _adopted(self, cycle: Cycle, outcome: RecipeOutcome) -> bool:
        """Enter a version that this cycle registered just before it was cut short; tell whether there is one."""
        key = self._of(outcome.recipe).key
        at = datetime.fromtimestamp(cycle.moment_ms / 1000, UTC).replace(microsecond=0)
        for model in reversed(self.registry.list_bundles(key.symbol, key.model_type, key.timeframe)):
            if model.registered_at < at:
                return False
            if model.registered_at == at and model.metadata.get("recipe_stream") == outcome.stream:
                self._enter(cycle, outcome, model.version_id, "registered before the cycle was cut short", None)
                return True
        return False

    def _promotions(self, moment_ms: int, report: CycleReport, failed: set[ModelKey]) -> None:
        """Let the judges choose, and archive what is of no use; where the watch failed nothing is promoted."""
        for key, outcomes in self._by_key(report).items():
            if key in failed:
                continue
            try:
                bench = self.bench(key)
                if self._promote:
                    bench.choose(moment_ms)
                self._note(bench, report)
                report.kept[str(key)] = bench.tidy(moment_ms, self.rules.keep, [each.stream for each in outcomes])
                bench.keep(moment_ms)
            except _FAULTS as error:
                self.benches.pop(key, None)
                report.problems.append(f"{key}: {_line(error)}")
                self._tell("errors", f"{key}: {_line(error)}")

    # ------------------------------------------------------------------ inside

    def _not_due(self, recipe: Recipe, stream: str, series: StoredSeries, cycle: Cycle, *, force: bool) -> str:
        """Return why a recipe is not refitted now; empty when it is."""
        versions = self.store.versions(stream)
        if not versions:
            return ""
        last_ms = versions[-1][1]
        if self.bench(recipe.key).tenure.facts.restarts.get(stream, 0) > last_ms:
            return ""  # it was quarantined since: it is flagged for retraining
        wait_ms = last_ms + recipe.every_ms - int(_EARLY * recipe.every_ms) - cycle.moment_ms
        if wait_ms > 0 and not force:
            return f"not due before {format_ms(last_ms + recipe.every_ms)}"
        newest_ms = int(series.candles.open_ms[-1]) + series.candles.step_ms
        if newest_ms <= last_ms:
            return f"no candle has closed since {format_ms(newest_ms)}: there is nothing new to learn"
        return ""

    def _job(self, recipe: Recipe, stream: str, series: StoredSeries, cycle: Cycle) -> Job:
        candles = series.candles
        end_ms = int(candles.open_ms[-1]) + candles.step_ms
        versions = self.store.versions(stream)
        record = self.records.read(stream, recipe.task) if versions else None
        if record is not None:  # what a bundle carries of it does not grow for ever
            record = record.rows(slice(-_MOST_ROWS, None))
        return Job(
            stream=stream,
            recipe=recipe,
            candles=candles,
            first_ms=None if recipe.window_ms is None else end_ms - recipe.window_ms,
            exchange=series.exchange,
            record=record,
            at=datetime.fromtimestamp(cycle.moment_ms / 1000, UTC),
            code_version=self._code_version,
        )

    def _by_key(self, report: CycleReport) -> dict[ModelKey, list[RecipeOutcome]]:
        found: dict[ModelKey, list[RecipeOutcome]] = {}
        for outcome in report.recipes:
            found.setdefault(self._of(outcome.recipe).key, []).append(outcome)
        return found

    def _of(self, name: str) -> Recipe:
        return next(recipe for recipe in self.recipes if recipe.name == name)

    def _note(self, bench: Bench, report: CycleReport) -> None:
        """Move what a judge has decided into the report."""
        for decision in bench.decisions:
            report.decisions.append(
                {
                    "key": str(bench.key),
                    "kind": decision.kind,
                    "stream": decision.stream,
                    "version": decision.version,
                    "reason": decision.reason,
                    "evidence": dict(decision.evidence),
                }
            )
        bench.decisions.clear()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
