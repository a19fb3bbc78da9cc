"""Whether a bar fills an order, and at what price: plain market, limit and stop orders, as Backtrader judges them.

Pure functions of floats. A bar is open, high, low and close; the open comes first in time. Market and stop orders are
filled worse than the bar's price by ``slippage``, rounded to the tick against the order. Limit orders are not, and never
beyond their limit. Stops and targets that guard a position together are judged by ``bot.broker.protection``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bot.broker.lots import round_price

if TYPE_CHECKING:
    from bot.broker.rules import ExchangeRules

__all__ = [
    "StopLimit",
    "limit_fill",
    "limit_price",
    "market_price",
    "stop_fill",
    "stop_limit_fill",
    "target_limit_fill",
]


class StopLimit(NamedTuple):
    """What a bar does to an order that waits for a trigger and then rests at a limit."""

    triggered: bool
    price: float | None


def market_price(price: float, rules: ExchangeRules, slippage: float, *, is_buy: bool) -> float:
    """Return what a market order pays or gets when the market stands at ``price``."""
    if is_buy:
        return round_price(price * (1.0 + slippage), rules, "up")
    return round_price(price * (1.0 - slippage), rules, "down")


def limit_price(price: float, limit: float, rules: ExchangeRules, *, is_buy: bool) -> float:
    """Return what a limit order pays or gets when the market stands at ``price``, at its limit or better."""
    if is_buy:
        return min(round_price(price, rules, "up"), limit)
    return max(round_price(price, rules, "down"), limit)


def limit_fill(
    open_: float, high: float, low: float, limit: float, rules: ExchangeRules, *, is_buy: bool
) -> float | None:
    """Return the price at which a bar fills a resting limit order: its open if that is better, else the limit, or None."""
    if limit >= open_ if is_buy else limit <= open_:
        return limit_price(open_, limit, rules, is_buy=is_buy)
    return limit if (limit >= low if is_buy else limit <= high) else None


def stop_fill(
    open_: float, high: float, low: float, stop: float, rules: ExchangeRules, slippage: float, *, is_buy: bool
) -> float | None:
    """Return the price at which a bar fills a stop order: its open if that gapped through, else the stop, or None."""
    if open_ >= stop if is_buy else open_ <= stop:
        return market_price(open_, rules, slippage, is_buy=is_buy)
    if high >= stop if is_buy else low <= stop:
        return market_price(stop, rules, slippage, is_buy=is_buy)
    return None


def stop_limit_fill(
    open_: float,
    high: float,
    low: float,
    close: float,
    stop: float,
    limit: float,
    rules: ExchangeRules,
    *,
    is_buy: bool,
) -> StopLimit:
    """Return whether a bar triggers a stop-limit order, and the price if it fills it as well.

    Inside a bar the way after the trigger is not known. The order fills at the stop if its limit allows that; a limit
    that the market has yet to come back to fills only in a bar that ends beyond it on its way back.
    """
    if open_ >= stop if is_buy else open_ <= stop:
        return StopLimit(triggered=True, price=limit_fill(open_, high, low, limit, rules, is_buy=is_buy))
    if not (high >= stop if is_buy else low <= stop):
        return StopLimit(triggered=False, price=None)
    if limit >= stop if is_buy else limit <= stop:
        return StopLimit(triggered=True, price=limit_price(stop, limit, rules, is_buy=is_buy))
    came_back = open_ > close and limit >= close if is_buy else open_ <= close and limit <= close
    return StopLimit(triggered=True, price=limit if came_back else None)


def target_limit_fill(
    open_: float, high: float, low: float, trigger: float, limit: float, rules: ExchangeRules, *, is_buy: bool
) -> StopLimit:
    """Return whether a bar triggers a take-profit-limit order, and the price if it fills it as well.

    The market reaches the trigger moving in the order's favour. It fills there if its limit allows that; a limit further
    on is filled when the bar goes so far.
    """
    if open_ <= trigger if is_buy else open_ >= trigger:
        return StopLimit(triggered=True, price=limit_fill(open_, high, low, limit, rules, is_buy=is_buy))
    if not (low <= trigger if is_buy else high >= trigger):
        return StopLimit(triggered=False, price=None)
    price = limit_fill(trigger, high, low, limit, rules, is_buy=is_buy)
    return StopLimit(triggered=True, price=price)
