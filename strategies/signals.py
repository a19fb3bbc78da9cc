"""Signals as pure functions of numbers: when to be in the market, and when not."""

from __future__ import annotations

from math import expm1, nan

__all__ = [
    "DOWN",
    "UP",
    "asked_by_rsi",
    "confirms",
    "earns_its_costs",
    "is_below_limit",
    "probability_of_rise",
    "reaches",
    "simple_return",
    "wants_in",
    "wants_out",
]

UP, DOWN = 1.0, -1.0
"""What the line ``direction`` of a prediction says. On spot UP means long, and DOWN means flat."""


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


def asked_by_rsi(rsi: float, oversold: float, overbought: float) -> float:
    """Return what an extreme of the relative strength index asks for.

    Parameters
    ----------
    rsi : float
        Wilder's index in [0, 100]; NaN asks for nothing.
    oversold, overbought : float
        Below the first it asks for ``UP`` (long), above the second for ``DOWN`` (flat).

    Returns
    -------
    float
        ``UP``, ``DOWN`` or 0.0 between them.
    """
    if rsi < oversold:
        return UP
    return DOWN if rsi > overbought else 0.0


def confirms(wanted: float, direction: float, confidence: float, least: float) -> bool:
    """Tell whether a model says the wanted direction, surely enough; False for NaN.

    Parameters
    ----------
    wanted, direction : float
        ``UP`` or ``DOWN``: what is asked, and what the model says.
    confidence : float
        Calibrated probability in [0.5, 1] that the model is right. One half is no opinion and confirms nothing.
    least : float
        Confidence that suffices, in [0.5, 1].
    """
    return direction == wanted and confidence > 0.5 and confidence >= least


def is_below_limit(risk: float, limit: float) -> bool:
    """Tell whether a risk score in [0, 100] is below the limit; False for NaN."""
    return risk < limit


def probability_of_rise(direction: float, confidence: float) -> float:
    """Return the probability of a rise that a direction and its confidence mean; NaN without either.

    Parameters
    ----------
    direction : float
        ``UP`` or ``DOWN``.
    confidence : float
        Calibrated probability in [0.5, 1] that the direction is right.
    """
    if direction == UP:
        return confidence
    return 1.0 - confidence if direction == DOWN else nan


def simple_return(log_return: float) -> float:
    """Return ``exp(r) - 1``: the fraction that a log return gains. NaN stays NaN."""
    return expm1(log_return)


def reaches(value: float, threshold: float) -> bool:
    """Tell whether a figure is at least as large as its threshold; False for NaN."""
    return value >= threshold
