"""Datasets: feature rows with their labels, and folds that keep time in order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import NotEnoughBars
from ml.labels import decided, forward_returns, past_returns
from ml.sequences import find_windows, stretches

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.pipeline import FeatureMatrix
    from ml.features.schema import FeatureSchema
    from ml.sequences import Windows

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["VOLATILITY_FEATURE", "Dataset", "Fold", "build_dataset", "purged_walk_forward", "with_warm_up"]

VOLATILITY_FEATURE = "ewma_volatility"
"""The feature that price bands and expected returns are scaled by."""

_SMALLEST_FOLD = 40


@dataclass(frozen=True, eq=False)
class Dataset:
    """Feature rows and labels of n candles, every array in time order.

    Attributes
    ----------
    names : tuple of str
        The F features, in column order.
    rows : float32 array, shape (n, F)
        Features; NaN throughout where ``usable`` is False.
    returns : float64 array, shape (n,)
        Log return to the candle at index ``k + horizon``; NaN where there is none.
    past : float64 array, shape (n,)
        Log return from the candle at index ``k - horizon``: the newest label that was known at the bar's close.
    k : int64 array, shape (n,)
        Absolute index of the candles.
    open_ms : int64 array, shape (n,)
        Open times.
    close : float64 array, shape (n,)
        Closes, quote currency.
    sigma : float64 array, shape (n,)
        Volatility of one bar's log return.
    usable : bool array, shape (n,)
        The bar has features and is on the grid: a prediction may be made for it.
    horizon : int
        Bars ahead.
    stretch : int64 array, shape (n,), optional
        Which rows a window of several may join (see ``ml.sequences.stretches``); all, where it is not given.
    outcome : float64 array, shape (n,), optional
        What is learnt where that is not the log return itself, such as 1.0 for an adverse move; NaN where it is not known.
    """

    names: tuple[str, ...]
    rows: Rows
    returns: Floats
    past: Floats
    k: Integers
    open_ms: Integers
    close: Floats
    sigma: Floats
    usable: Flags
    horizon: int
    outcome: Floats | None = None
    stretch: Integers | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        count = len(self.k)
        if self.rows.shape != (count, len(self.names)) or self.rows.dtype != np.float32:
            raise ValueError(
                f"rows are {self.rows.dtype} {self.rows.shape}, expected float32 ({count}, {len(self.names)})"
            )
        for name in ("returns", "past", "open_ms", "close", "sigma", "usable"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, expected ({count},)")
        if self.horizon < 1:
            raise ValueError(f"a horizon is at least 1 bar, got {self.horizon}")
        if self.outcome is not None and self.outcome.shape != (count,):
            raise ValueError(f"outcome has shape {self.outcome.shape}, expected ({count},)")

    def __len__(self) -> int:
        """Return the number of candles."""
        return len(self.k)

    def since(self, first_ms: int) -> Dataset:
        """Return the candles that open at ``first_ms`` or later; what came before has warmed their features."""
        first = int(np.searchsorted(self.open_ms, first_ms))
        cut = ("rows", "returns", "past", "k", "open_ms", "close", "sigma", "usable")
        outcome = None if self.outcome is None else self.outcome[first:]
        stretch = None if self.stretch is None else self.stretch[first:]
        return replace(self, outcome=outcome, stretch=stretch, **{name: getattr(self, name)[first:] for name in cut})

    @property
    def target(self) -> Floats:
        """What is learnt, float64 (n,): the outcome where the task has one, else the log return; NaN where unknown."""
        return self.returns if self.outcome is None else self.outcome

    def windows(self, sequence: int) -> Windows:
        """Return the windows of so many rows that models of sequences read; a bar has one where all its rows are usable."""
        stretch = np.zeros(len(self), dtype=np.int64) if self.stretch is None else self.stretch
        return find_windows(self.usable, stretch, sequence)

    def feature(self, name: str) -> Floats:
        """Return one feature as float64 (n,)."""
        return self.rows[:, self.names.index(name)].astype(np.float64)

    @cached_property
    def labelled(self) -> Flags:
        """Bars with features and a label that is not a tie: what may be fitted."""
        known = decided(self.returns) if self.outcome is None else np.isfinite(self.outcome)
        flags: Flags = self.usable & known
        return flags

    @cached_property
    def ties(self) -> Flags:
        """Bars with features whose price stood still over the horizon: a direction neither fits nor scores them."""
        still = self.returns == 0.0 if self.outcome is None else np.zeros(len(self), dtype=np.bool_)
        flags: Flags = self.usable & still
        return flags

    @cached_property
    def scored(self) -> Flags:
        """Labelled bars whose label intervals do not overlap (``k % horizon == 0``): what is counted."""
        flags: Flags = self.labelled & (self.k % self.horizon == 0)
        return flags


def with_warm_up(candles: Candles, schema: FeatureSchema, first_ms: int) -> Candles:
    """Return the candles from ``first_ms`` on, and before them those that the features of the first one may see."""
    from ml.features.blocks import block_index, index_start_ms

    wanted = candles.between(first_ms, None)
    if not len(wanted):
        return wanted
    block = block_index(wanted, schema.index)[:1] // schema.anchor_bars
    start = index_start_ms((block - 1) * schema.anchor_bars, candles.timeframe, schema.index)
    return candles.between(int(start[0]), None)


def build_dataset(
    candles: Candles, schema: FeatureSchema, horizon: int, matrix: FeatureMatrix | None = None
) -> Dataset:
    """Compute features and labels of every candle.

    Parameters
    ----------
    candles
        Closed candles; those before the first bar with features serve as warm-up.
    schema
        Names and parameters of the features; ``ewma_volatility`` must be among them.
    horizon
        Bars ahead.
    matrix
        Features of the candles by that schema, where they are known already.

    Raises
    ------
    ValueError
        When the schema lacks ``ewma_volatility``, or the horizon is below 1.
    """
    from ml.features.blocks import block_index
    from ml.features.pipeline import FeaturePipeline

    if VOLATILITY_FEATURE not in schema.names:
        raise ValueError(f"the schema lacks {VOLATILITY_FEATURE}, which price bands are scaled by")
    matrix = FeaturePipeline(schema).compute(candles) if matrix is None else matrix
    index = block_index(candles, schema.index)
    return Dataset(
        names=tuple(schema.names),
        rows=matrix.rows,
        returns=forward_returns(candles, horizon, index),
        past=past_returns(candles, horizon, index),
        k=index,
        open_ms=candles.open_ms,
        close=candles.close,
        sigma=matrix.rows[:, schema.names.index(VOLATILITY_FEATURE)].astype(np.float64),
        usable=matrix.valid & ~candles.off_grid,
        horizon=horizon,
        stretch=stretches(candles),
    )


@dataclass(frozen=True, eq=False)
class Fold:
    """One step of a walk forward.

    Attributes
    ----------
    number
        0 for the first.
    train, test : int64 arrays
        Positions in the dataset. Training rows are labelled; test rows are usable, labelled or not.
    """

    number: int
    train: Integers
    test: Integers


def purged_walk_forward(dataset: Dataset, *, folds: int = 5, embargo: int = 0) -> list[Fold]:
    """Cut the usable bars into ``folds + 1`` equal pieces; piece i + 1 is tested by a model of everything before it.

    A training row is purged when its label ends at or after the first test bar, so ``k + horizon + embargo < k_test`` holds
    for every row that is kept. Indices count, not rows: a gap in the data purges nothing that it need not.

    Parameters
    ----------
    dataset
        Rows in time order.
    folds
        Number of test pieces.
    embargo
        Further indices between the last label and the test; a walk forward needs none.

    Raises
    ------
    NotEnoughBars
        When a piece would hold fewer than 40 bars.
    """
    if folds < 1 or embargo < 0:
        raise ValueError(f"expected at least one fold and no negative embargo, got {folds} and {embargo}")
    usable = np.flatnonzero(dataset.usable)
    if len(usable) < (folds + 1) * _SMALLEST_FOLD:
        raise NotEnoughBars(
            f"{len(usable)} bars have features, {(folds + 1) * _SMALLEST_FOLD} are needed for {folds} folds and a start"
        )
    labelled = np.flatnonzero(dataset.labelled)
    cuts = [len(usable) * i // (folds + 1) for i in range(1, folds + 2)]
    result = []
    for number in range(folds):
        test = usable[cuts[number] : cuts[number + 1]]
        known = dataset.k[labelled] + dataset.horizon + embargo < dataset.k[test[0]]
        result.append(Fold(number, labelled[known], test))
    return result
