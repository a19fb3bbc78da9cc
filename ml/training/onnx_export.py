"""ONNX graphs of trained models: written operator by operator, stamped with what serving needs, and proven on rows.

Networks and vector machines are written here from their weights. A converter would take seconds for each of the fits of a
walk forward and name its nodes by counters, so that the same weights would give other bytes; that the graph is the model is
proven on rows in either case. Trees are not exported to ONNX at all: see ``ml/training/tree_export.py``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import TrainingFailed
from ml.onnx_runner import FEATURES_KEY, SEQUENCE_KEY
from ml.predictors.libraries import load

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]

__all__ = ["INPUT", "IR_VERSION", "OPSET", "Graph", "prove"]

OPSET = 15
"""Version of the operators of every graph."""
IR_VERSION = 8
INPUT = "rows"
_OUTPUT = "score"
_ROUNDINGS = 8  # the same sums in another order round about as far: 0.6 to 2.4 times in 60 fits


class Graph:
    """A graph under construction; its nodes are numbered in the order in which they are added.

    Parameters
    ----------
    names
        Features, in the order of the columns.
    sequence
        Rows of one window; the input is (n, F) for 1 and (n, sequence, F) otherwise.
    """

    def __init__(self, names: Sequence[str], sequence: int = 1) -> None:
        self._onnx = load("onnx")
        self._names = tuple(names)
        self._sequence = sequence
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        """Add an array and return its name."""
        name = f"c{len(self._constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)) if np.ndim(value) else np.array(value, dtype=dtype)
        self._constants.append(self._onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node and return the name of its last output; an empty name leaves an optional input out."""
        base = f"v{len(self._nodes)}"
        results = [""] * (outputs - 1) + [base]
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), results, **attributes))
        return base

    def double(self, value: str) -> str:
        """Add a cast to float64 and return its result."""
        return self.add("Cast", value, to=self._onnx.TensorProto.DOUBLE)

    def scaled(self, center: Floats, spread: Floats, limit: float) -> str:
        """Add the preparation of the rows and return its result: centred, divided, cut at ``limit``, NaN becomes 0.

        Parameters
        ----------
        center, spread : float arrays, shape (F,)
            Frozen numbers of the training rows; a spread of 0 makes its feature 0 throughout.
        limit
            Largest absolute value, in spreads.
        """
        factor = np.divide(1.0, spread, out=np.zeros(len(spread)), where=spread > 0)
        moved = self.add("Sub", INPUT, self.constant(center))
        value = self.add("Mul", moved, self.constant(factor))
        known = self.add("Where", self.add("IsNaN", value), self.constant(np.zeros(1)), value)
        return self.add("Clip", known, self.constant(-limit), self.constant(limit))

    def to_bytes(self, output: str, extra: Mapping[str, str] | None = None) -> bytes:
        """Return the file whose score is ``output``, an array of n numbers in any shape; the same graph gives the same bytes.

        ``extra`` are further entries of the metadata.
        """
        helper, kinds = self._onnx.helper, self._onnx.TensorProto
        shape = self.constant(np.array([-1]), np.int64)
        self._nodes.append(helper.make_node("Reshape", [output, shape], ["flat"]))
        self._nodes.append(helper.make_node("Cast", ["flat"], [_OUTPUT], to=kinds.DOUBLE))
        width = [len(self._names)] if self._sequence == 1 else [self._sequence, len(self._names)]
        graph = helper.make_graph(
            self._nodes,
            "model",
            [helper.make_tensor_value_info(INPUT, kinds.FLOAT, ["n", *width])],
            [helper.make_tensor_value_info(_OUTPUT, kinds.DOUBLE, ["n"])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        entries = {**(extra or {}), FEATURES_KEY: json.dumps(self._names), SEQUENCE_KEY: str(self._sequence)}
        helper.set_model_props(model, dict(sorted(entries.items())))
        return bytes(model.SerializeToString(deterministic=True))


def prove(
    original: Floats,
    exported: Floats,
    *,
    exact: Floats | None = None,
    tolerance: float = 1e-6,
    what: str = "the network",
) -> float:
    """Check that an exported model says what the original says, and return the largest difference.

    Parameters
    ----------
    original, exported : float64 arrays, shape (n,)
        Scores of the same rows.
    exact : float64 array, shape (n,), optional
        The original, computed in double precision. How far float32 rounds depends on the depth of a network, on its weights
        and on the processor; with this given, the export is compared with it instead, and may be as far from it as a few
        times the rounding that the original itself shows.
    tolerance
        Difference that is always allowed, in units of the largest score (of 1 where all are smaller).

    Raises
    ------
    TrainingFailed
        When a score differs by more, or is not finite: such a model is never registered.
    """
    truth = original if exact is None else exact
    if original.shape != exported.shape or not all(np.isfinite(each).all() for each in (original, exported, truth)):
        raise TrainingFailed(f"{what} gives scores that are not finite: lower the learning rate")
    worst = float(np.max(np.abs(truth - exported), initial=0.0))
    rounding = float(np.max(np.abs(truth - original), initial=0.0))
    allowed = max(tolerance * max(1.0, float(np.max(np.abs(truth), initial=0.0))), _ROUNDINGS * rounding)
    if worst > allowed:
        raise TrainingFailed(
            f"the exported model is not {what} that was trained: a score differs by {worst:.2g}, at most {allowed:.2g} is "
            "allowed; nothing is registered"
        )
    return worst
