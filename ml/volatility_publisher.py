"""The publisher of kind ``volatility``: a score corrects the exponentially weighted volatility of the bar.

``volatility = sigma sqrt(h) exp(b + a c tanh(s / c))``, ``a >= 0``: a model that has shown nothing says what the exponential
average says, up to a constant. Offset and slope minimise QLIKE on the out-of-sample record, which makes the forecast right
for the variance, not for its logarithm.
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

__all__ = ["WITHIN", "VolatilityPublisher", "fit_volatility", "saturated"]

WITHIN = 0.25
"""A forecast came true when what was realised is within this fraction of it."""

_ROWS = 5_000
_POOL_ROWS = 1_000
_OFFSET_ROWS = 100
_RIDGE = 10.0
_SATURATION = 4.0  # volatility can be foretold: only scores far beyond the record's are held back
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class VolatilityPublisher:
    """The numbers that turn a score into a volatility; written to ``calibration.json``.

    Attributes
    ----------
    offset, slope
        ``b`` and ``a >= 0`` in ``volatility = sigma sqrt(h) exp(b + a c tanh(score / c))``.
    score_scale
        ``c`` above; 0 stands for one without end.
    confidence
        Share of the record whose realised volatility came within a quarter of the forecast, in [0, 1].
    horizon
        Bars ahead.
    rows, pool_rows
        Thinned out-of-sample rows that the map was fitted on, and that the confidence was counted on.
    """

    offset: float
    slope: float
    score_scale: float
    confidence: float
    horizon: int
    rows: int
    pool_rows: int

    kind: ClassVar[str] = "volatility"

    def __post_init__(self) -> None:
        """Refuse numbers that no volatility could be published with."""
        numbers = (self.offset, self.slope, self.score_scale, self.confidence)
        if not all(math.isfinite(number) for number in numbers):
            raise BrokenModel(f"calibration holds a number that is not finite: {numbers}")
        if min(self.slope, self.score_scale, self.rows, self.pool_rows) < 0:
            raise BrokenModel(
                f"slope {self.slope}, score scale {self.score_scale} and rows {self.rows}, {self.pool_rows} "
                "may not be negative"
            )
        if not 0 <= self.confidence <= 1:
            raise BrokenModel(f"confidence {self.confidence} is no probability")
        if self.horizon < 1:
            raise BrokenModel(f"a horizon is at least 1 bar, got {self.horizon}")

    @property
    def states(self) -> tuple[str, ...]:
        """Columns that these predictions fill in."""
        return ("confidence", "volatility")

    def publish(self, raw: Floats, sigma: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9).

        n bars at once and one by one give the same bits. A bar with an input that is not finite is NaN throughout.
        """
        from ml.kernels.publishing import publish_volatility

        out = np.empty((len(raw), len(PREDICTION_COLUMNS)))
        publish_volatility(
            np.ascontiguousarray(raw, dtype=np.float64),
            np.ascontiguousarray(sigma, dtype=np.float64),
            np.ascontiguousarray(close, dtype=np.float64),
            math.sqrt(self.horizon),
            self.offset,
            self.slope,
            self.score_scale,
            self.confidence,
            out,
        )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {"schema_version": _SCHEMA_VERSION, "kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VolatilityPublisher:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a number is missing, of another type or out of range.
        """
        found: VolatilityPublisher = read_frozen(cls, data, _SCHEMA_VERSION)
        return found


def saturated(raw: Floats, scale: float) -> Floats:
    """Return ``scale tanh(raw / scale)``, float64 (n,); a scale of 0 stands for one without end."""
    bounded: Floats = scale * np.tanh(raw / scale) if scale > 0 else raw
    return bounded


def fit_volatility(raw: Floats, realised: Floats, sigma: Floats, *, horizon: int) -> VolatilityPublisher:
    """Fit offset, slope and confidence on thinned out-of-sample rows in time order.

    With ``y = realised^2 / (h sigma^2)`` it minimises QLIKE, ``sum y exp(-2 (b + a t)) + 2 (b + a t)``, plus
    ``ridge / 2 (a rms(t))^2`` by damped Newton steps; ``t = c tanh(s / c)``, c = 4 rms(s). Below 500 rows the slope is 0,
    below 100 the offset too: the forecast is then the exponential average itself.

    Parameters
    ----------
    raw, realised, sigma : float64 arrays, shape (n,)
        Scores, volatility over the horizon, and volatility of one bar.
    horizon
        Bars ahead.
    """
    known = np.isfinite(raw) & (sigma > 0) & (realised > 0)
    raw, realised, sigma = (values[known][-_ROWS:] for values in (raw, realised, sigma))
    ratio = (realised / sigma) ** 2 / horizon
    offset, slope, scale = 0.0, 0.0, 0.0
    if len(raw) >= _OFFSET_ROWS:
        offset = 0.5 * math.log(float(np.mean(ratio)))
    size = math.sqrt(float(np.mean(raw * raw))) if len(raw) else 0.0
    if len(raw) >= MINIMUM_ROWS and size > 0:
        scale = _SATURATION * size
        score = saturated(raw, scale)
        unit = math.sqrt(float(np.mean(score * score)))
        offset, slope = _newton(ratio, score / unit, offset)
        slope /= unit
    forecast = sigma * math.sqrt(horizon) * np.exp(offset + slope * saturated(raw, scale))
    pool = np.abs(realised / forecast - 1.0)[-_POOL_ROWS:] <= WITHIN
    confidence = (int(pool.sum()) + 1) / (len(pool) + 2)
    return VolatilityPublisher(offset, slope, scale, confidence, horizon, len(raw), len(pool))


def _newton(ratio: Floats, score: Floats, offset: float) -> tuple[float, float]:
    """Return offset and slope of least penalised QLIKE; the slope is cut off at 0 and the offset refitted there."""
    point = np.array([offset, 0.0])
    design = np.stack([np.ones(len(score)), score])

    def loss(at: Floats) -> float:
        z = at[0] + at[1] * score
        return float(np.sum(ratio * np.exp(-2.0 * z) + 2.0 * z)) + 0.5 * _RIDGE * float(at[1]) ** 2

    now = loss(point)
    for _ in range(50):
        weight = ratio * np.exp(-2.0 * (point[0] + point[1] * score))
        gradient = np.array([float(np.sum(2.0 * (1.0 - weight) * row)) for row in design])
        gradient[1] += _RIDGE * point[1]
        cross = float(np.sum(4.0 * weight * score))
        hessian = np.array(
            [[float(np.sum(4.0 * weight)), cross], [cross, float(np.sum(4.0 * weight * score * score)) + _RIDGE]]
        )
        step = np.linalg.solve(hessian, gradient)
        while loss(point - step) > now and float(np.max(np.abs(step))) > 1e-12:
            step = step / 2.0
        point = point - step
        now = loss(point)
        if float(np.max(np.abs(step))) < 1e-10:
            break
    return (float(point[0]), float(point[1])) if point[1] > 0 else (offset, 0.0)
