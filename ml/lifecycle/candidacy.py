"""One stream's claim to serve: whether its record shows skill, by tests that may be looked at after every bar.

A direction must be right more often than somebody without a model (`HitRateTest`); a probability of another event, or a
volatility, must lose less than every baseline (`PairedTest`). Either way its mean loss must be below that of every
baseline: "always up" is right more than half the time in a rising market.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.intervals import wilson
from ml.lifecycle.evaluations import ONE_SIDED_90, Evaluations
from ml.lifecycle.hit_rate_test import HitRateTest
from ml.lifecycle.paired_test import PairedTest
from ml.lifecycle.phases import Phased, phases_counted
from ml.lifecycle.wealth import e_value
from ml.record import DIRECTION_TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Candidacy", "Claim"]

_SMALLEST, _LARGEST = 0.001, 0.999  # null rates that the test accepts


@dataclass(frozen=True, slots=True)
class Claim:
    """What a record shows so far.

    Attributes
    ----------
    n, hits
        Evaluations that count, and how many came true.
    hit_rate, lower
        Share of hits, and its one-sided 90 % lower bound; NaN where hits are not what is tested.
    log_e
        Natural logarithm of the evidence against "no skill".
    needed
        Logarithm that it takes: of 20 times the number of recipes that were tried.
    gains
        Mean loss saved a bar against each baseline.
    lacks
        What is missing, in words; empty when nothing is.
    """

    n: int
    hits: int
    hit_rate: float
    lower: float
    log_e: float
    needed: float
    gains: Mapping[str, float]
    lacks: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether skill is shown."""
        return not self.lacks

    def words(self) -> str:
        """Return what it shows for a person."""
        evidence = f"evidence {_evidence(self.log_e)}, needed {_evidence(self.needed)}"
        if math.isnan(self.hit_rate):
            return f"it loses less than every baseline over {self.n:,} evaluations ({evidence})"
        rates = f"{100 * self.hit_rate:.1f} % of {self.n:,} evaluations, at least {100 * self.lower:.1f} %"
        return f"right in {rates} ({evidence})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what is not defined is None."""
        return {
            "evaluations": self.n,
            "hits": self.hits,
            "hit_rate": _defined(self.hit_rate),
            "hit_rate_lower_90": _defined(self.lower),
            "evidence": _defined(e_value(self.log_e)),
            "evidence_needed": math.exp(self.needed),
            "gain": {name: _defined(value) for name, value in self.gains.items()},
            "lacks": list(self.lacks),
        }


class Candidacy:
    """The rows of one stream, and the tests of its skill from one bar on.

    Rows are counted when somebody asks: while another serves nobody does, and the numbers are the same to the bit.

    Parameters
    ----------
    timeframe
        Length of the bars.
    counted_from
        Open time of the first bar that counts; None for every bar.
    """

    def __init__(self, timeframe: str, counted_from: int | None = None) -> None:
        self._timeframe = timeframe
        self._parts: list[Evaluations] = []
        self.restart(counted_from)

    def restart(self, counted_from: int | None) -> None:
        """Begin anew at a bar; rows that are there already and open later are counted again."""
        self._from = counted_from
        self._tests: dict[str, Phased[Any]] = {}
        self._sums: dict[str, float] = {}
        self._n = self._hits = 0
        self._uncounted = list(self._parts)

    def feed(self, evaluations: Evaluations) -> None:
        """Take further rows, later than all before."""
        if len(evaluations):
            self._parts.append(evaluations)
            self._uncounted.append(evaluations)

    @property
    def rows(self) -> Evaluations | None:
        """Every row; None before the first."""
        if len(self._parts) > 1:
            self._parts = [Evaluations.concat(self._parts)]
        return self._parts[0] if self._parts else None

    @property
    def last_ms(self) -> int | None:
        """Open time of the newest row."""
        return int(self._parts[-1].open_ms[-1]) if self._parts else None

    @property
    def question(self) -> tuple[str, int] | None:
        """What is answered, as task and horizon; None before the first row. Answers to another one cannot be compared."""
        if not self._parts:
            return None
        return ("direction" if self.is_direction else self._parts[0].task), self._parts[0].horizon

    @property
    def is_direction(self) -> bool:
        """Whether hits are what is tested."""
        return not self._parts or self._parts[0].task in DIRECTION_TASKS

    @property
    def phases(self) -> int:
        """Phases that count: one, or as many as the horizon."""
        return phases_counted(self._timeframe, self._parts[0].horizon) if self._parts else 1

    def later(self, open_ms: int) -> Evaluations | None:
        """Return the rows that open at a time or later; None where there are none. Costs as much as there are."""
        found = []
        for part in reversed(self._parts):
            if int(part.open_ms[-1]) < open_ms:
                break
            found.append(part if int(part.open_ms[0]) >= open_ms else part.since(open_ms))
        return Evaluations.concat(found[::-1]) if found else None

    def reference(self, before_ms: int | None = None) -> tuple[int, int]:
        """Return hits and evaluations that count so far, or those of bars that open before a time."""
        self._count_what_is_new()
        hits, count = self._hits, self._n
        if before_ms is not None and (after := self.later(max(before_ms, self._from or 0))) is not None:
            counted = after.k % after.horizon < self.phases
            hits -= int(np.count_nonzero(after.came_true & counted))
            count -= int(np.count_nonzero(counted))
        return hits, count

    def claim(self, needed: float) -> Claim:
        """Return what the record shows; ``needed`` is the logarithm of the evidence that it takes."""
        self._count_what_is_new()
        log_e = min((test.value for test in self._tests.values()), default=0.0)
        gains = {name: total / self._n for name, total in self._sums.items()} if self._n else {}
        is_direction = self.is_direction
        rate = self._hits / self._n if self._n and is_direction else math.nan
        overlap = self.phases
        lower = (
            wilson(self._hits / overlap, self._n / overlap, ONE_SIDED_90)[0] if self._n and is_direction else math.nan
        )
        lacks = []
        if log_e < needed:
            lacks.append(f"evidence {_evidence(log_e)} of {_evidence(needed)}")
        lacks += [f"loses more than {name.replace('_', ' ')}" for name, gain in gains.items() if not gain > 0]
        if is_direction and not lower > 0.5:
            lacks.append(f"hit rate may be as low as {100 * lower:.1f} %" if self._n else "no evaluations yet")
        return Claim(self._n, self._hits, rate, lower, log_e, needed, gains, tuple(lacks))

    def _count_what_is_new(self) -> None:
        if self._uncounted:
            new = self._uncounted[0] if len(self._uncounted) == 1 else Evaluations.concat(self._uncounted)
            self._uncounted = []
            self._count(new)

    def _count(self, part: Evaluations) -> None:
        """Let the tests see the rows that count."""
        if self._from is not None:
            part = part.since(self._from)
        if not len(part):
            return
        phases = phases_counted(self._timeframe, part.horizon)
        if not self._tests:
            self._tests = self._begin(part, phases)
        if part.task in DIRECTION_TASKS:
            null = np.clip(part.null_rate, _SMALLEST, _LARGEST)
            self._tests["null"] = self._tests["null"].update(part.k, part.came_true, null)
        else:
            for name in self._tests:
                self._tests[name] = self._tests[name].update(part.k, part.gain(name))
        rows = part.k % part.horizon < phases
        self._n += int(np.count_nonzero(rows))
        self._hits += int(np.count_nonzero(part.came_true & rows))
        for name in part.baseline_loss:
            # one after the other, so that chunks give the bits of single rows
            terms = np.concatenate([[self._sums.get(name, 0.0)], part.gain(name)[rows]])
            self._sums[name] = float(np.add.accumulate(terms)[-1])

    def _begin(self, part: Evaluations, phases: int) -> dict[str, Phased[Any]]:
        if part.task in DIRECTION_TASKS:
            return {"null": Phased.of(HitRateTest(), part.horizon, phases)}
        test = PairedTest.in_unit(part.unit)
        return {name: Phased.of(test, part.horizon, phases) for name in part.baseline_loss}


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _evidence(logarithm: float) -> str:
    """Return an e-value for a person; beyond a million its power of ten says enough."""
    value = e_value(logarithm)
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}"
