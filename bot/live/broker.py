"""The live broker: the backtest's spot broker, its fills taken from the exchange.

What may be ordered, what a fill does to cash and holdings, when a stop rests and when it gives way to a sale: all that is the
code of the backtest. Only whether an order is filled, and where, the exchange decides. What it decided comes with each bar
(``feed.facts``), from the journal; so a restart that feeds the same bars books the same ledger.

Nothing here waits for the exchange: orders are handed to the store, whose thread sends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.live.guards import legs_for
from bot.live.ledger import LiveBroker, ReplayDiffers, difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.live.facts import BarFacts, Ending
    from bot.live.orders import Execution, Ticket

__all__ = ["CCXTBroker"]


class CCXTBroker(LiveBroker):
    """A spot account at an exchange, as Backtrader's broker; its params are those of ``LiveBroker``."""

    def init(self) -> None:
        """Open empty books."""
        super().init()
        self._ids: dict[int, str] = {}
        self._withdrawn: list[str] = []
        self._guarded_by: dict[Any, Ticket] = {}
        self._entries: dict[int, Ticket] = {}
        self._missing: dict[Any, tuple[str, int]] = {}

    def next(self) -> None:
        """Book what the exchange did in the bars that are new, and value the account."""
        for data, (entry_id, bar) in self._missing.items():
            if len(data) > bar:
                raise ReplayDiffers(f"the journal has no stop or target for {entry_id}, the replay places one")
        super().next()

    def _untouched(self) -> bool:
        """Tell whether nothing happened to the open orders."""
        return not any(data.facts for data in self.cerebro.datas)

    def _place(self, kind: Any, owner: Any, data: Any, size: float, price: Any, plimit: Any, options: Any) -> Any:
        """Round, check, and send or refuse an order."""
        self._admitted.clear()
        self._withdrawn.clear()
        order = super()._place(kind, owner, data, size, price, plimit, options)
        if not self._admitted or not order.alive():
            return order
        ticket = self._admitted[0]
        self._attach(order, ticket.client_id)
        if ticket.guard is not None:
            self._entries[order.ref] = ticket
        known = self._store.journal.order(ticket.client_id)
        reason = self._store.forbids(ticket) if known is not None and known.state == "unsent" else ""
        if reason:
            self._store.journal.refuse(ticket.client_id, reason)
        elif known is None or known.state == "unsent":
            self._store.place(ticket, tuple(self._withdrawn))
        return order

    def _admit(self, data: Any, ticket: Ticket) -> str:
        """Return why an order that the books allow may not be sent; empty when it may, or was."""
        self.wanted.add(ticket.client_id)
        known = self._store.journal.order(ticket.client_id)
        if known is not None:
            if known.ticket.agreed != ticket.agreed:
                raise ReplayDiffers(difference(ticket, known.ticket))
            if known.state == "gated":
                return known.reason
        elif data.is_late:
            return "too late: a newer bar had closed when this one came"
        elif data.is_replaying:
            raise ReplayDiffers(difference(ticket, None))
        else:
            reason = self._store.gate(ticket)
            if reason:
                return reason
        self._admitted.append(ticket)
        return ""

    def _rest(self, data: Any, guard: Any) -> None:
        """Place the orders of a guard in the books, and at the exchange unless they rest there already."""
        super()._rest(data, guard)
        entry = self._guarded_by.get(data)
        if entry is None or not guard.legs:
            return
        tickets = _alive(data.facts.guards.get(entry.client_id, ()), data.facts)
        if not tickets:
            if data.is_replaying:
                self._missing[data] = entry.client_id, len(data)
                return
            earlier = self._store.journal.guards_of(entry.client_id)
            prices = (guard.price("stop"), guard.price("target"))
            tickets = legs_for(entry, self.sellable(data), prices, self.p.rules, earlier)
            self._store.place_guard(tickets, self.bar_open_ms(data))
        for ticket in tickets:
            leg = guard.legs.get(ticket.role)
            if leg is not None:
                self._attach(leg, ticket.client_id)

    def _book_strays(self, data: Any, facts: BarFacts, *, before_orders: bool) -> bool:
        """Enter executions of orders that the books do not hold open, once those that took a guard's place are known."""
        entry, guard = self._guarded_by.get(data), self._guards.get(data)
        if before_orders and entry is not None and guard is not None:
            for own_id in facts.executions:
                row = None if own_id in self._by_id else self._store.journal.order(own_id)
                if row is not None and row.ticket.parent == entry.client_id and row.ticket.role in guard.legs:
                    self._attach(guard.legs[row.ticket.role], own_id)
        return super()._book_strays(data, facts, before_orders=before_orders)

    def _guard(self, entry: Any) -> None:
        """Place stop and target for what is held after a purchase, and book what became of them in its own bar."""
        ticket = self._entries.get(entry.ref)
        if ticket is not None:
            self._guarded_by[entry.data] = ticket
        super()._guard(entry)

    def _judge_entry_bar(self, entry: Any, guard: Any) -> None:
        """Book what the exchange filled of a guard in the bar of its purchase."""
        for leg in list(guard.legs.values()):
            trades = self._take(leg, entry.data.facts)
            if trades:
                self.pending.remove(leg)
                self._book_trades(leg, trades)
                if leg.alive():
                    self.pending.append(leg)
                else:
                    self._bracketize(leg)

    def _lift(self, data: Any) -> None:
        """Cancel the orders of a guard; one that was lifted before its bar was over was never sent."""
        self._missing.pop(data, None)
        super()._lift(data)

    def _sale_ended(self, order: Any) -> None:
        """After a sale: guard what is still held; what rests may be for more than that if the books did not know the sale."""
        if order.info.get("stray"):
            self._lift(order.data)
        super()._sale_ended(order)

    def _withdraw(self, order: Any) -> None:
        """Take an open order out of the books, and cancel it at the exchange."""
        own_id = self._ids.get(order.ref)
        if own_id is not None:
            self._by_id.pop(own_id, None)
            if self._is_protective(order):
                self._withdrawn.append(own_id)
            if not order.data.is_replaying:
                self._store.withdraw([own_id], str(order.data.p.symbol))
        super()._withdraw(order)

    def _try_exec(self, order: Any) -> None:
        """Book what the exchange did with an order in the current bar."""
        if order.data.lines.datetime[0] <= order.created.dt:
            return
        facts: BarFacts = order.data.facts
        trades = self._take(order, facts)
        if trades:
            self._book_trades(order, trades)
        ending = facts.endings.get(self._ids.get(order.ref, ""))
        if ending is not None and order.alive() and not self._other_leg_traded(order, facts):
            self._end(order, ending)

    def _other_leg_traded(self, order: Any, facts: BarFacts) -> bool:
        """Tell whether the other of a stop and target was filled in the bar: to book that cancels this one."""
        leg = self._legs.get(order.ref)
        legs = self._guards[leg[0]].legs.values() if leg is not None else ()
        return any(self._ids.get(other.ref) in facts.executions for other in legs if other is not order)

    def _take(self, order: Any, facts: BarFacts) -> Sequence[Execution]:
        """Return an order's executions in a bar; each is taken once."""
        own_id = self._ids.get(order.ref, "")
        if own_id in self._taken:
            return ()
        trades = facts.executions.get(own_id, ())
        if trades:
            self._taken.add(own_id)
        return trades

    def _end(self, order: Any, ending: Ending) -> None:
        """Give an order the status in which the exchange ended it."""
        if ending.state in {"refused", "rejected"}:
            self._refuse(order, ending.reason or "the exchange rejected it", cash_short=ending.is_cash_short)
        else:
            order.cancel()
            self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)
        self._sale_ended(order)

    def _attach(self, order: Any, own_id: str) -> None:
        self._ids[order.ref] = own_id
        self._by_id[own_id] = order


def _alive(legs: Sequence[Ticket], facts: BarFacts) -> Sequence[Ticket]:
    """Return the orders of a guard; none where both have ended in this bar without a trade: then another is placed."""
    names = {leg.client_id for leg in legs}
    return () if names and names <= facts.endings.keys() and not names & facts.executions.keys() else legs
