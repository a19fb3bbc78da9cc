"""The type ``autoregressive``: one model of the next close, iterated on its own predictions to a path of closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.paths.dataset import LARGEST_MOVE
from ml.predictors.basic import BasicPredictor, FittedTrees, check_rows
from ml.predictors.path_trees import fit_trees, resolve_path_parameters
from ml.predictors.training_rows import check_next_returns

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Integers = npt.NDArray[np.int64]

__all__ = ["AutoregressivePricePredictor"]


class AutoregressivePricePredictor:
    """Gradient boosting of the next log return, in units of the volatility that is known at the bar (cut at five of them).

    The forecast is fed back as the next close, ``n_steps_ahead`` times. A level of the price is never learnt: its R2 is
    near 1 for any forecast, and a tree cannot say a price that it has not seen.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see ``ml.predictors.path_trees.resolve_path_parameters``.
    """

    type_name: ClassVar[str] = "autoregressive"
    architecture: ClassVar[str] = "gbm"
    task: ClassVar[str] = "path"
    title: ClassVar[str] = "Path of closes by gradient boosting, iterated"
    description: ClassVar[str] = (
        "One LightGBM model of the next return in units of volatility, fed with its own predictions to a path of closes."
    )
    library: ClassVar[str] = "lightgbm"
    path_kind: ClassVar[str] = "close"
    """Kind of the path; see ``ml.paths.rollout``."""
    path_files: ClassVar[tuple[str, ...]] = ("model.txt",)
    """The forests of the path, in the order that ``PathModel`` takes."""

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters = resolve_path_parameters(overrides)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedTrees:
        """Fit the trees on the rows at ``positions``.

        Parameters
        ----------
        dataset
            Features and returns to the next close.
        positions : int64 array
            Labelled rows to learn from, in time order.
        seed, threads
            As ``BasicPredictor.fit``.

        Raises
        ------
        TrainingFailed
            When no row is given, a label is missing, all labels are of one sign, or no feature varies.
        """
        rows, returns = np.ascontiguousarray(dataset.rows[positions]), dataset.returns[positions]
        check_next_returns(returns)
        check_rows(rows, returns, dataset.horizon)
        sigma = dataset.sigma[positions]
        scale = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.inf)
        target = np.clip(returns / scale, -LARGEST_MOVE, LARGEST_MOVE)
        return fit_trees(rows, target, dataset.names, self._parameters, seed=seed, threads=threads)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedTrees:
        """Read ``model.txt``."""
        return BasicPredictor.from_files(files)

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``predicted_price``, the close at the last trusted step of the path."""
        return {"predicted_price": values["price"]}
