"""The watch over a champion: whether it has lost what it was promoted for."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import format_ms
from ml.lifecycle.drift_test import DriftTest, reference_rate
from ml.lifecycle.facts import Champion
from ml.lifecycle.fall import Fall, estimate_fall
from ml.lifecycle.phases import Phased, evaluations_a_year, phases_counted
from ml.record import DIRECTION_TASKS
from registry.names import timeframe_ms

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.lifecycle.candidacy import Candidacy
    from ml.lifecycle.evaluations import Evaluations

    Floats = npt.NDArray[np.float64]

__all__ = ["Watch", "doubts_since"]

_DAY_MS = 86_400_000
_POINTS = 0.05
_SMALLEST, _LARGEST = 0.001, 0.999
_DOUBT = 0.2  # of the alarm level: 1 in 12 sound recipes of 54 % waits for that, 4 of 5 that fell 1,000 bars ago do
_WORSE = 0.10  # of a task without a null rate: what is stated comes true ten points less often


class Watch:
    """The drift test of one champion, from the bar on at which it began to serve.

    A direction is held to the hit rate of its record; another probability to what it states itself, against what somebody
    without a model would state. Where the reference is renewed the statistics go on from where they stood: they keep their
    bound with a reference that changes, as long as it is known beforehand and not above the truth.

    Parameters
    ----------
    timeframe
        Length of the bars.
    champion
        Who is watched.
    naive
        Whether the rule of five points in 24 hours raises the alarm instead.
    """

    def __init__(self, timeframe: str, champion: Champion, naive: bool = False) -> None:
        self._timeframe = timeframe
        self.champion = champion
        self._naive = naive
        self._next_ms = champion.since_ms
        self._test: Phased[DriftTest] | None = None
        self._seen: list[Evaluations] = []

    def look(self, judge: Candidacy) -> None:
        """Take what is new."""
        new = judge.later(self._next_ms)
        if new is None:
            return
        self._next_ms = int(new.open_ms[-1]) + 1
        self._seen.append(new)
        if self._test is None:
            self._test = self._begin(new)
        if self._test is None:
            return
        if new.task in DIRECTION_TASKS:
            self._test = self._test.update(new.k, new.came_true)
        else:
            self._test = self._test.update(new.k, new.came_true, *self._probabilities(new))

    @property
    def threshold(self) -> float:
        """Alarm level: evaluations a year of one phase and the head start; NaN where nothing is watched yet."""
        return math.nan if self._test is None or self._test.threshold is None else self._test.threshold

    @property
    def statistic(self) -> float:
        """Shiryaev-Roberts statistic now."""
        return 0.0 if self._test is None else self._test.value

    @property
    def statistics(self) -> tuple[tuple[float, ...], ...] | None:
        """Every statistic now, one tuple a phase, for a test that goes on from there; None where nothing is watched yet."""
        return None if self._test is None else tuple(test.statistics for test in self._test.tests)

    @property
    def n(self) -> int:
        """Evaluations since ``since_ms`` of the champion."""
        return 0 if self._test is None else self._test.n

    @property
    def state(self) -> str:
        """``calm``, ``warning``, ``alarm`` or ``no reference``."""
        if self._seen and self._test is None:
            return "no reference"
        if self._test is not None and self._test.alarm:
            return "alarm"
        return "warning" if self._test is not None and self.statistic >= self.threshold / 10 else "calm"

    def alarm(self) -> tuple[str, dict[str, Any]] | None:
        """Return words and figures when the alarm was raised."""
        if self._naive:
            return self._naive_alarm()
        if self._test is None or not self._test.alarm:
            return None
        return self._words(), self.to_dict()

    def fall(self) -> Fall | None:
        """Return the likeliest moment of a fall, and the hit rate since then; None where none is seen."""
        counted = self.counted()
        if counted is None or not self.champion.reference_rows or counted.task not in DIRECTION_TASKS:
            return None
        rate = self.champion.reference_hits / self.champion.reference_rows
        return estimate_fall(counted.came_true, min(max(rate, _SMALLEST), _LARGEST), self.overlap)

    def counted(self) -> Evaluations | None:
        """Return the evaluations that count since ``since_ms`` of the champion; None where there are none."""
        from ml.lifecycle.evaluations import Evaluations

        if not self._seen:
            return None
        if len(self._seen) > 1:
            self._seen = [Evaluations.concat(self._seen)]
        seen = self._seen[0]
        return seen.take(seen.k % seen.horizon < phases_counted(self._timeframe, seen.horizon))

    def path(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return open times and the statistic after each evaluation, for a picture."""
        empty = np.empty(0, dtype=np.int64), np.empty(0)
        if self.counted() is None or self._test is None:
            return empty
        seen = self._seen[0]
        fresh = self._begin(seen)
        if fresh is None:
            return empty
        columns = () if seen.task in DIRECTION_TASKS else self._probabilities(seen)
        rows, values = fresh.path(seen.k, seen.came_true, *columns)
        return seen.open_ms[rows], values

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        counted, fall = self.counted(), self.fall()
        champion = self.champion
        return {
            "state": self.state,
            "statistic": self.statistic,
            "threshold": None if math.isnan(self.threshold) else self.threshold,
            "evaluations": self.n,
            "hits": 0 if counted is None else int(np.count_nonzero(counted.came_true)),
            "since": format_ms(champion.since_ms),
            "reference": champion.reference,
            "reference_rows": champion.reference_rows,
            "reference_hits": champion.reference_hits,
            "fall": None if fall is None else fall.to_dict(),
        }

    @property
    def level(self) -> float:
        """Evaluations a year of one phase, also where nothing is tested for want of a reference."""
        return evaluations_a_year(self._timeframe, self._seen[0].horizon) if self._seen else math.nan

    @property
    def overlap(self) -> int:
        """Phases that count: so many evaluations are worth one."""
        return phases_counted(self._timeframe, self._seen[0].horizon) if self._seen else 1

    def _begin(self, rows: Evaluations) -> Phased[DriftTest] | None:
        a_year = evaluations_a_year(self._timeframe, rows.horizon)
        phases = phases_counted(self._timeframe, rows.horizon)
        reference, before = self.champion.reference, self.champion.statistics
        if rows.task not in DIRECTION_TASKS:
            test = DriftTest.of_probabilities(a_year)
        elif reference is None or not 0.5 < reference < 1:
            return None  # no skill to lose
        else:
            test = DriftTest.of_hit_rate(reference, a_year)
        tests = (test,) * phases
        if before is not None:
            tests = tuple(replace(test, statistics=each) for each in before)
        return Phased(rows.horizon, tests, test.level)

    def _probabilities(self, rows: Evaluations) -> tuple[Floats, Floats]:
        stated = np.clip(rows.stated, _SMALLEST, _LARGEST)
        null = np.where(np.isfinite(rows.null_rate), rows.null_rate, stated - _WORSE)
        return stated, np.clip(null, _SMALLEST, _LARGEST)

    def _words(self) -> str:
        counted, fall, champion = self.counted(), self.fall(), self.champion
        if counted is None or self._test is None or self._test.alarm_k is None:
            raise AssertionError(champion.stream)
        at = format_ms(int(counted.open_ms[np.searchsorted(counted.k, self._test.alarm_k)]))
        level = f"the statistic passed {self.threshold:,.0f} at the bar of {at}, as a sound model's does once a year at most"
        if counted.task not in DIRECTION_TASKS:
            return f"what it states comes true less often than it says: {level}"
        before = (
            f"{100 * champion.reference_hits / max(1, champion.reference_rows):.1f} % of {champion.reference_rows:,}"
        )
        if fall is None:
            return f"its hit rate fell from {before} evaluations: {level}"
        since = format_ms(int(counted.open_ms[fall.since]))
        return (
            f"its hit rate fell from {before} evaluations to {100 * fall.rate:.1f} % of {fall.n:,} since {since} "
            f"(95 % interval {100 * fall.low:.1f} to {100 * fall.high:.1f} %): {level}"
        )

    def _naive_alarm(self) -> tuple[str, dict[str, Any]] | None:
        """Return the alarm of the rule that compares 24 hours with the record: five points."""
        counted, champion = self.counted(), self.champion
        if counted is None or counted.task not in DIRECTION_TASKS or not champion.reference_rows:
            return None
        day_ms = int(counted.open_ms[-1]) + timeframe_ms(self._timeframe) - _DAY_MS
        if day_ms < champion.since_ms:
            return None  # it does not serve for 24 hours yet
        day = counted.since(day_ms)
        rate = float(np.mean(day.came_true))
        before = champion.reference_hits / champion.reference_rows
        if before - rate <= _POINTS + 1e-9:
            return None
        text = (
            f"right in {100 * rate:.1f} % of the {len(day):,} evaluations of 24 hours, {100 * before:.1f} % before: the "
            "naive rule of five points, which is a toss of a coin"
        )
        return text, {**self.to_dict(), "naive": {"n": len(day), "rate": rate, "before": before}}


def doubts_since(since_ms: int, timeframe: str, stream: str, judge: Candidacy) -> tuple[str, ...]:
    """Return why old evidence of a stream does not hold since a time, in words; empty where it does.

    It must have lost less than every baseline and show no fall of its hit rate. The fall is looked for as a champion's is,
    against the record before that time, but from a fifth of the alarm level on: recipes that learnt the same lose it
    together, and one of them is no help to the other.
    """
    since, recent = format_ms(since_ms), judge.later(since_ms)
    if recent is None:
        return (f"no evaluation since {since}",)
    lost = [name for name in recent.baseline_loss if not float(recent.gain(name).mean()) > 0]
    if lost:
        return tuple(f"loses more than {name.replace('_', ' ')} since {since}" for name in lost)
    hits, count = judge.reference(since_ms) if judge.is_direction else (0, 0)
    reference = reference_rate(hits, count, judge.phases) if count else None
    watch = Watch(timeframe, Champion(stream, "", since_ms, since_ms, reference, count, hits))
    watch.look(judge)
    if watch.state == "no reference" or not (watch.state == "alarm" or watch.statistic >= _DOUBT * watch.threshold):
        return ()
    return (f"its hit rate may have fallen since {since}",)
