"""A fitted model that scores through the very file that will serve: what is validated is what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.errors import BrokenModel
from ml.onnx_runner import OnnxRunner

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

__all__ = ["ONNX_FILE", "FittedOnnx"]

ONNX_FILE = "model.onnx"


class FittedOnnx:
    """Any model that was exported to ``model.onnx``.

    Parameters
    ----------
    data
        Content of the file.
    importance
        Share of each feature, where the family can tell.
    interrupted
        Whether the fit was stopped by Ctrl-C: such a model is kept, and never promoted.

    Raises
    ------
    BrokenModel
        As ``ml.onnx_runner.OnnxRunner``.
    """

    def __init__(
        self, data: bytes, importance: Mapping[str, float] | None = None, *, interrupted: bool = False
    ) -> None:
        self._data = data
        self._runner = OnnxRunner.from_bytes(data)
        self._importance = dict(importance or {})
        self.interrupted = interrupted

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedOnnx:
        """Read ``model.onnx`` of a bundle."""
        if ONNX_FILE not in files:
            raise BrokenModel(f"{ONNX_FILE} is missing")
        return cls(files[ONNX_FILE])

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self._runner.feature_names

    @property
    def sequence(self) -> int:
        """Rows that one score reads, the bar's own included."""
        return self._runner.sequence

    def scores(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return raw scores of rows (n + sequence - 1, F) as float64 (n,)."""
        return self._runner.scores(rows)

    def to_files(self) -> dict[str, bytes]:
        """Return ``model.onnx``."""
        return {ONNX_FILE: self._data}

    def importance(self) -> dict[str, float]:
        """Return each feature's share, empty where the family cannot tell."""
        return dict(self._importance)
