"""What somebody without a model would have said of a risk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.frozen_numbers import read_baselines

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["RiskBaselines", "fit_risk_baselines", "volatility_logarithms"]

_FLOOR = 0.001  # a rule seen to be right always on few rows still loses finitely when it is wrong
_RIDGE = 1.0
_FEWEST_ROWS = 50


@dataclass(frozen=True, slots=True)
class RiskBaselines:
    """What the training rows say without any feature, or with a volatility only.

    Attributes
    ----------
    base_rate
        Share of adverse moves.
    after_adverse, after_calm
        The share where the last outcome that was known was one, and where it was not.
    volatility_centre, volatility_weights
        The volatility rule, ``p = sigmoid(w0 + sum_j w_j (x_j - c_j))`` of the logarithms of ``volatility_logarithms``: the
        label counts in ranges, so a volatility that is high for the range makes it likely, and so does a range that is low
        by chance. Without weights the rule says the base rate.
    rows
        Training rows.
    """

    base_rate: float
    after_adverse: float
    after_calm: float
    volatility_centre: tuple[float, ...]
    volatility_weights: tuple[float, ...]
    rows: int

    def last_outcome_probability(self, last: Floats) -> Floats:
        """Return the probability by the last outcome, float64 (n,); the base rate where it is unknown (NaN)."""
        said: Floats = np.where(last > 0.5, self.after_adverse, self.after_calm)
        said[np.isnan(last)] = self.base_rate
        return said

    def volatility_probability(self, logarithms: Floats) -> Floats:
        """Return the probability by the volatility rule, float64 (n,); the base rate where a logarithm is NaN.

        Parameters
        ----------
        logarithms : float64 array, shape (n, 3)
            ``volatility_logarithms``.
        """
        if not self.volatility_weights:
            return np.full(len(logarithms), self.base_rate)
        odds = self.volatility_weights[0] + sum(
            weight * (logarithms[:, j] - self.volatility_centre[j])
            for j, weight in enumerate(self.volatility_weights[1:])
        )
        said: Floats = np.clip(1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500))), _FLOOR, 1 - _FLOOR)
        said[~np.isfinite(logarithms).all(axis=1)] = self.base_rate
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RiskBaselines:
        """Read what ``to_dict`` wrote; raises ``BrokenModel`` where a number is missing or of another type."""
        return read_baselines(cls, data)


def volatility_logarithms(sigma: Floats, long_variance: Floats, average_range: Floats) -> Floats:
    """Return logarithms of the volatility now, of the last weeks, and of the average range, float64 (n, 3).

    NaN where one of them is not positive.
    """
    values = np.stack([sigma, np.sqrt(np.maximum(long_variance, 0.0)), average_range], axis=1)
    known = values > 0
    logarithms: Floats = np.where(known, np.log(np.where(known, values, 1.0)), np.nan)
    return logarithms


def fit_risk_baselines(outcome: Floats, last: Floats, logarithms: Floats) -> RiskBaselines:
    """Fit the three rules on training rows.

    Parameters
    ----------
    outcome, last : float64 arrays, shape (n,)
        1.0 for an adverse move, 0.0 for none, and the last outcome known at the bar. Rows whose outcome is NaN are left out.
    logarithms : float64 array, shape (n, 3)
        ``volatility_logarithms``.
    """
    known = np.isfinite(outcome)
    outcome, last, logarithms = outcome[known], last[known], logarithms[known]
    base = _rate(outcome, 0.5)
    centre, weights = _logistic(outcome, logarithms)
    return RiskBaselines(
        base_rate=base,
        after_adverse=_rate(outcome[last > 0.5], base),
        after_calm=_rate(outcome[last < 0.5], base),
        volatility_centre=centre,
        volatility_weights=weights,
        rows=len(outcome),
    )


def _logistic(outcome: Floats, logarithms: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return centre and weights of a logistic regression by Newton steps with a slight ridge; empty without both classes."""
    whole = np.isfinite(logarithms).all(axis=1)
    target = outcome[whole]
    if len(target) < _FEWEST_ROWS or target.min() == target.max():
        return (), ()
    centre = logarithms[whole].mean(axis=0)
    design = np.column_stack([np.ones(len(target)), logarithms[whole] - centre])
    penalty = _RIDGE * np.array([0.0, 1.0, 1.0, 1.0])
    share = float(target.mean())
    weights = np.array([np.log(share / (1 - share)), 0.0, 0.0, 0.0])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -500, 500)))
        gradient = design.T @ (p - target) + penalty * weights
        hessian = design.T @ (design * (p * (1 - p))[:, None]) + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - np.clip(step, -5.0, 5.0)
        if float(np.max(np.abs(step))) < 1e-10:
            break
    return tuple(centre.tolist()), tuple(weights.tolist())


def _rate(outcome: Floats, otherwise: float) -> float:
    """Return a share, a little away from 0 and 1."""
    share = float(outcome.mean()) if len(outcome) else otherwise
    return min(max(share, _FLOOR), 1 - _FLOOR)
