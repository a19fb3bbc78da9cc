"""Signed endpoints: orders, pairs, the account and its trades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.exchange.documents import (
    account_document,
    cancelled_document,
    list_document,
    order_document,
    placed_document,
    trade_document,
)
from bot.exchange.orders import Leg, OrderRequest, PairRequest
from bot.exchange.refusals import (
    Refusal,
    mandatory_parameter,
    not_cancelled,
    unknown_order,
    unsupported_order,
    which_order,
)
from bot.exchange.replacement import replace

if TYPE_CHECKING:
    from bot.exchange.desk import Desk
    from bot.exchange.limits import RateLimits
    from bot.exchange.orders import Order, OrderList
    from bot.exchange.parameters import Parameters
    from bot.exchange.signing import ApiKey, Deadline

__all__ = ["Trading"]

_FORMS = ("ACK", "RESULT", "FULL")
_DAY_MS = 86_400_000
_NOTHING = "0.00000000"
_NO_DISCOUNT = {
    "enabledForAccount": False,
    "enabledForSymbol": False,
    "discountAsset": "BNB",
    "discount": _NOTHING,
}
_RESTRICTIONS = {"ONLY_NEW": "NEW", "ONLY_PARTIALLY_FILLED": "PARTIALLY_FILLED"}
_NO_ICEBERGS = ("icebergQty", "aboveIcebergQty", "belowIcebergQty", "limitIcebergQty", "stopIcebergQty")
_NO_TRAILING = ("trailingDelta", "aboveTrailingDelta", "belowTrailingDelta")


class Trading:
    """Answers signed requests.

    Parameters
    ----------
    desk : Desk
        Takes orders.
    limits : RateLimits
        Counts new orders.
    """

    def __init__(self, desk: Desk, limits: RateLimits) -> None:
        self._desk = desk
        self._exchange = desk.exchange
        self._limits = limits

    def place(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Take a new order."""
        request = _order_request(parameters)
        form = _form(parameters, "FULL" if request.kind in {"MARKET", "LIMIT"} else "ACK")
        self._enter(deadline, 1)
        return placed_document(self._desk.place(request), form)

    def test(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Judge an order without taking it."""
        request = _order_request(parameters)
        deadline.check(self._desk.clock.wall_ms())
        self._exchange.check(request)
        return self._order_fees() if parameters.flag("computeCommissionRates") else {}

    def query(self, parameters: Parameters) -> dict[str, Any]:
        """Look an order up."""
        symbol, order_id, client_id = _which(parameters)
        return order_document(self._exchange.order(symbol, order_id=order_id, client_id=client_id))

    def cancel(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Cancel an order; one of a pair takes the other with it."""
        which = _which(parameters)
        restriction = _restriction(parameters)
        self._enter(deadline, 0)
        return self._cancel(*which, restriction, parameters.text("newClientOrderId"))

    def replace(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Cancel an order and place another in its place."""
        mode = parameters.required("cancelReplaceMode")
        request = _order_request(parameters)
        form = _form(parameters, "FULL" if request.kind in {"MARKET", "LIMIT"} else "ACK")
        which = _which(parameters, "cancelOrderId", "cancelOrigClientOrderId")
        restriction = _restriction(parameters)
        self._enter(deadline, 1)
        return replace(
            mode,
            check=lambda: self._exchange.check(request),
            cancel=lambda: self._cancel(*which, restriction, parameters.text("cancelNewClientOrderId")),
            place=lambda: placed_document(self._desk.place(request), form),
        )

    def cancel_all(self, parameters: Parameters, deadline: Deadline) -> list[dict[str, Any]]:
        """Cancel every open order of a symbol."""
        symbol = parameters.required("symbol")
        self._enter(deadline, 0)
        documents: list[dict[str, Any]] = []
        pairs: set[int] = set()
        orders = self._desk.cancel_all(symbol)
        if not orders:
            raise unknown_order()
        for order in orders:
            if order.list_id < 0:
                documents.append(cancelled_document(order))
            elif order.list_id not in pairs:
                pairs.add(order.list_id)
                pair = self._exchange.order_list(list_id=order.list_id)
                documents.append(list_document(pair, self._orders(pair), "cancelled"))
        return documents

    def open_orders(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List open orders of a symbol or of all."""
        symbol = parameters.text("symbol")
        return [order_document(order) for order in self._exchange.open_orders(symbol)]

    def all_orders(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List orders of a symbol, the oldest first."""
        symbol = parameters.required("symbol")
        start, end = _interval(parameters)
        orders = self._exchange.orders(
            symbol,
            order_id=parameters.integer("orderId"),
            start_ms=start,
            end_ms=end,
            limit=parameters.limit(500, 1000),
        )
        return [order_document(order) for order in orders]

    def trades(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List the account's trades of a symbol, the oldest first."""
        symbol = parameters.required("symbol")
        start, end = _interval(parameters)
        trades = self._exchange.trades(
            symbol,
            order_id=parameters.integer("orderId"),
            start_ms=start,
            end_ms=end,
            from_id=parameters.integer("fromId"),
            limit=parameters.limit(500, 1000),
        )
        return [trade_document(trade) for trade in trades]

    def account(self, parameters: Parameters, key: ApiKey) -> dict[str, Any]:
        """Tell the balances, and what this key may do."""
        return account_document(self._exchange, can_trade=key.can_trade, omit_zero=parameters.flag("omitZeroBalances"))

    def commission(self, parameters: Parameters) -> dict[str, Any]:
        """Tell the fees of a symbol."""
        symbol = parameters.required("symbol")
        self._exchange.market(symbol)
        rate = format(self._exchange.fees.taker, ".8f")
        rates = {"maker": rate, "taker": rate, "buyer": _NOTHING, "seller": _NOTHING}
        none = {"maker": _NOTHING, "taker": _NOTHING, "buyer": _NOTHING, "seller": _NOTHING}
        return {"symbol": symbol, "standardCommission": rates, "taxCommission": none, "discount": dict(_NO_DISCOUNT)}

    def place_pair(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Take a pair of which one order cancels the other."""
        _refuse_features(parameters)
        request = PairRequest(
            symbol=parameters.required("symbol"),
            side=parameters.required("side"),
            quantity=parameters.decimal("quantity"),
            above=_leg(parameters, "above"),
            below=_leg(parameters, "below"),
            list_client_id=parameters.text("listClientOrderId"),
        )
        return self._pair(request, parameters, deadline)

    def place_old_pair(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Take a pair in the words of the endpoint of before 2024: a limit order and a stop."""
        _refuse_features(parameters)
        symbol, side = parameters.required("symbol"), parameters.required("side")
        price, stop = parameters.decimal("price"), parameters.decimal("stopPrice")
        if price is None:
            raise mandatory_parameter("price")
        if stop is None:
            raise mandatory_parameter("stopPrice")
        stop_limit = parameters.decimal("stopLimitPrice")
        limit_leg = Leg("LIMIT_MAKER", price=price, client_id=parameters.text("limitClientOrderId"))
        stop_leg = Leg(
            "STOP_LOSS" if stop_limit is None else "STOP_LOSS_LIMIT",
            price=stop_limit,
            stop_price=stop,
            time_in_force=None if stop_limit is None else (parameters.text("stopLimitTimeInForce") or "GTC"),
            client_id=parameters.text("stopClientOrderId"),
        )
        above, below = (limit_leg, stop_leg) if side == "SELL" else (stop_leg, limit_leg)
        request = PairRequest(
            symbol, side, parameters.decimal("quantity"), above, below, parameters.text("listClientOrderId")
        )
        return self._pair(request, parameters, deadline)

    def query_pair(self, parameters: Parameters) -> dict[str, Any]:
        """Look a pair up."""
        list_id, client_id = parameters.integer("orderListId"), parameters.text("origClientOrderId")
        if list_id is None and client_id is None:
            raise which_order("orderListId", "origClientOrderId")
        pair = self._exchange.order_list(list_id=list_id, client_id=client_id)
        return list_document(pair, self._orders(pair))

    def cancel_pair(self, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        """Cancel both orders of a pair."""
        symbol = parameters.required("symbol")
        list_id, client_id = parameters.integer("orderListId"), parameters.text("listClientOrderId")
        if list_id is None and client_id is None:
            raise which_order("orderListId", "listClientOrderId")
        self._enter(deadline, 0)
        pair = self._desk.cancel_list(symbol, list_id, client_id)
        return list_document(pair, self._orders(pair), "cancelled")

    def all_pairs(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List every pair, the oldest first."""
        start, end = _interval(parameters)
        found = self._exchange.register.order_lists(
            from_id=parameters.integer("fromId"), start_ms=start, end_ms=end, limit=parameters.limit(500, 1000)
        )
        return [list_document(pair, self._orders(pair)) for pair in found]

    def open_pairs(self, _parameters: Parameters) -> list[dict[str, Any]]:
        """List the pairs of which a leg is open."""
        return [list_document(pair, self._orders(pair)) for pair in self._exchange.register.open_order_lists()]

    def order_usage(self, _parameters: Parameters) -> list[dict[str, Any]]:
        """Tell how many orders were sent."""
        headers = self._limits.order_headers(self._desk.clock.wall_ms())
        counts = {10: headers["X-MBX-ORDER-COUNT-10S"], 1: headers["X-MBX-ORDER-COUNT-1D"]}
        rules = [rule for rule in self._limits.rules() if rule["rateLimitType"] == "ORDERS"]
        return [{**rule, "count": int(counts[rule["intervalNum"]])} for rule in rules]

    def _cancel(
        self, symbol: str, order_id: int | None, client_id: str | None, restriction: str | None, cancel_id: str | None
    ) -> dict[str, Any]:
        if restriction is not None:
            self._exchange.market(symbol)
            if self._exchange.register.open_order(symbol, order_id, client_id).status != restriction:
                raise not_cancelled()
        order = self._desk.cancel(symbol, order_id, client_id)
        if order.list_id >= 0:
            pair = self._exchange.order_list(list_id=order.list_id)
            return list_document(pair, self._orders(pair), "cancelled")
        return cancelled_document(order, cancel_id)

    def _order_fees(self) -> dict[str, Any]:
        rate = format(self._exchange.fees.taker, ".8f")
        return {
            "standardCommissionForOrder": {"maker": rate, "taker": rate},
            "taxCommissionForOrder": {"maker": _NOTHING, "taker": _NOTHING},
            "discount": dict(_NO_DISCOUNT),
        }

    def _pair(self, request: PairRequest, parameters: Parameters, deadline: Deadline) -> dict[str, Any]:
        self._enter(deadline, 2)
        pair = self._desk.place_pair(request)
        document = list_document(pair, self._orders(pair), "placed")
        if _form(parameters, "RESULT") == "ACK":
            document["orderReports"] = [placed_document(order, "ACK") for order in self._orders(pair)]
        return document

    def _enter(self, deadline: Deadline, orders: int) -> None:
        """Stand before the matching engine: what took too long on its way there is refused."""
        now = self._desk.clock.wall_ms()
        deadline.check(now)
        if orders:
            self._limits.charge_orders(orders, now)

    def _orders(self, pair: OrderList) -> list[Order]:
        return [self._exchange.register.by_id(number) for number in pair.order_ids]


def _order_request(parameters: Parameters) -> OrderRequest:
    _refuse_features(parameters)
    return OrderRequest(
        symbol=parameters.required("symbol"),
        side=parameters.required("side"),
        kind=parameters.required("type"),
        quantity=parameters.decimal("quantity"),
        quote_quantity=parameters.decimal("quoteOrderQty"),
        price=parameters.decimal("price"),
        stop_price=parameters.decimal("stopPrice"),
        time_in_force=parameters.text("timeInForce"),
        client_id=parameters.text("newClientOrderId"),
    )


def _refuse_features(parameters: Parameters) -> None:
    """Refuse what would be another order without it, and what no symbol here has."""
    if any(parameters.text(name) is not None for name in _NO_ICEBERGS):
        raise unsupported_order("Iceberg")
    if any(parameters.text(name) is not None for name in _NO_TRAILING):
        raise unsupported_order("Trailing stop")


def _restriction(parameters: Parameters) -> str | None:
    """Return the only state in which an order may be cancelled, or None for any."""
    wanted = parameters.text("cancelRestrictions")
    if wanted is None:
        return None
    if wanted not in _RESTRICTIONS:
        raise Refusal(-1145, "Invalid cancelRestrictions")
    return _RESTRICTIONS[wanted]


def _leg(parameters: Parameters, place: str) -> Leg:
    return Leg(
        parameters.required(f"{place}Type"),
        price=parameters.decimal(f"{place}Price"),
        stop_price=parameters.decimal(f"{place}StopPrice"),
        time_in_force=parameters.text(f"{place}TimeInForce"),
        client_id=parameters.text(f"{place}ClientOrderId"),
    )


def _which(
    parameters: Parameters, number: str = "orderId", name: str = "origClientOrderId"
) -> tuple[str, int | None, str | None]:
    symbol = parameters.required("symbol")
    order_id, client_id = parameters.integer(number), parameters.text(name)
    if order_id is None and client_id is None:
        raise which_order(number, name)
    return symbol, order_id, client_id


def _form(parameters: Parameters, default: str) -> str:
    form = parameters.text("newOrderRespType") or default
    if form not in _FORMS:
        raise Refusal(-1133, "Invalid newOrderRespType.")
    return form


def _interval(parameters: Parameters) -> tuple[int | None, int | None]:
    start, end = parameters.integer("startTime"), parameters.integer("endTime")
    if start is not None and end is not None and not 0 <= end - start <= _DAY_MS:
        raise Refusal(-1127, "More than 24 hours between startTime and endTime.")
    return start, end
