"""What models of paths learn: the next candle, in units of the volatility that is known at the bar."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ml.dataset import Dataset, build_dataset
from ml.features.blocks import block_index

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.schema import FeatureSchema

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["LARGEST_MOVE", "NEXT_CANDLE", "PathDataset", "build_path_dataset", "next_candles", "realised_paths"]

LARGEST_MOVE = 5.0
"""Targets are cut at so many standard deviations of one bar."""

NEXT_CANDLE = ("open", "high", "low", "close")
"""Columns of ``PathDataset.next_candle``: open gap, upper wick, lower wick and close move, as log ratios."""


@dataclass(frozen=True, eq=False)
class PathDataset(Dataset):
    """Feature rows with the next candle of each bar; ``horizon`` is 1 and ``returns`` the log return to the next close.

    Attributes
    ----------
    next_candle : float64 array, shape (n, 4)
        In the order of `NEXT_CANDLE`: ``ln(open' / close)``, ``ln(high' / max(open', close'))``,
        ``ln(min(open', close') / low')`` and ``ln(close' / close)``; NaN where the next index holds no candle on the grid.
    """

    next_candle: Floats = field(kw_only=True)

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        super().__post_init__()
        if self.next_candle.shape != (len(self), len(NEXT_CANDLE)):
            raise ValueError(f"next_candle has shape {self.next_candle.shape}, expected ({len(self)}, 4)")

    @cached_property
    def labelled(self) -> Flags:
        """Bars with features and a next candle; a price that stood still is as good a label as any."""
        flags: Flags = self.usable & np.isfinite(self.returns)
        return flags

    @cached_property
    def ties(self) -> Flags:
        """No bar: a path may stand still."""
        return np.zeros(len(self), dtype=np.bool_)

    @cached_property
    def scored(self) -> Flags:
        """Bars whose next close is known."""
        return self.labelled

    def since(self, first_ms: int) -> PathDataset:
        """Return the candles that open at ``first_ms`` or later; what came before has warmed their features."""
        first = int(np.searchsorted(self.open_ms, first_ms))
        arrays = (name for name in (each.name for each in fields(self)) if isinstance(getattr(self, name), np.ndarray))
        return replace(self, **{name: getattr(self, name)[first:] for name in arrays})

    def scaled(self, column: str) -> Floats:
        """Return one column of ``next_candle`` in units of ``sigma``, cut at `LARGEST_MOVE`; 0 where there is no sigma."""
        known = np.isfinite(self.sigma) & (self.sigma > 0)
        scale = np.where(known, self.sigma, np.inf)
        moves = self.next_candle[:, NEXT_CANDLE.index(column)] / scale
        return np.clip(moves, -LARGEST_MOVE, LARGEST_MOVE)


def next_candles(candles: Candles, index: Integers) -> Floats:
    """Return the candle at index ``k + 1`` relative to each close, float64 (n, 4); see ``PathDataset.next_candle``.

    Parameters
    ----------
    candles
        n closed candles.
    index : int64 array, shape (n,)
        Absolute index of each candle.
    """
    out = np.full((len(candles), len(NEXT_CANDLE)), np.nan)
    here = np.flatnonzero((np.diff(index) == 1) & ~candles.off_grid[:-1] & ~candles.off_grid[1:])
    there = here + 1
    opened, closed = candles.open[there], candles.close[there]
    out[here, 0] = np.log(opened / candles.close[here])
    out[here, 1] = np.log(candles.high[there] / np.maximum(opened, closed))
    out[here, 2] = np.log(np.minimum(opened, closed) / candles.low[there])
    out[here, 3] = np.log(closed / candles.close[here])
    return out


def build_path_dataset(candles: Candles, schema: FeatureSchema) -> PathDataset:
    """Compute features and the next candle of every bar; errors are those of ``ml.dataset.build_dataset``."""
    base = build_dataset(candles, schema, 1)
    arrays = {each.name: getattr(base, each.name) for each in fields(base)}
    return PathDataset(**arrays, next_candle=next_candles(candles, block_index(candles, schema.index)))


def realised_paths(dataset: Dataset, starts: Integers, steps: int) -> Floats:
    """Return what the market did after some bars: log returns to the closes 1 to ``steps`` indices later.

    Parameters
    ----------
    dataset
        Its ``k``, ``close`` and ``usable`` are read; a candle that is not usable (off the grid) is no outcome.
    starts : int64 array, shape (m,)
        Positions in the dataset.

    Returns
    -------
    float64 array, shape (m, steps)
        NaN where no candle has that index.
    """
    first = int(dataset.k[0])
    close = np.full(int(dataset.k[-1]) - first + 1 + steps, np.nan)
    close[dataset.k[dataset.usable] - first] = dataset.close[dataset.usable]
    ahead = (dataset.k[starts] - first)[:, None] + np.arange(1, steps + 1)
    realised: Floats = np.log(close[ahead] / dataset.close[starts][:, None])
    return realised
