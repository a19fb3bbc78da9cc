"""Fees of a spot exchange: a fraction of every fill, taken in the quote currency or in what was received."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from bot.errors import BrokerError

__all__ = ["FEE_UNIT", "FeeSchedule"]

FEE_UNIT = Decimal("1e-8")
"""What exchanges count a fee in, of either asset; a backtest that did not would be off by parts of it on every fill."""


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """How fills are charged.

    Attributes
    ----------
    taker : float
        Fraction of the notional in [0, 0.1), charged on every fill.
    in_kind : bool
        True when a purchase is charged in the base currency that was bought, as exchanges do unless told otherwise; a
        sale is charged in the quote currency either way.
    """

    taker: float = 0.0
    in_kind: bool = False

    def __post_init__(self) -> None:
        """Refuse fractions that no exchange charges."""
        if not 0 <= self.taker < 0.1:
            raise BrokerError(
                f"the commission is {self.taker}: expected a fraction from 0 to 0.1, such as 0.001 for 0.1 %"
            )

    def charge(self, size: float, price: float, *, is_buy: bool) -> tuple[float, str]:
        """Return the fee of a fill, a multiple of ``FEE_UNIT``, and its asset, ``base`` or ``quote``.

        Parameters
        ----------
        size : float
            Size of the fill in the base currency, positive.
        price : float
            Price of the fill in the quote currency.
        is_buy : bool
            Whether base currency was bought.
        """
        if not self.taker:
            return 0.0, "base" if is_buy and self.in_kind else "quote"
        received = Decimal(repr(float(size))) * Decimal(repr(self.taker))
        if is_buy and self.in_kind:
            return float(received.quantize(FEE_UNIT, ROUND_HALF_UP)), "base"
        return float((received * Decimal(repr(float(price)))).quantize(FEE_UNIT, ROUND_HALF_UP)), "quote"
