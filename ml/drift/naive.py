"""The naive figure: accuracy of one day against the record. People ask for it; by itself it shows next to nothing.

A 95 % interval of an accuracy of 24 forecasts is 20 points wide to each side. A healthy model falls 5 points short on about
every third day, so the figure stands beside the chance of just that.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = ["POINTS", "NaiveFigure", "naive_figure"]

POINTS = 0.05
"""Fall of the accuracy from which the rule speaks of drift."""

_DAY_MS = 86_400_000
_SURPRISING = 0.001


@dataclass(frozen=True, slots=True)
class NaiveFigure:
    """Accuracy of one day beside that of the record.

    Attributes
    ----------
    n, hits
        Forecasts of the day that are known to be right or wrong, and those that were right.
    accuracy
        ``hits / n``; NaN without any.
    reference
        Accuracy of the record.
    p_value
        Chance that a model as good as its record does so or worse: exact binomial, one-sided; NaN without any.
    flag
        Whether the accuracy is more than 5 points below the record.
    """

    n: int
    hits: int
    accuracy: float
    reference: float
    p_value: float
    flag: bool

    def words(self) -> str:
        """Say what it shows, and how little."""
        if self.n == 0:
            return "No forecast of the last 24 hours is known to be right or wrong yet."
        gap = 100 * (self.accuracy - self.reference)
        side = f"{abs(gap):.1f} points {'under' if gap < 0 else 'over'}"
        start = f"In the last 24 hours {self.hits} of {self.n} were right ({100 * self.accuracy:.1f} %), {side} the record's "
        start += f"{100 * self.reference:.1f} %."
        if gap >= 0:
            return start
        often = f"{100 * self.p_value:.0f} of 100" if self.p_value >= 0.01 else f"{1000 * self.p_value:.1f} of 1,000"
        verdict = "that is hardly chance" if self.p_value < _SURPRISING else "by itself it says nothing"
        return f"{start} A model as good as its record has a day like that or worse {often} times: {verdict}."

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; what is not known is None."""
        data = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }
        return {**data, "words": self.words()}


def naive_figure(open_ms: Integers, came_true: Flags, reference: float, until_ms: int) -> NaiveFigure:
    """Return accuracy, count and p-value of the 24 hours before a moment.

    Parameters
    ----------
    open_ms : int64 array, shape (n,)
        Bars whose forecast is known to be right or wrong; their labels may not overlap, or the p-value is too small.
    came_true : bool array, shape (n,)
        Whether it was right.
    reference
        Accuracy of the record, 0 to 1.
    until_ms
        End of the day that is looked at, such as the close of the newest candle: bars that open in the 24 hours before it
        count.

    Raises
    ------
    ValueError
        When the reference is no share.
    """
    if not 0.0 <= reference <= 1.0:
        raise ValueError(f"the accuracy of the record is {reference}: expected 0 to 1")
    recent = (open_ms >= until_ms - _DAY_MS) & (open_ms < until_ms)
    count, hits = int(recent.sum()), int(came_true[recent].sum())
    if count == 0:
        return NaiveFigure(0, 0, math.nan, reference, math.nan, flag=False)
    from scipy.special import bdtr

    accuracy = hits / count
    return NaiveFigure(
        n=count,
        hits=hits,
        accuracy=accuracy,
        reference=reference,
        p_value=min(1.0, float(bdtr(hits, count, reference))),
        # whole counts against a decimal: 12 of 24 is not more than 5 points below 0.55
        flag=accuracy < reference - POINTS - 1e-12,
    )
