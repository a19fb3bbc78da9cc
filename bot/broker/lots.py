"""Sizes and prices that an exchange accepts: rounded once, in decimals, by code that backtest and live share."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from bot.broker.rules import ExchangeRules

__all__ = ["Direction", "count", "dust_limit", "floor_size", "refusal", "round_price"]

Direction = Literal["nearest", "up", "down"]

_NOISE = Decimal("1e-9")  # in steps: what float sums leave behind; 0.7 + 0.1 is eight tenths, not 0.7999999999999999
_DECIMALS = 8  # in which exchanges count what is held
_MODES = {"nearest": ROUND_HALF_UP, "up": ROUND_CEILING, "down": ROUND_FLOOR}


def floor_size(size: float, rules: ExchangeRules) -> float:
    """Return the largest size that is a multiple of the lot step and not above ``size``, in the base currency."""
    step = rules.lot_step
    if step is None:
        return size
    steps = (Decimal(repr(float(size))) / step + _NOISE).to_integral_value(ROUND_FLOOR)
    return float(steps * step)


def count(amount: float, lot_step: float) -> float:
    """Return an amount as an exchange counts it, in hundred-millionths: sums of floats would lose whole lots in time.

    Parameters
    ----------
    amount : float
        Base currency.
    lot_step : float
        0 where there is none: then nothing is counted, and the amount stays as it is.
    """
    return round(amount, _DECIMALS) if lot_step else amount


def dust_limit(held: float, lot_step: float) -> float:
    """Return below which amount what a sale leaves of ``held`` is less than a lot, or nothing but what floats leave behind.

    Parameters
    ----------
    held : float
        Before the sale, base currency.
    lot_step : float
        0 where there is none.
    """
    return max(lot_step * (1.0 - 1e-9), held * 1e-12)


def round_price(price: float, rules: ExchangeRules, direction: Direction = "nearest") -> float:
    """Return the price as a multiple of the tick, in the quote currency; ``up`` and ``down`` never improve on it.

    A price below half a tick becomes one tick: there is no price of zero.
    """
    tick = rules.price_tick
    if tick is None:
        return price
    noise = {"nearest": Decimal(0), "up": -_NOISE, "down": _NOISE}[direction]
    ticks = (Decimal(repr(float(price))) / tick + noise).to_integral_value(_MODES[direction])
    return float(max(ticks, Decimal(1)) * tick)


def refusal(size: float, price: float, rules: ExchangeRules) -> str:
    """Return why an exchange would refuse an order of this rounded size at this price; empty when it would not."""
    if size <= 0:
        return f"size rounds to 0 lots of {rules.lot_step}"
    amount = Decimal(repr(float(size)))
    if rules.min_qty is not None and amount < rules.min_qty:
        return f"size {size:.8g} is below the smallest size {float(rules.min_qty):.8g}"
    notional = amount * Decimal(repr(float(price)))
    if rules.min_notional is not None and notional < rules.min_notional:
        return f"notional {float(notional):.8g} is below the smallest notional {float(rules.min_notional):.8g}"
    return ""
