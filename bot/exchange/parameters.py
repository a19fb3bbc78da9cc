"""Parameters of a request: texts from outside, read as the exchange reads them."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.exchange.refusals import Refusal, illegal_characters, invalid_value, mandatory_parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Parameters"]

_DECIMAL = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
_DECIMAL_RE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?")
_INTEGER = r"^[0-9]{1,20}$"
_INTEGER_RE = re.compile(r"[0-9]{1,20}")
_SYMBOLS = r"^\[\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}\]$"


class Parameters:
    """Parameters of one request.

    Parameters
    ----------
    values : mapping of str to str
        Decoded names and values; an empty value counts as not sent.
    """

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str) -> str | None:
        """Return a text, or None."""
        return self.values.get(name) or None

    def required(self, name: str) -> str:
        """Return a text.

        Raises
        ------
        Refusal
            -1102 without it.
        """
        value = self.values.get(name)
        if not value:
            raise mandatory_parameter(name)
        return value

    def integer(self, name: str) -> int | None:
        """Return a whole number, or None.

        Raises
        ------
        Refusal
            -1100.
        """
        value = self.values.get(name)
        if not value:
            return None
        if not _INTEGER_RE.fullmatch(value):
            raise illegal_characters(name, _INTEGER)
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """Return ``limit``: the default without one, at most ``most``."""
        value = self.integer("limit")
        if value is None:
            return default
        if value < 1:
            raise invalid_value("limit")
        return min(value, most)

    def decimal(self, name: str) -> Decimal | None:
        """Return a number, or None.

        Raises
        ------
        Refusal
            -1100.
        """
        value = self.values.get(name)
        if not value:
            return None
        if not _DECIMAL_RE.fullmatch(value):
            raise illegal_characters(name, _DECIMAL)
        return Decimal(value)

    def flag(self, name: str) -> bool:
        """Return whether a flag was sent as true."""
        return self.values.get(name, "").lower() == "true"

    def symbols(self) -> list[str] | None:
        """Return what ``symbols`` lists or ``symbol`` names, or None for neither.

        Raises
        ------
        Refusal
            -1100, or -1128 for both.
        """
        single, several = self.text("symbol"), self.text("symbols")
        if several is None:
            return None if single is None else [single]
        if single is not None:
            raise Refusal(-1128, "Combination of optional parameters invalid.")
        try:
            found = json.loads(several)
        except ValueError:
            found = None
        if not isinstance(found, list) or not found or not all(isinstance(item, str) for item in found):
            raise illegal_characters("symbols", _SYMBOLS)
        return found
