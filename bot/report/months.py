"""Returns by month: what the account did in each, beside buy and hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from bot.backtest.rebuild import Curves

    Floats = npt.NDArray[np.float64]

__all__ = ["MonthCell", "YearRow", "monthly_returns"]


@dataclass(frozen=True)
class MonthCell:
    """One month: returns of the account and of the closes as fractions, and whether training saw a part of it."""

    value: float
    hold: float
    seen: bool


@dataclass(frozen=True)
class YearRow:
    """One year: twelve months (None where the run has no bar), and the whole year."""

    year: int
    months: tuple[MonthCell | None, ...]
    total: MonthCell


def monthly_returns(curves: Curves, split: int) -> list[YearRow]:
    """Return the returns of each calendar month (UTC, by open time), from close to close.

    The first month is measured from the close of the first bar, the others from the last close before them.

    Parameters
    ----------
    curves : Curves
        The account at each close.
    split : int
        First row that is out of sample.
    """
    if len(curves) == 0:
        return []
    month = curves.open_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    starts = np.flatnonzero(np.diff(month, prepend=month[0] - 1))
    ends = np.append(starts[1:], len(month)) - 1
    value, hold = _growth(curves.equity, ends), _growth(curves.close, ends)
    years: dict[int, dict[int, int]] = {}
    for place, number in enumerate(month[starts].tolist()):
        years.setdefault(1970 + number // 12, {})[number % 12] = place
    rows = []
    for year, found in years.items():
        cells = [
            MonthCell(float(value[found[i]]) - 1, float(hold[found[i]]) - 1, bool(starts[found[i]] < split))
            if i in found
            else None
            for i in range(12)
        ]
        places = list(found.values())
        total = MonthCell(
            float(np.prod(value[places])) - 1, float(np.prod(hold[places])) - 1, bool(starts[places[0]] < split)
        )
        rows.append(YearRow(year, tuple(cells), total))
    return rows


def _growth(values: Floats, ends: npt.NDArray[np.int64]) -> Floats:
    """Return the factor by which a series grew in each stretch that ends at a row of ``ends``."""
    before = np.concatenate((values[:1], values[ends[:-1]]))
    return np.asarray(values[ends] / before)
