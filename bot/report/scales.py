"""Axes: round ticks for values and times, and series thinned to what a screen can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Axis", "round_ticks", "thin", "time_ticks"]

_TIME_UNITS = (
    ("h", 1, "%H:%M"),
    ("h", 6, "%d %b %H:%M"),
    ("D", 1, "%d %b"),
    ("D", 2, "%d %b"),
    ("D", 7, "%d %b"),
    ("D", 14, "%d %b"),
    ("M", 1, "%b %Y"),
    ("M", 2, "%b %Y"),
    ("M", 3, "%b %Y"),
    ("M", 6, "%b %Y"),
    ("Y", 1, "%Y"),
    ("Y", 2, "%Y"),
    ("Y", 5, "%Y"),
)
_MOST_TICKS = 8


@dataclass(frozen=True)
class Axis:
    """A range of values as a share of a chart's height, linear or logarithmic.

    Attributes
    ----------
    low, high
        Values at the bottom and at the top.
    log
        Whether equal distances are equal factors.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, *series: Floats, log: bool = False, margin: float = 0.05, floor: float | None = None) -> Axis:
        """Return the axis that holds all finite values with a margin; ``floor`` is inside in any case."""
        finite = [values[np.isfinite(values)] for values in series]
        low = min((float(values.min()) for values in finite if len(values)), default=0.0)
        high = max((float(values.max()) for values in finite if len(values)), default=1.0)
        if floor is not None:
            low, high = min(low, floor), max(high, floor)
        if log and low > 0:
            ratio = max(high / low, 1.0001) ** margin
            return cls(low / ratio, high * ratio, log=True)
        pad = (high - low) * margin or abs(high) * margin or 1.0
        return cls(low - pad, high + pad)

    def share(self, values: Floats) -> Floats:
        """Return how far down from the top each value is, as a share of the height."""
        if self.log:
            return np.asarray((math.log(self.high) - np.log(values)) / (math.log(self.high) - math.log(self.low)))
        return np.asarray((self.high - values) / (self.high - self.low))

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values inside the range."""
        if not self.log:
            return round_ticks(self.low, self.high, most)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        for steps in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            found = [step * 10.0**decade for decade in decades for step in steps]
            inside = [value for value in found if self.low <= value <= self.high]
            if len(inside) <= most + 1:
                return inside if len(inside) >= 2 else round_ticks(self.low, self.high, most)
        return inside[:: math.ceil(len(inside) / most)]


def round_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most about ``most`` multiples of 1, 2, 2.5 or 5 times a power of ten between two values."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= most)
    first = math.ceil(low / step)
    return [round(number * step, 12) for number in range(first, math.floor(high / step) + 1)]


def time_ticks(open_ms: Integers) -> list[tuple[int, str]]:
    """Return (row, label) of at most eight round times within a series of bars.

    Parameters
    ----------
    open_ms : int64 array, shape (n,)
        Open times, milliseconds UTC.
    """
    if len(open_ms) < 2:
        return []
    times = open_ms.astype("datetime64[ms]")
    for unit, step, form in _TIME_UNITS:
        whole = np.arange(times[0].astype(f"datetime64[{unit}]"), times[-1].astype(f"datetime64[{unit}]") + 1)
        if unit == "h":
            chosen = whole[whole.astype("datetime64[h]").astype(int) % step == 0]
        elif unit == "D":
            chosen = whole if step < 7 else whole[(whole.astype(int) - 4) % step == 0]
            chosen = chosen[:: step if step < 7 else 1]
        else:
            chosen = whole[whole.astype(int) % step == 0]
        chosen = chosen[(chosen >= times[0]) & (chosen <= times[-1])]
        if len(chosen) <= _MOST_TICKS:
            rows = np.searchsorted(times, chosen)
            return [(int(row), when.item().strftime(form)) for row, when in zip(rows, chosen, strict=True)]
    return []


def thin(values: Floats, columns: int = 900) -> Integers:
    """Return the rows to draw of a long series: lowest and highest value of each of ``columns`` stretches.

    A line through them looks like the line through all of them. All rows where there are few; the first and the last
    are always there.
    """
    count = len(values)
    if count <= 2 * columns:
        return np.arange(count)
    edges = np.linspace(0, count, columns + 1).astype(np.int64)
    width = int(np.diff(edges).max())
    padded = np.minimum(edges[:-1, None] + np.arange(width), edges[1:, None] - 1)
    block = values[padded]
    low = padded[np.arange(columns), block.argmin(axis=1)]
    high = padded[np.arange(columns), block.argmax(axis=1)]
    rows: Integers = np.unique(np.concatenate((low, high, [0, count - 1])))
    return rows
