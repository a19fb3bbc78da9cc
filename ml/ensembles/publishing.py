"""The frozen numbers that turn what was pooled into what an ensemble says: ``calibration.json`` of an ensemble.

A mean of calibrated probabilities is too timid, one of correlated votes too bold: the pooled score goes through the slope map
of single models again, fitted on scores that were pooled by numbers of earlier rows only.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.calibration import calibrated, conformal_quantiles, fit_slope
from ml.errors import BrokenModel
from ml.frozen_numbers import read_frozen
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["PoolCalibration", "fit_pool_calibration"]

_RESIDUAL_ROWS = 1_000
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class PoolCalibration:
    """Numbers that turn a pooled answer into a published prediction.

    Attributes
    ----------
    slope, score_scale
        ``p_up = sigmoid(a c tanh(score / c))``, as for a single model; a scale of 0 stands for one without end.
    return_scale
        Factor of the mean of the members' returns, never negative.
    band_low, band_high
        5 % and 95 % conformal quantiles of ``(r - middle) / half width`` of the mean band.
    horizon
        Bars ahead.
    rows, residual_rows
        Thinned out-of-sample rows that slope and quantiles were fitted on.
    """

    slope: float
    score_scale: float
    return_scale: float
    band_low: float
    band_high: float
    horizon: int
    rows: int
    residual_rows: int

    kind: ClassVar[str] = "ensemble"

    def __post_init__(self) -> None:
        """Refuse numbers that no prediction could be published with."""
        numbers = (self.slope, self.score_scale, self.return_scale, self.band_low, self.band_high)
        if not all(math.isfinite(number) for number in numbers) or min(numbers[:3]) < 0:
            raise BrokenModel(
                f"the calibration of the ensemble holds a number that is not finite or negative: {numbers}"
            )
        if self.band_low > self.band_high or self.horizon < 1:
            raise BrokenModel("the calibration of the ensemble has quantiles out of order or a horizon below 1")

    @property
    def states(self) -> tuple[str, ...]:
        """Columns that these predictions fill in."""
        return PREDICTION_COLUMNS[:7]

    def publish(self, pooled: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9), in the order of ``PREDICTION_COLUMNS``.

        Parameters
        ----------
        pooled : float64 array, shape (n, 4)
            Of ``Pool.pool``.
        close : float64 array, shape (n,)
            Closes in the quote currency.
        """
        from ml.kernels.ensembles import publish_pool

        out = np.empty((len(pooled), len(PREDICTION_COLUMNS)))
        numbers = (self.slope, self.score_scale, self.return_scale, self.band_low, self.band_high)
        publish_pool(np.ascontiguousarray(pooled), np.ascontiguousarray(close, dtype=np.float64), *numbers, out)
        return out

    def probabilities(self, score: Floats) -> Floats:
        """Return the probabilities of a rise of pooled scores, shape (n,), with the bits of ``publish``."""
        return calibrated(score, self.slope, self.score_scale)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with ``schema_version`` and ``kind``."""
        return {"schema_version": _SCHEMA_VERSION, "kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PoolCalibration:
        """Read what ``to_dict`` wrote; raises BrokenModel where the form is another."""
        if data.get("schema_version") != _SCHEMA_VERSION or data.get("kind") != cls.kind:
            raise BrokenModel("calibration.json is not that of an ensemble of this program's version")
        found: PoolCalibration = read_frozen(cls, data, _SCHEMA_VERSION)
        return found


def fit_pool_calibration(
    pooled: Floats, returns: Floats, sigma: Floats, *, horizon: int, trusted: bool = False
) -> PoolCalibration:
    """Fit the numbers on thinned rows in time order, pooled by numbers of earlier rows.

    Parameters
    ----------
    pooled : float64 array, shape (n, 4)
        Of ``Pool.pool``.
    returns, sigma : float64 arrays, shape (n,)
        Log returns at the horizon (no ties, no NaN) and volatilities of one bar.
    horizon
        Bars ahead.
    trusted
        The score is a log odds that was fitted itself (stacking): with too few rows for a slope it stands as it is.
    """
    score, expected = pooled[:, 0], pooled[:, 1]
    slope, scale = fit_slope(score, returns > 0)
    if scale == 0.0 and trusted:
        slope = 1.0
    known = np.isfinite(sigma) & (sigma > 0) & np.isfinite(expected)
    said, happened = expected[known] / sigma[known], returns[known] / sigma[known]
    square = float(np.sum(said * said))
    per_return = max(0.0, float(np.sum(said * happened)) / square) if square > 0 else 0.0
    banded = np.isfinite(pooled[:, 3]) & (pooled[:, 3] > 0)
    residuals = ((returns - pooled[:, 2])[banded] / pooled[banded, 3])[-_RESIDUAL_ROWS:]
    low, _, high = conformal_quantiles(residuals) if len(residuals) else (-1.0, 0.0, 1.0)
    return PoolCalibration(slope, scale, per_return, low, high, horizon, len(score), len(residuals))
