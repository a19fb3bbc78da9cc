"""Windows of models that read several rows: which rows belong to the window of a bar, and which bars have one.

The window of a bar is its own row and those of the newest candles on the grid before it, ``sequence`` in all; every row comes
from its own slice of candles. Candles off the grid are skipped, missing ones are a fact of the market. A window is looked for
among the newest ``2 sequence`` candles and inside one interval that was asked of the source, so that it depends on a bounded
stretch of candles and never on one that nobody asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = ["OFF_GRID", "Windows", "candle_reach", "find_windows", "stretches"]

OFF_GRID = -1
"""Stretch of a candle that windows skip."""


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of n bars.

    Attributes
    ----------
    sequence : int
        Rows of a window.
    grid : int64 array, shape (m,)
        Positions of the candles on the grid: windows are contiguous pieces of it.
    rank : int64 array, shape (n,)
        How many of them stand at or before each bar, less one: where the window of the bar ends in ``grid``.
    complete : bool array, shape (n,)
        The bar is on the grid and every row of its window is there.
    """

    sequence: int
    grid: Integers
    rank: Integers
    complete: Flags

    def oldest(self, bar: int) -> int:
        """Return the position of the first row of a bar's window."""
        return int(self.grid[self.rank[bar] - self.sequence + 1])

    def rows(self, first: int, last: int) -> Integers:
        """Return the positions of the rows that the windows of the bars ``first`` to ``last`` read, without repetition."""
        return self.grid[self.rank[first] - self.sequence + 1 : self.rank[last] + 1]


def find_windows(known: Flags, stretch: Integers, sequence: int) -> Windows:
    """Return the windows of a series.

    Parameters
    ----------
    known : bool array, shape (n,)
        Which bars have features.
    stretch : int64 array, shape (n,)
        See `stretches`.
    sequence
        Rows of a window, at least 1.
    """
    grid = np.flatnonzero(stretch != OFF_GRID).astype(np.int64)
    rank = np.cumsum(stretch != OFF_GRID).astype(np.int64) - 1
    complete = np.zeros(len(known), dtype=np.bool_)
    if len(grid) >= sequence:
        unknown = np.concatenate(([0], np.cumsum(~known[grid])))
        ends, starts = grid[sequence - 1 :], grid[: len(grid) - sequence + 1]
        complete[ends] = (
            (unknown[sequence:] == unknown[:-sequence])
            & (stretch[ends] == stretch[starts])
            & (ends - starts < 2 * sequence)
        )
    return Windows(sequence, grid, rank, complete)


def stretches(candles: Candles, first: int = 0) -> Integers:
    """Return the number of the asked interval that holds each candle from position ``first`` on.

    It is ``OFF_GRID`` for candles off the grid; int64.
    """
    starts = np.array([start for start, _ in candles.asked], dtype=np.int64)
    number = np.searchsorted(starts, candles.open_ms[first:], side="right")
    return np.where(candles.off_grid[first:], OFF_GRID, number).astype(np.int64)


def candle_reach(sequence: int) -> int:
    """Return how many candles before its last a window may span; 0 for models of one row."""
    return 0 if sequence == 1 else 2 * sequence - 1
