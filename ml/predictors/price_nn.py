"""The type ``price_nn``: a small dense network that forecasts the return to the horizon, by default one hour ahead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.predictors.basic import check_rows
from ml.predictors.network_parameters import NETWORK, resolve_network
from ml.predictors.network_training import LIMIT, train_network
from ml.predictors.onnx_model import FittedOnnx
from ml.training.onnx_export import Graph, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["PricePredictor"]

_LARGEST_MOVE = 5.0
_PROVEN = 256


class PricePredictor:
    """Two dense layers on one row; the score is the forecast return in units of one bar's volatility.

    What is learnt is the return divided by the volatility of the bar and the square root of the horizon, cut at five; the
    loss is Huber's. Fit and early stopping are those of the sequence networks (``ml.predictors.network_training``).

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see ``ml.predictors.network_parameters``.
    """

    type_name: ClassVar[str] = "price_nn"
    architecture: ClassVar[str] = "mlp"
    task: ClassVar[str] = "price"
    title: ClassVar[str] = "Neural network on the price at the horizon"
    description: ClassVar[str] = (
        "Two dense layers on one row of features; they forecast the return in units of its volatility."
    )
    library: ClassVar[str] = "tensorflow"
    network: ClassVar[bool] = True

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters = resolve_network(NETWORK, overrides)
        self._interrupted = False

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended one of the fits: what was trained is kept, and never promoted."""
        return self._interrupted

    def build(self, keras: Any, features: int) -> Any:
        """Return the Keras model: (n, F) to (n, 1)."""
        units = self._parameters["units"]
        rows = keras.Input((features,))
        state = keras.layers.Dense(units, activation="relu", name="first")(rows)
        state = keras.layers.Dropout(self._parameters["dropout"])(state)
        state = keras.layers.Dense(max(1, units // 2), activation="relu", name="second")(state)
        return keras.Model(rows, keras.layers.Dense(1, name="head", dtype=keras.config.floatx())(state))

    def fit(
        self,
        dataset: Dataset,
        positions: Integers,
        *,
        seed: int,
        threads: int,
        progress: Callable[[float, str], None] | None = None,
    ) -> FittedOnnx:
        """Fit the network to the returns at ``positions``; Ctrl-C is treated as by the sequence networks.

        Raises
        ------
        TrainingFailed
            When labels are missing or of one sign, no feature varies, or the exported network is not the fitted one.
        MissingLibrary, InvalidParameter
            When TensorFlow is not installed, or a GPU is asked for and absent.
        """
        returns, sigma = dataset.returns[positions], dataset.sigma[positions]
        check_rows(dataset.rows[positions], returns, dataset.horizon)
        spread = math.sqrt(dataset.horizon)
        scale = np.where(np.isfinite(sigma) & (sigma > 0), sigma * spread, np.inf)
        trained = train_network(
            dataset,
            positions,
            np.clip(returns / scale, -_LARGEST_MOVE, _LARGEST_MOVE),
            build=self.build,
            loss="huber",
            sequence=1,
            parameters={**self._parameters, "epochs": 1} if self._interrupted else self._parameters,
            seed=seed,
            threads=threads,
            progress=progress,
        )
        self._interrupted = self._interrupted or trained.interrupted
        graph = Graph(dataset.names)
        state = graph.scaled(trained.scaling.center, trained.scaling.spread, LIMIT)
        for name in ("first", "second", "head"):
            kernel, bias = trained.weights[name]
            state = graph.add("Add", graph.add("MatMul", state, graph.constant(kernel)), graph.constant(bias))
            state = state if name == "head" else graph.add("Relu", state)
        data = graph.to_bytes(graph.add("Mul", state, graph.constant(spread)))
        fitted = FittedOnnx(data, interrupted=self._interrupted)
        rows = dataset.rows[
            positions[np.linspace(0, len(positions) - 1, min(len(positions), _PROVEN)).astype(np.int64)]
        ]
        original, exact = (trained.scores(rows, precision) * spread for precision in ("float32", "float64"))
        prove(original, fitted.scores(rows), exact=exact)
        return fitted

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``predicted_price``, the median forecast of the close at the horizon."""
        return {"predicted_price": values["price"]}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedOnnx:
        """Read ``model.onnx``; raises `BrokenModel` when it is missing or damaged."""
        return FittedOnnx.from_files(files)
