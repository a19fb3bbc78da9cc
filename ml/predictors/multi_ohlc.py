"""The type ``multi_ohlc``: four models of the next candle, iterated together to a path of candles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import BrokenModel, TrainingFailed
from ml.paths.dataset import NEXT_CANDLE, PathDataset
from ml.predictors.basic import BasicPredictor, FittedTrees, check_rows
from ml.predictors.path_trees import fit_trees, resolve_path_parameters
from ml.predictors.training_rows import check_next_returns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["FittedCandles", "MultiOHLCPredictor"]


@dataclass(frozen=True, eq=False)
class FittedCandles:
    """Four boosters, in the order of ``NEXT_CANDLE``."""

    parts: tuple[FittedTrees, ...]

    @property
    def sequence(self) -> int:
        """Rows that one score reads: the bar's own."""
        return 1

    def scores(self, rows: Rows) -> Floats:
        """Return the scores of the close: what the path's returns are made of."""
        return self.parts[-1].scores(rows)

    def all_scores(self, rows: Rows) -> Floats:
        """Return the scores of open gap, upper wick, lower wick and close move, float64 (n, 4)."""
        return np.stack([part.scores(rows) for part in self.parts], axis=1)

    def to_files(self) -> dict[str, bytes]:
        """Return ``open.txt``, ``high.txt``, ``low.txt`` and ``close.txt`` in LightGBM's text format."""
        texts = (next(iter(part.to_files().values())) for part in self.parts)
        return dict(zip(MultiOHLCPredictor.path_files, texts, strict=True))

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain of the close's model."""
        return self.parts[-1].importance()


class MultiOHLCPredictor:
    """Four gradient-boosted models: open gap, close move, and the wicks above and below the body of the next candle.

    Each is learnt as a log ratio in units of the volatility that is known at the bar. Wicks are cut off at 0, so a predicted
    candle is always valid: low <= open, close <= high.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see ``ml.predictors.path_trees.resolve_path_parameters``.
    """

    type_name: ClassVar[str] = "multi_ohlc"
    architecture: ClassVar[str] = "gbm"
    task: ClassVar[str] = "path"
    title: ClassVar[str] = "Path of candles by four gradient-boosted models, iterated"
    description: ClassVar[str] = (
        "Four LightGBM models of the next candle's open, high, low and close in units of volatility, fed with their own "
        "predictions to a path of candles."
    )
    library: ClassVar[str] = "lightgbm"
    path_kind: ClassVar[str] = "ohlc"
    path_files: ClassVar[tuple[str, ...]] = tuple(f"{name}.txt" for name in NEXT_CANDLE)

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters = resolve_path_parameters(overrides)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedCandles:
        """Fit the four models on the rows at ``positions``.

        Parameters
        ----------
        dataset
            A ``PathDataset``: features and the next candles.
        positions : int64 array
            Labelled rows to learn from, in time order.
        seed, threads
            As ``BasicPredictor.fit``.

        Raises
        ------
        TrainingFailed
            When the dataset holds no candles, no row is given, a label is missing, all labels are of one sign, or no feature
            varies.
        """
        if not isinstance(dataset, PathDataset):
            raise TrainingFailed("a model of candles learns from the next candle of each bar, which this dataset lacks")
        rows = np.ascontiguousarray(dataset.rows[positions])
        check_next_returns(dataset.returns[positions])
        check_rows(rows, dataset.returns[positions], dataset.horizon)
        parts = [
            fit_trees(
                rows, dataset.scaled(name)[positions], dataset.names, self._parameters, seed=seed, threads=threads
            )
            for name in NEXT_CANDLE
        ]
        return FittedCandles(tuple(parts))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedCandles:
        """Read the four texts."""
        parts = []
        for name in cls.path_files:
            if name not in files:
                raise BrokenModel(f"{name} is missing")
            try:
                parts.append(BasicPredictor.from_files({"model.txt": files[name]}))
            except BrokenModel as error:
                raise BrokenModel(str(error).replace("model.txt", name)) from error
        return FittedCandles(tuple(parts))

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``predicted_price``, the close at the last trusted step of the path."""
        return {"predicted_price": values["price"]}
