"""Signals as pure functions of numbers: when to be in the market, and when not."""

from __future__ import annotations

__all__ = ["earns_its_costs", "wants_in", "wants_out"]


def wants_in(p_up: float, enter: float) -> bool:
    """Tell whether a flat strategy opens: the calibrated probability of a rise is ``enter`` or more; False for NaN."""
    return p_up >= enter


def wants_out(p_up: float, exit_: float) -> bool:
    """Tell whether an open position closes: the probability of a rise is ``exit_`` or less; False for NaN."""
    return p_up <= exit_


def earns_its_costs(lower_bound: float, needed: float) -> bool:
    """Tell whether the lower bound of the mean gross return of a holding period exceeds ``needed``; False for NaN.

    Both are fractions, 0.001 being 0.1 %. The bound comes from the model's out-of-sample record, the need from the
    costs of buying and selling once.
    """
    return lower_bound > needed
