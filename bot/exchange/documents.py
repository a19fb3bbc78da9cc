"""What the exchange says about orders, pairs, trades and accounts, in the words of the real one.

Amounts are texts with at least eight decimals and never rounded: what a client parses is what the ledger holds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bot.exchange.matching import LocalExchange
    from bot.exchange.orders import Order, OrderList, Trade

__all__ = [
    "account_document",
    "amount",
    "balances_document",
    "cancelled_document",
    "list_document",
    "order_document",
    "placed_document",
    "trade_document",
]

_UNIT = Decimal("1e-8")


def amount(value: Decimal) -> str:
    """Return a price or size as text, with eight decimals or as many as it has."""
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -8:
        return format(value, "f")
    return format(value.quantize(_UNIT), "f")


def _core(order: Order) -> dict[str, Any]:
    return {
        "price": amount(order.price),
        "origQty": amount(order.quantity),
        "executedQty": amount(order.executed),
        "origQuoteOrderQty": amount(order.quote_quantity),
        "cummulativeQuoteQty": amount(order.quote_executed),
        "status": order.status,
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "side": order.side,
    }


def _trigger(order: Order) -> dict[str, Any]:
    return {} if order.trigger is None else {"stopPrice": amount(order.trigger)}


def order_document(order: Order) -> dict[str, Any]:
    """Return what a query of an order answers."""
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        **_core(order),
        "stopPrice": amount(order.stop_price),
        "icebergQty": "0.00000000",
        "time": order.created_ms,
        "updateTime": order.updated_ms,
        "isWorking": order.is_working,
        "workingTime": order.working_ms,
        "selfTradePreventionMode": "NONE",
    }


def placed_document(order: Order, form: str = "FULL") -> dict[str, Any]:
    """Return what a new order answers.

    Parameters
    ----------
    order : Order
        As it stands after its arrival.
    form : str
        ``ACK``, ``RESULT`` or ``FULL``; only the last has the fills.
    """
    found: dict[str, Any] = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }
    if form == "ACK":
        return found
    found |= _core(order)
    found |= _trigger(order)
    found["workingTime"] = order.working_ms
    found["selfTradePreventionMode"] = "NONE"
    if form == "FULL":
        found["fills"] = [
            {
                "price": amount(trade.price),
                "qty": amount(trade.quantity),
                "commission": amount(trade.commission),
                "commissionAsset": trade.commission_asset,
                "tradeId": trade.trade_id,
            }
            for trade in order.trades
        ]
    return found


def cancelled_document(order: Order, cancel_id: str | None = None) -> dict[str, Any]:
    """Return what the cancelling of an order answers; ``clientOrderId`` is then the id of the cancel."""
    return {
        "symbol": order.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.order_id,
        "orderListId": order.list_id,
        "clientOrderId": cancel_id or f"cancel-{order.order_id}",
        "transactTime": order.updated_ms,
        **_core(order),
        **_trigger(order),
        "selfTradePreventionMode": "NONE",
    }


def list_document(pair: OrderList, orders: Sequence[Order], reports: str = "") -> dict[str, Any]:
    """Return a pair of orders.

    Parameters
    ----------
    pair : OrderList
        The pair.
    orders : sequence of Order
        Its two orders.
    reports : str
        ``placed`` or ``cancelled`` for a report on each order as well.
    """
    found: dict[str, Any] = {
        "orderListId": pair.list_id,
        "contingencyType": "OCO",
        "listStatusType": "ALL_DONE" if pair.status == "ALL_DONE" else "EXEC_STARTED",
        "listOrderStatus": pair.status,
        "listClientOrderId": pair.client_id,
        "transactionTime": pair.updated_ms,
        "symbol": pair.symbol,
        "orders": [
            {"symbol": order.symbol, "orderId": order.order_id, "clientOrderId": order.client_id} for order in orders
        ],
    }
    if reports == "placed":
        found["orderReports"] = [placed_document(order, "RESULT") for order in orders]
    elif reports == "cancelled":
        found["orderReports"] = [cancelled_document(order) for order in orders]
    return found


def trade_document(trade: Trade) -> dict[str, Any]:
    """Return a trade of the account."""
    return {
        "symbol": trade.symbol,
        "id": trade.trade_id,
        "orderId": trade.order_id,
        "orderListId": trade.list_id,
        "price": amount(trade.price),
        "qty": amount(trade.quantity),
        "quoteQty": amount(trade.quote_quantity),
        "commission": amount(trade.commission),
        "commissionAsset": trade.commission_asset,
        "time": trade.time_ms,
        "isBuyer": trade.side == "BUY",
        "isMaker": trade.is_maker,
        "isBestMatch": True,
    }


def balances_document(
    balances: Mapping[str, tuple[Decimal, Decimal]], *, omit_zero: bool = False
) -> list[dict[str, str]]:
    """Return the balances of an account, by asset."""
    return [
        {"asset": asset, "free": amount(free), "locked": amount(locked)}
        for asset, (free, locked) in balances.items()
        if free or locked or not omit_zero
    ]


def account_document(exchange: LocalExchange, *, can_trade: bool, omit_zero: bool = False) -> dict[str, Any]:
    """Return the account as a key sees it.

    Parameters
    ----------
    exchange : LocalExchange
        Holds the balances.
    can_trade : bool
        Of the key that asks.
    omit_zero : bool
        Leave out assets of which nothing is held.
    """
    taker = exchange.fees.taker
    points = round(taker * 10_000)
    rate = format(Decimal(repr(taker)).quantize(_UNIT), "f")
    return {
        "makerCommission": points,
        "takerCommission": points,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": {"maker": rate, "taker": rate, "buyer": "0.00000000", "seller": "0.00000000"},
        "canTrade": can_trade,
        "canWithdraw": False,
        "canDeposit": False,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": exchange.now_ms,
        "accountType": "SPOT",
        "balances": balances_document(exchange.balances(), omit_zero=omit_zero),
        "permissions": ["SPOT"],
        "uid": 1,
    }
