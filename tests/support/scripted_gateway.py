"""An exchange of a few lines, in place of the gateway: what happens to each request is written in a script."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

from bot.broker.rules import ExchangeRules
from bot.live.answers import NoAnswer, NotFound, Refused
from bot.live.orders import Execution, OrderReport

RULES = ExchangeRules.from_dict({"price_tick": "0.01", "lot_step": "0.001", "min_notional": 5})


class Time:
    """A clock that only waits move."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.now_ms = now_ms
        self.is_stopping = False

    def __call__(self) -> int:
        return self.now_ms

    def pause(self, seconds: float) -> bool:
        """Let so many seconds pass; tell whether the bot is asked to stop."""
        self.now_ms += max(1, round(seconds * 1000))
        return self.is_stopping


class ScriptedGateway:
    """Takes orders of BTCUSDT at a price of 100, or does not.

    Parameters
    ----------
    time
        This computer's clock.
    sends
        What happens to one request to place after the other: ``ok`` (also when there are no more), ``lost before``,
        ``lost after`` the exchange took it, a number of milliseconds until it is taken though the reply is lost, or an error.
    finds, cancels
        Errors of one look-up, or cancel, after the other; None for none.
    """

    recv_window_ms = 5_000

    def __init__(self, time: Time, sends=(), finds=(), cancels=(), exchange_ahead_ms: int = 0) -> None:
        self.time, self.exchange_ahead_ms = time, exchange_ahead_ms
        self.sends, self.finds, self.cancels = list(sends), list(finds), list(cancels)
        self.clock_ahead_ms = -exchange_ahead_ms
        self.markets = {"BTCUSDT": SimpleNamespace(base="BTC", quote="USDT", rules=RULES)}
        self.placed: list[tuple[int, str]] = []
        self.sent: list[tuple[int, str]] = []
        self.orders: dict[str, OrderReport] = {}
        self.late: list[tuple[int, int, list]] = []
        self.trade_count = 0
        self.before_send = lambda _tickets: None

    def time_ms(self) -> int:
        """Return the exchange's clock."""
        return self.time() + self.exchange_ahead_ms

    def send(self, ticket) -> OrderReport:
        """Place an order as the script says."""
        return self._send([ticket])[0]

    def send_pair(self, stop, target):
        """Place a pair as the script says."""
        return self._send([stop, target])

    def _send(self, tickets):
        self.before_send(tickets)
        self.sent.append((self.time(), tickets[0].client_id))
        signed_ms = self.time() - self.clock_ahead_ms
        what = self.sends.pop(0) if self.sends else "ok"
        if isinstance(what, Exception):
            raise what
        if isinstance(what, int):
            self.late.append((self.time_ms() + what, signed_ms, tickets))
        elif what != "lost before":
            reports = [self._take(ticket) for ticket in tickets]
            if what == "ok":
                return reports
        raise NoAnswer("the connection was reset")

    def _arrive(self) -> None:
        """Let the matching engine have what was on its way, unless it took too long."""
        for item in list(self.late):
            arrival_ms, signed_ms, tickets = item
            if arrival_ms <= self.time_ms():
                self.late.remove(item)
                if arrival_ms - signed_ms <= self.recv_window_ms:
                    for ticket in tickets:
                        self._take(ticket)

    def _take(self, ticket) -> OrderReport:
        self.placed.append((self.time_ms(), ticket.client_id))
        trades = ()
        if ticket.kind == "market":
            trades = (self.trade(ticket.client_id, ticket.size),)
        status = "filled" if trades else "open"
        report = OrderReport(
            ticket.client_id,
            str(len(self.placed)),
            status,
            ticket.size if trades else Decimal(0),
            self.time_ms(),
            trades,
        )
        self.orders[ticket.client_id] = report
        return report

    def trade(self, client_id: str, size: Decimal) -> Execution:
        """Return a new execution."""
        self.trade_count += 1
        fee = size * 100 / 1000
        return Execution(client_id, str(self.trade_count), size, Decimal(100), fee, "USDT", self.time_ms())

    def fill(self, client_id: str, size: Decimal, status: str = "filled") -> None:
        """Let the market fill an order that rests."""
        known = self.orders[client_id]
        trades = (*(known.executions or ()), self.trade(client_id, size))
        self.orders[client_id] = OrderReport(
            client_id, known.exchange_id, status, known.executed + size, self.time_ms(), trades
        )

    def find(self, _symbol: str, client_id: str) -> OrderReport:
        """Look an order up, without its trades."""
        error = self.finds.pop(0) if self.finds else None
        if error is not None:
            raise error
        self._arrive()
        if client_id not in self.orders:
            raise NotFound("Order does not exist.", -2013)
        report = self.orders[client_id]
        trades = () if not report.executed else None
        return OrderReport(client_id, report.exchange_id, report.status, report.executed, report.updated_ms, trades)

    def executions(self, _symbol: str, report: OrderReport):
        """Return the trades of an order, if they are those of the report."""
        trades = self.orders[report.client_id].executions or ()
        if sum((trade.size for trade in trades), Decimal(0)) != report.executed:
            raise NoAnswer("the trades do not add up")
        return trades

    def open_orders(self, _symbol: str):
        """List what is open."""
        self._arrive()
        return [self.find("BTCUSDT", name) for name, report in self.orders.items() if report.status == "open"]

    def cancel(self, _symbol: str, client_id: str) -> tuple[OrderReport, ...]:
        """Cancel an order and, where it is one of a pair, the other one."""
        error = self.cancels.pop(0) if self.cancels else None
        if error is not None:
            raise error
        report = self.orders.get(client_id)
        if report is None or report.status != "open":
            raise NotFound("Unknown order sent.", -2011)
        ended = [client_id]
        for name, other in list(self.orders.items()):
            if name == client_id or (name[:-1] == client_id[:-1] and name[-1] in "ST" and other.status == "open"):
                self.orders[name] = OrderReport(
                    name, other.exchange_id, "cancelled", other.executed, self.time_ms(), other.executions
                )
                ended += [name] if name != client_id else []
        return tuple(self.orders[name] for name in ended)


def refused(words: str = "no", **details) -> Refused:
    """Return a refusal."""
    return Refused(words, **details)
