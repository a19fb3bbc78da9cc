"""Runs: the bars of a block that have features, as both engines find, join and compute them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.candles import Candles

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from ml.features.blocks import Blocks

    Flags = npt.NDArray[np.bool_]
    Run = tuple[int, int, int]

__all__ = ["find_runs", "neighbours", "slice_of", "spans"]


def find_runs(blocks: Blocks, valid: Flags, end: int) -> list[Run]:
    """Return (block, first bar, end) of the bars with features in each block that begins before position ``end``.

    Parameters
    ----------
    blocks
        Of the series.
    valid : bool array, shape (n,)
        Bars with features; within a block they follow each other.
    end
        Position from which nobody asks.
    """
    runs = []
    for block, (_, begin, stop) in enumerate(blocks.positions.tolist()):
        inside = np.flatnonzero(valid[begin:stop])
        if len(inside) and begin < end:
            runs.append((block, begin + int(inside[0]), begin + int(inside[-1]) + 1))
    return runs


def neighbours(runs: list[Run]) -> Iterator[list[Run]]:
    """Yield groups of runs of consecutive blocks, to be computed in one go."""
    group: list[Run] = []
    for run in runs:
        if group and run[0] != group[-1][0] + 1:
            yield group
            group = []
        group.append(run)
    if group:
        yield group


def spans(runs: list[Run]) -> list[Run]:
    """Join runs that follow each other without a gap; return (block of the first bar, first bar, end)."""
    joined: list[Run] = []
    for block, lo, hi in runs:
        if joined and joined[-1][2] == lo:
            joined[-1] = (joined[-1][0], joined[-1][1], hi)
        else:
            joined.append((block, lo, hi))
    return joined


def slice_of(candles: Candles, blocks: Blocks, block: int, end: int) -> Candles:
    """Return the candles from the start of a block's slice to position ``end``; that they were asked for stays known."""
    first = int(blocks.positions[block, 0])
    if first == 0 and end == len(candles):
        return candles
    columns = {name: column[first:end] for name, column in candles.columns.items()}
    times = candles.open_ms[first:end]
    known = (min(int(blocks.start_ms[block]), int(times[0])), int(times[-1]) + candles.step_ms)
    return Candles.from_columns(candles.timeframe, {"open_ms": times, **columns}, asked=(known,))
