"""How one trial of a search is scored: what it saved a bar against the simplest baseline, and what its bets returned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.deflation import SharpeFigures, sharpe_figures
from ml.errors import InvalidParameter
from ml.evaluation import bet_returns, counted_forecasts, log_loss_gain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["BLOCKS", "SCORED_TASKS", "Trial", "gains_of", "score_trial"]

BLOCKS = 16
"""Pieces of time that a trial's score is kept for."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters and what it showed on the folds of the search.

    Attributes
    ----------
    params
        What was tried; the other parameters are the family's defaults or the user's.
    gain
        Mean loss saved a bar against the base rate (or the task's first baseline), in the task's unit.
    blocks
        The same for each of 16 pieces of time.
    sharpe
        Of bets of one unit on each stated direction, before costs; None for tasks without a direction.
    count
        Scored bars.
    seconds
        How long it took.
    """

    params: dict[str, Any]
    gain: float
    blocks: tuple[float, ...]
    sharpe: SharpeFigures | None
    count: int
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trial:
        """Read what ``to_dict`` returned; raises KeyError, TypeError or ValueError where the form is another."""
        sharpe = data["sharpe"]
        return cls(
            params=dict(data["params"]),
            gain=float(data["gain"]),
            blocks=tuple(float(value) for value in data["blocks"]),
            sharpe=None if sharpe is None else SharpeFigures(**{f.name: sharpe[f.name] for f in fields(SharpeFigures)}),
            count=int(data["count"]),
            seconds=float(data["seconds"]),
        )


def _direction_gains(record: Any) -> Floats:
    return log_loss_gain(counted_forecasts(record), "base_rate")


def _direction_bets(record: Any) -> Floats:
    return bet_returns(counted_forecasts(record))


SCORED_TASKS: dict[str, tuple[Callable[[Any], Floats], Callable[[Any], Floats] | None]] = {
    "direction": (_direction_gains, _direction_bets),
    "price": (_direction_gains, _direction_bets),
}
"""By task: the loss saved on each counted bar of a record, and the return of a bet on it, in time order."""


def gains_of(record: Any, task: str) -> Floats:
    """Return the loss saved on each counted bar, float64 (n,), in time order.

    Raises
    ------
    InvalidParameter
        When models of this task cannot be searched.
    """
    if task not in SCORED_TASKS:
        raise InvalidParameter(
            f"models of the kind {task} cannot be searched: expected one of {', '.join(SCORED_TASKS)}"
        )
    return SCORED_TASKS[task][0](record)


def score_trial(record: Any, task: str, params: Mapping[str, Any], seconds: float) -> Trial:
    """Return the trial that an out-of-sample record of the search folds makes; see ``gains_of`` for what may be raised."""
    gains = gains_of(record, task)
    bets = SCORED_TASKS[task][1]
    pieces = np.array_split(gains, BLOCKS)
    return Trial(
        params=dict(params),
        gain=float(gains.mean()) if len(gains) else float("nan"),
        blocks=tuple(float(piece.mean()) if len(piece) else 0.0 for piece in pieces),
        sharpe=None if bets is None else sharpe_figures(bets(record)),
        count=len(gains),
        seconds=seconds,
    )
