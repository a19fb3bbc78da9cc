"""The type ``basic``: one gradient-boosted model of the sign of the next return.

LightGBM in its deterministic mode, one row in, one score out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import BrokenModel
from ml.predictors.parameters import resolve_parameters
from ml.predictors.training_rows import check_classes, check_known, check_varied

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["MODEL_FILE", "BasicPredictor", "FittedTrees", "boost", "check_rows", "lightgbm_settings"]

MODEL_FILE = "model.txt"
_LARGEST_MOVE = 5.0
_BIN_ROWS = 10_000  # rows that the histogram borders are taken from: enough for 63 bins, half the time of all


@dataclass(frozen=True, eq=False)
class FittedTrees:
    """A LightGBM booster; ``threads`` only decides how fast it scores."""

    booster: Any
    names: tuple[str, ...]
    threads: int = 1

    @property
    def model(self) -> Any:
        """The booster, with LightGBM's own ``feature_importance()`` and ``predict()``."""
        return self.booster

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Features in the order of the columns."""
        return self.names

    @property
    def sequence(self) -> int:
        """Rows that one score reads: the bar's own."""
        return 1

    def scores(self, rows: Rows) -> Floats:
        """Return raw scores of rows (n, F) as float64 (n,)."""
        if len(rows) == 0:
            return np.empty(0)
        raw = self.booster.predict(rows, raw_score=True, num_threads=self.threads)
        return np.asarray(raw, dtype=np.float64)

    def to_files(self) -> dict[str, bytes]:
        """Return ``model.txt`` in LightGBM's text format."""
        return {MODEL_FILE: self.booster.model_to_string(num_iteration=-1).encode()}

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain."""
        gain = np.asarray(self.booster.feature_importance("gain"), dtype=np.float64)
        total = float(gain.sum())
        shares = gain / total if total > 0 else np.zeros_like(gain)
        return dict(zip(self.names, shares.tolist(), strict=True))


def lightgbm_settings(parameters: Mapping[str, Any], *, seed: int, threads: int) -> dict[str, Any]:
    """Return what ``lightgbm.train`` takes: the same trees for any number of threads, no words on the screen."""
    return {
        **{name: value for name, value in parameters.items() if name != "num_boost_round"},
        "verbosity": -1,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "bin_construct_sample_cnt": _BIN_ROWS,
    }


def boost(
    rows: Rows, target: Floats, names: tuple[str, ...], parameters: Mapping[str, Any], *, seed: int, threads: int
) -> FittedTrees:
    """Fit ``num_boost_round`` trees.

    Parameters
    ----------
    rows : float32 array, shape (n, F)
        C-contiguous.
    target : float64 array, shape (n,)
        Finite.
    names
        Of the F features.
    parameters
        Of LightGBM, ``num_boost_round`` among them.
    seed, threads
        See ``lightgbm_settings``.
    """
    import lightgbm

    settings = lightgbm_settings(parameters, seed=seed, threads=threads)
    table = lightgbm.Dataset(rows, label=target, feature_name=list(names), params=settings)
    booster = lightgbm.train(settings, table, num_boost_round=parameters["num_boost_round"])
    return FittedTrees(booster, names, threads)


class BasicPredictor:
    """Gradient boosting on the sign of the return ``horizon`` bars ahead.

    With ``objective: regression`` the trees are fitted to the return in units of volatility (cut at five of them); the score
    is calibrated to a probability in the same way.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see ``ml.predictors.parameters``.
    """

    type_name: ClassVar[str] = "basic"
    architecture: ClassVar[str] = "gbm"
    task: ClassVar[str] = "direction"
    title: ClassVar[str] = "Gradient boosting on the direction of the next return"
    description: ClassVar[str] = (
        "One LightGBM model of small trees on price, volume and time features; it states the probability of a rise."
    )
    library: ClassVar[str] = "lightgbm"

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters = resolve_parameters(overrides)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedTrees:
        """Fit the trees on the rows at ``positions``.

        Parameters
        ----------
        dataset
            Features and labels.
        positions : int64 array
            Labelled rows to learn from, in time order.
        seed
            Seeds bagging and feature sampling.
        threads
            Cores for LightGBM. Its deterministic, row-wise mode gives the same trees for any number.

        Raises
        ------
        TrainingFailed
            When no row is given, a label is missing, all labels are of one class, or no feature varies.
        """
        rows, returns = np.ascontiguousarray(dataset.rows[positions]), dataset.returns[positions]
        check_rows(rows, returns, dataset.horizon)
        if self._parameters["objective"] == "regression":
            sigma = dataset.sigma[positions]
            scale = np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.inf)
            target = np.clip(returns / scale, -_LARGEST_MOVE, _LARGEST_MOVE)
        else:
            target = (returns > 0).astype(np.float64)
        return boost(rows, target, dataset.names, self._parameters, seed=seed, threads=threads)

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``predicted_price``, the median forecast of the close at the horizon."""
        return {"predicted_price": values["price"]}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedTrees:
        """Read ``model.txt``."""
        import lightgbm

        if MODEL_FILE not in files:
            raise BrokenModel(f"{MODEL_FILE} is missing")
        try:
            booster = lightgbm.Booster(model_str=files[MODEL_FILE].decode())
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError, ValueError) as error:
            raise BrokenModel(f"{MODEL_FILE} is not a LightGBM model: {error}") from error
        return FittedTrees(booster, tuple(booster.feature_name()))


def check_rows(rows: Rows, returns: Floats, horizon: int) -> None:
    """Refuse what no model of direction can learn from; see ``BasicPredictor.fit``."""
    check_known(returns)
    check_classes(returns > 0, horizon, words=("a rise", "a fall"), purpose="a model of direction")
    check_varied(rows)
