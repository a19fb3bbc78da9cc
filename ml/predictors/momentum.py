"""The type ``momentum``: a support vector machine that says whether the last move goes on or turns back.

The question is asked of signs: over the next ``horizon`` bars, does the price move on in the direction of the last
``horizon`` bars (accelerating), or against it (decelerating)? The literal question, whether the next move will be larger than
the last, is no forecast: on a random walk the answer "smaller after a large move, larger after a small one" is right three
times in four, for anybody, because the last move is known and the next is drawn anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import InvalidParameter, TrainingFailed, UnknownFeature
from ml.features.catalogue import feature
from ml.predictors.basic import check_rows
from ml.predictors.libraries import load
from ml.predictors.network_training import LIMIT, fit_scaling
from ml.predictors.onnx_model import FittedOnnx
from ml.predictors.parameters import ParameterTable, Range
from ml.predictors.training_rows import check_classes
from ml.training.onnx_export import INPUT, Graph, prove

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["SVM", "MomentumClassifier"]

SVM = ParameterTable(
    numbers={
        "C": Range(0.1, 0, 1e6, above=True),
        "gamma": Range(0.0, 0, 1e6),
        "max_rows": Range(5_000, 2, 5_000, whole=True),
    }
)
"""``gamma`` 0 stands for one divided by the number of features; ``max_rows`` keeps the model below 5 MB."""

_STRETCH = 4  # rows are taken from the newest so many times max_rows
_PROVEN = 256
_REGISTER = 16  # numbers, at least as many as a vector register holds


class MomentumClassifier:
    """A support vector machine with a Gaussian kernel on rows that are mirrored where the last move was a fall.

    A row is scaled and multiplied by the sign of its own past return (the feature ``log_return_h``); the machine learns
    whether the next return has the same sign, and its score, multiplied by that sign again, speaks of a rise. So a market
    that is turned upside down gives the forecast turned upside down, and rises and falls teach the same lesson. Mirroring,
    scaling and kernel are all inside the ONNX graph. The decision function is the score: its calibration is the slope map of
    every model of direction, not Platt's.

    At most 5,000 rows are learnt from, evenly taken from the newest 20,000: nearly every row of a weak signal becomes a
    support vector, and the model must stay small.

    Parameters
    ----------
    overrides
        ``C``, ``gamma`` and ``max_rows`` where they differ from the defaults.
    """

    type_name: ClassVar[str] = "momentum"
    architecture: ClassVar[str] = "svm"
    task: ClassVar[str] = "direction"
    title: ClassVar[str] = "Support vector machine on the last move going on or turning back"
    description: ClassVar[str] = (
        "A support vector machine with a Gaussian kernel; it states the probability that the last move goes on."
    )
    library: ClassVar[str] = "scikit-learn"

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters, _ = SVM.resolve(overrides)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    @staticmethod
    def required_features(horizon: int) -> tuple[str, ...]:
        """Return the feature whose sign tells the direction of the last move.

        Raises
        ------
        InvalidParameter
            When no such feature reaches so far back.
        """
        name = f"log_return_{horizon}"
        try:
            feature(name)
        except UnknownFeature as error:
            raise InvalidParameter(
                f"horizon is {horizon}: momentum asks whether the move of the last {horizon} bars goes on, and no feature "
                "looks back so far; use a shorter --horizon"
            ) from error
        return (name,)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedOnnx:  # noqa: ARG002
        """Fit the machine to the rows at ``positions``; nothing is drawn, so ``seed`` and ``threads`` change nothing.

        Raises
        ------
        TrainingFailed
            When labels are missing or of one class, no feature varies, the rows lack the past return, or the exported machine
            is not the fitted one.
        MissingLibrary
            When scikit-learn is not installed.
        """
        check_rows(dataset.rows[positions], dataset.returns[positions], dataset.horizon)
        (name,) = self.required_features(dataset.horizon)
        if name not in dataset.names:
            raise TrainingFailed(f"the features lack {name}, whose sign tells the last move: add it to --features")
        column = dataset.names.index(name)
        moved = np.abs(dataset.rows[positions, column]) > 0  # neither NaN nor a price that stood still
        chosen = _thinned(positions[moved], int(self._parameters["max_rows"]))
        if len(chosen) == 0:
            raise TrainingFailed(
                f"{name} is 0 or unknown on every training row: there is no last move that could go on"
            )
        rows = dataset.rows[chosen]
        scaling = fit_scaling(rows)
        past = np.sign(rows[:, column])
        mirrored = scaling.apply(rows) * past[:, None]
        goes_on = np.sign(dataset.returns[chosen]) == past
        check_classes(
            goes_on, dataset.horizon, words=("a move that goes on", "a move that turns back"), purpose="momentum"
        )
        svm = load("sklearn.svm")
        gamma = float(self._parameters["gamma"]) or 1.0 / rows.shape[1]
        machine = svm.SVC(C=self._parameters["C"], kernel="rbf", gamma=gamma, cache_size=500, class_weight="balanced")
        machine.fit(mirrored.astype(np.float64), goes_on)
        graph = Graph(dataset.names)
        scaled = graph.scaled(scaling.center, scaling.spread, LIMIT)
        fitted = FittedOnnx(graph.to_bytes(_write(graph, scaled, column, machine, gamma)))
        known = slice(None, None, max(1, len(rows) // _PROVEN))
        original = machine.decision_function(mirrored[known].astype(np.float64)) * past[known]
        weight = float(np.sqrt(np.sum(np.square(machine.dual_coef_))))  # what thousands of rounded terms come to
        prove(original / weight, fitted.scores(rows[known]) / weight, what="the support vector machine")
        return fitted

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``state``: ``accelerating`` where the forecast has the sign of the last move, else ``decelerating``.

        The sign is read from ``context["features"]``, the bar's feature row by name; without it, or where the price stood
        still, ``state`` is None.
        """
        name = cls.required_features(int(context["horizon"]))[0]
        past = float((context.get("features") or {}).get(name, float("nan")))
        if not abs(past) > 0:
            return {"state": None}
        return {"state": "accelerating" if (past > 0) == (values["direction"] > 0) else "decelerating"}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedOnnx:
        """Read ``model.onnx``; raises `BrokenModel` when it is missing or damaged."""
        return FittedOnnx.from_files(files)


def _thinned(positions: Integers, most: int) -> Integers:
    """Return at most so many of the newest positions, evenly chosen."""
    newest = positions[-_STRETCH * most :]
    chosen: Integers = newest[np.linspace(0, len(newest) - 1, min(len(newest), most)).astype(np.int64)]
    return chosen


def _write(graph: Graph, scaled: str, column: int, machine: Any, gamma: float) -> str:
    """Add mirroring and kernel: ``sign * (sum_i a_i exp(-gamma |z - z_i|^2) + b)`` with ``z = sign * row``.

    Exponents and sum are in double: the weights are listed positive ones first, and float32 loses the small difference
    of their large sums. Support vectors are filled up to whole vector registers, since the last few numbers of an array go
    through another exponential. ``|z|^2`` is a product with ones, for reductions round by where in memory a row begins.
    """
    past = graph.add("Gather", INPUT, graph.constant([column], np.int64), axis=1)
    sign = graph.add("Sign", graph.add("Where", graph.add("IsNaN", past), graph.constant(np.zeros(1)), past))
    vectors = np.asarray(machine.support_vectors_, dtype=np.float32)
    missing = -len(vectors) % _REGISTER
    weights = np.pad(np.asarray(machine.dual_coef_, dtype=np.float64)[0], (0, missing))[:, None]
    vectors = np.pad(vectors, ((0, missing), (0, 0)))
    lengths = -gamma * np.sum(vectors.astype(np.float64) ** 2, axis=1)[None]
    single = graph.add("Mul", scaled, sign)
    mirrored = graph.double(single)
    products = graph.double(graph.add("MatMul", single, graph.constant(vectors.T)))
    ones = graph.constant(np.ones((vectors.shape[1], 1)), np.float64)
    own = graph.add("MatMul", graph.add("Mul", mirrored, mirrored), ones)
    exponent = graph.add("Mul", products, graph.constant(2 * gamma, np.float64))
    exponent = graph.add("Add", exponent, graph.constant(lengths, np.float64))
    exponent = graph.add("Add", exponent, graph.add("Mul", own, graph.constant(-gamma, np.float64)))
    score = graph.add("MatMul", graph.add("Exp", exponent), graph.constant(weights, np.float64))
    intercept = graph.constant(np.asarray(machine.intercept_), np.float64)
    return graph.add("Mul", graph.add("Add", score, intercept), graph.double(sign))
