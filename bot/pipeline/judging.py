"""Judging: the records of a model key are laid before its judge, and what it decides is carried out in the registry.

The ledger comes first: a decision is a row there, with its evidence, before anything else is told. What is remembered of the
key follows, so after a crash between the two the ledger is taken over as if somebody had decided by hand.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, DataError, StorageError
from bot.pipeline.enacting import enact, has_expired
from bot.pipeline.scoring import begin_stream, begins_ms, score_stream
from ml.errors import MLError
from ml.lifecycle.facts import Decision, version_stream
from ml.lifecycle.tenure import Rules, Tenure
from registry.errors import InvalidLedger, RegistryError, TransitionRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bot.pipeline.records import Records
    from bot.pipeline.store import PipelineStore
    from ml.candles import Candles
    from ml.lifecycle.evaluations import Evaluations
    from ml.lifecycle.facts import Champion, Held
    from registry.model import StrategyModel
    from registry.names import ModelKey
    from registry.store import PredictionModelRegistry

__all__ = ["Bench"]

_MOST_OPEN = 16


class Bench:
    """The judge of one model key, with its records and the registry's ledger.

    Parameters
    ----------
    key
        Of the models.
    registry, store, records
        Where decisions go, and where facts and rows come from.
    rules
        How sure one has to be.
    tell
        Called with a kind (``lifecycle`` or ``errors``) and words for a person.
    follow
        Called with the key, the version that serves now (None for none) and why, once the ledger says so.
    clock
        The time on the wall, milliseconds UTC: decisions of a cycle that took long, or was resumed, are dated by it. A
        simulation has none.
    """

    def __init__(
        self,
        key: ModelKey,
        registry: PredictionModelRegistry,
        store: PipelineStore,
        records: Records,
        rules: Rules,
        *,
        tell: Callable[[str, str], None] = lambda _kind, _text: None,
        follow: Callable[[ModelKey, str | None, str], None] = lambda _key, _version, _reason: None,
        clock: Callable[[], int] = lambda: 0,
    ) -> None:
        self.key = key
        self._clock = clock
        self._registry, self._store, self._records = registry, store, records
        self._tell, self._follow = tell, follow
        self.tenure = Tenure(key.timeframe, store.facts(str(key)), rules)
        self.decisions: list[Decision] = []
        self.damaged: dict[str, str] = {}
        """Why the record of a stream cannot be read: it is neither judged nor promoted until it is repaired."""
        self._fed: dict[str, int | None] = {}
        self._asked: dict[str, StrategyModel] = {}
        self._shapes: dict[str, tuple[str, int]] = {}

    # ------------------------------------------------------------------ rows in

    def enroll(self, stream: str, fresh_ms: int) -> None:
        """Put a recipe under trial."""
        self.tenure.enroll(stream, fresh_ms)

    def score(
        self, series: Mapping[str, Candles], others: Callable[[StrategyModel], Candles], now_ms: int
    ) -> dict[str, int]:
        """Append what was said of new bars to every record that is judged, and let the judge see it.

        Who serves is scored as long as it serves, whether its recipe is still among those that are built or not.

        Parameters
        ----------
        series
            Closed candles up to now of each recipe, by stream.
        others
            Returns those of a version whose recipe is not among them.
        now_ms
            The moment, milliseconds UTC.

        Returns
        -------
        dict
            Rows that each record grew by; those that could not be scored are in ``damaged``.
        """
        self.take_over(now_ms)
        known = self._store.known_recipes(str(self.key))
        since = {one.stream: one for one in self._watched()}
        grown = {}
        for stream in [*series, *(name for name in since if name not in series)]:
            if stream in self.damaged:
                continue
            versions, first_fold = self._store.versions(stream), 0
            if stream in known:
                first_fold = int(known[stream]["folds"])
            elif stream in since:
                versions = [(since[stream].version, begins_ms(since[stream]))]
            try:
                if not versions or (stream not in known and not self._begin(stream, versions[0][0])):
                    continue
                candles = series[stream] if stream in series else others(self._ask(versions[-1][0]))
                grown[stream] = score_stream(
                    self._records,
                    self.record_of(stream),
                    versions,
                    self._ask,
                    candles,
                    first_fold=first_fold,
                    tell=self._warn,
                )
            except StorageError:
                raise
            except (BotError, MLError, RegistryError) as error:
                self.damaged[stream] = f"the record of {stream} cannot go on: {' '.join(str(error).split())}"
                self._warn(self.damaged[stream])
        self.feed({*series, *since})
        return grown

    def feed(self, streams: Iterable[str]) -> None:
        """Let the judge see the rows that are new to it."""
        for stream in sorted(streams):
            shape = self._shape(stream)
            if shape is None or stream in self.damaged:
                continue
            try:
                rows = self._records.evaluations(self.record_of(stream), *shape, after_ms=self._fed.get(stream))
            except DataError as error:
                self.damaged[stream] = str(error)
                self._warn(str(error))
            else:
                self._fed[stream] = self._records.last_ms(self.record_of(stream))
                self.tenure.feed(stream, rows)

    # ------------------------------------------------------------------ decisions

    def watch(self, now_ms: int) -> Sequence[Decision]:
        """Carry out what must be done at once: quarantine and fallback, or rollback."""
        lost = self.require_bundle(now_ms)
        return [*lost, *self._carry_out(self.tenure.watch(now_ms, self.versions(now_ms)), now_ms)]

    def choose(self, now_ms: int) -> Sequence[Decision]:
        """Carry out the promotion that the record calls for, if any; what was decided by hand meanwhile stands."""
        self.take_over(now_ms)
        return self._carry_out(self.tenure.choose(now_ms, self.versions(now_ms)), now_ms)

    def tidy(self, now_ms: int, keep: int, streams: Sequence[str]) -> list[str]:
        """Archive what is neither of use nor of the kept set; returns the streams that are kept, the best first.

        Of each recipe the newest version stays, if the recipe is kept; the champion, its predecessor and the version that is
        held beside it always do. Nothing is deleted.
        """
        ranked = self.tenure.kept(now_ms, streams)
        if ranked is None:
            kept = list(streams)[:keep]
        else:  # what cannot be ranked with the others, such as another horizon, is not worse than they are
            kept = [*ranked.kept, *(name for name in streams if name not in ranked.order)][:keep]
        facts, at = self.tenure.facts, self._moment(now_ms)
        needed = {one.version for one in (facts.champion, facts.held) if one is not None}
        for stream in streams:
            versions = [version for version, _ in self._store.versions(stream)]
            if stream in kept:
                versions = versions[:-1]
            reason = "a newer version of its recipe" if stream in kept else "not of the kept set"
            useless = []
            for version in reversed(versions):
                status = None if version in needed else self._status(version)
                if status == "archived":
                    break  # what is older was archived before
                if status in {"candidate", "superseded"}:
                    useless.append(version)
            for version in reversed(useless):  # the oldest first: one that is archived has none before it that is not
                self._archive(version, at, reason)
        return kept

    def versions(self, now_ms: int) -> dict[str, str]:
        """Return the newest version of each stream under trial, or the held one, that is sound and would answer."""
        found = {}
        for stream in self.tenure.facts.enrolled:
            if stream in self.damaged:
                continue
            build = self._store.newest_build(stream)
            if build is not None and build.version is not None and self._is_sound(build.version, now_ms):
                found[stream] = build.version
        held = self.tenure.facts.held
        if held is not None and held.stream not in found and self._is_sound(held.version, now_ms):
            found[held.stream] = held.version
        return found

    def open(self, version: str) -> StrategyModel:
        """Return a version of the key, every byte verified; raises a `RegistryError` when it cannot be read."""
        key = self.key
        return self._registry.select_bundle(
            symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=version
        )

    def rows(self, stream: str) -> tuple[Any, Evaluations]:
        """Return a stream's record and what the judges read of it.

        Raises
        ------
        DataError
            When it is damaged, or there is none.
        """
        shape = self._shape(stream)
        if shape is None:
            raise DataError(f"{stream} has no record yet")
        place = self.record_of(stream)
        return self._records.read(place, shape[0]), self._records.evaluations(place, *shape)

    def said_by(self, version: str, stream: str, record: Any) -> Any:
        """Return the rows of a stream's record that one version said of new bars."""
        return self._records.said_by(self.record_of(stream), version, record)

    def newest_at(self, stream: str, moment_ms: int) -> str | None:
        """Return the version of a recipe that was the newest at a moment, its first one before that; None without any."""
        versions = self._store.versions(stream)
        past = [version for version, at_ms in versions if at_ms <= moment_ms]
        return past[-1] if past else versions[0][0] if versions else None

    def record_of(self, stream: str) -> str:
        """Return what the record of a stream is called: versions of two models may have the same name."""
        return f"{self.key}{stream}" if stream.startswith(version_stream("")) else stream

    def keep(self, now_ms: int) -> None:
        """Remember the facts."""
        self._store.keep_facts(str(self.key), self.tenure.facts, now_ms)

    # ------------------------------------------------------------------ inside

    def take_over(self, now_ms: int) -> None:
        """Take over what somebody else decided: the ledger is the truth."""
        version = self._registry.champion_version(self.key)
        champion = self.tenure.facts.champion
        if version != (None if champion is None else champion.version):  # also after a crash before bots were told
            self._tell_bots("the ledger says so")
        if champion is not None and version != champion.version and self._status(champion.version) == "quarantined":
            self.tenure.dismiss(now_ms, fallen=True)  # whoever serves now, it must earn its place anew
            champion = None
        if version is None and champion is not None:
            self.tenure.dismiss(now_ms, fallen=False)
        elif version is not None and (champion is None or champion.version != version):
            stream = self._store.stream_of(version, str(self.key))
            newest = None if stream is None else self._store.newest_build(stream)
            if stream is None or newest is None or newest.version != version:
                stream = version_stream(version)
                self._begin(stream, version)
            self.feed([stream])
            if champion is not None and champion.stream == stream:  # a refit: the watch over the recipe goes on
                self._serve(version)
            else:
                self.tenure.adopt(stream, version, now_ms)
            self._store.note(str(self.key), "adopted", f"{version} serves, as the ledger says", {}, now_ms)
        self.keep(now_ms)

    def require_bundle(self, now_ms: int) -> Sequence[Decision]:
        """Take a champion whose bundle is gone or damaged out of service; its recipe is not to blame."""
        champion = self.tenure.facts.champion
        if champion is None:
            return ()
        try:
            self.open(champion.version)
            return ()
        except InvalidLedger:
            raise
        except RegistryError as error:
            reason = f"its bundle cannot be used: {' '.join(str(error).split())}"
        decisions = [Decision("quarantine", champion.stream, champion.version, reason, {})]
        older = [version for version, _ in self._store.versions(champion.stream) if version != champion.version]
        sound = next((version for version in reversed(older) if self._is_sound(version, now_ms)), None)
        if sound is None:
            self.tenure.dismiss(now_ms, fallen=False)
        else:
            self._serve(sound)
            words = f"serves in place of {champion.version}: the newest sound version of the same recipe"
            decisions.append(Decision("fallback", champion.stream, sound, words, {}))
        self._warn(f"{champion.version} serves no more: {reason}")
        return self._carry_out(decisions, now_ms)

    def _serve(self, version: str) -> None:
        """Let another version of the champion's recipe serve; how long it serves and what it is watched by stay."""
        facts = self.tenure.facts
        if facts.champion is not None:
            self.tenure.facts = replace(facts, champion=replace(facts.champion, version=version))

    def _begin(self, stream: str, version: str) -> bool:
        """Begin the record of a version that is watched by itself; tell whether it can be asked."""
        try:
            begin_stream(self._records, self.record_of(stream), self._ask(version), "bundle")
        except RegistryError as error:
            self._warn(f"{stream} cannot be asked: {error}")
            return False
        return True

    def _ask(self, version: str) -> StrategyModel:
        """Return a version to score with; the last ones stay open, since a bundle tests itself when it is opened."""
        if version not in self._asked:
            while len(self._asked) >= _MOST_OPEN:
                self._asked.pop(next(iter(self._asked)))
            self._asked[version] = self.open(version)
        return self._asked[version]

    def _watched(self) -> list[Champion | Held]:
        facts = self.tenure.facts
        return [one for one in (facts.champion, facts.held) if one is not None]

    def _shape(self, stream: str) -> tuple[str, int] | None:
        """Return task and horizon of a stream; None where it has no record yet."""
        if stream in self._shapes:
            return self._shapes[stream]
        sources = self._records.sources(self.record_of(stream))
        if not sources:
            return None
        for version, *_ in reversed(sources):
            try:
                metadata = self._ask(version).metadata
            except RegistryError:
                continue
            self._shapes[stream] = str(metadata["task"]), int(metadata["horizon"])
            return self._shapes[stream]
        return None

    def _carry_out(self, decisions: Sequence[Decision], now_ms: int) -> Sequence[Decision]:
        """Write decisions into the ledger, remember the facts, and tell."""
        at = self._moment(now_ms)
        for decision in decisions:
            enact(self._registry, self.key, decision, at)
            self._tell_bots(decision.reason)
            text = f"{decision.stream}: {decision.reason}"
            evidence = {"version": decision.version, "stream": decision.stream, **decision.evidence}
            self._store.note(str(self.key), decision.kind, text, evidence, now_ms)
        if decisions:
            self.keep(now_ms)
            for decision in decisions:
                if decision.kind != "refit":
                    self._tell("lifecycle", f"{self.key}: {decision.kind} of {decision.version}: {decision.reason}")
        self.decisions += decisions
        return decisions

    def _tell_bots(self, reason: str) -> None:
        """Tell the bots that follow who serves now; they look it up in the ledger themselves."""
        try:
            self._follow(self.key, self._registry.champion_version(self.key), reason)
        except BotError as error:  # a bot looks by itself when it starts
            self._warn(f"running bots were not told of it: {error}")

    def _is_sound(self, version: str, now_ms: int) -> bool:
        """Tell whether a version may be promoted: whole, not under quarantine, and not expired."""
        try:
            model = self.open(version)
            return model.status != "quarantined" and not has_expired(model, now_ms)
        except RegistryError as error:
            self._warn(f"{version} is out: {error}")
            return False

    def _status(self, version: str) -> str | None:
        try:
            return self.open(version).status
        except RegistryError:
            return None

    def _archive(self, version: str, at: datetime, reason: str) -> None:
        try:
            self._registry.archive(self.key, version, at=at, reason=reason)
        except TransitionRefused:
            return  # the version that a rollback returns to
        except RegistryError as error:
            self._warn(f"{version} is not archived: {error}")

    def _warn(self, text: str) -> None:
        self._tell("errors", f"{self.key}: {text}")

    def _moment(self, now_ms: int) -> datetime:
        """Return when a row of the ledger is written: a cycle that took long, or was resumed, stands for an earlier time."""
        return datetime.fromtimestamp(max(now_ms, self._clock()) / 1000, UTC)
