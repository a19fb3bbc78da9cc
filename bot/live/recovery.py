"""What a life of the bot does first: learn the fate of every order that the one before left open, and guard what is held."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bot.live.desk import REFUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.live.desk import Desk
    from bot.live.facts import OrderRow
    from bot.live.inquiry import Inquiry
    from bot.live.journal import Journal
    from bot.live.orders import Ticket

__all__ = ["recover"]


def recover(desk: Desk, journal: Journal, inquiry: Inquiry) -> None:
    """Look up what may have been sent, and finish what was begun for the safety of a position.

    Orders of the strategy that the exchange never had are ``unsent`` then: its replay places them again, or is too late.
    """
    intended = [row for row in journal.undone() if row.state == "intended"]
    for group in _by_pair(intended):
        tickets = [row.ticket for row in group]
        reports = inquiry.look_up(tickets, inquiry.certain_ms(max(row.sent_ms for row in group)))
        for ticket in tickets if reports is None else ():
            if ticket.role == "close":  # whoever asked for it is gone
                journal.refuse(ticket.client_id, "the bot ended before it was sent")
            else:
                journal.unsent(ticket.client_id)
        for report in reports or ():
            desk.book(report)
    for row in list(journal.orders.values()):
        if row.ticket.role == "entry" and row.ticket.guard is not None and row.executed:
            _guard_again(desk, journal, row.ticket)


def _guard_again(desk: Desk, journal: Journal, entry: Ticket) -> None:
    """Guard a purchase whose guard was not placed, or not in place of an earlier one, when the bot died."""
    legs = journal.guards_of(entry.client_id)
    newest = [leg for leg in legs if leg.ticket.pair == legs[-1].ticket.pair]
    before = legs[: len(legs) - len(newest)]
    if before and _were_refused(before[-1:]) and newest[0].ticket.role == "target" and len(newest) == 1:
        sale = newest[0].ticket  # at a target that the price had passed
        sold = desk.sell_at_target(sale)
        if sold < sale.size:
            desk.sell_instead(replace(sale, size=sale.size - sold))
    elif newest and all(leg.state == "unsent" for leg in newest):
        desk.place_guard([leg.ticket for leg in newest])
    elif newest and _were_refused(newest):
        desk.replace_refused([leg.ticket for leg in newest])
    elif _is_last(journal, entry) and all(leg.is_done for leg in legs) and _is_news(newest):
        desk.guard(entry)  # a strategy that has cancelled it itself does so again in its replay


def _were_refused(legs: Sequence[OrderRow]) -> bool:
    """Tell whether the exchange has refused a stop and target, and nothing was done about it yet.

    Of a pair it refuses both or none: where one of them is ``unsent``, the bot died while it wrote the refusal down.
    """
    refused = [leg for leg in legs if leg.state == "refused"]
    return (
        bool(refused)
        and all(leg.state in {"refused", "unsent"} and leg.ticket.kind != "market" for leg in legs)
        and all(leg.reason.startswith(REFUSED) and leg.ended_bar_ms is None for leg in refused)
    )


def _is_last(journal: Journal, entry: Ticket) -> bool:
    """Tell whether nothing was decided about the symbol at a bar after that of a purchase."""
    return not any(
        row.ticket.symbol == entry.symbol and row.ticket.parent is None and row.ticket.bar_ms > entry.bar_ms
        for row in journal.orders.values()
    )


def _is_news(legs: Sequence[OrderRow]) -> bool:
    """Tell whether the ledger does not know yet how a stop or target ended."""
    return not legs or any(leg.ended_bar_ms is None for leg in legs)


def _by_pair(rows: Sequence[OrderRow]) -> list[list[OrderRow]]:
    """Return orders in groups that are sent together, stop before target."""
    groups: dict[str, list[OrderRow]] = {}
    for row in rows:
        groups.setdefault(row.ticket.pair or row.ticket.client_id, []).append(row)
    return list(groups.values())
