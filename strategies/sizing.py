"""Sizes as pure functions: how much to buy for a target fraction of the account."""

from __future__ import annotations

__all__ = ["entry_size"]


def entry_size(fraction: float, value: float, cash: float, price: float, cost: float, headroom: float) -> float:
    """Return how much to buy so that a position worth ``fraction`` of the account is opened.

    Parameters
    ----------
    fraction : float
        Target share of the account's value, in [0, 1].
    value, cash : float
        Value of the account and its free cash, quote currency.
    price : float
        The price now, quote currency per unit.
    cost : float
        Fraction that buying costs: fee and slippage.
    headroom : float
        Fraction by which the price may rise until the order is filled without the cash falling short.

    Returns
    -------
    float
        Size in the base currency, not rounded; 0.0 when there is nothing to spend.
    """
    budget = min(fraction * value, cash)
    if budget <= 0.0 or price <= 0.0:
        return 0.0
    return budget / (price * (1.0 + cost + headroom))
