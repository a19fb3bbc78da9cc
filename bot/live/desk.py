"""The desk: it sends orders so that each is placed at most once and none is forgotten, whatever gets lost on the way.

The rule: the intent is on the disk before anything is sent. A reply that is lost leaves the order unknown: it is looked up by
its client id until the exchange can no longer take the request (its time stamp, the receive window and a margin have
passed), and only then sent again. Binance holds client ids unique among *open* orders only: a market order that is sent twice
is filled twice. A purchase that was filled is guarded at once, by a stop and a target of which one cancels the other.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from bot.broker.lots import floor_size
from bot.live.answers import AccessDenied, NoAnswer, NotFound, Refused
from bot.live.guards import guard_tickets, market_exit
from bot.live.orders import Ticket
from bot.live.orders import client_id as make_client_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.broker.rules import ExchangeRules
    from bot.live.facts import OrderRow
    from bot.live.gateway import Gateway
    from bot.live.journal import Journal
    from bot.live.orders import Execution, OrderReport

__all__ = ["Desk", "DeskSettings", "Stopped"]

_MOST_REFUSALS = 50  # of a request that may be sent again: rate limits, clocks
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between two looks


class Stopped(Exception):
    """The bot is asked to stop while the desk waits: what is unknown is looked up at the next start."""


class DeskSettings(NamedTuple):
    """How long to wait for certainty.

    Attributes
    ----------
    margin_ms : int
        Beyond the receive window, until an order that is not there can never arrive. Binance gives up on a request that it
        has taken after 10 s.
    """

    margin_ms: int = 10_000


class Desk:
    """Sends orders of one account, from one thread.

    Parameters
    ----------
    gateway, journal
        Where orders are sent, and where they are written down first.
    rules
        Tick, lot and smallest sizes by symbol.
    now_ms
        This computer's clock, milliseconds UTC.
    pause
        Waits for some seconds; returns True when the bot is asked to stop meanwhile.
    is_newest
        Tells whether no bar after the one of an order has closed: a late order is not sent.
    on_fill
        Called with an order and its new executions, once they are in the journal.
    on_trouble
        Called with a kind and words for a person.
    settings
        How long to wait for certainty.
    """

    def __init__(
        self,
        gateway: Gateway,
        journal: Journal,
        rules: dict[str, ExchangeRules],
        *,
        now_ms: Callable[[], int],
        pause: Callable[[float], bool],
        is_newest: Callable[[Ticket], bool],
        on_fill: Callable[[Ticket, Sequence[Execution]], None] = lambda _ticket, _trades: None,
        on_trouble: Callable[[str, str], None] = lambda _kind, _text: None,
        settings: DeskSettings | None = None,
    ) -> None:
        self._gateway, self._journal, self._rules = gateway, journal, rules
        self._now_ms, self._pause, self._is_newest = now_ms, pause, is_newest
        self._on_fill, self._on_trouble = on_fill, on_trouble
        self._certain_ms = gateway.recv_window_ms + (settings or DeskSettings()).margin_ms

    def place(self, ticket: Ticket, withdrawn: Sequence[str] = ()) -> None:
        """Send one order and see it through: when this returns, its fate is known and written down.

        Parameters
        ----------
        ticket
            Not in the journal, or there as ``unsent``.
        withdrawn
            Client ids of stops and targets that were cancelled to make room for this sale.

        Raises
        ------
        StorageError
            When the journal cannot be written: nothing was sent.
        Stopped
            When the bot is asked to stop while the fate is unknown.
        AccessDenied
            When the keys are refused.
        """
        if any(self._journal.unbooked(order) for order in withdrawn):
            self._journal.gate(ticket, "the stop or target was filled before it could be cancelled", self._now_ms())
            return
        self._intend([ticket])
        if self._send([ticket]):
            self.guard(ticket)

    def place_guard(self, tickets: Sequence[Ticket], known_bar_ms: int | None = None) -> None:
        """Send a stop, a target, or both as a pair; where the exchange will not have them the position is sold at once.

        Parameters
        ----------
        known_bar_ms
            Open time of the bar in which the ledger asked for it; None where the ledger learns of it later.
        """
        self._intend(tickets, known_bar_ms)
        if self._send(tickets):
            return
        first = tickets[0]
        self._on_trouble("errors", f"{first.symbol}: {self._reason(first)}; the position is sold at the market instead")
        sale = market_exit(first, self._journal.guards_of(first.parent or ""))
        self._intend([sale], known_bar_ms)
        if not self._send([sale]):
            self._on_trouble("errors", f"{first.symbol}: the position is NOT guarded: {self._reason(sale)}")

    def guard(self, entry: Ticket) -> None:
        """Rest the stop and target of a purchase for all that is held, in place of an earlier pair."""
        trades = self._journal.trades_of(entry.client_id)
        if entry.guard is None or not trades:
            return
        self.withdraw([row.ticket.client_id for row in self._journal.undone(entry.symbol) if row.ticket.parent])
        legs = self._journal.guards_of(entry.client_id)
        sold = sum((leg.executed for leg in legs), Decimal(0))
        base = self._gateway.markets[entry.symbol].base
        tickets = guard_tickets(entry, trades, sold, base, self._rules[entry.symbol], legs)
        if tickets:
            self.place_guard(tickets)

    def withdraw(self, orders: Sequence[str]) -> None:
        """Cancel orders, with the other of each pair; what was filled before that is written down."""
        for client_id in orders:
            row = self._journal.order(client_id)
            if row is None or row.is_done or row.state == "unsent":
                continue
            self._book(self._cancelled(row))
            other = [leg for leg in self._journal.undone(row.ticket.symbol) if leg.ticket.pair == row.ticket.pair]
            for leg in other if row.ticket.pair else ():
                self._book(self._found(leg.ticket))

    def close_out(self, symbol: str, held: Callable[[], Decimal], bar_ms: int, tag: str) -> str:
        """Cancel every order of a symbol and sell what is held at the market; returns what was done, in words.

        Parameters
        ----------
        held
            Tells what the executions of the run leave, base currency; asked once the orders are cancelled.
        bar_ms
            Open time of the newest bar, for the order's id.
        tag
            What the client ids of the run begin with.
        """
        self.withdraw([row.ticket.client_id for row in self._journal.undone(symbol)])
        size = floor_size(float(held()), self._rules[symbol])
        if size <= 0:
            return f"{symbol}: nothing is held"
        number = 0
        while self._journal.order(client_id := make_client_id(tag, symbol, bar_ms, number, "close")) is not None:
            number += 1
        sale = Ticket(client_id, symbol, bar_ms, "sell", "market", "close", Decimal(repr(size)))
        self._intend([sale])
        if self._send([sale]):
            return f"{symbol}: sold {size}"
        return f"{symbol}: {size} is NOT sold: {self._reason(sale)}"

    def sync(self, symbol: str) -> list[str]:
        """Learn what became of the open orders of a symbol; returns the client ids of open orders that are not ours.

        Raises
        ------
        NoAnswer
            When the exchange does not tell: ask again.
        """
        undone = self._journal.undone(symbol)
        if not undone:
            return []
        listed = {report.client_id: report for report in self._gateway.open_orders(symbol)}
        for row in undone:
            report = listed.get(row.ticket.client_id)
            if report is None:
                report = self._find_once(row.ticket)
            if (report.status != row.state or report.executed != row.executed) and self._book(report):
                self.guard(row.ticket)
        return [client_id for client_id in listed if self._journal.order(client_id) is None]

    def recover(self) -> None:
        """After a start: learn the fate of every order that may have been sent, and guard what was left unguarded."""
        intended = [row for row in self._journal.undone() if row.state == "intended"]
        for group in _by_pair(intended):
            tickets = [row.ticket for row in group]
            reports = self._look_up(tickets, max(row.sent_ms for row in group) + self._certain_ms)
            for ticket in tickets if reports is None else ():
                self._journal.unsent(ticket.client_id)
            for report in reports or ():
                self._book(report)
        for row in list(self._journal.orders.values()):
            self._guard_again(row)

    def _guard_again(self, row: OrderRow) -> None:
        """Guard a purchase whose guard was not placed when the bot died."""
        ticket = row.ticket
        if ticket.role != "entry" or ticket.guard is None or not row.executed:
            return
        later = (
            other.ticket
            for other in self._journal.orders.values()
            if other.ticket.symbol == ticket.symbol and other.ticket.role in {"entry", "exit", "close"}
        )
        if any(other.bar_ms > ticket.bar_ms for other in later):
            return
        legs = self._journal.guards_of(ticket.client_id)
        newest = [leg for leg in legs if leg.ticket.pair == legs[-1].ticket.pair]
        if not legs:
            self.guard(ticket)
        elif all(leg.state == "unsent" for leg in newest):
            self.place_guard([leg.ticket for leg in newest])

    def _intend(self, tickets: Sequence[Ticket], known_bar_ms: int | None = None) -> None:
        if self._journal.order(tickets[0].client_id) is None:
            self._journal.intend(tickets, self._now_ms(), known_bar_ms)
        else:
            for ticket in tickets:
                self._journal.sending(ticket.client_id, self._now_ms())

    def _send(self, tickets: Sequence[Ticket]) -> bool:
        """Send one order or a pair until its fate is certain; tell whether the exchange took it."""
        for _ in range(_MOST_REFUSALS):
            protects = tickets[0].parent is not None or tickets[0].role == "close"
            if not protects and not self._is_newest(tickets[0]):  # protection is never too late
                return self._give_up(tickets, "too late: a newer bar has closed")
            sent_ms = self._now_ms()
            reports: Sequence[OrderReport] | None
            try:
                if len(tickets) > 1:
                    reports = self._gateway.send_pair(tickets[0], tickets[1])
                else:
                    reports = [self._gateway.send(tickets[0])]
            except Refused as error:
                if error.is_duplicate:
                    reports = self._look_up(tickets, sent_ms)
                elif error.wait_s is None:
                    self._give_up(tickets, f"the exchange refused: {error}", is_cash_short=error.is_cash_short)
                    if isinstance(error, AccessDenied):
                        raise
                    return False
                else:
                    self._wait_to_repeat(error)
                    continue
            except NoAnswer as error:
                self._on_trouble("disconnects", f"{tickets[0].client_id}: no answer ({error}); looking it up")
                reports = self._look_up(tickets, sent_ms + self._certain_ms)
            if reports is not None:
                for report in reports:
                    self._book(report)
                return True
            for ticket in tickets:
                self._journal.sending(ticket.client_id, self._now_ms())
        return self._give_up(tickets, f"the exchange refused {_MOST_REFUSALS} times")

    def _give_up(self, tickets: Sequence[Ticket], reason: str, *, is_cash_short: bool = False) -> bool:
        for ticket in tickets:
            self._journal.refuse(ticket.client_id, reason, is_cash_short=is_cash_short)
        return False

    def _wait_to_repeat(self, error: Refused) -> None:
        """Wait as long as the exchange asks; measure the clocks anew where it complains of ours."""
        if error.code == -1021:
            try:
                self._gateway.set_clock()
            except (NoAnswer, Refused) as again:
                self._on_trouble("errors", f"the exchange's clock could not be read: {again}")
        self._wait(max(error.wait_s or 0.0, _FIRST_PAUSE))

    def _look_up(self, tickets: Sequence[Ticket], certain_ms: int | None) -> list[OrderReport] | None:
        """Return orders whose fate is unknown once the exchange tells them; None when it certainly does not have them.

        That is certain when it does not find them after ``certain_ms``; with None it is asked until it does.
        """
        pause = _FIRST_PAUSE
        while True:
            is_certain = certain_ms is not None and self._now_ms() > certain_ms
            try:
                return [self._gateway.find(ticket.symbol, ticket.client_id) for ticket in tickets]
            except NotFound:
                if is_certain:
                    return None
            except AccessDenied:
                raise
            except (Refused, NoAnswer) as error:  # "could not ask" is not "not found"
                pause = max(pause, error.wait_s or 0.0)
            self._wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _found(self, ticket: Ticket) -> OrderReport:
        """Return an order that the exchange has; waits until it tells."""
        found = self._look_up([ticket], None)
        if found is None:
            raise NoAnswer(f"no answer about {ticket.client_id}")
        return found[0]

    def _find_once(self, ticket: Ticket) -> OrderReport:
        try:
            return self._gateway.find(ticket.symbol, ticket.client_id)
        except NotFound as error:
            raise NoAnswer(f"the exchange does not know {ticket.client_id}, which it has confirmed: {error}") from error

    def _cancelled(self, row: OrderRow) -> OrderReport:
        """Cancel an order and return how it ended; to cancel again does no harm."""
        ticket = row.ticket
        while True:
            try:
                return self._gateway.cancel(ticket.symbol, ticket.client_id)
            except AccessDenied:
                raise
            except NotFound:
                pass
            except (Refused, NoAnswer) as error:
                self._wait(max(error.wait_s or 0.0, _FIRST_PAUSE))
            report = self._found(ticket)
            if report.is_done:
                return report

    def _book(self, report: OrderReport) -> bool:
        """Write down what an order has become, with its trades; tell whether any is new."""
        row = self._journal.order(report.client_id)
        if row is None:
            return False
        pause = _FIRST_PAUSE
        while report.executions is None:
            try:
                report = replace(report, executions=self._gateway.executions(row.ticket.symbol, report))
            except AccessDenied:
                raise
            except (Refused, NoAnswer) as error:
                self._wait(max(pause, error.wait_s or 0.0))
                pause = min(2 * pause, _LONGEST_PAUSE)
        fresh = self._journal.report(report)
        if fresh:
            self._on_fill(row.ticket, fresh)
        return bool(fresh)

    def _reason(self, ticket: Ticket) -> str:
        row = self._journal.order(ticket.client_id)
        return "unknown" if row is None else row.reason

    def _wait(self, seconds: float) -> None:
        if self._pause(seconds):
            raise Stopped


def _by_pair(rows: Sequence[OrderRow]) -> list[list[OrderRow]]:
    """Return orders in groups that are sent together, stop before target."""
    groups: dict[str, list[OrderRow]] = {}
    for row in rows:
        groups.setdefault(row.ticket.pair or row.ticket.client_id, []).append(row)
    return list(groups.values())
