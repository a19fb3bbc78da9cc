"""The orders, pairs and trades of the exchange, and how they are found again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from bot.exchange.refusals import (
    duplicate_order,
    mandatory_parameter,
    no_such_order,
    no_such_order_list,
    unknown_order,
    unknown_order_list,
    which_order,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bot.exchange.orders import Order, OrderList, Trade

__all__ = ["Register"]

Row = TypeVar("Row")


class Register:
    """Everything that was ordered and traded, in the order in which it came."""

    def __init__(self) -> None:
        self._orders: dict[int, Order] = {}
        self._open: dict[int, Order] = {}
        self._by_symbol: dict[str, list[Order]] = {}
        self._by_client: dict[tuple[str, str], list[Order]] = {}
        self._lists: dict[int, OrderList] = {}
        self._open_lists: dict[int, OrderList] = {}
        self._trades: dict[str, list[Trade]] = {}
        self._trade_count = 0

    def add(self, order: Order) -> None:
        """Enter a new order."""
        self._orders[order.order_id] = order
        self._by_symbol.setdefault(order.symbol, []).append(order)
        self._by_client.setdefault((order.symbol, order.client_id), []).append(order)
        if order.is_open:
            self._open[order.order_id] = order

    def add_list(self, order_list: OrderList) -> None:
        """Enter a new pair."""
        self._lists[order_list.list_id] = order_list
        if order_list.status == "EXECUTING":
            self._open_lists[order_list.list_id] = order_list

    def add_trade(self, order: Order, trade: Trade) -> None:
        """Enter an execution of an order."""
        order.trades.append(trade)
        self._trades.setdefault(order.symbol, []).append(trade)
        self._trade_count += 1

    def close(self, order: Order) -> None:
        """Note that an order is not open any more."""
        self._open.pop(order.order_id, None)

    def close_list(self, order_list: OrderList) -> None:
        """Note that a pair is done."""
        self._open_lists.pop(order_list.list_id, None)

    def require_unused(self, symbol: str, client_ids: Iterable[str | None]) -> None:
        """Refuse a client id that an open order of the symbol has, or that comes twice in one request."""
        given = [name for name in client_ids if name is not None]
        if len(set(given)) < len(given):
            raise duplicate_order()
        for name in given:
            if any(order.is_open for order in self._by_client.get((symbol, name), ())):
                raise duplicate_order()

    def require_unused_list(self, symbol: str, client_id: str | None) -> None:
        """Refuse a client id that an open pair of the symbol has."""
        if client_id is not None and self._open_list(symbol, client_id) is not None:
            raise duplicate_order()

    def order(self, symbol: str, order_id: int | None, client_id: str | None) -> Order:
        """Return an order by its id, or the newest with a client id.

        Raises
        ------
        Refusal
            -2013 when there is none; -1102 when neither was given.
        """
        if order_id is not None:
            found = self._orders.get(order_id)
            if found is None or found.symbol != symbol or (client_id is not None and client_id != found.client_id):
                raise no_such_order()
            return found
        if client_id is None:
            raise which_order("origClientOrderId", "orderId")
        same = self._by_client.get((symbol, client_id))
        if not same:
            raise no_such_order()
        return same[-1]

    def open_order(self, symbol: str, order_id: int | None, client_id: str | None) -> Order:
        """Return an open order; -2011 when it is not open, or there is none."""
        if order_id is None and client_id is None:
            raise which_order("origClientOrderId", "orderId")
        if order_id is not None:
            found = self._open.get(order_id)
            if found is None or found.symbol != symbol or (client_id is not None and client_id != found.client_id):
                raise unknown_order()
            return found
        same = [order for order in self._by_client.get((symbol, client_id or ""), ()) if order.is_open]
        if not same:
            raise unknown_order()
        return same[-1]

    def by_id(self, order_id: int) -> Order:
        """Return an order by its id alone; the exchange knows that it is there."""
        return self._orders[order_id]

    def list_by_id(self, list_id: int) -> OrderList:
        """Return a pair by its id; the exchange knows that it is there."""
        return self._lists[list_id]

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return what is open, oldest first."""
        return [order for order in self._open.values() if symbol is None or order.symbol == symbol]

    def orders(
        self, symbol: str, order_id: int | None, start_ms: int | None, end_ms: int | None, limit: int
    ) -> list[Order]:
        """Return orders of a symbol, oldest first: those from an id or a time on, else the newest."""
        return _page(self._by_symbol.get(symbol, []), ("order_id", order_id), ("created_ms", start_ms, end_ms), limit)

    def order_list(self, list_id: int | None, client_id: str | None) -> OrderList:
        """Return a pair by its id, or the newest with a client id.

        Raises
        ------
        Refusal
            -2013 when there is none; -1102 when neither was given.
        """
        if list_id is not None:
            if list_id not in self._lists:
                raise no_such_order_list()
            return self._lists[list_id]
        if client_id is None:
            raise mandatory_parameter("orderListId")
        same = [pair for pair in self._lists.values() if pair.client_id == client_id]
        if not same:
            raise no_such_order_list()
        return same[-1]

    def open_order_list(self, symbol: str, list_id: int | None, client_id: str | None) -> OrderList:
        """Return an open pair; -2011 when it is not open, or there is none."""
        if list_id is None and client_id is None:
            raise mandatory_parameter("orderListId")
        found = self._open_list(symbol, client_id or "") if list_id is None else self._open_lists.get(list_id)
        if found is None or found.symbol != symbol or (client_id is not None and found.client_id != client_id):
            raise unknown_order_list()
        return found

    def open_order_lists(self) -> list[OrderList]:
        """Return the pairs of which a leg is open."""
        return list(self._open_lists.values())

    def order_lists(self, from_id: int | None, start_ms: int | None, end_ms: int | None, limit: int) -> list[OrderList]:
        """Return pairs, oldest first: those from an id or a time on, else the newest."""
        return _page(list(self._lists.values()), ("list_id", from_id), ("created_ms", start_ms, end_ms), limit)

    def trades(
        self,
        symbol: str,
        order_id: int | None,
        start_ms: int | None,
        end_ms: int | None,
        from_id: int | None,
        limit: int,
    ) -> list[Trade]:
        """Return executions of a symbol, oldest first: those from an id or a time on, else the newest."""
        if order_id is None:
            rows = self._trades.get(symbol, [])
        else:
            order = self._orders.get(order_id)
            rows = [] if order is None or order.symbol != symbol else order.trades
        return _page(rows, ("trade_id", from_id), ("time_ms", start_ms, end_ms), limit)

    def all_orders(self) -> list[Order]:
        """Return every order, oldest first."""
        return list(self._orders.values())

    def all_lists(self) -> list[OrderList]:
        """Return every pair, oldest first."""
        return list(self._lists.values())

    def next_ids(self) -> tuple[int, int, int]:
        """Return the ids of the next order, pair and trade."""
        return len(self._orders) + 1, len(self._lists) + 1, self._trade_count + 1

    def last_trade(self, symbol: str) -> Trade | None:
        """Return the newest execution of a symbol, or None."""
        same = self._trades.get(symbol)
        return same[-1] if same else None

    def _open_list(self, symbol: str, client_id: str) -> OrderList | None:
        same = [pair for pair in self._open_lists.values() if (pair.symbol, pair.client_id) == (symbol, client_id)]
        return same[-1] if same else None


def _page(
    rows: list[Row], from_id: tuple[str, int | None], times: tuple[str, int | None, int | None], limit: int
) -> list[Row]:
    """Return at most ``limit`` rows, which ascend in id and time: from an id or a time on, else the newest."""
    first, last = 0, len(rows)
    if from_id[1] is not None:
        first = bisect_left(rows, from_id[1], key=attrgetter(from_id[0]))
    if times[1] is not None:
        first = max(first, bisect_left(rows, times[1], key=attrgetter(times[0])))
    if times[2] is not None:
        last = bisect_right(rows, times[2], key=attrgetter(times[0]))
    if from_id[1] is None and times[1] is None:
        first = max(first, last - limit)
    return rows[first : max(first, min(last, first + limit))]
