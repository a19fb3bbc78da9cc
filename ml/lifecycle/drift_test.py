"""Has a model's hit rate fallen? A test whose mean time to a false alarm is known without simulation.

Shiryaev and Roberts: ``R <- (1 + R) * Bern(z; p1) / Bern(z; p0)``. While hits come with a probability of at least p0, a
factor has a mean of at most 1, so R minus the evaluations seen is a supermartingale, and the mean time until R, begun at r,
reaches A + r is at least A evaluations: with A those of a year, at most one false alarm a year. The mean of two such
statistics, for a fall of five points and for one to the level of a coin, keeps that bound. The head start r has a fall right
at the beginning found as early as a later one; 5 % are added to A.

Source: Shiryaev 1963, Roberts 1966; the head start Moustakides, Polunchenko and Tartakovsky 2011, Statistica Sinica 21(2);
as an e-detector Shin, Ramdas and Rinaldo 2024, New England Journal of Statistics in Data Science 2(2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.intervals import wilson
from ml.lifecycle.wealth import mean_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["ONE_SIDED_85", "DriftTest", "reference_rate"]

ONE_SIDED_85 = 1.0364333894937898
"""Normal quantile of the bound that a hit rate is held to: of 8,760 rows, about half a false alarm a year is left, and a fall
from 54 to 50 % is found 200 evaluations earlier than with a bound of 90 %."""

_POINTS = 0.05
_COIN = 0.5
_HEAD_START = 1 / 40  # about where the statistic of a healthy model lies after a while
_MARGIN = 1 / 20  # the bound holds on average; this much more time costs about ten evaluations of delay
_LARGEST = 1e300  # far beyond every threshold: a statistic that is held there stays a float
_LEAST, _MOST = 0.001, 0.999


@dataclass(frozen=True, slots=True)
class DriftTest:
    """The mean of Shiryaev-Roberts statistics; `of_hit_rate` and `of_probabilities` begin one.

    Attributes
    ----------
    p0
        Hit rate that a healthy model has at least, in (0.5, 1); None for a test of stated probabilities.
    mean_time
        Evaluations that pass on average, at least, until a healthy model raises a false alarm: those of a year.
    statistics
        One for each alternative.
    n, hits
        Evaluations seen, and how many came true.
    alarm_at
        Number, counted from 0, of the evaluation at which the alarm was first raised; None while it was not.
    """

    p0: float | None
    mean_time: float
    statistics: tuple[float, ...]
    n: int = 0
    hits: int = 0
    alarm_at: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit."""
        if self.p0 is not None and not _COIN < self.p0 < 1:
            raise ValueError(f"a hit rate that can fall lies above 0.5 and below 1, got {self.p0}")
        if not (self.mean_time > 1 and math.isfinite(self.mean_time)):
            raise ValueError(f"the mean time to a false alarm is a number of evaluations above 1, got {self.mean_time}")
        if len(self.statistics) != (1 if self.p0 is None else 2) or not all(
            0 <= r <= _LARGEST for r in self.statistics
        ):
            raise ValueError(
                f"statistics are two (one of probabilities), from 0 to {_LARGEST:g}; got {self.statistics}"
            )
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"hits lie between 0 and the evaluations, got {self.hits} of {self.n}")

    @classmethod
    def of_hit_rate(cls, p0: float, mean_time: float) -> DriftTest:
        """Return a test that has seen nothing, of a fall below the hit rate ``p0``.

        Raises
        ------
        ValueError
            When ``p0`` is not above 0.5: such a model has no skill to lose.
        """
        return cls(p0, mean_time, (_HEAD_START * mean_time,) * 2)

    @classmethod
    def of_probabilities(cls, mean_time: float) -> DriftTest:
        """Return a test that has seen nothing, of stated probabilities that are no better than the null rate.

        The factor is ``Bern(z; null) / Bern(z; stated)``. Its mean is 1 while what is stated comes true as often as stated,
        so the bound holds for calibrated probabilities; it falls on overstated ones too.
        """
        return cls(None, mean_time, (_HEAD_START * mean_time,))

    @property
    def level(self) -> float:
        """Statistic at which the alarm is raised: the mean time, 5 % more, and the head start."""
        return (1.0 + _HEAD_START + _MARGIN) * self.mean_time

    @property
    def alternatives(self) -> tuple[float, ...]:
        """Hit rates after a fall: ``min(p0 - 0.05, 0.5)`` and ``max(p0 - 0.05, 0.5)``; none of stated probabilities."""
        if self.p0 is None:
            return ()
        return min(self.p0 - _POINTS, _COIN), max(self.p0 - _POINTS, _COIN)

    @property
    def statistic(self) -> float:
        """Mean of the statistics now."""
        return math.fsum(self.statistics) / len(self.statistics)

    @property
    def value(self) -> float:
        """What is averaged over phases: ``statistic``."""
        return self.statistic

    @property
    def alarm(self) -> bool:
        """Whether the level was ever reached."""
        return self.alarm_at is not None

    @property
    def warning(self) -> bool:
        """Whether the statistic is now at a tenth of the alarm level or above."""
        return self.statistic >= self.level / 10

    @staticmethod
    def average(values: Sequence[Floats]) -> Floats:
        """Return the mean statistic of several phases, element by element."""
        return mean_of(values)

    def update(
        self, came_true: Flags, stated: Floats | None = None, null_rate: Floats | float | None = None
    ) -> DriftTest:
        """Return the test after further evaluations.

        Parameters
        ----------
        came_true : bool array, shape (n,)
            In time order; evaluations of one phase.
        stated, null_rate : float64 arrays, shape (n,)
            What the model stated and somebody without a model would, cut to 0.001..0.999; only of a test of probabilities.

        Raises
        ------
        ValueError
            When a probability is missing, no probability or not asked for.
        """
        return self.advance(came_true, stated, null_rate)[0]

    def path(self, came_true: Flags, stated: Floats | None = None, null_rate: Floats | float | None = None) -> Floats:
        """Return the statistic after each further evaluation, float64 (n,)."""
        return self.advance(came_true, stated, null_rate)[1]

    def advance(
        self, came_true: Flags, stated: Floats | None = None, null_rate: Floats | float | None = None
    ) -> tuple[DriftTest, Floats]:
        """Return what ``update`` and ``path`` return, computed once."""
        count = len(came_true)
        if count == 0:
            return self, np.empty(0)
        paths = [
            np.array(list(accumulate(factors.tolist(), _step, initial=before)))[1:]
            for before, factors in zip(self.statistics, self._factors(came_true, stated, null_rate), strict=True)
        ]
        mean = self.average(paths)
        alarm_at = self.alarm_at
        if alarm_at is None and (above := mean >= self.level).any():
            alarm_at = self.n + int(np.argmax(above))
        test = DriftTest(
            p0=self.p0,
            mean_time=self.mean_time,
            statistics=tuple(float(path[-1]) for path in paths),
            n=self.n + count,
            hits=self.hits + int(np.count_nonzero(came_true)),
            alarm_at=alarm_at,
        )
        return test, mean

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``from_dict`` gives the same test to the bit."""
        return {
            "test": "drift",
            "p0": self.p0,
            "mean_time": self.mean_time,
            "statistics": list(self.statistics),
            "n": self.n,
            "hits": self.hits,
            "alarm_at": self.alarm_at,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DriftTest:
        """Read what ``to_dict`` returned.

        Raises
        ------
        ValueError
            When it is the state of another test.
        """
        if data.get("test") != "drift":
            raise ValueError("this is no state of a drift test")
        p0, alarm_at = data["p0"], data["alarm_at"]
        return cls(
            p0=None if p0 is None else float(p0),
            mean_time=float(data["mean_time"]),
            statistics=tuple(float(value) for value in data["statistics"]),
            n=int(data["n"]),
            hits=int(data["hits"]),
            alarm_at=None if alarm_at is None else int(alarm_at),
        )

    def _factors(self, came_true: Flags, stated: Floats | None, null_rate: Floats | float | None) -> list[Floats]:
        """Return the likelihood ratio of each evaluation, one array an alternative."""
        if self.p0 is not None:
            if stated is not None or null_rate is not None:
                raise ValueError("a test of the hit rate reads no probabilities")
            return [np.where(came_true, p1 / self.p0, (1 - p1) / (1 - self.p0)) for p1 in self.alternatives]
        if stated is None or null_rate is None:
            raise ValueError("a test of probabilities reads what was stated and the null rate")
        null = np.broadcast_to(np.asarray(null_rate, dtype=np.float64), came_true.shape)
        for name, values in (("stated probability", stated), ("null rate", null)):
            wrong = ~((values >= 0) & (values <= 1))
            if wrong.any():
                raise ValueError(f"a {name} lies between 0 and 1, got {float(values[wrong][0])}")
        null, stated = np.clip(null, _LEAST, _MOST), np.clip(stated, _LEAST, _MOST)
        return [np.where(came_true, null / stated, (1 - null) / (1 - stated))]


def _step(r: float, factor: float) -> float:
    """Return the statistic after one evaluation."""
    r = (1.0 + r) * factor
    return r if r < _LARGEST else _LARGEST  # noqa: FURB136 - min() doubles the time of the loop


def reference_rate(hits: int, n: int, horizon: int = 1, z: float = ONE_SIDED_85) -> float:
    """Return the p0 of a drift test: the one-sided 85 % lower Wilson bound of a record's hit rate.

    Parameters
    ----------
    hits, n
        Of the record; NaN when n is 0.
    horizon
        Bars that the label intervals of neighbouring rows share: 1 for thinned rows, the horizon where all phases are
        counted, because then n rows tell no more than n / horizon.
    z
        Normal quantile of the bound.
    """
    return wilson(hits / horizon, n / horizon, z)[0]
