"""Slices of time: which candles a feature row may see.

Time is cut into blocks of L = ``anchor_bars`` indices. The rows of block b are a function of the candles that exist with an
index in ``[(b - 1) L, (b + 1) L)``: every state starts at the first of them. Everything that must agree on this (the
pipeline, the fingerprints of the prediction cache) takes its positions from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import SchemaMismatch
from registry.names import timeframe_ms

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = [
    "INDEX_KINDS",
    "Blocks",
    "block_index",
    "block_slices",
    "density",
    "find_blocks",
    "index_start_ms",
    "valid_bars",
]

INDEX_KINDS = ("calendar", "weekdays")

_DAY_MS = 86_400_000
_WEEK_MS = 604_800_000
_MONDAY_MS = 345_600_000  # 1970-01-05
_MONDAY = 4  # days from 1970-01-01 to the first Monday


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks of one series that hold candles, in order.

    Attributes
    ----------
    numbers : int64 array, shape (m,)
        Block numbers b, strictly increasing.
    positions : int64 array, shape (m, 3)
        Positions in the candle arrays: first candle of the slice, first of the block, one past the last of the block.
    start_ms : int64 array, shape (m,)
        When the slice of the block begins: the start of index ``(b - 1) L``, whether a candle stands there or not.
    """

    numbers: Integers
    positions: Integers
    start_ms: Integers

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.numbers)

    def holding(self, position: int) -> int:
        """Return which block, counted from 0, holds the candle at a position."""
        return int(np.searchsorted(self.positions[:, 2], position, side="right"))


def block_index(candles: Candles, index: str = "calendar") -> Integers:
    """Return the index k by which blocks are counted, int64, shape (n,), not decreasing.

    Parameters
    ----------
    candles
        Closed candles.
    index
        ``calendar``: k = open_ms // step. ``weekdays``: k counts Mondays to Fridays since the epoch, for daily series that
        have no weekend bars; a bar of a weekend would share the index of its Friday.

    Raises
    ------
    SchemaMismatch
        When weekdays are asked of a series that is not daily, or the kind is unknown.
    """
    if index == "calendar":
        return candles.index
    _check_index(index, candles.timeframe)
    day = candles.open_ms // _DAY_MS - _MONDAY
    week = day // 7
    weekday_index: Integers = 5 * week + np.minimum(day - 7 * week, 4)
    return weekday_index


def index_start_ms(k: Integers, timeframe: str, index: str = "calendar") -> Integers:
    """Return when each index begins, int64 milliseconds UTC: the inverse of ``block_index``."""
    step = timeframe_ms(timeframe)
    if index == "calendar":
        return np.asarray(k, dtype=np.int64) * step + (_MONDAY_MS if step % _WEEK_MS == 0 else 0)
    _check_index(index, timeframe)
    week = np.asarray(k, dtype=np.int64) // 5
    return (7 * week + (k - 5 * week) + _MONDAY) * _DAY_MS


def block_slices(index: Integers, anchor_bars: int) -> Integers:
    """Return (slice_start, block_start, block_end) of every block that holds candles, int64, shape (m, 3).

    Parameters
    ----------
    index
        Index of each candle, not decreasing (see ``block_index``).
    anchor_bars
        L, the length of a block in indices.
    """
    if len(index) == 0:
        return np.empty((0, 3), dtype=np.int64)
    number = index // anchor_bars
    border = np.flatnonzero(np.diff(number)) + 1
    begin = np.concatenate(([0], border))
    end = np.concatenate((border, [len(index)]))
    first = np.searchsorted(index, (number[begin] - 1) * anchor_bars)
    return np.stack((first, begin, end), axis=1).astype(np.int64)


def find_blocks(candles: Candles, anchor_bars: int, index: str = "calendar") -> Blocks:
    """Return the blocks of a series; empty for an empty one."""
    k = block_index(candles, index)
    positions = block_slices(k, anchor_bars)
    numbers = k[positions[:, 1]] // anchor_bars
    return Blocks(numbers, positions, index_start_ms((numbers - 1) * anchor_bars, candles.timeframe, index))


def valid_bars(candles: Candles, blocks: Blocks, min_candles: int) -> Flags:
    """Return which bars have features, bool, shape (n,).

    A bar has features when the interval that was asked of the source and contains it begins at or before the start of its
    slice, and the slice holds at least ``min_candles`` candles up to and including it.
    """
    valid = np.zeros(len(candles), dtype=np.bool_)
    if not candles.asked:
        return valid
    starts = np.array([start for start, _ in candles.asked], dtype=np.int64)
    ends = np.array([end for _, end in candles.asked], dtype=np.int64)
    interval = np.searchsorted(starts, blocks.start_ms, side="right") - 1
    known_until = np.where(interval >= 0, ends[interval], np.iinfo(np.int64).min)
    until = np.minimum(blocks.positions[:, 2], np.searchsorted(candles.open_ms, known_until))
    begin = np.maximum(blocks.positions[:, 1], blocks.positions[:, 0] + min_candles - 1)
    known = known_until > blocks.start_ms
    for here, lo, hi in zip(known, begin, until, strict=True):
        if here:
            valid[lo:hi] = True
    return valid


def density(candles: Candles, index: str = "calendar") -> float:
    """Return rho, the share of indices that hold a candle: 1 for a market that never closes.

    Measured between the first and the last candle of each interval that was asked; 1 for fewer than two candles.
    """
    k = block_index(candles, index)
    held = spanned = 0
    for start, end in candles.asked:
        lo, hi = np.searchsorted(candles.open_ms, (start, end))
        if hi > lo:
            held += int(hi - lo)
            spanned += int(k[hi - 1] - k[lo]) + 1
    return held / spanned if held > 1 else 1.0


def _check_index(index: str, timeframe: str) -> None:
    if index not in INDEX_KINDS:
        raise SchemaMismatch(f"{index!r} is no way to count bars: expected {' or '.join(INDEX_KINDS)}")
    if index == "weekdays" and timeframe != "1d":
        raise SchemaMismatch(f"bars of {timeframe} cannot be counted in weekdays: only 1d can")
