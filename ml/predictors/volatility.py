"""The type ``volatility``: LightGBM on how the volatility ahead differs from the exponential average."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import TrainingFailed
from ml.predictors.basic import BasicPredictor, boost
from ml.predictors.parameters import GRADIENT_BOOSTING, ParameterTable
from ml.predictors.training_rows import check_known, check_varied

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset
    from ml.predictors.basic import FittedTrees

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["PARAMETERS", "VolatilityRegressor"]

PARAMETERS = ParameterTable(
    numbers=GRADIENT_BOOSTING.numbers,
    choices={"objective": ("regression",), "metric": GRADIENT_BOOSTING.choices["metric"]},
    aliases=GRADIENT_BOOSTING.aliases,
)
"""Those of gradient boosting; the objective is always least squares on the logarithm."""

_LARGEST_RATIO = 4.0  # logarithms of the ratio are cut here: a market that stood still is no lesson


class VolatilityRegressor:
    """Gradient boosting on ``ln(v / (sigma sqrt(h)))``.

    ``v`` is the realised volatility over the next ``h`` bars, ``sigma`` the exponentially weighted volatility of the bar: the
    trees learn a correction of a good forecast, not its level, and serve markets of any level.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see `PARAMETERS`.
    """

    type_name: ClassVar[str] = "volatility"
    architecture: ClassVar[str] = "gbm"
    task: ClassVar[str] = "volatility"
    title: ClassVar[str] = "Gradient boosting on the volatility of the next hours"
    description: ClassVar[str] = (
        "One LightGBM model of small trees on price, volume and time features; it corrects the exponentially weighted "
        "volatility."
    )
    library: ClassVar[str] = "lightgbm"

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters, given = PARAMETERS.resolve(overrides)
        if self._parameters["bagging_fraction"] < 1 and "bagging_freq" not in given:
            self._parameters["bagging_freq"] = 1

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedTrees:
        """Fit the trees on the rows at ``positions``.

        Parameters
        ----------
        dataset
            Features and labels: ``target`` is the volatility over the horizon, above 0.
        positions : int64 array
            Labelled rows to learn from, in time order.
        seed
            Seeds bagging and feature sampling.
        threads
            Cores for LightGBM; the trees are the same for any number.

        Raises
        ------
        TrainingFailed
            When no row is given, a label is missing or not positive, all are the same, or no feature varies.
        """
        rows, target = np.ascontiguousarray(dataset.rows[positions]), dataset.target[positions]
        check_known(target)
        correction = _correction(target, dataset.sigma[positions], dataset.horizon)
        check_varied(rows)
        return boost(rows, correction, dataset.names, self._parameters, seed=seed, threads=threads)

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``predicted_volatility``, the standard deviation of the log return over the horizon."""
        return {"predicted_volatility": values["volatility"]}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedTrees:
        """Read ``model.txt``."""
        return BasicPredictor.from_files(files)


def _correction(target: Floats, sigma: Floats, horizon: int) -> Floats:
    """Return the logarithm of the realised volatility over that of the exponential average, cut at plus and minus 4."""
    wrong = ~((target > 0) & (sigma > 0))
    if wrong.any():
        raise TrainingFailed(
            f"{int(wrong.sum())} of {len(target)} training rows have no volatility above 0, ahead or behind: "
            "prices stood still"
        )
    if target.min() == target.max():
        raise TrainingFailed(
            f"every one of the {len(target)} training labels is the same: a model of volatility needs different ones; "
            f"train on a longer stretch, or on another horizon than {horizon}"
        )
    ratio: Floats = np.clip(np.log(target / (sigma * math.sqrt(horizon))), -_LARGEST_RATIO, _LARGEST_RATIO)
    return ratio
