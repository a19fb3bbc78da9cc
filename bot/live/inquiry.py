"""What became of an order: asked until the exchange tells, or until it certainly does not have it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bot.live.answers import AccessDenied, NoAnswer, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.live.facts import OrderRow
    from bot.live.gateway import Gateway
    from bot.live.orders import OrderReport, Ticket

__all__ = ["FIRST_PAUSE", "Inquiry", "Stopped"]

FIRST_PAUSE = 0.02
"""Seconds between the first two looks."""
_LONGEST_PAUSE = 1.0
_MOST_REFUSALS = 20  # of a question: a symbol that has vanished is not asked about for ever


class Stopped(Exception):
    """The bot is asked to stop while an order's fate is unknown: it is looked up at the next start."""


class Inquiry:
    """Asks about orders, from one thread.

    Parameters
    ----------
    gateway
        Where orders are looked up.
    now_ms
        This computer's clock, milliseconds UTC.
    pause
        Waits for some seconds; returns True when the bot may wait no longer, because it is asked to stop.
    margin_ms
        Beyond the receive window, until an order that is not there can never arrive.
    """

    def __init__(
        self, gateway: Gateway, now_ms: Callable[[], int], pause: Callable[[float], bool], margin_ms: int
    ) -> None:
        self._gateway, self._now_ms, self._pause = gateway, now_ms, pause
        self._window_ms = gateway.recv_window_ms + margin_ms

    def exchange_ms(self) -> int:
        """Return the time that a request is signed with now: the exchange's, as it was last measured."""
        return self._now_ms() - self._gateway.clock_ahead_ms

    def certain_ms(self, sent_ms: int) -> int:
        """Return after what time of the exchange a request that was signed at ``sent_ms`` is not taken any more."""
        return sent_ms + self._window_ms

    def wait(self, seconds: float) -> None:
        """Wait, or raise ``Stopped``."""
        if self._pause(seconds):
            raise Stopped

    def look_up(self, tickets: Sequence[Ticket], certain_ms: int | None) -> list[OrderReport] | None:
        """Return orders whose fate is unknown once the exchange tells them; None when it certainly does not have them.

        That is certain when it does not find them after ``certain_ms`` by its own clock; with None it is asked until it does.

        Raises
        ------
        NoAnswer
            When it refuses to tell, again and again.
        """
        pause, refusals = FIRST_PAUSE, 0
        while True:
            is_certain = certain_ms is not None and self.exchange_ms() > certain_ms
            try:
                if certain_ms is not None and is_certain:
                    is_certain = self._gateway.time_ms() > certain_ms
                return [self._gateway.find(ticket.symbol, ticket.client_id) for ticket in tickets]
            except NotFound:
                if is_certain:
                    return None
            except AccessDenied:
                raise
            except (Refused, NoAnswer) as error:  # "could not ask" is not "not found"
                pause = max(pause, error.wait_s or 0.0)
                refusals += error.wait_s is None
                if refusals >= _MOST_REFUSALS:
                    raise NoAnswer(f"the exchange does not tell of {tickets[0].client_id}: {error}") from error
            self.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def found(self, ticket: Ticket) -> OrderReport:
        """Return an order that the exchange has; waits until it tells."""
        found = self.look_up([ticket], None)
        if found is None:
            raise NoAnswer(f"no answer about {ticket.client_id}")
        return found[0]

    def find_once(self, row: OrderRow) -> OrderReport | None:
        """Return an order that may still trade; None when the exchange certainly never had it.

        Raises
        ------
        NoAnswer
            Also when the exchange does not know, at this moment, what it has confirmed before.
        """
        ticket = row.ticket
        try:
            is_certain = row.state == "intended" and self._gateway.time_ms() > self.certain_ms(row.sent_ms)
            return self._gateway.find(ticket.symbol, ticket.client_id)
        except NotFound as error:
            if is_certain:
                return None
            raise NoAnswer(f"the exchange does not know {ticket.client_id} at this moment: {error}") from error

    def cancelled(self, ticket: Ticket) -> tuple[OrderReport, ...]:
        """Cancel an order and return how it ended, with the other of its pair where the reply tells of that.

        To cancel again does no harm.
        """
        while True:
            try:
                return self._gateway.cancel(ticket.symbol, ticket.client_id)
            except AccessDenied:
                raise
            except NotFound:
                pass
            except (Refused, NoAnswer) as error:
                self.wait(max(error.wait_s or 0.0, FIRST_PAUSE))
            report = self.found(ticket)
            if report.is_done:
                return (report,)

    def complete(self, ticket: Ticket, report: OrderReport) -> OrderReport:
        """Return a report with all its trades; the list of trades may lag behind, and the order may trade on meanwhile."""
        pause = FIRST_PAUSE
        while report.executions is None:
            try:
                report = replace(report, executions=self._gateway.executions(ticket.symbol, report))
            except AccessDenied:
                raise
            except (Refused, NoAnswer) as error:
                self.wait(max(pause, error.wait_s or 0.0))
                pause = min(2 * pause, _LONGEST_PAUSE)
                report = self.found(ticket)
        return report
