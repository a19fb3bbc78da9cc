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
from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.guards import guard_tickets, market_exit, target_alone
from bot.live.inquiry import FIRST_PAUSE, Inquiry, Stopped
from bot.live.orders import Ticket, triggered
from bot.live.orders import client_id as make_client_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.broker.rules import ExchangeRules
    from bot.live.gateway import Gateway
    from bot.live.journal import Journal
    from bot.live.orders import Execution, OrderReport

__all__ = ["REFUSED", "Desk", "DeskSettings", "Stopped"]

REFUSED = "the exchange refused"
"""What the reason of an order begins with that the exchange said no to."""

_STOP_PASSED = "trigger immediately"  # words of refusals
_PASSED = (_STOP_PASSED, "relationship of the prices")
_MOST_REFUSALS = 50  # of a request that may be sent again: rate limits, clocks
_FRESH_MS = 50  # a time stamp in the journal that is older is written anew before an order is sent


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
        self._is_newest = is_newest
        self._on_fill, self._on_trouble = on_fill, on_trouble
        self._inquiry = Inquiry(gateway, now_ms, pause, (settings or DeskSettings()).margin_ms)

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
            self._forgo(ticket, "the stop or target was filled before it could be cancelled")
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
        free = self._free(tickets[0])
        tickets = [replace(ticket, size=min(ticket.size, free or ticket.size)) for ticket in tickets]
        self._intend(tickets, known_bar_ms)
        if not free:
            self._give_up(tickets, "nothing is held that is not sold, or being sold, already")
            return
        if self._send(tickets):
            return
        self.replace_refused(tickets)

    def replace_refused(self, tickets: Sequence[Ticket]) -> None:
        """Sell what a stop and target that the exchange refused should have guarded: the price has passed one of them."""
        first = tickets[0]
        if len(tickets) > 1 and _STOP_PASSED not in self._reason(first):
            sold = self.sell_at_target(target_alone(tickets[1], self._journal.guards_of(first.parent or "")))
            if sold == first.size:
                return
            first = replace(first, size=first.size - sold)
        reason = self._reason(first)
        kind = "protections" if any(words in reason for words in _PASSED) else "errors"
        self._on_trouble(kind, f"{first.symbol}: {reason}; the position is sold at the market instead")
        self.sell_instead(first)

    def _free(self, leg: Ticket) -> Decimal:
        """Return what of a symbol is held and not promised to a sale of the strategy or of the operator: whole lots.

        The ledger may know less: it learns of executions when their bar has closed.
        """
        promised = sum(
            (
                row.ticket.size - row.executed
                for row in self._journal.undone(leg.symbol)
                if row.ticket.side == "sell" and row.ticket.parent is None
            ),
            Decimal(0),
        )
        free = self._journal.held(leg.symbol) - promised
        return Decimal(repr(floor_size(max(float(free), 0.0), self._rules[leg.symbol])))

    def sell_instead(self, first: Ticket) -> None:
        """Sell at the market what a guard that was refused should have guarded; the ledger learns of it at the next bar."""
        free = self._free(first)
        if not free:
            return
        earlier = self._journal.guards_of(first.parent or "")
        sale = market_exit(replace(first, size=min(first.size, free)), earlier)
        self._intend([sale])
        if not self._send([sale]):
            self._on_trouble("errors", f"{first.symbol}: the position is NOT guarded: {self._reason(sale)}")

    def sell_at_target(self, sale: Ticket) -> Decimal:
        """Sell at a target that the price has passed: an exchange refuses the pair, not the sale; return how much.

        What is not filled at once has come too late, and is cancelled.
        """
        row = self._journal.order(sale.client_id)
        if row is None or row.state == "unsent":
            self._intend([sale])
            self._send([sale])
        self.withdraw([sale.client_id])
        row = self._journal.order(sale.client_id)
        return Decimal(0) if row is None else row.executed

    def guard(self, entry: Ticket) -> None:
        """Rest the stop and target of a purchase for all that is held, in place of an earlier pair."""
        trades = self._journal.trades_of(entry.client_id)
        if entry.guard is None or not trades:
            return
        if any(row.ticket.role == "exit" for row in self._journal.undone(entry.symbol)):
            return  # an open sale locks what is held; when it ends the ledger asks for the guard
        self.withdraw([row.ticket.client_id for row in self._journal.undone(entry.symbol) if row.ticket.parent])
        legs = self._journal.guards_of(entry.client_id)
        held = self._journal.held(entry.symbol)
        tickets = guard_tickets(entry, trades, held, self._rules[entry.symbol], legs)
        if tickets:
            self.place_guard(tickets)

    def withdraw(self, orders: Sequence[str]) -> None:
        """Cancel orders, with the other of each pair; what was filled before that is written down."""
        known = [row for row in map(self._journal.order, orders) if row is not None]
        parents = {row.ticket.parent for row in known} - {None}  # a restart may have put others in their place
        others = [row.ticket.client_id for row in self._journal.undone() if row.ticket.parent in parents]
        for client_id in dict.fromkeys([*orders, *others]):
            row = self._journal.order(client_id)
            if row is None or row.is_done or row.state == "unsent":
                continue
            for report in self._inquiry.cancelled(row.ticket):
                self.book(report)
            other = [leg for leg in self._journal.undone(row.ticket.symbol) if leg.ticket.pair == row.ticket.pair]
            for leg in other if row.ticket.pair else ():
                self.book(self._inquiry.found(leg.ticket))

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
        undone = [row for row in self._journal.undone(symbol) if row.state != "unsent"]
        if not undone:
            return []
        listed = {report.client_id: report for report in self._gateway.open_orders(symbol)}
        for row in undone:
            report = listed.get(row.ticket.client_id)
            if report is None:
                report = self._inquiry.find_once(row)
            if report is None:
                self._journal.refuse(row.ticket.client_id, "the exchange never had it")
            elif (report.status != row.state or report.executed != row.executed) and self.book(report):
                self.guard(row.ticket)
        return [client_id for client_id in listed if self._journal.order(client_id) is None]

    def recover(self) -> None:
        """After a start: learn the fate of every order that may have been sent, and guard what was left unguarded."""
        from bot.live.recovery import recover

        recover(self, self._journal, self._inquiry)

    def _forgo(self, ticket: Ticket, reason: str) -> None:
        if self._journal.order(ticket.client_id) is None:
            self._journal.forgo(ticket, reason, self._inquiry.exchange_ms())
        else:
            self._journal.refuse(ticket.client_id, reason)

    def _intend(self, tickets: Sequence[Ticket], known_bar_ms: int | None = None) -> None:
        if self._journal.order(tickets[0].client_id) is None:
            self._journal.intend(tickets, self._inquiry.exchange_ms(), known_bar_ms)
        else:
            self._sending(tickets)

    def _sending(self, tickets: Sequence[Ticket]) -> int:
        """Write down that orders are about to be sent, and return the time that they are signed with at the earliest."""
        now = self._inquiry.exchange_ms()
        for ticket in tickets:
            self._journal.sending(ticket.client_id, now)
        return now

    def _send(self, tickets: Sequence[Ticket]) -> bool:
        """Send one order or a pair until its fate is certain; tell whether the exchange took it."""
        for _ in range(_MOST_REFUSALS):
            protects = tickets[0].parent is not None or tickets[0].role == "close"
            if not protects and not self._is_newest(tickets[0]):  # protection is never too late
                return self._give_up(tickets, "too late: a newer bar has closed")
            row = self._journal.order(tickets[0].client_id)
            sent_ms = self._inquiry.exchange_ms()
            if row is None or row.state != "intended" or sent_ms - row.sent_ms > _FRESH_MS:
                sent_ms = self._sending(tickets)
            reports: Sequence[OrderReport] | None
            try:
                if len(tickets) > 1:
                    reports = self._gateway.send_pair(tickets[0], tickets[1])
                else:
                    reports = [self._gateway.send(tickets[0])]
            except Refused as error:
                if error.would_trigger and len(tickets) == 1 and tickets[0].role in {"entry", "exit"}:
                    tickets = [triggered(tickets[0])]  # the price has passed its stop: send what it would become
                    continue
                if error.is_duplicate:
                    reports = self._inquiry.look_up(tickets, sent_ms)
                elif isinstance(error, AccessDenied) and protects:
                    for ticket in tickets:  # sent again once the keys are right
                        self._journal.unsent(ticket.client_id)
                    raise
                elif error.wait_s is None:
                    self._give_up(tickets, f"{REFUSED}: {error}", is_cash_short=error.is_cash_short)
                    if isinstance(error, AccessDenied):
                        raise
                    return False
                else:
                    self._inquiry.wait(max(error.wait_s, FIRST_PAUSE))
                    continue
            except NoAnswer as error:
                self._on_trouble("disconnects", f"{tickets[0].client_id}: no answer ({error}); looking it up")
                reports = self._inquiry.look_up(tickets, self._inquiry.certain_ms(sent_ms))
            if reports is not None:
                for report in reports:
                    self.book(report)
                return True
        return self._give_up(tickets, f"the exchange refused {_MOST_REFUSALS} times")

    def _give_up(self, tickets: Sequence[Ticket], reason: str, *, is_cash_short: bool = False) -> bool:
        for ticket in tickets:
            self._journal.refuse(ticket.client_id, reason, is_cash_short=is_cash_short)
        return False

    def book(self, report: OrderReport) -> bool:
        """Write down what an order has become, with its trades; tell whether any is new."""
        row = self._journal.order(report.client_id)
        if row is None:
            return False
        report = self._inquiry.complete(row.ticket, report)
        fresh = self._journal.report(report)
        if fresh:
            self._on_fill(row.ticket, fresh)
        return bool(fresh)

    def _reason(self, ticket: Ticket) -> str:
        row = self._journal.order(ticket.client_id)
        return "unknown" if row is None else row.reason
