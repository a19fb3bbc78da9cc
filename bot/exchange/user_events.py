"""Events of the user's data stream, in the words of the real exchange."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.exchange.documents import amount, list_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bot.exchange.orders import Order, OrderList, Trade

__all__ = ["account_position", "execution_report", "list_status"]

_NOTHING = Decimal(0)


def execution_report(
    order: Order, execution: str, trade: Trade | None, now_ms: int, cancel_id: str | None = None
) -> dict[str, Any]:
    """Return the event of an order in the user's data stream.

    Parameters
    ----------
    order : Order
        As it stands after the event.
    execution : str
        ``NEW``, ``TRADE``, ``CANCELED``, ``EXPIRED`` or ``REJECTED``.
    trade : Trade or None
        What was traded.
    now_ms : int
        Market time.
    cancel_id : str or None
        Id of the cancel; ``c`` is then this id and ``C`` that of the order.
    """
    cancelled = execution == "CANCELED"
    return {
        "e": "executionReport",
        "E": now_ms,
        "s": order.symbol,
        "c": (cancel_id or f"cancel-{order.order_id}") if cancelled else order.client_id,
        "S": order.side,
        "o": order.kind,
        "f": order.time_in_force,
        "q": amount(order.quantity),
        "p": amount(order.price),
        "P": amount(order.stop_price),
        "F": "0.00000000",
        "g": order.list_id,
        "C": order.client_id if cancelled else "",
        "x": execution,
        "X": order.status,
        "r": "NONE",
        "i": order.order_id,
        "l": amount(trade.quantity if trade else _NOTHING),
        "z": amount(order.executed),
        "L": amount(trade.price if trade else _NOTHING),
        "n": amount(trade.commission) if trade else "0",
        "N": trade.commission_asset if trade else None,
        "T": trade.time_ms if trade else order.updated_ms,
        "t": trade.trade_id if trade else -1,
        "v": 0,
        "I": order.order_id * 8 + len(order.trades),
        "w": order.is_working,
        "m": trade.is_maker if trade else False,
        "M": False,
        "O": order.created_ms,
        "Z": amount(order.quote_executed),
        "Y": amount(trade.quote_quantity if trade else _NOTHING),
        "Q": amount(order.quote_quantity),
        "W": order.working_ms,
        "V": "NONE",
    }


def account_position(balances: Iterable[tuple[str, tuple[Decimal, Decimal]]], now_ms: int) -> dict[str, Any]:
    """Return the event of changed balances in the user's data stream."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": now_ms,
        "B": [{"a": asset, "f": amount(free), "l": amount(locked)} for asset, (free, locked) in balances],
    }


def list_status(pair: OrderList, orders: Sequence[Order], now_ms: int) -> dict[str, Any]:
    """Return the event of a pair in the user's data stream."""
    found = list_document(pair, orders)
    return {
        "e": "listStatus",
        "E": now_ms,
        "s": pair.symbol,
        "g": pair.list_id,
        "c": "OCO",
        "l": found["listStatusType"],
        "L": found["listOrderStatus"],
        "r": "NONE",
        "C": pair.client_id,
        "T": pair.updated_ms,
        "O": [{"s": order.symbol, "i": order.order_id, "c": order.client_id} for order in orders],
    }
