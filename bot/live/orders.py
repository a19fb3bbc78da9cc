"""What is sent to an exchange and what comes back, as values; amounts are decimals, as they stand on the wire."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from bot.errors import BrokerError

__all__ = ["Execution", "Guard", "OrderReport", "Ticket", "bot_tag", "client_id", "pair_id", "triggered"]

Side = Literal["buy", "sell"]
Kind = Literal["market", "limit", "stop", "stop_limit"]
Role = Literal["entry", "exit", "stop", "target", "close"]
Status = Literal["open", "filled", "cancelled", "expired", "rejected"]

_ID_LIMIT = 36  # characters that Binance accepts
_SUFFIXES = {"entry": "b", "exit": "s", "close": "c", "stop": "S", "target": "T"}


def bot_tag(name: str, run_id: str) -> str:
    """Return what all client order ids of one run begin with: ``mb`` and 10 hex digits of a hash of bot and run."""
    return "mb" + hashlib.sha256(f"{name}|{run_id}".encode()).hexdigest()[:10]


def client_id(tag: str, symbol: str, bar_ms: int, number: int, role: str, attempt: int = 0) -> str:
    """Return the client order id of a decision: the same decision has the same id in every life of the bot.

    Parameters
    ----------
    tag
        What ``bot_tag`` returned.
    symbol
        Canonical spelling; two characters of its hash stand in the id.
    bar_ms
        Open time of the bar at whose close it was decided, milliseconds UTC.
    number
        Number of the order within the bar, from 0.
    role
        ``entry``, ``exit``, ``close``, ``stop`` or ``target``; says the side, too.
    attempt
        How many guards the same purchase had before; only of stops and targets.

    Raises
    ------
    BrokerError
        When the id would be longer than exchanges accept.
    """
    market = hashlib.sha256(symbol.encode()).hexdigest()[:2]
    again = str(attempt) if attempt else ""
    text = f"{tag}{market}-{bar_ms // 1000}-{number}{_SUFFIXES[role]}{again}"
    if len(text) > _ID_LIMIT:
        raise BrokerError(f"the client order id {text} has more than {_ID_LIMIT} characters")
    return text


def pair_id(stop_id: str) -> str:
    """Return the id of the list that a stop forms with its target."""
    head, _, tail = stop_id.rpartition("-")
    return f"{head}-{tail.replace('S', 'L')}"


@dataclass(frozen=True, slots=True)
class Guard:
    """The stop and target that a purchase asks for.

    Attributes
    ----------
    stop_loss, take_profit : float or None
        Distances as fractions of the price paid.
    held : float
        What was held before the purchase, base currency.
    """

    stop_loss: float | None
    take_profit: float | None
    held: float = 0.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """One order as it is sent; equal decisions give equal tickets.

    Attributes
    ----------
    client_id : str
        Fixed by bot, bar, number in the bar and role.
    symbol : str
        Canonical spelling.
    bar_ms : int
        Open time of the bar at whose close it was decided, milliseconds UTC.
    side, kind, role : str
        What is to happen, how, and why.
    size : Decimal
        Base currency, whole lots.
    price, stop_price : Decimal or None
        Limit and trigger, quote currency.
    pair : str or None
        Client id of the list of two orders of which one cancels the other.
    parent : str or None
        Client id of the purchase that a stop or target guards.
    guard : Guard or None
        What a purchase asks to be guarded by.
    """

    client_id: str
    symbol: str
    bar_ms: int
    side: Side
    kind: Kind
    role: Role
    size: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    pair: str | None = None
    parent: str | None = None
    guard: Guard | None = None

    def __post_init__(self) -> None:
        """Refuse what no exchange would take."""
        for name in ("size", "price", "stop_price"):
            value = getattr(self, name)
            if value is not None and not (value.is_finite() and value > 0):
                raise BrokerError(f"the {name} of order {self.client_id} is {value}: expected a positive number")
        if (self.price is None) != (self.kind in {"market", "stop"}):
            raise BrokerError(f"order {self.client_id}: a {self.kind} order has a price, or has none")

    @property
    def agreed(self) -> tuple[Any, ...]:
        """What must be the same when a replay comes to the same decision again."""
        return (self.symbol, self.bar_ms, self.side, self.kind, self.role, self.size, self.price, self.stop_price)


@dataclass(frozen=True, slots=True)
class Execution:
    """One trade of an order, as the exchange reports it.

    Attributes
    ----------
    client_id : str
        Of the order.
    trade_id : str
        The exchange's own, unique within a symbol: a trade is booked once, however often it is reported.
    size, price, fee : Decimal
        Base currency, quote currency a unit, and units of ``fee_asset``.
    fee_asset : str
        Name of the asset, such as BTC or USDT.
    at_ms : int
        The exchange's time, milliseconds UTC.
    """

    client_id: str
    trade_id: str
    size: Decimal
    price: Decimal
    fee: Decimal
    fee_asset: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class OrderReport:
    """What the exchange says of an order.

    Attributes
    ----------
    client_id, exchange_id : str
        Ours, and the exchange's.
    status : str
        ``open``, ``filled``, ``cancelled``, ``expired`` or ``rejected``.
    executed : Decimal
        Base currency that was traded so far.
    updated_ms : int
        The exchange's time of the last change, milliseconds UTC.
    executions : tuple of Execution or None
        The trades; None where the reply does not carry them.
    """

    client_id: str
    exchange_id: str
    status: Status
    executed: Decimal
    updated_ms: int
    executions: tuple[Execution, ...] | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing of it can be traded any more."""
        return self.status != "open"


def triggered(ticket: Ticket) -> Ticket:
    """Return what a stop becomes once the price has passed it: an order at the market, or at its limit.

    An exchange refuses a stop that has been passed when it arrives; the decision, and so its client id, stays the same.
    """
    kind: Kind = "market" if ticket.price is None else "limit"
    return replace(ticket, kind=kind, stop_price=None)
