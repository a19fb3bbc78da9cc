"""Paths as values: one bar's path with its bands, and what strategies read of the paths of many bars."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import format_ms
from ml.predictions import Status

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Path", "PathSummaries", "minutes_between"]

_MINUTE_MS = 60_000


def minutes_between(start_ms: int, end_ms: int) -> float:
    """Return the minutes between two moments, a whole number where it is one."""
    whole, rest = divmod(end_ms - start_ms, _MINUTE_MS)
    return whole + rest / _MINUTE_MS if rest else whole


@dataclass(frozen=True, eq=False)
class Path:
    """The forecast from one bar; without an answer every array is empty.

    Attributes
    ----------
    open_ms : int
        Open time of the bar that the path starts from.
    status : Status
        Why it is there or not.
    model_name : str
    close : float
        Close of that bar, quote currency; NaN without one.
    trusted_steps : int
        Steps that beat persistence and drift out of sample; no order may rest on those beyond.
    close_ms : int64 array, shape (s,)
        When each predicted candle closes, milliseconds UTC.
    candles : float64 array, shape (s, 4)
        Predicted open, high, low and close.
    returns, confidence, low, high : float64 arrays, shape (s,)
        Log return from ``close``; probability that its direction is right, 0.5 beyond the trusted steps; 90 % band of the
        close.
    start_ms : int
        When the bar closes that the path starts from, milliseconds UTC; 0 without an answer.
    """

    open_ms: int
    status: Status
    model_name: str
    close: float
    trusted_steps: int
    close_ms: Integers
    candles: Floats
    returns: Floats
    confidence: Floats
    low: Floats
    high: Floats
    start_ms: int = 0

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.returns)

    def steps(self) -> list[dict[str, Any]]:
        """Return one mapping a step, ready for JSON.

        Keys: ``step``, ``minutes_ahead`` and ``timestamp`` (of the predicted close, UTC), ``predicted_open``, ``_high``,
        ``_low``, ``_close``, ``predicted_return`` (simple, from the close of the bar), ``predicted_log_return``,
        ``confidence``, ``low``, ``high``, ``trusted``.
        """
        columns = (self.close_ms, *self.candles.T, self.returns, self.confidence, self.low, self.high)
        rows = []
        for number, values in enumerate(zip(*(column.tolist() for column in columns), strict=True), start=1):
            close_ms, opened, high, low, close, log_return, confidence, lower, upper = values
            rows.append(
                {
                    "step": number,
                    "minutes_ahead": minutes_between(self.start_ms, close_ms),
                    "timestamp": format_ms(close_ms),
                    "predicted_open": opened,
                    "predicted_high": high,
                    "predicted_low": low,
                    "predicted_close": close,
                    "predicted_return": math.expm1(log_return),
                    "predicted_log_return": log_return,
                    "confidence": confidence,
                    "low": lower,
                    "high": upper,
                    "trusted": number <= self.trusted_steps,
                }
            )
        return rows


@dataclass(frozen=True, eq=False)
class PathSummaries:
    """What strategies read of the paths of n bars; NaN wherever ``status`` is not OK.

    Attributes
    ----------
    steps : tuple of int
        The chosen steps.
    returns : float64 array, shape (n, s)
        Predicted log return up to each chosen step.
    highest, lowest : float64 arrays, shape (n,)
        Log return to the highest high and the lowest low of the whole path.
    peak_return, peak_confidence, peak_step : float64 arrays, shape (n,)
        Log return to the highest predicted close among the trusted steps, the probability that its direction is right, and
        the step; NaN, NaN and 0 where no step is trusted.
    trusted_steps : int
        Of the bundle; 0 without one.
    status : int8 array, shape (n,)
        Codes of ``Status``.
    """

    steps: tuple[int, ...]
    values: Floats
    trusted_steps: int
    status: npt.NDArray[np.int8]

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.status)

    @property
    def returns(self) -> Floats:
        """Predicted log returns up to the chosen steps."""
        return self.values[:, : len(self.steps)]

    def _column(self, place: int) -> Floats:
        return self.values[:, len(self.steps) + place]

    @property
    def highest(self) -> Floats:
        """Log return to the highest high of the path."""
        return self._column(0)

    @property
    def lowest(self) -> Floats:
        """Log return to the lowest low of the path."""
        return self._column(1)

    @property
    def peak_return(self) -> Floats:
        """Log return to the highest close among the trusted steps."""
        return self._column(2)

    @property
    def peak_step(self) -> Floats:
        """The step of that close; 0 where none is trusted."""
        return self._column(3)

    @property
    def peak_confidence(self) -> Floats:
        """Probability that the direction up to the peak is right."""
        return self._column(4)

    @classmethod
    def absent(cls, count: int, steps: tuple[int, ...], status: Status, trusted_steps: int = 0) -> PathSummaries:
        """Return ``count`` rows that say nothing, for the same reason."""
        return cls(
            steps, np.full((count, len(steps) + 5), np.nan), trusted_steps, np.full(count, status, dtype=np.int8)
        )
