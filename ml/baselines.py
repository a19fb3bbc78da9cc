"""Baselines: what somebody without a model would have said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.frozen_numbers import read_baselines
from ml.labels import decided

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["Baselines", "fit_baselines"]

_FLOOR = 0.001  # a rule seen to be right always on few rows still loses finitely when it is wrong


@dataclass(frozen=True, slots=True)
class Baselines:
    """What the training rows say without any feature.

    Attributes
    ----------
    base_rate
        Share of rises.
    persists
        Whether the last sign was repeated more often than it was reversed.
    sign_rate
        How often the better of the two rules was right, at least 0.5.
    rows
        Training rows.
    """

    base_rate: float
    persists: bool
    sign_rate: float
    rows: int

    @property
    def last_sign(self) -> str:
        """``persist`` or ``revert``."""
        return "persist" if self.persists else "revert"

    def last_sign_probability(self, past: Floats) -> Floats:
        """Return the rule's probability of a rise; 0.5 where the last return is unknown or 0.

        Parameters
        ----------
        past : float64 array, shape (n,)
            Log return over the last ``horizon`` bars (``ml.labels.past_returns``).
        """
        towards = np.sign(np.where(np.isfinite(past), past, 0.0)) * (1.0 if self.persists else -1.0)
        probability: Floats = 0.5 + towards * (self.sign_rate - 0.5)
        return probability

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "last_sign": self.last_sign}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Baselines:
        """Read what ``to_dict`` wrote; raises ``BrokenModel`` where a number is missing or of another type."""
        return read_baselines(cls, data)


def fit_baselines(returns: Floats, past: Floats) -> Baselines:
    """Fit the base rate and choose the last-sign rule on training rows.

    Parameters
    ----------
    returns, past : float64 arrays, shape (n,)
        Forward and past log returns at the horizon; rows without a forward label, and ties, are left out.
    """
    known = decided(returns)
    count = int(known.sum())
    rate = float((returns[known] > 0).mean()) if count else 0.5
    both = known & decided(past)
    same = float((np.sign(returns[both]) == np.sign(past[both])).mean()) if both.any() else 0.5
    return Baselines(
        base_rate=min(max(rate, _FLOOR), 1 - _FLOOR),
        persists=same >= 0.5,
        sign_rate=min(max(same, 1 - same), 1 - _FLOOR),
        rows=count,
    )
