"""What a live bot says of itself: one value, published at every change, shown by every view and every command."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from bot.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MODES", "STATES", "LiveStatus", "OpenOrder", "RolePrediction", "SymbolStatus"]

MODES = ("paper", "dry", "real")
"""``paper``: the local exchange; ``dry``: a real exchange's public data, fills simulated; ``real``: money."""

STATES = ("starting", "replaying", "running", "paused", "stopping", "stopped", "failed")
_SIDES = ("buy", "sell")
_DIRECTIONS = ("up", "down")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order that rests on the exchange.

    Attributes
    ----------
    side : str
        ``buy`` or ``sell``.
    size : float
        What is still open, base currency.
    price : float or None
        Limit or trigger, quote currency; None for a market order that is on its way.
    kind : str
        ``market``, ``limit``, ``stop``, ``target``.
    client_id : str
        Our id of it.
    """

    side: str
    size: float
    price: float | None
    kind: str
    client_id: str

    def __post_init__(self) -> None:
        """Refuse what is not an order."""
        _one_of("side of an order", self.side, _SIDES)
        _finite(self)


@dataclass(frozen=True, slots=True)
class RolePrediction:
    """What the model of one role says of the newest bar.

    Attributes
    ----------
    role : str
        The strategy's name for it, such as ``prediction``.
    model : str
        What the config binds, such as ``BTCUSDT/basic@latest``.
    version : str or None
        The version that answers; None without a model.
    direction : str or None
        ``up`` or ``down``; None where it says neither.
    confidence : float or None
        Calibrated probability that it is right, in [0, 1].
    status : str
        ``ok``, or why there is no prediction: ``warming``, ``no_model``, ``expired``, ``out_of_distribution``, ``error``.
    detail : str
        More in words, such as ``risk 34``, or why there is no model.
    """

    role: str
    model: str
    version: str | None
    direction: str | None
    confidence: float | None
    status: str
    detail: str = ""

    def __post_init__(self) -> None:
        """Refuse what is not a prediction."""
        if self.direction is not None:
            _one_of("direction", self.direction, _DIRECTIONS)
        _finite(self)


@dataclass(frozen=True, slots=True)
class SymbolStatus:
    """One symbol: its newest closed candle, what was predicted, what is held, and what was decided.

    Attributes
    ----------
    symbol : str
        Canonical, such as ``BTCUSDT``.
    open_ms : int or None
        Open time of the newest closed candle, milliseconds UTC; None before the first.
    close : float or None
        Its close, quote currency.
    predictions : tuple of RolePrediction
        One a role.
    position : float
        What is held, base currency.
    entry_price, stop, target : float or None
        Quote currency; None without a position or without such an order.
    open_orders : tuple of OpenOrder
        What rests on the exchange.
    cash, value : float or None
        Of this symbol's books, quote currency; None where symbols share one account.
    action : str
        The last decision: ``buy``, ``sell``, ``hold``, ``none``, ...
    reason : str
        Why, in plain words.
    """

    symbol: str
    open_ms: int | None = None
    close: float | None = None
    predictions: tuple[RolePrediction, ...] = ()
    position: float = 0.0
    entry_price: float | None = None
    stop: float | None = None
    target: float | None = None
    open_orders: tuple[OpenOrder, ...] = ()
    cash: float | None = None
    value: float | None = None
    action: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse figures that are not finite."""
        _finite(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SymbolStatus:
        """Build it from what ``LiveStatus.to_dict`` made of it."""
        nested = {
            "predictions": tuple(_build(RolePrediction, each) for each in document["predictions"]),
            "open_orders": tuple(_build(OpenOrder, each) for each in document["open_orders"]),
        }
        return _build(cls, {**document, **nested})


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """The state of one bot.

    Attributes
    ----------
    bot, run_id : str
        Name of the config, and of the run.
    mode : str
        One of `MODES`.
    exchange : str
        Such as ``sim`` or ``binance``.
    timeframe : str
        Such as ``1h``.
    state : str
        One of `STATES`.
    connection : str
        In words: ``connected``, ``no answer since 14:03, trying again``.
    started_ms : int
        Start of this run by the wall clock, milliseconds UTC.
    market_ms : int or None
        Close time of the newest closed candle; None before the first.
    heartbeat_ms : int
        When this was said, by the wall clock.
    bars : int
        Bars traded since ``data.start``.
    cash, value, initial_value : float
        Quote currency; ``initial_value`` at the first bar of the run.
    drawdown : float
        Fraction below the highest value so far, in [0, 1].
    day_return : float
        Fraction won (or lost, negative) since 00:00 UTC.
    errors : int
        Errors since the start.
    protections : tuple of str
        What forbids entries now, in words; empty when nothing does.
    symbols : tuple of SymbolStatus
        In the order of the config.
    events : tuple of (int, str)
        The last events, newest last: wall clock in milliseconds UTC, words.
    """

    bot: str
    run_id: str
    mode: str
    exchange: str
    timeframe: str
    state: str
    connection: str
    started_ms: int
    market_ms: int | None
    heartbeat_ms: int
    bars: int
    cash: float
    value: float
    initial_value: float
    drawdown: float = 0.0
    day_return: float = 0.0
    errors: int = 0
    protections: tuple[str, ...] = ()
    symbols: tuple[SymbolStatus, ...] = ()
    events: tuple[tuple[int, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse modes and states that no view knows, and figures that are not finite."""
        _one_of("mode", self.mode, MODES)
        _one_of("state", self.state, STATES)
        _finite(self)

    @property
    def has_ended(self) -> bool:
        """Whether the bot said that it is over."""
        return self.state in {"stopped", "failed"}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; ``from_dict`` makes an equal value of it, also after JSON."""
        plain: dict[str, Any] = _lists(asdict(self))
        return plain

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Self:
        """Build it from what ``to_dict`` returned.

        Raises
        ------
        StorageError
            When the document is not a status of this version of the program.
        """
        try:
            nested = {
                "protections": tuple(str(each) for each in document["protections"]),
                "symbols": tuple(SymbolStatus.from_dict(each) for each in document["symbols"]),
                "events": tuple((int(at), str(text)) for at, text in document["events"]),
            }
            return _build(cls, {**document, **nested})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(f"this is not the status of a live bot, or one of another version: {error}") from None


def _build(kind: type[_T], values: Mapping[str, Any]) -> _T:
    names = {field.name for field in fields(cast("Any", kind))}
    if set(values) != names:
        odd = sorted(set(values) ^ names)
        raise ValueError(f"{kind.__name__} and {odd[0]!r} do not go together")
    return kind(**values)


def _lists(value: Any) -> Any:
    """Return the same data with lists in place of tuples, as JSON reads them back."""
    if isinstance(value, dict):
        return {name: _lists(each) for name, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, (list, tuple)) else value


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"the {what} is {value!r}: expected one of {', '.join(known)}")


def _finite(part: Any) -> None:
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} is {value}: write None for a figure that is not there")
