"""What the exchange answers instead of doing as it was asked, with the codes and texts of Binance spot."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CLIENT_ID_PATTERN",
    "Refusal",
    "bad_pair_prices",
    "duplicate_order",
    "filter_failure",
    "illegal_characters",
    "insufficient_balance",
    "invalid_interval",
    "invalid_order_type",
    "invalid_side",
    "invalid_symbol",
    "invalid_time_in_force",
    "invalid_value",
    "mandatory_parameter",
    "market_closed",
    "no_such_order",
    "no_such_order_list",
    "not_cancelled",
    "overflowed",
    "parameter_not_required",
    "too_precise",
    "unknown_order",
    "unknown_order_list",
    "unsupported_combination",
    "unsupported_in_pair",
    "unsupported_order",
    "which_order",
    "would_match",
    "would_trigger",
    "wrong_side_of_pair",
]

CLIENT_ID_PATTERN = r"^[\.A-Z\:/a-z0-9_-]{1,36}$"
"""What a client order id may look like; the message of the refusal quotes it."""

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_REJECTED = -2010
_CANCEL_REJECTED = -2011


class Refusal(Exception):
    """A request that the exchange refuses.

    Attributes
    ----------
    code : int
        The wire's error code, such as -2010.
    message : str
        The wire's text.
    status : int
        The HTTP status.
    headers : mapping of str to str
        Extra headers of the answer.
    data : dict or None
        What the answer tells besides: of an order that was to replace another, what became of the two.
    """

    def __init__(
        self,
        code: int,
        message: str,
        status: int = 400,
        headers: Mapping[str, str] = _NO_HEADERS,
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers
        self.data = data

    def document(self) -> dict[str, Any]:
        """Return code and text as the wire has them, and what the answer tells besides."""
        found: dict[str, Any] = {"code": self.code, "msg": self.message}
        return found if self.data is None else found | {"data": self.data}


def insufficient_balance() -> Refusal:
    """Refuse an order for want of free balance."""
    return Refusal(_REJECTED, "Account has insufficient balance for requested action.")


def duplicate_order() -> Refusal:
    """Refuse a client order id that an open order has."""
    return Refusal(_REJECTED, "Duplicate order sent.")


def market_closed() -> Refusal:
    """Refuse to trade a symbol that does not trade now."""
    return Refusal(_REJECTED, "Market is closed.")


def would_trigger() -> Refusal:
    """Refuse a stop that the price has already passed."""
    return Refusal(_REJECTED, "Order would trigger immediately.")


def would_match() -> Refusal:
    """Refuse a maker order that would take."""
    return Refusal(_REJECTED, "Order would immediately match and take.")


def bad_pair_prices() -> Refusal:
    """Refuse a pair of orders that does not enclose the price."""
    return Refusal(_REJECTED, "The relationship of the prices for the orders is not correct.")


def unknown_order() -> Refusal:
    """Refuse to cancel an order that is not open, or never was."""
    return Refusal(_CANCEL_REJECTED, "Unknown order sent.")


def not_cancelled() -> Refusal:
    """Refuse to cancel an order that is not in the state that the client named."""
    return Refusal(_CANCEL_REJECTED, "Order was not canceled due to cancel restrictions.")


def unknown_order_list() -> Refusal:
    """Refuse to cancel a pair that is not open, or never was."""
    return Refusal(_CANCEL_REJECTED, "Unknown order list sent.")


def no_such_order() -> Refusal:
    """Answer a look-up of an order that is not there."""
    return Refusal(-2013, "Order does not exist.")


def no_such_order_list() -> Refusal:
    """Answer a look-up of a pair that is not there."""
    return Refusal(-2013, "Order list does not exist.")


def which_order(first: str, second: str) -> Refusal:
    """Refuse a request that names an order in neither of two ways."""
    return Refusal(-1102, f"Param '{first}' or '{second}' must be sent, but both were empty/null!")


def mandatory_parameter(name: str) -> Refusal:
    """Refuse a request that lacks a parameter."""
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def parameter_not_required(name: str) -> Refusal:
    """Refuse a parameter that this kind of order does not take."""
    return Refusal(-1106, f"Parameter '{name}' sent when not required.")


def illegal_characters(name: str, legal: str = CLIENT_ID_PATTERN) -> Refusal:
    """Refuse a text that holds other characters than the pattern allows."""
    return Refusal(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def too_precise(name: str) -> Refusal:
    """Refuse a number of more than eight decimals."""
    return Refusal(-1111, f"Parameter '{name}' has too much precision.")


def overflowed(name: str) -> Refusal:
    """Refuse a number that is too large to count with."""
    return Refusal(-1108, f"Parameter '{name}' overflowed.")


def invalid_symbol() -> Refusal:
    """Refuse a symbol that is not traded here."""
    return Refusal(-1121, "Invalid symbol.")


def invalid_value(name: str) -> Refusal:
    """Refuse a parameter whose value is none of those that it may have."""
    return Refusal(-1130, f"Data sent for parameter '{name}' is not valid.")


def invalid_interval() -> Refusal:
    """Refuse a candle length that the candles cannot give."""
    return Refusal(-1120, "Invalid interval.")


def invalid_side() -> Refusal:
    """Refuse a side other than BUY and SELL."""
    return Refusal(-1117, "Invalid side.")


def invalid_order_type() -> Refusal:
    """Refuse an unknown kind of order."""
    return Refusal(-1116, "Invalid orderType.")


def invalid_time_in_force() -> Refusal:
    """Refuse an unknown time in force."""
    return Refusal(-1115, "Invalid timeInForce.")


def unsupported_combination() -> Refusal:
    """Refuse parameters that do not go together."""
    return Refusal(-1128, "Combination of optional parameters invalid.")


def unsupported_order(name: str) -> Refusal:
    """Refuse a feature that no symbol here has, such as ``Iceberg`` or ``Trailing stop``."""
    return Refusal(_REJECTED, f"{name} orders are not supported for this symbol.")


def unsupported_in_pair() -> Refusal:
    """Refuse a kind of order that cannot be a leg of a pair."""
    return Refusal(-1158, "Order type not supported in OCO.")


def wrong_side_of_pair(side: str, leg: str) -> Refusal:
    """Refuse a leg on the wrong side of the price.

    Parameters
    ----------
    side : str
        ``BUY`` or ``SELL``.
    leg : str
        ``limit``, ``stop loss`` or ``take profit``.
    """
    buys = side == "BUY"
    code = {"limit": (-1165, -1166), "stop loss": (-1196, -1197), "take profit": (-1198, -1199)}[leg][not buys]
    place = "above" if buys == (leg == "stop loss") else "below"
    return Refusal(code, f"A {leg} order in a {side.lower()} OCO must be {place}.")


def filter_failure(name: str) -> Refusal:
    """Refuse an order that breaks a rule of the symbol, such as LOT_SIZE."""
    return Refusal(-1013, f"Filter failure: {name}")
