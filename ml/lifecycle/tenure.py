"""Who serves: the rules by which recipes of one model key become, stay and cease to be the champion.

Rules (docs/decisions/0019-who-serves.md says why):

- *first champion*: a record that shows skill (`Claim`), corrected for the number of recipes that were ever tried;
- *refit* of the champion's recipe: promoted, unless the refits are shown worse than the version that is held beside them;
  the held version is a newer one from time to time, where nothing points at harm;
- *replacement* by another recipe: only where it is shown better on fresh bars that both spoke of, and shows skill itself;
- *quarantine*: the champion's hit rate fell, by a test with at most one false alarm a year; the best sound member of the kept
  set serves then, or nobody; who was quarantined must earn the place anew. It is held to the lower bound of its record at
  promotion, and to that of its longer record as time goes by, while the test is calm: the record that crossed the level of
  evidence was lucky as often as not, and a longer one bounds the rate closer;
- *rollback*: the champion is shown worse than the one before it; once, until something is promoted on evidence again.

Every test may be looked at after each bar, so a cycle may come as often as it likes. Nothing here knows a clock, a file or a
registry: rows and times go in, decisions come out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import NotEnoughBars
from ml.lifecycle.candidacy import Candidacy, Claim
from ml.lifecycle.confidence_set import ConfidenceSet, confidence_set
from ml.lifecycle.drift_test import ONE_SIDED_85, reference_rate
from ml.lifecycle.duel import Duel
from ml.lifecycle.evaluations import on_common_bars
from ml.lifecycle.facts import Champion, Decision, Facts, Held, version_stream
from ml.lifecycle.watch import Watch, doubts_since
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ml.lifecycle.evaluations import Evaluations

__all__ = ["Rules", "Tenure"]

_DAY_MS = 86_400_000
_CALM = 0.025  # of the alarm level, about where a healthy model lies: below it the reference may be renewed
_LONGER = 1.1  # times as many evaluations
_ONE_SIDED_80 = 0.8416212335729143  # of a renewed reference, which no luck of a crossing has lifted


@dataclass(frozen=True, slots=True)
class Rules:
    """How sure one has to be, and of what.

    Attributes
    ----------
    level
        Chance of a false replacement or rollback that is accepted.
    skill_level
        Chance that is accepted of ever promoting a recipe although none has skill. Lower, as many keys may be tried, and a
        share of 5 % is to be kept with room to spare.
    ranking_ms
        Length of the time that is ranked on, up to now.
    keep
        Most members of the kept set.
    naive_drift
        Whether the 24-hour rule of five points triggers, in place of the sequential test.
    held_evaluations
        After so many evaluations of the held version, with no evidence of harm, a refit may take its place.
    """

    level: float = 0.05
    skill_level: float = 0.03
    ranking_ms: int = 90 * _DAY_MS
    keep: int = 5
    naive_drift: bool = False
    held_evaluations: int = 500


class Tenure:
    """The judge of one model key.

    Parameters
    ----------
    timeframe
        Length of the bars.
    facts
        What is remembered; a new key has none.
    rules
        How sure one has to be.
    """

    def __init__(self, timeframe: str, facts: Facts | None = None, rules: Rules | None = None) -> None:
        self.timeframe = timeframe
        self.facts = facts or Facts()
        self.rules = rules or Rules()
        self._streams: dict[str, Candidacy] = {}
        self._duels: dict[str, Duel] = {}  # other recipes against the champion
        self._harm: Duel | None = None  # the held version against the champion
        self._watch: Watch | None = None
        self._begin()

    # ------------------------------------------------------------------ rows in

    def enroll(self, stream: str, fresh_ms: int) -> None:
        """Put a recipe under trial; its rows before ``fresh_ms`` are of the past that it may have been chosen by."""
        self.facts = self.facts.enroll(stream, fresh_ms)

    def feed(self, stream: str, evaluations: Evaluations) -> None:
        """Take further rows of a stream, later than all before."""
        if stream not in self._streams:
            self._streams[stream] = Candidacy(self.timeframe, self.facts.counted_from(stream))
        self._streams[stream].feed(evaluations)

    def last_ms(self, stream: str) -> int | None:
        """Return the open time of the newest row of a stream."""
        return self._streams[stream].last_ms if stream in self._streams else None

    # ------------------------------------------------------------------ decisions out

    def watch(self, now_ms: int, versions: Mapping[str, str]) -> list[Decision]:
        """Return what must be done at once: quarantine and fallback, or rollback.

        Parameters
        ----------
        now_ms
            The moment, milliseconds UTC: bars that open later are new.
        versions
            The newest sound version of each stream that has one.
        """
        self.look()
        champion = self.facts.champion
        if champion is None:
            return []
        alarm = None if self._watch is None else self._watch.alarm()
        if alarm is not None:
            return self._quarantine(champion, now_ms, versions, *alarm)
        self._renew()
        harm, held = self._harm, self.facts.held
        if harm is None or held is None or not self._is_harm(harm):
            return []
        version = versions.get(held.stream)
        text = f"shown worse than the model before it: {harm.words(champion.stream, held.stream)}"
        evidence = {"duel": harm.to_dict(), "from": champion.version, "to": version}
        if version is None:  # its bundle is gone, or has expired
            text += "; that one cannot serve any more"
            return self._quarantine(champion, now_ms, versions, text, evidence)
        decision = Decision("rollback", held.stream, version, text, evidence)
        self._crown(held.stream, version, now_ms)  # nothing is held then: it happens once
        return [decision]

    def choose(self, now_ms: int, versions: Mapping[str, str]) -> list[Decision]:
        """Return the promotion that the record calls for, if any: the first, a replacement or a refit.

        Parameters
        ----------
        now_ms, versions
            As in `watch`; the versions are those that were just built.
        """
        self.look()
        champion = self.facts.champion
        if champion is None:
            return self._first(now_ms, versions)
        return self._replacement(champion, now_ms, versions) or self._refit(champion, now_ms, versions)

    def adopt(self, stream: str, version: str, now_ms: int) -> None:
        """Take over a champion that somebody else chose; it is watched from now on."""
        before = self.facts.champion
        held = None if before is None else Held(before.stream, before.version, now_ms)
        if before is not None and before.stream == stream:
            held = self.facts.held
        self._crown(stream, version, now_ms, held)

    def dismiss(self, now_ms: int, *, fallen: bool) -> None:
        """Take over that somebody left the key without a champion; one that is ``fallen`` must earn its place anew."""
        champion = self.facts.champion
        self.facts = replace(self.facts, champion=None, held=None)
        if fallen and champion is not None:
            self._restart(champion, now_ms)
        self._begin()

    # ------------------------------------------------------------------ what is shown

    @property
    def needed(self) -> float:
        """Logarithm of the evidence that a first champion takes."""
        return math.log(self.facts.trials / self.rules.skill_level)

    def claim(self, stream: str) -> Claim | None:
        """Return what a stream's record shows; None where it has none."""
        return self._streams[stream].claim(self.needed) if stream in self._streams else None

    def doubts(self, stream: str, now_ms: int) -> tuple[str, ...]:
        """Return why old evidence of a stream does not hold in the last days; a fallback and a first champion are asked."""
        since_ms = max(now_ms - self.rules.ranking_ms, self.facts.counted_from(stream) or 0)
        return doubts_since(since_ms, self.timeframe, stream, self._streams[stream]) if stream in self._streams else ()

    def duels(self) -> dict[str, Duel]:
        """Return how the other recipes do against the champion on the same fresh bars."""
        return dict(self._duels)

    @property
    def harm(self) -> Duel | None:
        """How the held version does against the champion."""
        return self._harm

    @property
    def drift(self) -> Watch | None:
        """The watch over the champion; None without one."""
        return self._watch

    def kept(self, now_ms: int, streams: Iterable[str]) -> ConfidenceSet | None:
        """Return the recipes that are statistically the best of the last days; None where fewer than two can be ranked.

        The champion stands first among equals. Only recipes that answer the question of the first can be ranked with it.
        """
        champion = self.facts.champion
        names = [name for name in streams if name in self._streams]
        names.sort(key=lambda name: champion is None or name != champion.stream)
        rows = self._recent(names, now_ms)
        if len(rows) < 2:
            return None
        common = on_common_bars(*rows.values())
        phases = self._streams[next(iter(rows))].phases
        taken = common[0].k % common[0].horizon < phases
        losses = np.stack([part.loss[taken] for part in common], axis=1)
        try:
            return confidence_set(losses, list(rows), horizon=phases)
        except NotEnoughBars:
            return None

    # ------------------------------------------------------------------ inside

    def _begin(self) -> None:
        """Begin the tests that belong to the champion."""
        champion, held = self.facts.champion, self.facts.held
        self._duels = {}
        self._watch = None if champion is None else Watch(self.timeframe, champion, self.rules.naive_drift)
        self._harm = None if held is None else Duel(self.timeframe, held.since_ms)

    def look(self) -> None:
        """Let the champion's tests see the rows that were fed; `watch` and `choose` do so first."""
        champion, held = self.facts.champion, self.facts.held
        mine = None if champion is None else self._streams.get(champion.stream)
        if champion is None or mine is None:
            return
        if self._watch is not None:
            self._watch.look(mine)
        for name, other in self._streams.items():
            if name in self.facts.enrolled and name != champion.stream and other.question == mine.question:
                start = max(champion.crowned_ms, self.facts.enrolled[name], self.facts.restarts.get(name, 0))
                self._duels.setdefault(name, Duel(self.timeframe, start)).look(other, mine)
        before = None if held is None else self._streams.get(held.stream)
        if self._harm is not None and before is not None and before.question == mine.question:
            self._harm.look(before, mine)

    def _crown(self, stream: str, version: str, now_ms: int, held: Held | None = None) -> None:
        """Remember who serves from now on."""
        hits, count, reference = self._reference(stream)
        champion = Champion(stream, version, now_ms, now_ms, reference, count, hits)
        self.facts = replace(self.facts, champion=champion, held=held)
        self._begin()

    def _reference(self, stream: str, z: float = ONE_SIDED_85) -> tuple[int, int, float | None]:
        """Return hits and evaluations of a direction's stream so far, and the hit rate that it can be held to."""
        judge = self._streams.get(stream)
        if judge is None or not judge.is_direction:
            return 0, 0, None
        hits, count = judge.reference()
        return hits, count, reference_rate(hits, count, judge.phases, z) if count else None

    def _renew(self) -> None:
        """Hold the champion to its longer record, whether that asks more of it or less, where nothing points at a fall.

        The statistics go on from where they stand.
        """
        champion, watch = self.facts.champion, self._watch
        if champion is None or watch is None or self.rules.naive_drift or watch.statistic > _CALM * watch.threshold:
            return
        hits, count, reference = self._reference(champion.stream, _ONE_SIDED_80)
        last_ms = self.last_ms(champion.stream)
        if reference is None or last_ms is None or not reference > 0.5 or count < _LONGER * champion.reference_rows:
            return
        renewed = replace(
            champion,
            since_ms=last_ms + timeframe_ms(self.timeframe),
            reference=reference,
            reference_rows=count,
            reference_hits=hits,
            statistics=watch.statistics,
        )
        self.facts = replace(self.facts, champion=renewed)
        self._watch = Watch(self.timeframe, renewed, self.rules.naive_drift)

    def _first(self, now_ms: int, versions: Mapping[str, str], avoid: str = "") -> list[Decision]:
        """Return the promotion of the best recipe that shows skill, where nobody serves."""
        claims = {name: self.claim(name) for name in self.facts.enrolled if name in versions and name != avoid}
        sound = [name for name, claim in claims.items() if claim is not None and claim.holds]
        sound = [name for name in sound if not self.doubts(name, now_ms)]
        if not sound:
            return []
        best = self._least_loss(sound, now_ms)
        claim = claims[best]
        if claim is None:
            raise AssertionError(best)
        text = f"shows skill: {claim.words()}"
        evidence = {"claim": claim.to_dict(), "trials": self.facts.trials, "sound": sound}
        self._crown(best, versions[best], now_ms)
        return [Decision("promote", best, versions[best], text, evidence)]

    def _replacement(self, champion: Champion, now_ms: int, versions: Mapping[str, str]) -> list[Decision]:
        """Return the promotion of another recipe that is shown better, and shows skill itself."""
        others = {name: duel for name, duel in self._duels.items() if name in versions}
        needed = math.log(max(1, len(self.facts.enrolled.keys() - {champion.stream})) / self.rules.level)
        won = [name for name, duel in others.items() if duel.log_e >= needed]
        claims = {name: self.claim(name) for name in won}
        won = [name for name in won if (claim := claims[name]) is not None and claim.holds]
        if not won:
            return []
        best = max(won, key=lambda name: others[name].log_e)
        claim = claims[best]
        text = f"shown better than {champion.stream}: {others[best].words(champion.stream, best)}"
        evidence = {
            "duel": others[best].to_dict(),
            "needed": math.exp(needed),
            "claim": None if claim is None else claim.to_dict(),
        }
        self._crown(best, versions[best], now_ms, Held(champion.stream, champion.version, now_ms))
        return [Decision("replace", best, versions[best], text, evidence)]

    def _refit(self, champion: Champion, now_ms: int, versions: Mapping[str, str]) -> list[Decision]:
        """Return the promotion of a newer version of the champion's recipe."""
        version = versions.get(champion.stream)
        if version is None or version == champion.version or champion.stream not in self.facts.enrolled:
            return []
        held, harm = self.facts.held, self._harm
        if harm is not None and self._is_harm(harm):
            return []
        text = "a refit of the champion's recipe, not shown worse"
        if harm is not None and held is not None:
            text += f": {harm.words(champion.stream, held.stream)}"
        evidence = {"before": champion.version, "harm": None if harm is None else harm.to_dict()}
        self.facts = replace(self.facts, champion=replace(champion, version=version))
        if held is None or harm is None or (harm.n >= self.rules.held_evaluations and harm.log_e <= 0):
            self.facts = replace(self.facts, held=Held(version_stream(champion.version), champion.version, now_ms))
            self._harm = Duel(self.timeframe, now_ms)
        return [Decision("refit", champion.stream, version, text, evidence)]

    def _quarantine(
        self, champion: Champion, now_ms: int, versions: Mapping[str, str], text: str, evidence: Mapping[str, Any]
    ) -> list[Decision]:
        """Return that the champion leaves, and who serves instead; the kept set comes before the others."""
        decisions = [Decision("quarantine", champion.stream, champion.version, text, evidence)]
        self.facts = replace(self.facts, champion=None, held=None)
        fallen = self._restart(champion, now_ms)
        self._begin()
        ranked = self.kept(now_ms, [name for name in self.facts.enrolled if name not in fallen])
        kept = None if ranked is None else set(ranked.kept[: self.rules.keep])
        sound = {name: version for name, version in versions.items() if kept is None or name in kept}
        first = self._first(now_ms, sound, champion.stream)
        words = f"serves in place of {champion.stream}"
        return decisions + [replace(each, kind="fallback", reason=f"{words}: {each.reason}") for each in first]

    def _restart(self, champion: Champion, now_ms: int) -> set[str]:
        """Send the champion's streams back to the start, and return them."""
        fallen = {champion.stream, version_stream(champion.version)}
        self.facts = self.facts.restart(tuple(sorted(fallen)), now_ms)
        for name in fallen & self._streams.keys():
            self._streams[name].restart(now_ms)
        return fallen

    def _recent(self, streams: Iterable[str], now_ms: int) -> dict[str, Evaluations]:
        """Return the rows of the last days, of the streams that have some and answer the question of the first of them."""
        rows: dict[str, Evaluations] = {}
        for name in streams:
            recent = self._streams[name].later(now_ms - self.rules.ranking_ms)
            if recent is not None and all(self._streams[name].question == self._streams[one].question for one in rows):
                rows[name] = recent
        return rows

    def _least_loss(self, streams: list[str], now_ms: int) -> str:
        """Return the stream that lost least in the last days, on bars that all of them spoke of; the first of equals."""
        rows = self._recent(streams, now_ms)
        losses = [float(part.loss.mean()) if len(part) else 0.0 for part in on_common_bars(*rows.values())]
        return list(rows)[losses.index(min(losses))]

    def _is_harm(self, harm: Duel) -> bool:
        """Tell whether the champion is shown worse than the version that is held beside it."""
        return harm.log_e >= -math.log(self.rules.level)
