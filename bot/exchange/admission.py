"""What an order must be to reach the market: its parameters, the rules of the symbol, and where the price stands."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.exchange.accounts import multiply
from bot.exchange.market import MAX_ALGO_ORDERS, MAX_ORDERS
from bot.exchange.orders import LIMIT_KINDS, ORDER_KINDS, STOP_KINDS, TARGET_KINDS, Leg, OrderRequest, PairRequest
from bot.exchange.refusals import (
    CLIENT_ID_PATTERN,
    bad_pair_prices,
    filter_failure,
    illegal_characters,
    invalid_order_type,
    invalid_side,
    invalid_time_in_force,
    mandatory_parameter,
    overflowed,
    parameter_not_required,
    too_precise,
    unsupported_combination,
    unsupported_in_pair,
    would_match,
    would_trigger,
    wrong_side_of_pair,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.exchange.market import Market
    from bot.exchange.orders import Order

__all__ = [
    "check_count",
    "check_filters",
    "check_order_form",
    "check_order_price",
    "check_pair_form",
    "check_pair_prices",
    "is_marketable",
]

_CLIENT_ID = re.compile(CLIENT_ID_PATTERN)
_TIMED_KINDS = LIMIT_KINDS - {"LIMIT_MAKER"}
_UNIT = Decimal("1e-8")
_MOST_DIGITS = 15  # before the point


def check_order_form(request: OrderRequest) -> None:
    """Refuse an order that lacks a parameter of its kind, or has one that its kind does not take.

    Raises
    ------
    Refusal
        -1100, -1102, -1106, -1111, -1115, -1116, -1117 or -1128.
    """
    if request.side not in ("BUY", "SELL"):
        raise invalid_side()
    if request.kind not in ORDER_KINDS:
        raise invalid_order_type()
    leg = Leg(request.kind, request.price, request.stop_price, request.time_in_force, request.client_id)
    _check_leg(leg, {name: name for name in ("price", "stopPrice", "timeInForce")} | {"id": "newClientOrderId"})
    if request.kind == "MARKET" and request.quote_quantity is not None:
        if request.quantity is not None:
            raise unsupported_combination()
        _check_number("quoteOrderQty", request.quote_quantity)
        return
    if request.quote_quantity is not None:
        raise parameter_not_required("quoteOrderQty")
    _check_number("quantity", request.quantity)


def check_pair_form(request: PairRequest) -> None:
    """Refuse a pair whose legs are of a wrong kind, on the wrong side, or lack a parameter.

    Raises
    ------
    Refusal
        As for an order, and -1158, -1165, -1166, -1196, -1197, -1198 or -1199.
    """
    if request.side not in ("BUY", "SELL"):
        raise invalid_side()
    _check_client_id("listClientOrderId", request.list_client_id)
    for place, leg in (("above", request.above), ("below", request.below)):
        if leg.kind not in ORDER_KINDS:
            raise invalid_order_type()
        if leg.kind in ("MARKET", "LIMIT"):
            raise unsupported_in_pair()
        turns_against = (request.side == "BUY") == (place == "above")
        if turns_against != (leg.kind in STOP_KINDS):
            name = "limit" if leg.kind == "LIMIT_MAKER" else leg.kind.removesuffix("_LIMIT").replace("_", " ").lower()
            raise wrong_side_of_pair(request.side, name)
        names = {
            "price": f"{place}Price",
            "stopPrice": f"{place}StopPrice",
            "timeInForce": f"{place}TimeInForce",
            "id": f"{place}ClientOrderId",
        }
        _check_leg(leg, names)
    _check_number("quantity", request.quantity)


def check_filters(market: Market, kind: str, quantity: Decimal, leg: Leg | OrderRequest, average: Decimal) -> None:
    """Refuse an order that breaks a rule of the symbol.

    Parameters
    ----------
    market : Market
    kind : str
    quantity : Decimal
        Base currency.
    leg : Leg or OrderRequest
        Gives the prices.
    average : Decimal
        Average price of the last minutes, by which NOTIONAL judges what has no price of its own.

    Raises
    ------
    Refusal
        -1013 with the name of the filter.
    """
    if any(price is not None and not market.keeps_price(price) for price in (leg.price, leg.stop_price)):
        raise filter_failure("PRICE_FILTER")
    if not market.keeps_quantity(quantity):
        raise filter_failure("LOT_SIZE")
    price = next((price for price in (leg.price, leg.stop_price) if price is not None), average)
    if not market.keeps_notional(multiply(quantity, average if kind == "MARKET" else price)):
        raise filter_failure("NOTIONAL")


def check_count(open_orders: Sequence[Order], kinds: Sequence[str]) -> None:
    """Refuse more open orders of a symbol than the exchange keeps.

    Raises
    ------
    Refusal
        -1013 MAX_NUM_ORDERS or MAX_NUM_ALGO_ORDERS.
    """
    if len(open_orders) + len(kinds) > MAX_ORDERS:
        raise filter_failure("MAX_NUM_ORDERS")
    waiting = sum(kind in STOP_KINDS or kind in TARGET_KINDS for kind in kinds)
    if waiting and waiting + sum(order.trigger is not None for order in open_orders) > MAX_ALGO_ORDERS:
        raise filter_failure("MAX_NUM_ALGO_ORDERS")


def is_marketable(price: Decimal, last: Decimal, *, is_buy: bool) -> bool:
    """Tell whether a limit order would fill at once at the last price."""
    return price >= last if is_buy else price <= last


def check_order_price(request: OrderRequest, last: Decimal) -> None:
    """Refuse a trigger that the price has passed already, and a maker order that would take.

    Raises
    ------
    Refusal
        -2010 'Order would trigger immediately.' or 'Order would immediately match and take.'
    """
    is_buy = request.side == "BUY"
    if request.stop_price is not None:
        waits_above = is_buy == (request.kind in STOP_KINDS)
        if last >= request.stop_price if waits_above else last <= request.stop_price:
            raise would_trigger()
    elif request.kind == "LIMIT_MAKER" and is_marketable(request.price or last, last, is_buy=is_buy):
        raise would_match()


def check_pair_prices(request: PairRequest, last: Decimal) -> None:
    """Refuse a pair that does not enclose the last price.

    Raises
    ------
    Refusal
        -2010 'Order would trigger immediately.' when only the stop has been passed, else 'The relationship of the prices
        for the orders is not correct.'
    """
    is_buy = request.side == "BUY"
    stop, target = (request.above, request.below) if is_buy else (request.below, request.above)
    trigger = stop.stop_price
    wanted = target.price if target.kind == "LIMIT_MAKER" else target.stop_price
    if trigger is None or wanted is None:
        raise bad_pair_prices()
    if (wanted >= last or wanted >= trigger) if is_buy else (wanted <= last or wanted <= trigger):
        raise bad_pair_prices()
    if trigger <= last if is_buy else trigger >= last:
        raise would_trigger()


def _check_leg(leg: Leg, names: dict[str, str]) -> None:
    """Check the prices, the time in force and the client id against the kind."""
    for name, value, is_needed in (
        ("timeInForce", leg.time_in_force, leg.kind in _TIMED_KINDS),
        ("price", leg.price, leg.kind in LIMIT_KINDS),
        ("stopPrice", leg.stop_price, leg.kind in STOP_KINDS or leg.kind in TARGET_KINDS),
    ):
        if value is None and is_needed:
            raise mandatory_parameter(names[name])
        if value is not None and not is_needed:
            raise parameter_not_required(names[name])
        if isinstance(value, Decimal):
            _check_number(names[name], value)
    if leg.time_in_force not in (None, "GTC", "IOC", "FOK"):
        raise invalid_time_in_force()
    _check_client_id(names["id"], leg.client_id)


def _check_number(name: str, number: Decimal | None) -> None:
    if number is None or not number.is_finite():
        raise mandatory_parameter(name)
    if number.adjusted() > _MOST_DIGITS:
        raise overflowed(name)
    if number % _UNIT:
        raise too_precise(name)


def _check_client_id(name: str, client_id: str | None) -> None:
    if client_id is not None and not _CLIENT_ID.fullmatch(client_id):
        raise illegal_characters(name)
