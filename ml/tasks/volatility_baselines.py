"""What somebody without a model would have said of a volatility."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.frozen_numbers import read_baselines

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["HAR_WINDOWS", "VolatilityBaselines", "fit_volatility_baselines", "past_variances"]

HAR_WINDOWS = (1, 5, 22)
"""Windows of the heterogeneous autoregression in horizons: what days, weeks and months are to a horizon of one day."""

_FEWEST_ROWS = 20
_FRACTION_BITS = 52  # squares below 2^-52 (a return of 1.5e-8) are 0; a window may hold a sum of up to 2,048
_LARGEST_SQUARE = 1_024.0


@dataclass(frozen=True, slots=True)
class VolatilityBaselines:
    """What the training rows say without a model.

    Attributes
    ----------
    constant
        Root mean square of the realised volatility.
    coefficients
        Of ``ln(v^2 / h) = b0 + b1 ln(m_1) + b2 ln(m_5) + b3 ln(m_22)`` with the mean squared returns ``m`` of the last h, 5h
        and 22h bars: Corsi 2009 in logarithms. Empty where too few rows have all three.
    factor
        Mean of the realised variance over that forecast, which makes it right on average for the variance.
    rows
        Training rows.
    """

    constant: float
    coefficients: tuple[float, ...]
    factor: float
    rows: int

    def har(self, variances: Floats, ewma: Floats, horizon: int) -> Floats:
        """Return the volatility by the heterogeneous autoregression, float64 (n,).

        Parameters
        ----------
        variances : float64 array, shape (n, 3)
            ``past_variances``; a row that is not complete is given the exponential average.
        ewma : float64 array, shape (n,)
            Volatility over the horizon by the exponential average.
        """
        if not self.coefficients:
            return ewma
        known = (variances > 0).all(axis=1)
        logs = np.log(np.where(variances > 0, variances, 1.0))
        forecast = self.coefficients[0] + sum(weight * logs[:, i] for i, weight in enumerate(self.coefficients[1:]))
        said: Floats = np.where(known, np.sqrt(horizon * self.factor * np.exp(forecast)), ewma)
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> VolatilityBaselines:
        """Read what ``to_dict`` wrote; raises ``BrokenModel`` where a number is missing or of another type."""
        return read_baselines(cls, data)


def past_variances(dataset: Dataset) -> Floats:
    """Return the mean squared one-bar log return of the last h, 5h and 22h bars, float64 (n, 3); NaN before as many bars.

    The return of a bar whose index does not follow that of the candle before counts as missing; a window with a third of its
    returns missing is NaN. Squares are summed as whole multiples of 2^-52, which is exact: a mean does not depend on where
    the dataset begins.
    """
    squares = np.full(len(dataset), np.nan)
    if len(dataset) > 1:
        follows = np.diff(dataset.k) == 1
        squares[1:][follows] = np.log(dataset.close[1:] / dataset.close[:-1])[follows] ** 2
    known = np.isfinite(squares)
    whole = np.rint(np.ldexp(np.where(known, np.minimum(squares, _LARGEST_SQUARE), 0.0), _FRACTION_BITS)).astype(
        np.int64
    )
    sums = np.concatenate([[0], np.cumsum(whole)])
    counts = np.concatenate([[0], np.cumsum(known)])
    columns = []
    for multiple in HAR_WINDOWS:
        width = multiple * dataset.horizon
        column = np.full(len(dataset), np.nan)
        if len(dataset) > width:
            found = counts[width:] - counts[:-width]
            enough = 3 * found >= 2 * width
            mean = np.ldexp((sums[width:] - sums[:-width]).astype(np.float64), -_FRACTION_BITS) / np.maximum(found, 1)
            column[width - 1 :][enough] = np.maximum(mean[enough], 0.0)
        columns.append(column)
    return np.stack(columns, axis=1)


def fit_volatility_baselines(realised: Floats, variances: Floats, horizon: int) -> VolatilityBaselines:
    """Fit the constant and, by least squares, the heterogeneous autoregression on training rows.

    Parameters
    ----------
    realised : float64 array, shape (n,)
        Volatility over the horizon; rows where it is NaN are left out.
    variances : float64 array, shape (n, 3)
        ``past_variances`` of the same rows.
    """
    known = np.isfinite(realised)
    realised, variances = realised[known], variances[known]
    constant = math.sqrt(float(np.mean(realised**2))) if len(realised) else math.nan
    whole = (variances > 0).all(axis=1)
    if int(whole.sum()) < _FEWEST_ROWS:
        return VolatilityBaselines(constant, (), 1.0, len(realised))
    variance = realised[whole] ** 2 / horizon
    design = np.column_stack([np.ones(int(whole.sum())), np.log(variances[whole])])
    coefficients, *_ = np.linalg.lstsq(design, np.log(variance), rcond=None)
    factor = float(np.mean(variance / np.exp(design @ coefficients)))
    return VolatilityBaselines(constant, tuple(coefficients.tolist()), factor, len(realised))
