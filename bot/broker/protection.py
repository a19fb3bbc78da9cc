"""Stops and targets as pure functions: where they rest, and what a bar does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from bot.broker.lots import round_price

if TYPE_CHECKING:
    from bot.broker.rules import ExchangeRules

__all__ = ["Exit", "exit_prices", "judge", "path_after_fill"]


class Exit(NamedTuple):
    """Which protective order a bar fills, and at what price before slippage."""

    reason: Literal["stop", "target"]
    price: float


def exit_prices(
    fill_price: float, stop_loss: float | None, take_profit: float | None, rules: ExchangeRules
) -> tuple[float | None, float | None]:
    """Return the prices of stop and target for a position bought at ``fill_price``, rounded to the nearest tick.

    Parameters
    ----------
    fill_price : float
        Price that was paid, in the quote currency.
    stop_loss, take_profit : float or None
        Distance as a fraction of the fill price; None for no such order.
    rules : ExchangeRules
        Gives the tick.
    """
    stop = None if stop_loss is None else round_price(fill_price * (1.0 - stop_loss), rules)
    target = None if take_profit is None else round_price(fill_price * (1.0 + take_profit), rules)
    return stop, target


def judge(open_: float, high: float, low: float, stop: float | None, target: float | None) -> Exit | None:
    """Return which of a resting stop and target the bar fills, the worst case first, or None.

    The open comes first in time: a gap through the stop fills at the open, and so does one through the target. Inside
    the bar the order of high and low is unknown: the stop is taken to come before the target.
    """
    if stop is not None and open_ <= stop:
        return Exit("stop", open_)
    if target is not None and open_ >= target:
        return Exit("target", open_)
    if stop is not None and low <= stop:
        return Exit("stop", stop)
    if target is not None and high >= target:
        return Exit("target", target)
    return None


def path_after_fill(
    open_: float, high: float, low: float, close: float, fill_price: float, *, at_open: bool
) -> tuple[float, float, float]:
    """Return open, high and low of what is left of the entry's own bar once the entry is filled.

    After a fill at the open the whole bar is left. After a fill inside the bar only the close is known to come later: the
    low is taken to come later as well (worst case), the high is not.
    """
    if at_open:
        return open_, high, low
    return fill_price, max(fill_price, close), low
