"""What an exchange asks of an order, as values: tick, lot, smallest size and smallest notional."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from bot.errors import BrokerError
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ExchangeRules"]


@dataclass(frozen=True, slots=True)
class ExchangeRules:
    """Rules of one symbol; None where the exchange has no such rule.

    Attributes
    ----------
    price_tick : Decimal or None
        Prices are multiples of it, in the quote currency.
    lot_step : Decimal or None
        Sizes are multiples of it, in the base currency.
    min_qty : Decimal or None
        Smallest size of an order, in the base currency.
    min_notional : Decimal or None
        Smallest size times price of an order, in the quote currency.
    """

    price_tick: Decimal | None = None
    lot_step: Decimal | None = None
    min_qty: Decimal | None = None
    min_notional: Decimal | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a finite positive number."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (isinstance(value, Decimal) and value.is_finite() and value > 0):
                raise BrokerError(f"{field.name} is {value!r}: expected a positive Decimal, or None for no such rule")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ExchangeRules:
        """Build rules from numbers or texts by name; None and 0 mean that there is no such rule.

        A float is taken as it prints: 0.1 is one tenth.

        Raises
        ------
        BrokerError
            For an unknown name, or a value that is not a number or is negative.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise BrokerError(f"unknown exchange rule {name!r}{suggestion(name, known)}")
        return cls(**{name: _decimal(name, value) for name, value in values.items()})

    def to_dict(self) -> dict[str, str | None]:
        """Return the rules as texts, which ``from_dict`` reads back to equal rules."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: None if value is None else format(value, "f") for name, value in found.items()}


def _decimal(name: str, value: Any) -> Decimal | None:
    if value is None:
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise BrokerError(f"{name} is {value!r}: expected a number") from None
    return number or None
