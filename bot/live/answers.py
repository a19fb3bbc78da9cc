"""What an exchange's answer means: the errors that a request can end in, and orders and trades read from a reply.

Nothing in a reply is believed before it is checked: ccxt passes on what a broken proxy or a cut connection left of it.

ExchangeError (bot.errors)
└── Refused                   the exchange said no: nothing happened
    ├── NotFound              it knows no such order, at this moment
    └── AccessDenied          the keys are wrong, or lack a permission
NoAnswer (bot.market.pages)   no answer, or a broken one: it may have happened or not
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from bot.errors import ExchangeError
from bot.live.orders import Execution, OrderReport
from bot.market.pages import BrokenReply, NoAnswer

__all__ = ["AccessDenied", "NoAnswer", "NotFound", "Refused", "read_amount", "read_execution", "read_order", "shown"]

_STATUS = {
    "NEW": "open",
    "PENDING_NEW": "open",
    "PARTIALLY_FILLED": "open",
    "PENDING_CANCEL": "open",
    "FILLED": "filled",
    "CANCELED": "cancelled",
    "EXPIRED": "expired",
    "EXPIRED_IN_MATCH": "expired",
    "REJECTED": "rejected",
}


class Refused(ExchangeError):
    """The exchange said no: nothing happened.

    Parameters
    ----------
    reason
        Its words.
    code
        Its number; 0 where it gave none.
    wait_s
        Seconds after which the same request may be sent again; None where that would not help.
    is_cash_short
        Whether it was for want of balance.
    would_trigger
        Whether a stop or target stands on the wrong side of the price already.
    is_duplicate
        Whether an open order has this client id already: then it was taken before.
    """

    def __init__(
        self,
        reason: str,
        code: int = 0,
        wait_s: float | None = None,
        *,
        is_cash_short: bool = False,
        would_trigger: bool = False,
        is_duplicate: bool = False,
    ) -> None:
        super().__init__(reason)
        self.code, self.wait_s = code, wait_s
        self.is_cash_short, self.would_trigger, self.is_duplicate = is_cash_short, would_trigger, is_duplicate


class NotFound(Refused):
    """The exchange knows no such order, at this moment."""


class AccessDenied(Refused):
    """The keys are wrong, or lack a permission: asking again would not help."""


def read_order(row: Any, wanted: str | None = None) -> OrderReport:
    """Return a reply as an order; its trades are None where it does not carry them all.

    Parameters
    ----------
    row
        What the client returned, anything.
    wanted
        The client id that was asked for.

    Raises
    ------
    NoAnswer
        When it is no order, or another one.
    """
    try:
        own = row.get("origClientOrderId") or row["clientOrderId"]
        status = _STATUS[row["status"]]
        executed, number = read_amount(row["executedQty"]), str(int(row["orderId"]))
        updated = int(row.get("updateTime") or row.get("transactTime") or row.get("time") or 0)
        trades = None
        if "fills" in row:
            trades = tuple(read_execution(own, fill, str(fill["tradeId"]), updated) for fill in row["fills"])
    except (AttributeError, TypeError, KeyError, ValueError, BrokenReply):
        raise NoAnswer(f"no order in the reply {shown(row)}") from None
    if wanted is not None and own != wanted:
        raise NoAnswer(f"asked for the order {wanted}, got {own}")
    if trades is not None and sum((trade.size for trade in trades), Decimal(0)) != executed:
        trades = None
    if not executed:
        trades = ()
    return OrderReport(own, number, status, executed, updated, trades)  # type: ignore[arg-type]  # one of our words


def read_execution(order_id: str, row: Any, trade_id: str, at_ms: int) -> Execution:
    """Return one trade of an order; raises what a row of another shape raises."""
    return Execution(
        client_id=order_id,
        trade_id=trade_id,
        size=read_amount(row["qty"]),
        price=read_amount(row["price"]),
        fee=read_amount(row["commission"]),
        fee_asset=str(row["commissionAsset"]),
        at_ms=at_ms,
    )


def read_amount(text: Any) -> Decimal:
    """Return an amount from a reply; raises ``BrokenReply`` for what is no finite number from 0 on."""
    try:
        number = Decimal(str(text))
    except InvalidOperation:
        raise BrokenReply(f"expected a number, got {shown(text)}") from None
    if not number.is_finite() or number < 0:
        raise BrokenReply(f"expected a number from 0 on, got {shown(text)}")
    return number


def shown(value: Any) -> str:
    """Return a value as a message shows it: the first 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
