"""Merging new candles into those that are stored: what is new, what is the same, what was revised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import DataError
from ml.candles import OPTIONAL_COLUMNS, Candles

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Merged", "join_intervals", "merge_candles", "subtract_intervals"]


@dataclass(frozen=True)
class Merged:
    """Result of a merge.

    Attributes
    ----------
    candles : Candles
        The union; where both sides hold a bar, the newer side's.
    added, unchanged : int
        Bars that only the newer side held, and bars that both held alike.
    revised : tuple of int
        Open times of the bars that both held with different values, ascending.
    """

    candles: Candles
    added: int
    unchanged: int
    revised: tuple[int, ...]


def join_intervals(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return sorted, disjoint half-open intervals that cover the same time; empty ones vanish, touching ones join."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(interval for interval in intervals if interval[0] < interval[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return tuple(joined)


def subtract_intervals(start: int, end: int, known: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Return the parts of ``[start, end)`` that no known interval covers, in order."""
    missing = []
    for known_start, known_end in join_intervals(known):
        if known_start > start:
            missing.append((start, min(known_start, end)))
        start = max(start, known_end)
    missing.append((start, end))
    return tuple((a, b) for a, b in missing if a < b)


def merge_candles(old: Candles, new: Candles) -> Merged:
    """Merge by index of the bar; the newer values win.

    Raises
    ------
    DataError
        When the two sides have different optional columns and the newer side does not hold every stored bar:
        a column with holes would make features that differ by where a bar came from.
    """
    asked = join_intervals((*old.asked, *new.asked))
    if len(new) == 0:
        return Merged(replace(old, asked=asked), 0, 0, ())
    place = np.searchsorted(old.index, new.index)
    inside = np.minimum(place, max(len(old) - 1, 0))
    both = (place < len(old)) & (old.index[inside] == new.index) if len(old) else np.zeros(len(new), dtype=bool)
    theirs = inside[both]
    names = tuple(new.columns)
    if set(names) != set(old.columns) and len(theirs) < len(old):
        raise DataError(_column_difference(old, new))
    same = (
        old.open_ms[theirs] == new.open_ms[both] if names == tuple(old.columns) else np.zeros(len(theirs), dtype=bool)
    )
    for name in names if same.any() else ():
        same &= old.columns[name][theirs] == new.columns[name][both]
    keep = np.ones(len(old), dtype=bool)
    keep[theirs] = False
    if keep.any():
        order = np.argsort(np.concatenate((old.index[keep], new.index)), kind="stable")
        parts: dict[str, Any] = {
            name: np.concatenate((column[keep], new.columns[name]))[order] for name, column in old.columns.items()
        }
        parts["open_ms"] = np.concatenate((old.open_ms[keep], new.open_ms))[order]
    else:
        parts = {"open_ms": new.open_ms, **new.columns}
    return Merged(
        candles=Candles.from_columns(old.timeframe, parts, asked),
        added=len(new) - len(theirs),
        unchanged=int(same.sum()),
        revised=tuple(new.open_ms[both][~same].tolist()),
    )


def _column_difference(old: Candles, new: Candles) -> str:
    lost = [name for name in OPTIONAL_COLUMNS if name in old.columns and name not in new.columns]
    gained = [name for name in OPTIONAL_COLUMNS if name in new.columns and name not in old.columns]
    parts = []
    if lost:
        parts.append(f"the new candles have no {', '.join(lost)}, which the stored ones have")
    if gained:
        parts.append(f"the new candles have {', '.join(gained)}, which the stored ones lack")
    return f"{'; '.join(parts)}: store them under another --exchange name, or replace the series with --replace"
