"""Prediction drift: does the model still say what it used to say? It finds a broken input long before accuracy falls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.drift.distribution import shift_of
from ml.drift.reference import signal_parts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ml.drift.distribution import Shift
    from ml.drift.reference import DriftReference

    Floats = npt.NDArray[np.float64]

__all__ = ["LEAST_STATED", "PredictionDrift", "prediction_drift"]

LEAST_STATED = 48
"""Fewer predictions than these are not judged: two days of 1h candles. A stuck model is found as early."""

_PARTS = {"value": "what is stated", "up": "the share of rises", "size": "how far it is from 50 %"}


@dataclass(frozen=True, slots=True)
class PredictionDrift:
    """What is stated now beside what was stated out of sample in training.

    Attributes
    ----------
    status
        ``calm``, ``shifted``, ``too few rows`` or ``no reference``.
    rows
        Newest predictions that were looked at.
    parts
        By ``value`` and, for directions, ``up`` and ``size``: the mean before, and how the newest differ.
    before
        Share of the reference in each bin of ``value``, and ``now`` that of the newest; ``edges`` part the bins.
    """

    status: str
    rows: int
    parts: tuple[tuple[str, float, Shift], ...] = ()
    edges: tuple[float, ...] = ()
    before: tuple[float, ...] = ()
    now: tuple[float, ...] = ()

    @property
    def shifted(self) -> tuple[str, ...]:
        """Parts that differ by more than chance."""
        return tuple(name for name, _, shift in self.parts if shift.shifted)

    def words(self) -> str:
        """Say it in one or two sentences."""
        if self.status == "no reference":
            return "This bundle has no drift reference, so its predictions cannot be compared with earlier ones."
        if self.status == "too few rows":
            return f"{self.rows:,} predictions are too few to compare: at least {LEAST_STATED:,} are needed."
        if self.status == "calm":
            return f"The model says what it used to say ({self.rows:,} predictions)."
        changes = [
            f"{_PARTS[name]} ({_number(name, before)} on average before, {_number(name, shift.mean)} now)"
            for name, before, shift in self.parts
            if shift.shifted
        ]
        return (
            f"The model no longer says what it used to say. Changed: {'; '.join(changes)} ({self.rows:,} predictions)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "status": self.status,
            "rows": self.rows,
            "parts": {name: {"mean_before": before, **shift.to_dict()} for name, before, shift in self.parts},
            "edges": list(self.edges),
            "before": list(self.before),
            "now": list(self.now),
            "words": self.words(),
        }


def prediction_drift(reference: DriftReference | None, signal: Floats, *, task: str = "direction") -> PredictionDrift:
    """Compare what is stated with what was.

    Parameters
    ----------
    reference
        Of the bundle; None where it has none.
    signal : float64 array, shape (n,)
        What was stated on the newest bars, in time order and on every bar: the probability of a rise or of an adverse move,
        or the forecast of volatility; NaN where nothing was.
    task
        The model's task.
    """
    import numpy as np

    stated = signal[np.isfinite(signal)]
    if reference is None or "value" not in reference.signal:
        return PredictionDrift("no reference", len(stated))
    if len(stated) < LEAST_STATED:
        return PredictionDrift("too few rows", len(stated))
    watched = {name: part for name, part in signal_parts(stated, task).items() if name in reference.signal}
    parts = tuple(
        (
            name,
            reference.signal[name].mean,
            shift_of(reference.signal[name], part, tests=len(watched), least_rows=LEAST_STATED),
        )
        for name, part in watched.items()
    )
    whole = reference.signal["value"]
    codes = np.searchsorted(np.array(whole.edges), stated, side="left")
    now = np.bincount(codes, minlength=len(whole.counts)) / len(stated)
    return PredictionDrift(
        "shifted" if any(shift.shifted for _, _, shift in parts) else "calm",
        len(stated),
        parts,
        whole.edges,
        tuple(count / whole.rows for count in whole.counts),
        tuple(float(share) for share in now),
    )


def _number(part: str, value: float) -> str:
    if not math.isfinite(value):
        return "unknown"
    return f"{100 * value:.1f} %" if part != "size" else f"{100 * value:.2f} points"
