"""Orders as the exchange takes and keeps them: frozen requests, records that change, and what it tells about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

__all__ = [
    "LIMIT_KINDS",
    "ORDER_KINDS",
    "STOP_KINDS",
    "TARGET_KINDS",
    "BalanceEvent",
    "CandleEvent",
    "Event",
    "ExecutionType",
    "Kind",
    "Leg",
    "ListEvent",
    "Order",
    "OrderEvent",
    "OrderList",
    "OrderRequest",
    "PairRequest",
    "Side",
    "Status",
    "TimeInForce",
    "Trade",
]

Side = Literal["BUY", "SELL"]
Kind = Literal["MARKET", "LIMIT", "LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT"]
Status = Literal["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED"]
TimeInForce = Literal["GTC", "IOC", "FOK"]
ExecutionType = Literal["NEW", "TRADE", "CANCELED", "EXPIRED", "REJECTED"]
ListStatus = Literal["EXECUTING", "ALL_DONE"]

ORDER_KINDS: tuple[Kind, ...] = (
    "LIMIT",
    "LIMIT_MAKER",
    "MARKET",
    "STOP_LOSS",
    "STOP_LOSS_LIMIT",
    "TAKE_PROFIT",
    "TAKE_PROFIT_LIMIT",
)
"""Every kind, in the order in which the exchange lists them."""

LIMIT_KINDS = frozenset({"LIMIT", "LIMIT_MAKER", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"})
"""Kinds with a price of their own."""

STOP_KINDS = frozenset({"STOP_LOSS", "STOP_LOSS_LIMIT"})
"""Kinds that wait until the price turns against them: a sale below it, a purchase above it."""

TARGET_KINDS = frozenset({"TAKE_PROFIT", "TAKE_PROFIT_LIMIT"})
"""Kinds that wait until the price turns in their favour."""

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What a client asks for; the exchange checks it.

    Attributes
    ----------
    symbol : str
        Such as ``BTCUSDT``.
    side, kind : str
        ``BUY`` or ``SELL``, and the ``type`` of the wire.
    quantity : Decimal or None
        Base currency.
    quote_quantity : Decimal or None
        Quote currency to spend or to get, of a market order, in place of ``quantity``.
    price, stop_price : Decimal or None
        Limit and trigger, quote currency per unit.
    time_in_force : str or None
        ``GTC``, ``IOC`` or ``FOK``; mandatory for the kinds that may rest at a price, forbidden elsewhere.
    client_id : str or None
        The client's own id; the exchange makes one where it is None.
    """

    symbol: str
    side: str
    kind: str
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str | None = None
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Leg:
    """One of the two orders of a pair, as it is asked for."""

    kind: str
    price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: str | None = None
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class PairRequest:
    """Two orders of which one cancels the other (OCO): ``above`` and ``below`` the price of now."""

    symbol: str
    side: str
    quantity: Decimal | None
    above: Leg
    below: Leg
    list_client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Trade:
    """One execution.

    Attributes
    ----------
    trade_id, order_id : int
    symbol, side : str
    price, quantity, quote_quantity : Decimal
        Quote currency per unit, base currency, and their product.
    commission : Decimal
        In units of ``commission_asset``.
    time_ms : int
        Market time, milliseconds UTC.
    is_maker : bool
        Whether the order was resting.
    list_id : int
        The pair that the order belongs to, or -1.
    """

    trade_id: int
    order_id: int
    symbol: str
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    time_ms: int
    is_maker: bool
    list_id: int = -1


@dataclass(slots=True)
class Order:
    """An order of the exchange.

    Attributes
    ----------
    order_id : int
        The exchange's own id, from 1, unique over all symbols.
    list_id : int
        The pair that it belongs to, or -1.
    price, stop_price : Decimal
        0 where this kind has none.
    quote_quantity : Decimal
        What a market order asked to spend or to get; 0 where it named a quantity.
    executed, quote_executed : Decimal
        What was filled so far, in base and quote currency.
    is_working : bool
        Whether it may fill: False for a stop or take-profit that waits for its trigger.
    created_ms, updated_ms, working_ms : int
        Market times, milliseconds UTC; ``working_ms`` is -1 until the order works.
    """

    symbol: str
    order_id: int
    client_id: str
    list_id: int
    side: Side
    kind: Kind
    quantity: Decimal
    price: Decimal
    stop_price: Decimal
    time_in_force: TimeInForce
    status: Status
    is_working: bool
    created_ms: int
    updated_ms: int
    working_ms: int = -1
    quote_quantity: Decimal = _ZERO
    executed: Decimal = _ZERO
    quote_executed: Decimal = _ZERO
    trades: list[Trade] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """Whether it may still fill."""
        return self.status in ("NEW", "PARTIALLY_FILLED")

    @property
    def is_buy(self) -> bool:
        """Whether it buys."""
        return self.side == "BUY"

    @property
    def remaining(self) -> Decimal:
        """What is not filled yet, in base currency."""
        return self.quantity - self.executed

    @property
    def trigger(self) -> Decimal | None:
        """The price that it waits for, or None."""
        return self.stop_price if self.kind in STOP_KINDS or self.kind in TARGET_KINDS else None


@dataclass(slots=True)
class OrderList:
    """A pair of orders of which one cancels the other.

    Attributes
    ----------
    list_id : int
        From 1.
    order_ids : tuple of int
        The leg above the price and the leg below it.
    status : str
        ``EXECUTING`` while a leg is open, then ``ALL_DONE``.
    """

    list_id: int
    client_id: str
    symbol: str
    order_ids: tuple[int, int]
    status: ListStatus
    created_ms: int
    updated_ms: int


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """Something happened to an order; ``order`` shows its state at that moment only until the listener returns."""

    order: Order
    execution_type: ExecutionType
    trade: Trade | None
    time_ms: int


@dataclass(frozen=True, slots=True)
class ListEvent:
    """A pair was placed, or is done."""

    order_list: OrderList
    time_ms: int


@dataclass(frozen=True, slots=True)
class BalanceEvent:
    """What the account holds of the assets that may have changed: asset -> (free, locked)."""

    balances: dict[str, tuple[Decimal, Decimal]]
    time_ms: int


@dataclass(frozen=True, slots=True)
class CandleEvent:
    """A candle began (``closed`` False: only its open is known) or closed."""

    symbol: str
    open_ms: int
    closed: bool
    time_ms: int


Event = OrderEvent | ListEvent | BalanceEvent | CandleEvent
