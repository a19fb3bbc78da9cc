"""The type ``basic`` as a network: ``--model lstm`` and ``--model tcn`` read windows of feature rows.

Both see the last ``sequence_length`` rows of a bar and state the log odds of a rise. They are fitted by TensorFlow and served
as ONNX graphs with the scaling of the rows inside.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.predictors.basic import BasicPredictor, check_rows
from ml.predictors.network_parameters import SEQUENCE_NETWORK, resolve_network
from ml.predictors.network_training import LIMIT, Trained, train_network
from ml.predictors.onnx_model import FittedOnnx
from ml.training.onnx_export import Graph, prove

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["ConvolutionPredictor", "RecurrentPredictor", "SequencePredictor"]

_KERNEL = 3
_PROVEN = 64  # windows that are scored by the network and by its export


class SequencePredictor(ABC):
    """What both sequence networks share.

    With the defaults the network is small and stops early: at most 300 epochs of at most 4,096 windows, and five epochs
    without a better loss end it, so that years of hourly candles take minutes on one core and not hours.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see ``ml.predictors.network_parameters``.
    """

    task: ClassVar[str] = "direction"
    library: ClassVar[str] = "tensorflow"
    network: ClassVar[bool] = True

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters = resolve_network(SEQUENCE_NETWORK, overrides)
        self._interrupted = False

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended one of the fits: what was trained is kept, and never promoted."""
        return self._interrupted

    @abstractmethod
    def build(self, keras: Any, features: int) -> Any:
        """Return the Keras model: (n, sequence, F) to (n, 1)."""

    @abstractmethod
    def write(self, graph: Graph, rows: str, weights: Mapping[str, list[npt.NDArray[np.float32]]]) -> str:
        """Add the network to a graph whose scaled rows are named, and return its output."""

    def fit(
        self,
        dataset: Dataset,
        positions: Integers,
        *,
        seed: int,
        threads: int,
        progress: Callable[[float, str], None] | None = None,
    ) -> FittedOnnx:
        """Fit the network to the windows that end at ``positions``.

        Ctrl-C ends the epoch: the best weights so far are kept and the model is marked ``interrupted``. Later fits of this
        predictor (the other folds of a walk forward) then take one epoch each; a second Ctrl-C there ends the program.

        Raises
        ------
        TrainingFailed
            When labels are missing or of one class, no feature varies, or the exported network is not the fitted one.
        NotEnoughBars
            When no bar has a whole window before it.
        MissingLibrary, InvalidParameter
            When TensorFlow is not installed, or a GPU is asked for and absent.
        """
        returns = dataset.returns[positions]
        check_rows(dataset.rows[positions], returns, dataset.horizon)
        settings = {**self._parameters, "epochs": 1} if self._interrupted else self._parameters
        sequence = int(settings["sequence_length"])
        trained = train_network(
            dataset,
            positions,
            (returns > 0).astype(np.float64),
            build=self.build,
            loss="logistic",
            sequence=sequence,
            parameters=settings,
            seed=seed,
            threads=threads,
            progress=progress,
        )
        self._interrupted = self._interrupted or trained.interrupted
        graph = Graph(dataset.names, sequence)
        scaled = graph.scaled(trained.scaling.center, trained.scaling.spread, LIMIT)
        fitted = FittedOnnx(graph.to_bytes(self.write(graph, scaled, trained.weights)), interrupted=self._interrupted)
        _prove(fitted, trained, dataset, positions)
        return fitted

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``predicted_price``, as for the trees of this type."""
        return BasicPredictor.answer(values, context)

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedOnnx:
        """Read ``model.onnx``; raises `BrokenModel` when it is missing or damaged."""
        return FittedOnnx.from_files(files)


class RecurrentPredictor(SequencePredictor):
    """One LSTM layer (Hochreiter and Schmidhuber 1997), whose last state gives the score."""

    type_name: ClassVar[str] = "basic"
    architecture: ClassVar[str] = "lstm"
    title: ClassVar[str] = "LSTM network on the direction of the next return"
    description: ClassVar[str] = (
        "One small LSTM that reads a window of feature rows; it states the probability of a rise."
    )

    def build(self, keras: Any, features: int) -> Any:
        """Return the Keras model: (n, sequence, F) to (n, 1)."""
        rows = keras.Input((self._parameters["sequence_length"], features))
        state = keras.layers.LSTM(self._parameters["units"], name="lstm")(rows)
        state = keras.layers.Dropout(self._parameters["dropout"])(state)
        return keras.Model(rows, keras.layers.Dense(1, name="head", dtype=keras.config.floatx())(state))

    def write(self, graph: Graph, rows: str, weights: Mapping[str, list[npt.NDArray[np.float32]]]) -> str:
        """Add the LSTM (ONNX orders the gates i, o, f, c; Keras i, f, c, o) and the last layer."""
        kernel, recurrent, bias = (_gates(part) for part in weights["lstm"])
        state = graph.add(
            "LSTM",
            graph.add("Transpose", rows, perm=[1, 0, 2]),
            graph.constant(kernel.T[None]),
            graph.constant(recurrent.T[None]),
            graph.constant(np.concatenate((bias, np.zeros_like(bias)))[None]),
            outputs=2,
            hidden_size=recurrent.shape[0],
        )
        units = graph.add("Reshape", state, graph.constant([-1, recurrent.shape[0]], np.int64))
        return _head(graph, units, weights)


class ConvolutionPredictor(SequencePredictor):
    """Dilated causal convolutions (Bai, Kolter and Koltun 2018) until the last one sees the whole window."""

    type_name: ClassVar[str] = "basic"
    architecture: ClassVar[str] = "tcn"
    title: ClassVar[str] = "Convolutional network on the direction of the next return"
    description: ClassVar[str] = (
        "A few dilated causal convolutions that read a window of feature rows; they state the probability of a rise."
    )

    @property
    def dilations(self) -> tuple[int, ...]:
        """Dilation of each layer: 1, 2, 4, ... until the receptive field covers the window."""
        length = int(self._parameters["sequence_length"])
        layers = max(1, math.ceil(math.log2((length - 1) / (_KERNEL - 1) + 1)))
        return tuple(2**i for i in range(layers))

    def build(self, keras: Any, features: int) -> Any:
        """Return the Keras model: (n, sequence, F) to (n, 1)."""
        units = self._parameters["units"]
        rows = keras.Input((self._parameters["sequence_length"], features))
        state = keras.layers.Conv1D(units, 1, name="entry")(rows)
        for i, dilation in enumerate(self.dilations):
            layer = keras.layers.Conv1D(units, _KERNEL, padding="causal", dilation_rate=dilation, name=f"conv{i}")
            state = keras.layers.Add()([state, keras.layers.ReLU()(layer(state))])
        state = keras.layers.Dropout(self._parameters["dropout"])(state[:, -1])
        return keras.Model(rows, keras.layers.Dense(1, name="head", dtype=keras.config.floatx())(state))

    def write(self, graph: Graph, rows: str, weights: Mapping[str, list[npt.NDArray[np.float32]]]) -> str:
        """Add the convolutions, channels first, padded on the left only, and the last layer."""
        state = _convolution(graph, graph.add("Transpose", rows, perm=[0, 2, 1]), weights["entry"], 1)
        for i, dilation in enumerate(self.dilations):
            inner = graph.add("Relu", _convolution(graph, state, weights[f"conv{i}"], dilation))
            state = graph.add("Add", state, inner)
        newest = graph.add("Gather", state, graph.constant(-1, np.int64), axis=2)
        return _head(graph, newest, weights)


def _gates(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Put the last axis, four gates side by side, from Keras's order into that of ONNX."""
    i, f, c, o = np.split(array, 4, axis=-1)
    return np.concatenate((i, o, f, c), axis=-1)


def _convolution(graph: Graph, rows: str, weights: list[npt.NDArray[np.float32]], dilation: int) -> str:
    kernel, bias = weights
    padding = [dilation * (kernel.shape[0] - 1), 0]
    constants = graph.constant(kernel.transpose(2, 1, 0)), graph.constant(bias)
    return graph.add("Conv", rows, *constants, dilations=[dilation], pads=padding)


def _head(graph: Graph, units: str, weights: Mapping[str, list[npt.NDArray[np.float32]]]) -> str:
    kernel, bias = weights["head"]
    return graph.add("Add", graph.add("MatMul", units, graph.constant(kernel)), graph.constant(bias))


def _prove(fitted: FittedOnnx, trained: Trained, dataset: Dataset, positions: Integers) -> None:
    """Compare network and export on windows that are spread over the training bars."""
    windows = dataset.windows(fitted.sequence)
    bars = positions[windows.complete[positions]]
    chosen = bars[np.linspace(0, len(bars) - 1, min(len(bars), _PROVEN)).astype(np.int64)]
    taken = [dataset.rows[windows.rows(int(bar), int(bar))] for bar in chosen]
    original, exact = (trained.scores(np.stack(taken), precision) for precision in ("float32", "float64"))
    prove(original, np.concatenate([fitted.scores(rows) for rows in taken]), exact=exact)
