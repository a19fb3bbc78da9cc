"""What is known of orders, and what the ledger books in a bar, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bot.live.orders import Execution, Ticket

__all__ = ["NOTHING", "BarFacts", "Ending", "OrderRow"]

_DONE = frozenset({"filled", "cancelled", "expired", "rejected", "refused", "gated"})


@dataclass(slots=True)
class OrderRow:
    """An order and what became of it.

    Attributes
    ----------
    ticket : Ticket
        As it was, or was to be, sent.
    state : str
        ``gated`` (we ourselves forbade it), ``intended`` (may have been sent), ``unsent`` (the exchange never had it),
        ``open``, ``filled``, ``cancelled``, ``expired``, ``rejected``, or ``refused`` (the exchange said no).
    reason : str
        Why, in words; empty where there is nothing to say.
    is_cash_short : bool
        Whether it was refused for want of balance.
    exchange_id : str or None
        The exchange's number.
    sent_ms : int
        When it was last about to be sent.
    executed : Decimal
        Base currency traded so far, as far as its executions are known.
    ended_bar_ms : int or None
        Open time of the bar in which the ledger learns that it is done.
    """

    ticket: Ticket
    state: str
    reason: str = ""
    is_cash_short: bool = False
    exchange_id: str | None = None
    sent_ms: int = 0
    executed: Decimal = Decimal(0)
    ended_bar_ms: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing of it can be traded any more."""
        return self.state in _DONE


class Ending(NamedTuple):
    """How an order ended: its state, why, and whether for want of balance."""

    state: str
    reason: str
    is_cash_short: bool


@dataclass(frozen=True, slots=True)
class BarFacts:
    """What the ledger books in one bar.

    Attributes
    ----------
    executions : dict of tuples
        By client id, in the order of their time.
    endings : dict
        Orders that are done and not, or not wholly, filled; by client id.
    guards : dict
        The newest stop and target that were placed for a purchase in this bar; by the purchase's client id.
    """

    executions: dict[str, tuple[Execution, ...]] = field(default_factory=dict)
    endings: dict[str, Ending] = field(default_factory=dict)
    guards: dict[str, tuple[Ticket, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.executions or self.endings or self.guards)


NOTHING = BarFacts()
"""What the ledger books in most bars."""
