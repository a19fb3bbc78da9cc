"""What every family of models offers to training, and what every fitted model offers to a bundle.

A family is a class in ``ml/predictors/catalogue.py``; the contract suite discovers it there. A predictor sees a ``Dataset``
and the positions that it may learn from. It may read the rows before such a position (models of sequences do), never a
label that is not at one of the positions. What is learnt is ``Dataset.target``: the log return, or the outcome of the task.

A family that cannot do without certain features names them, or their groups, by a method ``required_features(horizon)``: they
join those that the user chose, or the default ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["FittedPredictor", "Predictor"]


@runtime_checkable
class FittedPredictor(Protocol):
    """A model that has learnt."""

    @property
    def sequence(self) -> int:
        """Rows that one score reads, the bar's own row included; 1 for models of a single row."""
        ...

    def scores(self, rows: Rows) -> Floats:
        """Return raw scores; their meaning is the task's: for ``direction``, log odds of a rise before calibration.

        Parameters
        ----------
        rows : float32 array, shape (n + sequence - 1, F)
            Feature rows in time order.

        Returns
        -------
        float64 array, shape (n,)
            One score for each complete window; the same bits whether n rows come at once or one by one.
        """
        ...

    def to_files(self) -> dict[str, bytes]:
        """Return the files of the bundle that hold the model: text, JSON or ONNX, never a pickle."""
        ...

    def importance(self) -> dict[str, float]:
        """Return how much each feature contributes (shares that sum to 1), empty where the family cannot tell."""
        ...


@runtime_checkable
class Predictor(Protocol):
    """A family of models with its parameters resolved; constructed with a mapping of overrides."""

    type_name: ClassVar[str]
    architecture: ClassVar[str]
    """Name that ``--model`` takes where a type has several, such as ``gbm`` or ``lstm``."""
    task: ClassVar[str]
    """What is learnt and how it is judged: ``path``, or a name of ``ml.tasks.catalogue.TASKS``."""
    title: ClassVar[str]
    description: ClassVar[str]
    library: ClassVar[str]
    """Name of the distribution whose version decides the bits, for ``metadata.json``."""

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None: ...

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value, as the recipe records it."""
        ...

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedPredictor:
        """Learn from the labels at ``positions``; the same data, seed and threads give the same files to the byte.

        Raises
        ------
        TrainingFailed
            When the labels hold one class only, no label is there, or no feature varies.
        """
        ...

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ``bot predict`` says under the names of this family, beside the columns of a prediction.

        Parameters
        ----------
        values
            One prediction whose status is OK, by the names of ``ml.predictions.PREDICTION_COLUMNS``.
        context
            The bundle's ``metadata.json`` and the bar: at least ``symbol``, ``timeframe`` and ``horizon``.
        """
        ...

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedPredictor:
        """Read what ``FittedPredictor.to_files`` wrote.

        Raises
        ------
        BrokenModel
            When a file is missing or cannot be parsed.
        """
        ...
