"""What a training run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TrainingSettings", "default_horizon"]


def default_horizon(timeframe: str, task: str = "direction") -> int:
    """Return how many bars ahead a model of this task speaks of unless told otherwise; paths go one bar at a time.

    Raises
    ------
    KeyError
        When no such task is in ``ml.tasks.catalogue``.
    """
    from ml.tasks.catalogue import PATH, TASKS

    return 1 if task == PATH else TASKS[task].default_horizon(timeframe)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Settings of one training run; the recipe in ``metadata.json`` records them.

    Attributes
    ----------
    horizon
        Bars ahead that the model speaks of.
    features
        Names of features, or None for the default features of the timeframe.
    parameters
        Parameters of the predictor that differ from its defaults.
    folds
        Test pieces of the walk forward.
    embargo
        Indices between the last label of a fold's training rows and its test, beyond the purge.
    seed
        Seeds the predictor.
    threads
        Cores for fitting.
    plots
        Whether to draw the diagnostics.
    exchange
        Source of the candles, for the record.
    sentiment
        Name of the series of sentiment that was joined to the candles, for the record; None where none was.
    architecture
        Which model of the type, such as ``lstm``; None for the type's default.
    robustness
        Whether to measure the model under noise, a shift, shuffled labels and by regime.
    searched_trials
        How many sets of parameters were tried on this series and family before these were chosen, for the record; 0 where
        no search was made.
    first_ms
        Open time of the first bar to learn from; earlier candles only warm its features. None for the first of all.
    """

    horizon: int = 1
    features: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    folds: int = 5
    embargo: int = 0
    seed: int = 0
    threads: int = 1
    plots: bool = True
    exchange: str | None = None
    sentiment: str | None = None
    architecture: str | None = None
    robustness: bool = True
    searched_trials: int = 0
    first_ms: int | None = None

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        for name, low, high in (("horizon", 1, 10_000), ("folds", 2, 50), ("threads", 1, 1_024)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidParameter(f"{name} is {value}, expected {low} to {high}")
        if self.embargo < 0 or not 0 <= self.seed < 2**31:
            raise InvalidParameter(f"embargo ({self.embargo}) and seed ({self.seed}) may not be negative or above 2^31")
