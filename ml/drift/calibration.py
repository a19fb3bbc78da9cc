"""Calibration drift: are stated probabilities still as good as their word? Its cure is a new calibration, not a new model.

Two looks. A window: how far the hits of the last 500 evaluations are from what was stated, in standard errors. And a
sequential statistic against one certain fault, over-confidence: log odds that should be half as large (Shiryaev-Roberts; the
mean of its factor is 1 where stated probabilities are true, so the mean time to a false alarm is at least the limit).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel
from ml.lifecycle.wealth import mean_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["LEAST_ROWS", "SIGMAS", "WINDOW", "CalibrationGap", "OverconfidenceTest", "calibration_gap"]

WINDOW = 500
"""Newest evaluations that the window holds."""

LEAST_ROWS = 100
"""Below so many evaluations the window is not judged."""

SIGMAS = 3.3
"""Standard errors, to either side, beyond which the window raises an alarm: 0.1 % of looks at a true calibration.

Looked at every 12 evaluations, a true calibration raises one in 14 % of years of 8,760 (200 simulated years)."""

_SHRINK = 0.5  # true log odds over stated ones, in the alternative
_SAYS_NOTHING = 0.5
_LARGEST = 1e300  # far beyond every threshold: a statistic that is held there stays a float


@dataclass(frozen=True, slots=True)
class CalibrationGap:
    """What was stated beside what came true, over the last evaluations.

    Attributes
    ----------
    n
        Evaluations.
    stated, observed
        Mean of the stated probabilities, and share that came true; NaN without any.
    z
        ``sum(y - p) / sqrt(sum p (1 - p))``: standard normal where the stated probabilities are true; NaN where undefined.
    alarm
        Whether it is beyond 3.3 to either side, on 100 evaluations or more.
    """

    n: int
    stated: float
    observed: float
    z: float
    alarm: bool

    def words(self) -> str:
        """Say it in one sentence."""
        if self.n < LEAST_ROWS or not math.isfinite(self.z):
            return f"{self.n:,} evaluations are too few to judge the calibration."
        start = f"Of the last {self.n:,} forecasts {100 * self.observed:.1f} % came true, "
        start += f"{100 * self.stated:.1f} % were stated"
        if self.alarm:
            how = "over-confident" if self.z < 0 else "under-confident"
            return f"{start}: it is {how} ({abs(self.z):.1f} standard errors)."
        return f"{start}: no more apart than chance ({abs(self.z):.1f} standard errors)."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what is not known is None."""
        data = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }
        return {**data, "words": self.words()}


def calibration_gap(stated: Floats, came_true: Flags, *, last: int = WINDOW) -> CalibrationGap:
    """Return how far the newest evaluations are from what was stated.

    Parameters
    ----------
    stated : float64 array, shape (n,)
        Probabilities of evaluations whose labels do not overlap, in time order.
    came_true : bool array, shape (n,)
        What happened.
    last
        Newest evaluations that count.
    """
    _check(stated, came_true)
    p, y = stated[-last:], came_true[-last:]
    if not len(p):
        return CalibrationGap(0, math.nan, math.nan, math.nan, alarm=False)
    variance = math.fsum((p * (1.0 - p)).tolist())
    z = math.fsum((y - p).tolist()) / math.sqrt(variance) if variance > 0 else math.nan
    return CalibrationGap(
        n=len(p),
        stated=math.fsum(p.tolist()) / len(p),
        observed=int(y.sum()) / len(p),
        z=z,
        alarm=len(p) >= LEAST_ROWS and abs(z) > SIGMAS,
    )


@dataclass(frozen=True, slots=True)
class OverconfidenceTest:
    """Shiryaev-Roberts statistic of "the log odds should be half as large"; a test for `ml.lifecycle.phases.Phased`.

    ``R <- (1 + R) f`` from 0, ``f`` being the likelihood of the outcome under ``p' = sigmoid(0.5 logit p)`` over that
    under ``p``. Where the stated probabilities are true the mean of ``f`` is 1, R less the evaluations seen is a
    martingale, and the mean time until ``R >= A`` is at least A evaluations: with A those of a year, at most one false
    alarm a year. Evaluations with ``p = 0.5`` state nothing and are not counted.

    Attributes
    ----------
    statistic
        R now, held at 1e300.
    n
        Evaluations counted.
    """

    statistic: float = 0.0
    n: int = 0

    def __post_init__(self) -> None:
        """Refuse a state that no run of evaluations leads to."""
        if self.n < 0 or not 0.0 <= self.statistic <= _LARGEST or (self.statistic > 0 and self.n == 0):
            raise BrokenModel(f"a statistic of {self.statistic} after {self.n} evaluations cannot be")

    @property
    def value(self) -> float:
        """What is averaged over phases: ``statistic``."""
        return self.statistic

    @staticmethod
    def average(values: Sequence[Floats]) -> Floats:
        """Return the mean statistic of several phases, element by element."""
        return mean_of(values)

    def update(self, came_true: Flags, stated: Floats) -> OverconfidenceTest:
        """Return the test after further evaluations of one phase; all at once or one by one, the bits are the same.

        Parameters
        ----------
        came_true : bool array, shape (n,)
            In time order.
        stated : float64 array, shape (n,)
            Probability that was stated of it, above 0 and below 1.

        Raises
        ------
        ValueError
            When a probability is out of range, or the arrays differ in length.
        """
        path = self.path(came_true, stated)
        counted = int(np.count_nonzero(stated != _SAYS_NOTHING))
        return OverconfidenceTest(float(path[-1]), self.n + counted) if len(path) else self

    def path(self, came_true: Flags, stated: Floats) -> Floats:
        """Return the statistic after each further evaluation, float64 (n,)."""
        _check(stated, came_true)
        value, values = self.statistic, []
        for p, y in zip(stated.tolist(), came_true.tolist(), strict=True):
            if not 0.0 < p < 1.0:
                raise ValueError(f"a stated probability of {p} cannot be weighed: expected one above 0 and below 1")
            if p != _SAYS_NOTHING:
                less_sure = 1.0 / (1.0 + ((1.0 - p) / p) ** _SHRINK)
                factor = less_sure / p if y else (1.0 - less_sure) / (1.0 - p)
                value = min(_LARGEST, (1.0 + value) * factor)
            values.append(value)
        return np.array(values, dtype=np.float64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads it back to the same bits."""
        return {"test": "overconfidence", **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OverconfidenceTest:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When it is the state of another test, or a part is missing or cannot be.
        """
        try:
            if data["test"] != "overconfidence":
                raise BrokenModel("this is no state of a test of over-confidence")
            return cls(float(data["statistic"]), int(data["n"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenModel(f"the state of a test of over-confidence cannot be read: {error!r}") from None


def _check(stated: Floats, came_true: Flags) -> None:
    if stated.shape != came_true.shape or stated.ndim != 1:
        raise ValueError(f"{stated.shape} probabilities do not fit {came_true.shape} outcomes")
