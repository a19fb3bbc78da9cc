"""Phases: how a sequential test reads bars whose label intervals overlap.

Labels h bars long overlap unless their indices k agree modulo h. Scoring every bar as if it were independent makes a drift
test with one false alarm a year raise 47 at h = 24. So only one phase is counted, ``k % h == 0``, where that leaves 500
evaluations a year; below it every phase has a test of its own and their statistics are averaged.

What is proven and what is measured. Each phase by itself keeps its bound, and the mean of the phases keeps it at every moment
that is fixed beforehand. For a moment chosen by looking at all phases there is no theorem without a loss of power, as a label
in progress is partly known to its neighbours (Henzi and Ziegel 2022, Biometrika 109(3)); ``bench_drift`` measures it, on the
labels that overlap most: at h = 24 the mean raises as many false alarms as one phase does, one in about a year.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np

from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["ENOUGH_A_YEAR", "Phased", "SequentialTest", "evaluations_a_year", "phases_counted"]

ENOUGH_A_YEAR = 500
"""Evaluations a year of one phase from which that phase is enough."""

_YEAR_MS = 365 * 86_400_000


class SequentialTest(Protocol):
    """What the three tests have in common."""

    @property
    def n(self) -> int:
        """Evaluations seen."""
        ...

    @property
    def value(self) -> float:
        """What is averaged over phases."""
        ...

    @property
    def level(self) -> float | None:
        """Value at which an alarm is raised; None where none is."""
        ...

    def update(self, *columns: Any) -> Self:
        """Return the test after further rows."""
        ...

    def path(self, *columns: Any) -> Floats:
        """Return the value after each further row."""
        ...

    @staticmethod
    def average(values: Sequence[Floats]) -> Floats:
        """Return the mean of several phases' values, element by element."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        ...


T = TypeVar("T", bound=SequentialTest)


def evaluations_a_year(timeframe: str, horizon: int, trading_share: float = 1.0) -> float:
    """Return how many evaluations of one phase a year of 365 days has.

    Parameters
    ----------
    timeframe
        Such as ``1h``.
    horizon
        Bars ahead.
    trading_share
        Share of the time in which the market is open: 5 / 7 for currencies whose index counts weekends.

    Raises
    ------
    ValueError
        When the horizon is below 1, or the share is not in (0, 1].
    """
    if horizon < 1 or not 0 < trading_share <= 1:
        raise ValueError(f"expected a horizon of at least 1 and a share in (0, 1], got {horizon} and {trading_share}")
    return trading_share * _YEAR_MS / (timeframe_ms(timeframe) * horizon)


def phases_counted(timeframe: str, horizon: int, trading_share: float = 1.0) -> int:
    """Return 1 where one phase is enough, else the horizon: every phase is counted."""
    return 1 if evaluations_a_year(timeframe, horizon, trading_share) >= ENOUGH_A_YEAR else horizon


@dataclass(frozen=True, slots=True)
class Phased(Generic[T]):
    """One test a phase, and the mean of their values.

    Attributes
    ----------
    horizon
        Bars ahead.
    tests
        One, of phase 0, or ``horizon`` of them.
    threshold
        Level of the mean at which an alarm is raised; None where nothing is.
    last_k
        Absolute index of the newest bar that was offered, counted or not; None before the first.
    alarm_k
        Absolute index of the bar whose evaluation first brought the mean to the threshold; None while none did.
    """

    horizon: int
    tests: tuple[T, ...]
    threshold: float | None = None
    last_k: int | None = None
    alarm_k: int | None = None

    def __post_init__(self) -> None:
        """Refuse a number of tests that fits no rule of phases."""
        if self.horizon < 1 or len(self.tests) not in {1, self.horizon}:
            raise ValueError(
                f"expected 1 or {self.horizon} tests for a horizon of {self.horizon}, got {len(self.tests)}"
            )

    @classmethod
    def of(cls, test: T, horizon: int, phases: int = 1, threshold: float | None = None) -> Phased[T]:
        """Return ``phases`` tests that begin as ``test``; 1 or the horizon (``phases_counted``).

        The threshold is the test's ``level`` unless given. The alarm of a single phase decides nothing.
        """
        return cls(horizon, (test,) * phases, test.level if threshold is None else threshold)

    @property
    def n(self) -> int:
        """Evaluations seen in all phases."""
        return sum(test.n for test in self.tests)

    @property
    def value(self) -> float:
        """Mean of the phases now: the statistic of drift tests, ``log_e`` of the others."""
        return float(self.tests[0].average([np.array([test.value]) for test in self.tests])[0])

    @property
    def alarm(self) -> bool:
        """Whether the mean ever reached the threshold."""
        return self.alarm_k is not None

    def update(self, k: Integers, *columns: Any) -> Phased[T]:
        """Return the tests after further bars.

        Parameters
        ----------
        k : int64 array, shape (n,)
            Absolute indices, increasing, after all that were offered before.
        columns : arrays, shape (n,)
            What the test's ``update`` reads.

        Raises
        ------
        ValueError
            When a bar is not after those before it.
        """
        if len(k) == 0:
            return self
        self._require_new(k)
        alarm_k = self.alarm_k
        if self.threshold is not None and alarm_k is None:
            counted, values = self.path(k, *columns)
            if (above := values >= self.threshold).any():
                alarm_k = int(k[counted][np.argmax(above)])
        tests = list(self.tests)
        for phase in range(len(tests)):
            rows = np.flatnonzero(k % self.horizon == phase)
            if len(rows):
                tests[phase] = tests[phase].update(*(column[rows] for column in columns))
        return replace(self, tests=tuple(tests), last_k=int(k[-1]), alarm_k=alarm_k)

    def path(self, k: Integers, *columns: Any) -> tuple[Integers, Floats]:
        """Return which of further bars count, as positions, and the mean after each of them, float64."""
        phase_of = k % self.horizon
        counted = np.flatnonzero(phase_of < len(self.tests))
        parts = []
        for phase, test in enumerate(self.tests):
            rows = np.flatnonzero(phase_of == phase)
            values = test.path(*(column[rows] for column in columns)) if len(rows) else np.empty(0)
            # between its own bars a phase keeps the value that it had
            steps = np.concatenate([[test.value], values])
            parts.append(steps[np.cumsum(phase_of[counted] == phase)])
        return counted, self.tests[0].average(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``from_dict`` gives the same tests to the bit."""
        return {
            "horizon": self.horizon,
            "threshold": self.threshold,
            "last_k": self.last_k,
            "alarm_k": self.alarm_k,
            "tests": [test.to_dict() for test in self.tests],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], read: Callable[[Mapping[str, Any]], T]) -> Phased[T]:
        """Read what ``to_dict`` returned; ``read`` is the ``from_dict`` of the test.

        Raises
        ------
        ValueError
            When it is the state of other tests.
        """
        threshold, last_k, alarm_k = data["threshold"], data["last_k"], data["alarm_k"]
        return cls(
            horizon=int(data["horizon"]),
            tests=tuple(read(test) for test in data["tests"]),
            threshold=None if threshold is None else float(threshold),
            last_k=None if last_k is None else int(last_k),
            alarm_k=None if alarm_k is None else int(alarm_k),
        )

    def _require_new(self, k: Integers) -> None:
        """Refuse a bar that was offered before: evidence counts once."""
        before = np.concatenate([[k[0] - 1 if self.last_k is None else self.last_k], k[:-1]])
        if not (later := k > before).all():
            row = int(np.argmin(later))
            raise ValueError(f"bar {int(k[row])} is not after bar {int(before[row])}: evaluations count once, in order")
