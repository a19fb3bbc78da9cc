"""What the account holds: free and locked balances, exact to the last decimal."""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import TYPE_CHECKING

from bot.exchange.refusals import insufficient_balance

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Account", "add", "multiply", "subtract"]

_EXACT = Context(prec=100, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])
_ZERO = Decimal(0)

add = _EXACT.add
"""Add two decimals exactly, whatever the context of the thread."""
subtract = _EXACT.subtract
"""Subtract exactly."""
multiply = _EXACT.multiply
"""Multiply exactly."""


class Account:
    """Balances of one account, and what each open order or pair has locked.

    Parameters
    ----------
    balances : mapping of str to Decimal
        Free balance by asset, not negative.

    Raises
    ------
    ValueError
        For a balance that is negative or not finite.
    """

    def __init__(self, balances: Mapping[str, Decimal]) -> None:
        for asset, amount in balances.items():
            if not amount.is_finite() or amount < 0:
                raise ValueError(f"the balance of {asset} is {amount}: expected a number that is not negative")
        self._free = dict(balances)
        self._locked = dict.fromkeys(balances, _ZERO)
        self._holds: dict[str, tuple[str, Decimal]] = {}

    def open_asset(self, asset: str) -> None:
        """List an asset, with nothing of it where it is new."""
        self._free.setdefault(asset, _ZERO)
        self._locked.setdefault(asset, _ZERO)

    def free(self, asset: str) -> Decimal:
        """Return what may be spent."""
        return self._free.get(asset, _ZERO)

    def locked(self, asset: str) -> Decimal:
        """Return what open orders have locked."""
        return self._locked.get(asset, _ZERO)

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return free and locked by asset."""
        return {asset: (amount, self._locked[asset]) for asset, amount in self._free.items()}

    def holds(self) -> dict[str, tuple[str, Decimal]]:
        """Return asset and amount by the name of what locked it."""
        return dict(self._holds)

    def require(self, asset: str, amount: Decimal) -> None:
        """Refuse when less than ``amount`` is free.

        Raises
        ------
        Refusal
            -2010 for want of balance.
        """
        if self.free(asset) < amount:
            raise insufficient_balance()

    def hold(self, name: str, asset: str, amount: Decimal) -> None:
        """Lock an amount under a name that has nothing locked.

        Raises
        ------
        Refusal
            -2010 when there is not so much; then nothing was changed.
        """
        self.require(asset, amount)
        if amount:
            self._holds[name] = (asset, amount)
            self._free[asset] = subtract(self.free(asset), amount)
            self._locked[asset] = add(self.locked(asset), amount)

    def held(self, name: str) -> Decimal:
        """Return what this name has locked."""
        return self._holds.get(name, ("", _ZERO))[1]

    def release(self, name: str) -> None:
        """Free what this name has locked."""
        asset, amount = self._holds.pop(name, ("", _ZERO))
        if amount:
            self._locked[asset] = subtract(self._locked[asset], amount)
            self._free[asset] = add(self._free[asset], amount)

    def exchange(self, give: tuple[str, Decimal], get: tuple[str, Decimal], fee: tuple[str, Decimal]) -> None:
        """Give an amount of one asset for another, and pay a fee.

        Raises
        ------
        Refusal
            -2010 when what is free does not pay for it; then nothing was changed.
        """
        change = {give[0]: subtract(_ZERO, give[1])}
        change[get[0]] = add(change.get(get[0], _ZERO), get[1])
        change[fee[0]] = subtract(change.get(fee[0], _ZERO), fee[1])
        for asset, amount in change.items():
            if add(self.free(asset), amount) < 0:
                raise insufficient_balance()
        for asset, amount in change.items():
            self.open_asset(asset)
            self._free[asset] = add(self._free[asset], amount)

    def restore(
        self, balances: Mapping[str, tuple[Decimal, Decimal]], holds: Mapping[str, tuple[str, Decimal]]
    ) -> None:
        """Take over what ``balances`` and ``holds`` returned earlier."""
        self._free = {asset: pair[0] for asset, pair in balances.items()}
        self._locked = {asset: pair[1] for asset, pair in balances.items()}
        self._holds = dict(holds)
