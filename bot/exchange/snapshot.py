"""The state of the exchange as plain data, and back; the candles and the terms of the markets are not part of it."""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from bot.errors import ExchangeError
from bot.exchange.orders import Order, OrderList, Trade

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.exchange.matching import LocalExchange

__all__ = ["restore", "state_of"]

_VERSION = 1


def state_of(exchange: LocalExchange) -> dict[str, Any]:
    """Return the whole state: ``head``, ``orders`` with their trades, and ``lists``; all of it is JSON-able.

    Not to be called by a listener: in the middle of a step there is no whole state.
    """
    register = exchange.register
    return {
        "head": _head(exchange),
        "orders": [_order_row(order) for order in register.all_orders()],
        "lists": [_list_row(pair) for pair in register.all_lists()],
    }


def _head(exchange: LocalExchange) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "now_ms": exchange.now_ms,
        "statuses": {symbol: exchange.status(symbol) for symbol in exchange.symbols},
        "balances": {asset: [str(free), str(locked)] for asset, (free, locked) in exchange.balances().items()},
        "holds": {name: [asset, str(amount)] for name, (asset, amount) in exchange.account.holds().items()},
    }


def _order_row(order: Order) -> dict[str, Any]:
    row = _row(order)
    row["trades"] = [_row(trade) for trade in order.trades]
    return row


def _list_row(pair: OrderList) -> dict[str, Any]:
    return _row(pair) | {"order_ids": list(pair.order_ids)}


def restore(exchange: LocalExchange, state: Mapping[str, Any]) -> None:
    """Bring an exchange that was just made to a state that was written earlier.

    Raises
    ------
    ExchangeError
        When the state is of another version, is damaged, or names a market that this exchange lacks.
    """
    try:
        head = state["head"]
        version = head["version"]
        missing = sorted(set(head["statuses"]) - set(exchange.symbols))
        orders = [_order(row) for row in state["orders"]]
        lists = [OrderList(**{**row, "order_ids": tuple(row["order_ids"])}) for row in state["lists"]]
        balances = {name: (Decimal(free), Decimal(locked)) for name, (free, locked) in head["balances"].items()}
        holds = {name: (asset, Decimal(amount)) for name, (asset, amount) in head["holds"].items()}
        now_ms, statuses = int(head["now_ms"]), dict(head["statuses"])
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ExchangeError(
            f"the saved state of the exchange is damaged ({type(error).__name__}: {error}): start it afresh"
        ) from None
    if version != _VERSION:
        raise ExchangeError(
            f"the saved state of the exchange is of version {version}, this program writes {_VERSION}: start it afresh"
        )
    if missing:
        raise ExchangeError(
            f"the saved state of the exchange trades {', '.join(missing)}, which was not asked for: name the same "
            "symbols as before, or start it afresh"
        )
    for pair in lists:
        exchange.register.add_list(pair)
    trades: list[tuple[Order, Trade]] = []
    for order in orders:
        trades.extend((order, trade) for trade in order.trades)
        order.trades = []
        exchange.register.add(order)
    for order, trade in sorted(trades, key=lambda both: both[1].trade_id):
        exchange.register.add_trade(order, trade)
    exchange.account.restore(balances, holds)
    exchange.resume(now_ms, statuses)


def _row(record: Order | OrderList | Trade) -> dict[str, Any]:
    """Return the fields of a record; decimals become texts."""
    row = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in row.items()}


def _order(row: Mapping[str, Any]) -> Order:
    return cast("Order", _record(Order, {**row, "trades": [_record(Trade, trade) for trade in row["trades"]]}))


def _record(kind: Any, row: Mapping[str, Any]) -> Any:
    """Build a record; what is annotated as a decimal is read from its text."""
    names = {field.name: field.type for field in fields(kind)}
    return kind(**{name: Decimal(value) if names.get(name) == "Decimal" else value for name, value in row.items()})
