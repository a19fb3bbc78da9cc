"""Feature drift: which of the model's inputs no longer look as they did in training. It advises; it stops nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.drift.distribution import LEAST_ROWS, shift_of
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ml.drift.distribution import ReferenceDistribution, Shift
    from ml.drift.reference import DriftReference

    Rows = npt.NDArray[np.float32]

__all__ = ["REGIME_SHARE", "FeatureDrift", "FeatureShift", "feature_drift", "rows_to_judge"]

REGIME_SHARE = 0.5
"""From this share of shifted features on, the market itself has changed (the rule of evidently's dataset drift)."""

_MOST_MISSING = 0.05  # more rows without a value than in training by this share: a fault of the data, not of the market
_JUDGED_MS = 30 * 86_400_000
_NAMED = 5


@dataclass(frozen=True, slots=True)
class FeatureShift:
    """One feature beside its reference.

    Attributes
    ----------
    name
        The feature.
    mean_before
        Its mean in training.
    shift
        How the newest rows differ.
    lacking
        Whether values are missing that were there in training.
    """

    name: str
    mean_before: float
    shift: Shift
    lacking: bool

    @property
    def shifted(self) -> bool:
        """Whether it differs from training by more than chance."""
        return self.shift.shifted or self.lacking

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "mean_before": self.mean_before,
            **self.shift.to_dict(),
            "lacking": self.lacking,
            "shifted": self.shifted,
        }


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """All features of a model beside their reference.

    Attributes
    ----------
    status
        ``calm``, ``shifted``, ``regime shift``, ``too few rows`` or ``no reference``.
    rows
        Newest rows that were looked at.
    features
        Those that are judged, the most shifted first.
    not_judged
        The others, and why.
    """

    status: str
    rows: int
    features: tuple[FeatureShift, ...]
    not_judged: tuple[tuple[str, str], ...]

    @property
    def judged(self) -> int:
        """Features with enough rows for an answer."""
        return sum(each.shift.judged for each in self.features)

    @property
    def shifted(self) -> tuple[str, ...]:
        """Names of the features that differ by more than chance, the most shifted first."""
        return tuple(each.name for each in self.features if each.shifted)

    def words(self) -> str:
        """Say it in one or two sentences."""
        if self.status == "no reference":
            return "This bundle has no drift reference, so its features cannot be compared with training."
        if self.status == "too few rows":
            return (
                f"{self.rows:,} rows are too few to compare features with training: at least {LEAST_ROWS:,} are needed."
            )
        if self.status == "calm":
            return f"None of {self.judged} features differs from training by more than chance ({self.rows:,} rows)."
        named = ", ".join(self.shifted[:_NAMED]) + (", ..." if len(self.shifted) > _NAMED else "")
        verb = "differs" if len(self.shifted) == 1 else "differ"
        text = f"{len(self.shifted)} of {self.judged} features {verb} from training: {named} ({self.rows:,} rows)."
        return text + (" This is another market regime." if self.status == "regime shift" else "")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "status": self.status,
            "rows": self.rows,
            "judged": self.judged,
            "shifted": list(self.shifted),
            "features": [each.to_dict() for each in self.features],
            "not_judged": dict(self.not_judged),
            "words": self.words(),
        }


def rows_to_judge(timeframe: str) -> int:
    """Return how many newest rows to look at: those of 30 days, and at least 720.

    Whole days, because volume and volatility go by the hour of the day.
    """
    return max(LEAST_ROWS, _JUDGED_MS // timeframe_ms(timeframe))


def feature_drift(reference: DriftReference | None, rows: Rows, names: Sequence[str]) -> FeatureDrift:
    """Compare the newest feature rows with those of training.

    A check of a market that has not changed is meant to name a feature once in 1,000 times, whatever their number; on
    simulated markets with clusters and regimes of volatility it did so in 2 of 400 checks (with effective rows alone and
    chi-square: in 96; with rows taken for independent: in all). The rows must be later than those of the reference: rows
    that the model learnt from look like training by construction.

    Parameters
    ----------
    reference
        Of the bundle; None where it has none.
    rows : float32 array, shape (n, F)
        Feature rows of the newest bars, in time order (`rows_to_judge`); rows without any value are left out.
    names
        The F features, in the order of the columns.
    """
    rows = rows[np.isfinite(rows).any(axis=1)]
    if reference is None:
        return FeatureDrift("no reference", len(rows), (), ())
    columns = {name: column for column, name in enumerate(names)}
    known = {name: part for name, part in reference.features.items() if name in columns}
    if len(rows) < LEAST_ROWS:
        return FeatureDrift("too few rows", len(rows), (), tuple(reference.not_judged.items()))
    found = [_shift(name, part, rows[:, columns[name]], len(known)) for name, part in known.items()]
    found.sort(key=lambda each: (-each.lacking, -each.shift.ratio, each.name))
    counted = sum(each.shift.judged or each.lacking for each in found)
    shifted = sum(each.shifted for each in found)
    status = "calm" if not shifted else "regime shift" if shifted >= REGIME_SHARE * counted else "shifted"
    return FeatureDrift(status, len(rows), tuple(found), tuple(reference.not_judged.items()))


def _shift(name: str, reference: ReferenceDistribution, values: Rows, tests: int) -> FeatureShift:
    shift = shift_of(reference, np.ascontiguousarray(values), tests=tests)
    return FeatureShift(name, reference.mean, shift, lacking=shift.missing > reference.missing + _MOST_MISSING)
