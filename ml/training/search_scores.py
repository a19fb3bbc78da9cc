"""How one trial of a search is scored: what it saved a bar against the simplest baseline, and what its bets returned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.deflation import SharpeFigures, sharpe_figures
from ml.errors import InvalidParameter
from ml.evaluation import bet_returns, counted_forecasts, log_loss, log_loss_gain
from ml.tasks.volatility_figures import qlike

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from ml.record import RiskRecord, VolatilityRecord

    Floats = npt.NDArray[np.float64]

__all__ = ["BLOCKS", "SCORED_TASKS", "Scoring", "Trial", "gains_of", "score_trial"]

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
        Mean loss saved a bar against the task's plainest baseline, in nats or QLIKE.
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


def _risk_gains(record: RiskRecord) -> Floats:
    counted = record.counted
    happened = record.outcome[counted] > 0.5
    gains: Floats = log_loss(record.train_base_rate[counted], happened) - log_loss(record.p_adverse[counted], happened)
    return gains


def _volatility_gains(record: VolatilityRecord) -> Floats:
    counted = record.counted
    realised = record.realised[counted]
    gains: Floats = qlike(realised, record.ewma[counted]) - qlike(realised, record.forecast[counted])
    return gains


@dataclass(frozen=True, slots=True)
class Scoring:
    """How the models of a task are compared in a search.

    Attributes
    ----------
    gains
        The loss saved on each counted bar of a record, float64 (n,), in time order.
    against
        What it is saved against, in words.
    unit
        A thousandth of the loss, as figures are printed.
    bets
        The simple return of a bet on each counted bar; None for tasks without a direction.
    """

    gains: Callable[[Any], Floats]
    against: str
    unit: str
    bets: Callable[[Any], Floats] | None = None


SCORED_TASKS: dict[str, Scoring] = {
    "direction": Scoring(_direction_gains, "the share of rises", "millinats", _direction_bets),
    "price": Scoring(_direction_gains, "the share of rises", "millinats", _direction_bets),
    "risk": Scoring(_risk_gains, "the share of adverse moves", "millinats"),
    "volatility": Scoring(_volatility_gains, "the exponential average", "thousandths of QLIKE"),
}
"""What can be searched, by task."""


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
    return SCORED_TASKS[task].gains(record)


def score_trial(record: Any, task: str, params: Mapping[str, Any], seconds: float) -> Trial:
    """Return the trial that an out-of-sample record of the search folds makes; see ``gains_of`` for what may be raised."""
    gains = gains_of(record, task)
    bets = SCORED_TASKS[task].bets
    pieces = np.array_split(gains, BLOCKS)
    return Trial(
        params=dict(params),
        gain=float(gains.mean()) if len(gains) else float("nan"),
        blocks=tuple(float(piece.mean()) if len(piece) else 0.0 for piece in pieces),
        sharpe=None if bets is None else sharpe_figures(bets(record)),
        count=len(gains),
        seconds=seconds,
    )
