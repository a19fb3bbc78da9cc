"""What the broker writes down: fills and refused orders, as values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fill", "Rejection"]


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution.

    Attributes
    ----------
    bar_open_ms : int
        Open time of the bar in which it happened, milliseconds UTC.
    order_ref : int
        Number of the order within the run, from 1.
    side : str
        ``buy`` or ``sell``.
    size : float
        Base currency that changed hands, positive.
    price : float
        Quote currency per unit.
    fee : float
        What was charged, in units of ``fee_asset``.
    fee_asset : str
        ``quote``, ``base``, or the name of a third asset.
    reason : str
        ``entry``, ``exit``, ``stop`` or ``target``.
    slipped : bool
        Whether slippage made the price worse: of market and stop orders, not of limits.
    """

    bar_open_ms: int
    order_ref: int
    side: str
    size: float
    price: float
    fee: float
    fee_asset: str
    reason: str
    slipped: bool = True


@dataclass(frozen=True, slots=True)
class Rejection:
    """An order that was refused, at submission or when it should have been filled; ``size`` is what was asked."""

    bar_open_ms: int
    order_ref: int
    side: str
    size: float
    reason: str
