"""What the whole range of a candle does to the orders that rest when it closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bot.broker.execution import limit_fill, stop_fill, stop_limit_fill, target_limit_fill
from bot.broker.protection import judge
from bot.exchange.orders import STOP_KINDS

if TYPE_CHECKING:
    from bot.broker.rules import ExchangeRules
    from bot.exchange.orders import Order
    from bot.exchange.tape import Bar

__all__ = ["Encounter", "meet", "reached_leg"]


class Encounter(NamedTuple):
    """What a candle does to one order.

    Attributes
    ----------
    triggered : bool
        Whether it works from now on, filled or not.
    price : float or None
        Where it is filled.
    is_maker : bool
        Whether it is filled as a limit order that rested, which may take more than one candle.
    """

    triggered: bool
    price: float | None
    is_maker: bool


def meet(order: Order, bar: Bar, rules: ExchangeRules, slippage: float) -> Encounter:
    """Return what a candle does to an order that rests.

    A take-profit without a limit is filled at its trigger or better, as a limit order there would be.
    """
    open_, high, low, close = bar
    is_buy, limit, stop = order.is_buy, float(order.price), float(order.stop_price)
    if order.is_working:
        return Encounter(triggered=True, price=limit_fill(open_, high, low, limit, rules, is_buy=is_buy), is_maker=True)
    if order.kind == "STOP_LOSS":
        price = stop_fill(open_, high, low, stop, rules, slippage, is_buy=is_buy)
        return Encounter(price is not None, price, is_maker=False)
    if order.kind == "TAKE_PROFIT":
        price = limit_fill(open_, high, low, stop, rules, is_buy=is_buy)
        return Encounter(price is not None, price, is_maker=False)
    if order.kind == "STOP_LOSS_LIMIT":
        found = stop_limit_fill(open_, high, low, close, stop, limit, rules, is_buy=is_buy)
    else:
        found = target_limit_fill(open_, high, low, stop, limit, rules, is_buy=is_buy)
    return Encounter(found.triggered, found.price, is_maker=True)


def reached_leg(first: Order, second: Order, bar: Bar) -> Order | None:
    """Return which order of a pair a candle reaches, the worst case first, or None."""
    stop, target = (first, second) if first.kind in STOP_KINDS else (second, first)
    trigger, wanted = float(stop.stop_price), float(target.price if target.trigger is None else target.trigger)
    open_, high, low, _ = bar
    if stop.is_buy:  # the mirror image of a sale
        open_, high, low, trigger, wanted = -open_, -low, -high, -trigger, -wanted
    verdict = judge(open_, high, low, trigger, wanted)
    if verdict is None:
        return None
    return stop if verdict.reason == "stop" else target
