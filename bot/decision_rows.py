"""Rows of the decision journal as values: what was known at a bar, what was decided, and what was ordered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.broker.records import Fill, Rejection
    from strategies.decision import Decision

__all__ = ["DecisionRow", "PlacedOrder", "RecordedPrediction"]


@dataclass(frozen=True, slots=True)
class RecordedPrediction:
    """What the model of one role said of a bar, and what it said it from.

    Attributes
    ----------
    model : str
        ``SYMBOL/TYPE@VERSION``, or ``no model``.
    version, digest : str or None
        Of the bundle; None without one.
    status : str
        Why there is an answer or none, such as ``ok`` or ``warming``.
    values : tuple of 9 floats
        In the order of ``PREDICTION_COLUMNS``; NaN where nothing is said, and throughout where only paths are read.
    fingerprint, features : str
        Hex digests of the candles and of the feature rows (``PredictionEngine.evidence``); empty where there are no features.
    path : dict or None
        What ``MLForecast`` read of the path, by name of its line; None where the strategy reads none.
    """

    model: str
    version: str | None
    digest: str | None
    status: str
    values: tuple[float, ...]
    fingerprint: str
    features: str
    path: dict[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse values of another number than the columns have."""
        if len(self.values) != len(PREDICTION_COLUMNS):
            raise ValueError(f"{len(self.values)} values of a prediction, expected {len(PREDICTION_COLUMNS)}")


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that the strategy placed at a close.

    Attributes
    ----------
    number : int
        Of the order within the run, from 1.
    side, kind : str
        ``buy`` or ``sell``; ``market``, ``limit``, ``stop``, ...
    size : float
        Base currency, positive; in lots, unless it was refused.
    price, limit : float or None
        What was asked for, quote currency; None at the market.
    stop_loss, take_profit : float or None
        Distances of the resting orders that are to guard the position, fractions of its price.
    refused : str
        Why the broker refused it at once; empty where it did not.
    """

    number: int
    side: str
    kind: str
    size: float
    price: float | None
    limit: float | None
    stop_loss: float | None
    take_profit: float | None
    refused: str


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """One bar of the journal.

    Attributes
    ----------
    symbol, timeframe : str
        Whose bar it is.
    open_ms : int
        Open time of the bar, milliseconds UTC.
    candle : dict
        ``open``, ``high``, ``low``, ``close`` and ``volume``.
    predictions : dict of RecordedPrediction
        By role, in the order of the strategy's.
    decision : Decision or None
        None of a strategy that does not tell.
    orders : tuple of PlacedOrder
        Placed at this close.
    fills : tuple of Fill
        Booked since the close before.
    refusals : tuple of Rejection
        Orders refused since the close before, those of this close included.
    position, cash, value : float
        The account after the close: base currency, quote currency, quote currency.
    """

    symbol: str
    timeframe: str
    open_ms: int
    candle: dict[str, float]
    predictions: dict[str, RecordedPrediction]
    decision: Decision | None
    orders: tuple[PlacedOrder, ...]
    fills: tuple[Fill, ...]
    refusals: tuple[Rejection, ...]
    position: float
    cash: float
    value: float

    @property
    def close(self) -> float:
        """The bar's close, quote currency."""
        return self.candle["close"]

    def to_dict(self) -> dict[str, Any]:
        """Return the row as plain data for JSON: floats as they are, what is undefined is None."""
        return {
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "open_ms": self.open_ms,
            "candle": _numbers(self.candle),
            "predictions": {role: _prediction(said) for role, said in self.predictions.items()},
            "decision": None if self.decision is None else self.decision.to_dict(),
            "orders": [_numbers(asdict(order)) for order in self.orders],
            "fills": [_numbers(asdict(fill)) for fill in self.fills],
            "refusals": [_numbers(asdict(refusal)) for refusal in self.refusals],
            "position": _number(self.position),
            "cash": _number(self.cash),
            "value": _number(self.value),
        }


def _prediction(said: RecordedPrediction) -> dict[str, Any]:
    """Return a prediction as plain data, its values by name."""
    return {
        "model": said.model,
        "version": said.version,
        "digest": said.digest,
        "status": said.status,
        "fingerprint": said.fingerprint,
        "features": said.features,
        "path": None if said.path is None else _numbers(said.path),
        "values": _numbers(dict(zip(PREDICTION_COLUMNS, said.values, strict=True))),
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with None where a float is not finite."""
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
