"""Predictions as values: what a model says of a bar, or the typed reason why it says nothing.

In a bar's path predictions are rows of plain floats in the order of ``PREDICTION_COLUMNS``; the dataclasses stand at the
edges. A row whose status is not ``OK`` is NaN throughout: absence is never a zero or a neutral number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["PREDICTION_COLUMNS", "Prediction", "PredictionBatch", "Status"]

PREDICTION_COLUMNS = (
    *("price", "expected_return", "direction", "confidence", "p_up", "low", "high"),
    *("risk", "volatility"),
)
"""What a prediction may state; a family of models leaves NaN what it does not speak of (``Publisher.states``)."""


class Status(IntEnum):
    """Why a prediction is there or not; the code is what the ``status`` line holds."""

    OK = 0
    WARMING = 1
    NO_MODEL = 2
    EXPIRED = 3
    OUT_OF_DISTRIBUTION = 4
    ERROR = 5

    @property
    def label(self) -> str:
        """Lower-case name, as JSON and reports write it."""
        return self.name.lower()


@dataclass(frozen=True, eq=False)
class PredictionBatch:
    """Predictions for n bars.

    Attributes
    ----------
    values : float64 array, shape (n, 9), C-contiguous
        In the order of ``PREDICTION_COLUMNS``. ``price`` is the median forecast of the close at the horizon, in the quote
        currency; ``expected_return`` its log return; ``direction`` +1.0 or -1.0; ``confidence`` the calibrated probability
        that what is said is right, in [0.5, 1] (a volatility is right within a quarter: in [0, 1]); ``p_up`` the calibrated
        probability of a rise; ``low`` and ``high`` the 90 % band of the price; ``risk`` 100 times the calibrated
        probability of an adverse move; ``volatility`` the standard deviation of the log return over the horizon. NaN
        wherever ``status`` is not OK, and where a model does not speak of it; ``confidence`` is there whenever the status
        is OK.
    status : int8 array, shape (n,)
        Codes of ``Status``.
    """

    values: npt.NDArray[np.float64]
    status: npt.NDArray[np.int8]

    def __post_init__(self) -> None:
        """Refuse arrays of other shapes."""
        if self.values.shape != (len(self.status), len(PREDICTION_COLUMNS)):
            raise ValueError(f"values have shape {self.values.shape} for {len(self.status)} statuses")

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.status)

    def column(self, name: str) -> npt.NDArray[np.float64]:
        """Return one column by name."""
        return self.values[:, PREDICTION_COLUMNS.index(name)]

    @classmethod
    def absent(cls, count: int, status: Status) -> PredictionBatch:
        """Return ``count`` rows that say nothing, for the same reason."""
        values = np.full((count, len(PREDICTION_COLUMNS)), np.nan)
        return cls(values, np.full(count, status, dtype=np.int8))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one model says of one bar; every number is NaN unless ``status`` is OK."""

    open_ms: int
    status: Status
    model_name: str
    price: float
    expected_return: float
    direction: float
    confidence: float
    p_up: float
    low: float
    high: float
    risk: float
    volatility: float
