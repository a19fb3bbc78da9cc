"""What somebody without a model would have said of a risk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["RiskBaselines", "fit_risk_baselines", "volatility_ratio"]

_FLOOR = 0.001  # a rule seen to be right always on few rows still loses finitely when it is wrong


@dataclass(frozen=True, slots=True)
class RiskBaselines:
    """What the training rows say without any feature, or with one.

    Attributes
    ----------
    base_rate
        Share of adverse moves.
    after_adverse, after_calm
        The share where the last outcome that was known was one, and where it was not.
    volatility_edges
        Thirds of the ratio of volatility to range; two numbers.
    volatility_rates
        The share in each third.
    rows
        Training rows.
    """

    base_rate: float
    after_adverse: float
    after_calm: float
    volatility_edges: tuple[float, float]
    volatility_rates: tuple[float, float, float]
    rows: int

    def last_outcome_probability(self, last: Floats) -> Floats:
        """Return the probability by the last outcome, float64 (n,); the base rate where it is unknown (NaN)."""
        said: Floats = np.where(last > 0.5, self.after_adverse, self.after_calm)
        said[np.isnan(last)] = self.base_rate
        return said

    def volatility_probability(self, ratio: Floats) -> Floats:
        """Return the probability by the third that a ratio lies in, float64 (n,); the base rate where it is NaN."""
        third = np.searchsorted(self.volatility_edges, ratio, side="right")
        said: Floats = np.array(self.volatility_rates)[third]
        said[np.isnan(ratio)] = self.base_rate
        return said

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def volatility_ratio(sigma: Floats, average_range: Floats) -> Floats:
    """Return the volatility of a bar over its average range, float64 (n,); NaN where the range is not positive.

    The label counts in ranges: what makes it likely is a volatility that is high for the range.
    """
    ratio: Floats = np.full(len(sigma), np.nan)
    known = np.isfinite(sigma) & (average_range > 0)
    ratio[known] = sigma[known] / average_range[known]
    return ratio


def fit_risk_baselines(outcome: Floats, last: Floats, ratio: Floats) -> RiskBaselines:
    """Fit the three rules on training rows.

    Parameters
    ----------
    outcome, last, ratio : float64 arrays, shape (n,)
        1.0 for an adverse move, 0.0 for none; the last outcome known at the bar; ``volatility_ratio``. Rows whose outcome is
        NaN are left out.
    """
    known = np.isfinite(outcome)
    outcome, last, ratio = outcome[known], last[known], ratio[known]
    base = _rate(outcome, 0.5)
    adverse, calm = last > 0.5, last < 0.5
    seen = ratio[np.isfinite(ratio)]
    low, high = (float(edge) for edge in np.quantile(seen, [1 / 3, 2 / 3])) if len(seen) else (0.0, 0.0)
    third = np.searchsorted([low, high], ratio, side="right")
    rates = [_rate(outcome[np.isfinite(ratio) & (third == number)], base) for number in range(3)]
    return RiskBaselines(
        base_rate=base,
        after_adverse=_rate(outcome[adverse], base),
        after_calm=_rate(outcome[calm], base),
        volatility_edges=(low, high),
        volatility_rates=(rates[0], rates[1], rates[2]),
        rows=len(outcome),
    )


def _rate(outcome: Floats, otherwise: float) -> float:
    """Return a share, a little away from 0 and 1."""
    share = float(outcome.mean()) if len(outcome) else otherwise
    return min(max(share, _FLOOR), 1 - _FLOOR)
