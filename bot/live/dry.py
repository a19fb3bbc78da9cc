"""A dry run: a simulated account on the public candles of a real exchange, its orders filled by the bars.

Everything that is simulated is written to the journal as if an exchange had done it, so that commands, the status and a
restart see the same account that the books hold.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.broker.lots import floor_size
from bot.live.facts import BarFacts
from bot.live.ledger import LiveBroker, ReplayDiffers, difference
from bot.live.opening import held_by
from bot.live.orders import Execution, OrderReport, Ticket, client_id

if TYPE_CHECKING:
    from bot.broker.records import Fill
    from bot.live.facts import Ending
    from bot.live.journal import Journal

__all__ = ["DryRunBroker"]


class DryRunBroker(LiveBroker):
    """The books of a backtest on live candles; its params are those of ``LiveBroker``."""

    def init(self) -> None:
        """Open empty books."""
        super().init()
        self._tickets: dict[int, Ticket] = {}
        self._guarded_by: dict[Any, str] = {}
        if not hasattr(self, "_asked"):  # asked before the start, answered after it
            self._asked: deque[Future[str]] = deque()

    def next(self) -> None:
        """Fill orders by the bars that are new, value the account, and do what was asked from elsewhere."""
        super().next()
        while self._asked and not any(data.is_replaying for data in self.cerebro.datas):
            future = self._asked.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._close_out())
                except Exception as error:
                    future.set_exception(error)
                    raise

    def ask_close(self) -> Future[str]:
        """Have every order cancelled and what is held sold at once; callable from any thread.

        The future tells what was done. The sale is made at the newest close, worse by the slippage; the books enter it, as
        everything that happens between two bars, with the next bar.
        """
        future: Future[str] = Future()
        self._asked.append(future)
        return future

    def notify(self, order: Any) -> None:
        """Tell the strategy of an order, and write down how it ended."""
        super().notify(order)
        ticket = self._tickets.get(order.ref)
        if ticket is not None and not order.alive() and not self._journal.orders[ticket.client_id].is_done:
            if order.status in (order.Rejected, order.Margin):
                is_cash_short = order.status == order.Margin
                self._journal.refuse(ticket.client_id, order.info.rejection, is_cash_short=is_cash_short)
            elif order.status != order.Completed:  # its execution is about to be written down
                self._report(ticket, "cancelled", Decimal(0), self._close_ms(order.data), ())

    def book(self, order: Any, size: float, price: float, fee: float | None = None, fee_asset: str = "quote") -> None:
        """Enter a fill, and write it down."""
        place = len(self.fills)
        super().book(order, size, price, fee, fee_asset)
        if order.info.get("stray") is None:
            self._write_fill(order, self.fills[place])  # what follows it was booked, and written, by a guard

    @property
    def _journal(self) -> Journal:
        return self._store.journal

    def _close_ms(self, data: Any) -> int:
        """Return the time of the newest close, milliseconds UTC: the last moment that still belongs to its bar."""
        return self.bar_open_ms(data) + int(data.candles.step_ms) - 1

    def _place(self, kind: Any, owner: Any, data: Any, size: float, price: Any, plimit: Any, options: Any) -> Any:
        """Round, check, and place or refuse an order."""
        self._admitted.clear()
        order = super()._place(kind, owner, data, size, price, plimit, options)
        if self._admitted and order.alive():
            ticket = self._tickets[order.ref] = self._admitted[0]
            self._rest_in_journal(ticket)
        return order

    def _admit(self, data: Any, ticket: Ticket) -> str:
        """Return why an order that the books allow may not be placed; empty when it may, or was."""
        self.wanted.add(ticket.client_id)
        known = self._journal.order(ticket.client_id)
        if known is None and data.is_late:
            return "too late: a newer bar had closed when this one came"
        if known is None and data.is_replaying:
            raise ReplayDiffers(difference(ticket, None))
        if known is not None and known.ticket.agreed != ticket.agreed:
            raise ReplayDiffers(difference(ticket, known.ticket))
        if known is not None and known.state == "gated":
            return known.reason
        reason = self._store.gate(ticket) if known is None else ""
        if not reason:
            self._admitted.append(ticket)
        return reason

    def _try_exec(self, order: Any) -> None:
        """End an order that was cancelled from elsewhere, or fill it if the bar does."""
        ticket = self._tickets.get(order.ref)
        ending: Ending | None = None if ticket is None else order.data.facts.endings.get(ticket.client_id)
        if ending is None or order.data.lines.datetime[0] <= order.created.dt:
            super()._try_exec(order)
            return
        order.cancel()
        self.notify(order)
        self._ococheck(order)
        self._bracketize(order, cancel=True)
        self._sale_ended(order)

    def _book_strays(self, data: Any, facts: BarFacts, *, before_orders: bool) -> bool:
        """Enter the sales of ``ask_close``; all other executions were simulated by these very books."""
        sales = {}
        for own_id, trades in facts.executions.items():
            row = self._journal.order(own_id)
            if row is not None and row.ticket.role == "close":
                sales[own_id] = trades
        return super()._book_strays(data, BarFacts(sales), before_orders=before_orders)

    def _guard(self, entry: Any) -> None:
        """Place stop and target for what is held after a purchase, and judge the rest of its bar."""
        ticket = self._tickets.get(entry.ref)
        if ticket is not None:
            self._guarded_by[entry.data] = ticket.client_id
        super()._guard(entry)

    def _rest(self, data: Any, guard: Any) -> None:
        """Place the orders of a guard for all that is held."""
        super()._rest(data, guard)
        for role, leg in guard.legs.items():
            symbol, bar_ms, price = str(data.p.symbol), self.bar_open_ms(data), Decimal(repr(leg.created.price))
            ticket = self._tickets[leg.ref] = Ticket(
                client_id=client_id(self.p.tag, symbol, bar_ms, self.order_number(leg), role),
                symbol=symbol,
                bar_ms=bar_ms,
                side="sell",
                kind="stop" if role == "stop" else "limit",
                role=role,
                size=Decimal(repr(abs(leg.created.size))),
                price=None if role == "stop" else price,
                stop_price=price if role == "stop" else None,
                parent=self._guarded_by.get(data),
            )
            self._rest_in_journal(ticket)

    def _write_fill(self, order: Any, fill: Fill) -> None:
        """Write a fill into the journal, unless an earlier life has."""
        ticket = self._tickets[order.ref]
        if self._rest_in_journal(ticket).is_done:
            return
        market = self._store.market(ticket.symbol)
        trade = Execution(
            client_id=ticket.client_id,
            trade_id=ticket.client_id,
            size=Decimal(repr(fill.size)),
            price=Decimal(repr(fill.price)),
            fee=Decimal(repr(fill.fee)),
            fee_asset=market.base if fill.fee_asset == "base" else market.quote,
            at_ms=self._close_ms(order.data),
        )
        self._report(ticket, "filled", trade.size, trade.at_ms, (trade,))
        self._store.tell_fill(ticket, (trade,))

    def _rest_in_journal(self, ticket: Ticket) -> Any:
        """Write down that an order rests, unless an earlier life has, and return what is known of it."""
        row = self._journal.order(ticket.client_id)
        if row is None:
            self._journal.intend([ticket], ticket.bar_ms)
            row = self._journal.orders[ticket.client_id]
        if row.state == "intended":
            self._report(ticket, "open", Decimal(0), ticket.bar_ms, ())
        return row

    def _report(
        self, ticket: Ticket, status: Any, executed: Decimal, at_ms: int, trades: tuple[Execution, ...]
    ) -> None:
        """Write down what became of an order, as an exchange would have said it."""
        self._journal.report(OrderReport(ticket.client_id, "0", status, executed, at_ms, trades))

    def _close_out(self) -> str:
        """Cancel every order and sell what is held; returns what was done, in words."""
        data = self.cerebro.datas[0]
        symbol, bar_ms = str(data.p.symbol), self.bar_open_ms(data)
        for row in self._journal.undone(symbol):
            self._report(row.ticket, "cancelled", Decimal(0), self._close_ms(data) + 1, ())
        size = floor_size(float(held_by(self._journal, symbol)), self.p.rules)
        if size <= 0:
            return f"{symbol}: nothing is held"
        number = 0
        while self._journal.order(own_id := client_id(self.p.tag, symbol, bar_ms, number, "close")) is not None:
            number += 1
        price = self._slip_down(0.0, float(data.close[0]))
        fee, _ = self.p.fees.charge(size, price, is_buy=False)
        ticket = Ticket(own_id, symbol, bar_ms, "sell", "market", "close", Decimal(repr(size)))
        self._rest_in_journal(ticket)
        market, at_ms = self._store.market(symbol), self._close_ms(data) + 1
        paid = (Decimal(repr(price)), Decimal(repr(fee)), market.quote, at_ms)
        trade = Execution(own_id, own_id, ticket.size, *paid)
        self._report(ticket, "filled", ticket.size, at_ms, (trade,))
        self._store.tell_fill(ticket, (trade,))
        return f"{symbol}: sold {size} at {price}, in the simulated account"
