"""The publisher of kind ``risk``: a score becomes 100 times the calibrated probability of an adverse move.

The map is that of a direction with the base rate in place of a coin: ``p = sigmoid(logit(base) + a c tanh(s / c))`` with
``a >= 0``. A score of 0 says what the training labels say, and a model that has shown nothing
says it for every bar.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.calibration import MINIMUM_ROWS
from ml.errors import BrokenModel
from ml.frozen_numbers import read_frozen
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["RiskPublisher", "fit_risk", "logit"]

_ROWS = 5_000
_RIDGE = 10.0
_SATURATION = 1.5  # scores saturate at this multiple of their root mean square, as in ml.calibration
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RiskPublisher:
    """The numbers that turn a score into a risk; written to ``calibration.json``.

    Attributes
    ----------
    base_rate
        Share of adverse moves in the training labels, above 0 and below 1.
    slope
        ``a`` in ``p = sigmoid(logit(base_rate) + a c tanh(score / c))``, never negative.
    score_scale
        ``c`` above; 0 stands for one without end.
    horizon
        Bars ahead.
    rows
        Thinned out-of-sample rows that the slope was fitted on.
    """

    base_rate: float
    slope: float
    score_scale: float
    horizon: int
    rows: int

    kind: ClassVar[str] = "risk"

    def __post_init__(self) -> None:
        """Refuse numbers that no risk could be published with."""
        numbers = (self.base_rate, self.slope, self.score_scale)
        if not all(math.isfinite(number) for number in numbers):
            raise BrokenModel(f"calibration holds a number that is not finite: {numbers}")
        if not 0 < self.base_rate < 1:
            raise BrokenModel(f"base rate {self.base_rate} is no probability between 0 and 1")
        if min(self.slope, self.score_scale, self.rows) < 0:
            raise BrokenModel(
                f"slope {self.slope}, score scale {self.score_scale} and rows {self.rows} may not be negative"
            )
        if self.horizon < 1:
            raise BrokenModel(f"a horizon is at least 1 bar, got {self.horizon}")

    @property
    def states(self) -> tuple[str, ...]:
        """Columns that these predictions fill in."""
        return ("confidence", "risk")

    def publish(self, raw: Floats, sigma: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9).

        n bars at once and one by one give the same bits. A bar with an input that is not finite is NaN throughout.
        """
        from ml.kernels.publishing import publish_risk

        out = np.empty((len(raw), len(PREDICTION_COLUMNS)))
        publish_risk(
            np.ascontiguousarray(raw, dtype=np.float64),
            np.ascontiguousarray(sigma, dtype=np.float64),
            np.ascontiguousarray(close, dtype=np.float64),
            math.log(self.base_rate / (1.0 - self.base_rate)),
            self.slope,
            self.score_scale,
            out,
        )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {"schema_version": _SCHEMA_VERSION, "kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RiskPublisher:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a number is missing, of another type or out of range.
        """
        found: RiskPublisher = read_frozen(cls, data, _SCHEMA_VERSION)
        return found


def logit(probability: Floats) -> Floats:
    """Return log odds, float64 (n,), of probabilities above 0 and below 1."""
    odds: Floats = np.log(probability) - np.log1p(-probability)
    return odds


def fit_risk(raw: Floats, happened: Flags, base: Floats, base_rate: float, *, horizon: int) -> RiskPublisher:
    """Fit the slope on thinned out-of-sample rows in time order.

    It minimises ``sum log(1 + exp(-y (logit(base) + a t))) + ridge / 2 (a rms(t))^2`` with ``t = c tanh(s / c)`` and
    c = 1.5 rms(s) by Newton steps. Only the last 5,000 rows count; below 500, or where all scores are 0, the slope is 0.

    Parameters
    ----------
    raw, base : float64 arrays, shape (n,)
        Scores, and the training base rate of the model that gave each.
    happened : bool array, shape (n,)
        Whether the adverse move came.
    base_rate
        That of the model to be published.
    horizon
        Bars ahead.
    """
    raw, happened, base = raw[-_ROWS:], happened[-_ROWS:], base[-_ROWS:]
    scale = _SATURATION * math.sqrt(float(np.mean(raw * raw))) if len(raw) else 0.0
    if len(raw) < MINIMUM_ROWS or scale == 0.0:
        return RiskPublisher(base_rate, 0.0, 0.0, horizon, len(raw))
    score = scale * np.tanh(raw / scale)
    size = math.sqrt(float(np.mean(score * score)))
    score /= size
    offset = logit(base)
    target = happened.astype(np.float64)
    slope = 0.0
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(offset + slope * score, -500, 500)))
        gradient = float(np.sum((p - target) * score)) + _RIDGE * slope
        curvature = float(np.sum(p * (1 - p) * score * score)) + _RIDGE
        step = gradient / curvature
        slope -= step
        if abs(step) < 1e-12:
            break
    return RiskPublisher(base_rate, max(0.0, slope / size), scale, horizon, len(raw))
