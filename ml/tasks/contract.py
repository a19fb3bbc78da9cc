"""What differs between the kinds of target, so that training stays one flow.

A task says what is learnt from candles, what somebody without a model would have said, how raw scores become published
numbers, and how the out-of-sample record is judged. Everything else (folds, fitting, files, the gate) is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.publishing import Publisher

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["Baseline", "GateWords", "Record", "Task"]


@runtime_checkable
class Baseline(Protocol):
    """What the training rows say without a model."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for ``metrics.json``."""
        ...


@runtime_checkable
class Record(Protocol):
    """Predictions of bars by models that had not seen them, in time order; columns are attributes of one length."""

    def __len__(self) -> int: ...

    @property
    def scored(self) -> Flags:
        """Rows with a known outcome whose label intervals do not overlap."""
        ...

    @property
    def counted(self) -> Flags:
        """Scored rows of the calibrated folds (all but fold 0): what skill is measured on."""
        ...

    def to_parquet(self) -> bytes:
        """Return the file's bytes."""
        ...


@dataclass(frozen=True, slots=True)
class GateWords:
    """How the verdict of a task is put into words.

    Attributes
    ----------
    baselines
        Each baseline of the figures' ``gain``, in the order of the tests, as a sentence names it.
    measured
        Says in half a sentence what the figures show.
    won
        What a promoted model did, and what that does not mean.
    advice
        What to try where a model did no better than a baseline.
    """

    baselines: Mapping[str, str]
    measured: Callable[[Mapping[str, Any]], str]
    won: str
    advice: str


@runtime_checkable
class Task(Protocol):
    """One kind of target; the classes of ``ml/tasks/catalogue.py``."""

    name: ClassVar[str]
    features: ClassVar[tuple[str, ...]]
    """Features that labels, baselines or publisher read: they are added to those that the user names."""
    words: ClassVar[GateWords]
    unit: ClassVar[str]
    """Unit of the loss that the gate compares, such as ``nats``."""

    def default_horizon(self, timeframe: str) -> int:
        """Return how many bars ahead a model of this task speaks of unless told otherwise."""
        ...

    def target(self, candles: Candles, dataset: Dataset, parameters: Mapping[str, Any]) -> Floats | None:
        """Return what is learnt, float64 (n,), NaN where it is not known; None where it is the log return itself.

        Parameters
        ----------
        candles
            The candles of the dataset, position by position.
        dataset
            Features, returns and indices; its target is not set yet.
        parameters
            Of the predictor: some of them define the label.

        Raises
        ------
        TrainingFailed
            When the request makes no sense for these candles.
        """
        ...

    def fit_baselines(self, dataset: Dataset, positions: Integers) -> Any:
        """Return the baselines of the training rows at ``positions``: a `Baseline`."""
        ...

    def read_baselines(self, data: Mapping[str, Any]) -> Any:
        """Return the baselines that a bundle was made with, from the ``baselines`` of its ``metrics.json``.

        Raises
        ------
        BrokenModel
            When a number is missing or of another type.
        """
        ...

    def reach(self, horizon: int) -> tuple[int, int]:
        """Return how far back `outcomes` of a bar read, besides its own row.

        Returns
        -------
        rows : int
            The oldest row of features, in indices before the bar.
        candles : int
            The oldest candle, in candles before the bar.
        """
        ...

    def outcomes(self, dataset: Dataset, positions: Integers, baselines: Any) -> dict[str, Floats]:
        """Return the columns of the record that need no model: what happened, and what the baselines said."""
        ...

    def fit_publisher(self, past: Mapping[str, Floats], baselines: Any, *, horizon: int) -> Publisher:
        """Fit the published numbers on scored rows of the record whose labels are known, in time order.

        Parameters
        ----------
        past
            Columns of the record: ``raw_score``, ``sigma`` and those of ``outcomes``.
        baselines
            Of the rows that the model to be published was fitted on.
        """
        ...

    def stated(self, part: Mapping[str, Floats], publisher: Publisher | None) -> dict[str, Floats]:
        """Return the columns of the record that the model states; NaN where there is no publisher (the first fold)."""
        ...

    def record(self, columns: Mapping[str, Any]) -> Record:
        """Return the record of these columns."""
        ...

    def evaluate(self, record: Any) -> dict[str, Any]:
        """Return the figures of the counted rows; ``n`` and ``gain`` by baseline are what the gate reads."""
        ...

    def performance(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures that ``metadata.json`` holds under ``performance``."""
        ...

    def question(self, document: Mapping[str, Any]) -> str:
        """Return the question that the model answers, for its card; ``document`` is ``metadata.json``."""
        ...

    def headline(self, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return rows (what, measured, beside) of the figures that matter, in words."""
        ...

    def tables(self, figures: Mapping[str, Any]) -> list[str]:
        """Return further tables of the card as lines of Markdown."""
        ...

    def training_words(self, baselines: Mapping[str, Any]) -> str:
        """Return what the card says of the labels, from the baselines' plain data."""
        ...

    def limits(self, document: Mapping[str, Any]) -> str:
        """Return what the model must not be used for."""
        ...

    def plots(self, record: Any, figures: Mapping[str, Any], *, title: str) -> dict[str, bytes]:
        """Return the task's own diagnostics as PNG files."""
        ...
