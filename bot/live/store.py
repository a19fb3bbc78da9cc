"""The store: one thread that asks for candles, sends orders, and releases a bar when everything about it is known.

A bar is released to all symbols at once, when it has closed, when the strategies are done with the one before, and when the
fate of every order and every trade up to its close is written down. REST is the truth; a websocket only shortens the wait.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, ClassVar

from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.arrivals import BrokenCandles
from bot.live.barrier import Barrier
from bot.live.broker import CCXTBroker
from bot.live.desk import Desk, Stopped
from bot.live.feed import Bar, CCXTFeed, Notice
from bot.live.journal_rows import pack_bar
from bot.live.store_settings import StoreSettings
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.broker.rules import ExchangeRules
    from bot.live.gateway import Gateway, SpotMarket
    from bot.live.journal import Journal
    from bot.live.orders import Execution, Ticket

__all__ = ["CCXTStore"]

_LONGEST_BACKOFF_S = 30.0
_GRACE_S = 1.0  # beyond the time that a stop may take: for the last words of the thread
_DONE = {"buy": "bought", "sell": "sold"}


class CCXTStore:
    """Candles and orders of one account, for Backtrader's Cerebro.

    Parameters
    ----------
    gateway, journal
        The exchange, and what is written down.
    timeframe
        Length of a candle.
    rules
        Tick, lot and smallest sizes by symbol.
    settings
        How it waits.
    forbids
        Says why an order may not be sent now (paused, kill switch, ...); empty when it may.
    on_event
        Called with a kind (``fills``, ``disconnects``, ``errors``, ``data``), a symbol or None, and words for a person.
    side_value
        Value of the column ``sentiment`` for a bar of a symbol, where a model reads it.
    now_ms, monotonic
        Clocks of this computer.

    ``failure`` tells why the store stopped by itself; None where it did not.
    """

    DataCls: ClassVar[type[CCXTFeed]] = CCXTFeed
    BrokerCls: ClassVar[type[CCXTBroker]] = CCXTBroker

    def __init__(
        self,
        gateway: Gateway,
        journal: Journal,
        *,
        timeframe: str,
        rules: dict[str, ExchangeRules],
        settings: StoreSettings | None = None,
        forbids: Callable[[Ticket], str] = lambda _ticket: "",
        on_event: Callable[[str, str | None, str], None] = lambda _kind, _symbol, _text: None,
        side_value: Callable[[str, int], float | None] | None = None,
        now_ms: Callable[[], int] = wall_ms,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gateway, self.journal, self.timeframe = gateway, journal, timeframe
        self.settings = settings or StoreSettings()
        self.on_ready: Callable[[str], None] = lambda _symbol: None
        self.failure: Exception | None = None
        self.forbids, self.connection = forbids, "starting"
        self._on_event, self._side_value = on_event, side_value
        self._now_ms, self._monotonic = now_ms, monotonic
        self._wake = threading.Condition()
        self._stopping = threading.Event()
        self._ready: set[str] = set()
        self._tasks: deque[Callable[[], None]] = deque()
        self._kept: dict[str, list[tuple[frozenset[str], Callable[[], None]]]] = {}
        self._feeds: dict[str, CCXTFeed] = {}
        self._thread: threading.Thread | None = None
        self._next_poll = self._next_sync = self._backoff_s = self._give_up_at = 0.0
        self._is_live = False
        self._barrier = Barrier(gateway, timeframe, gap_s=self.settings.gap_s, note=self._note, monotonic=monotonic)
        self.desk = Desk(
            gateway,
            journal,
            rules,
            now_ms=now_ms,
            pause=self._pause,
            is_newest=lambda ticket: self._barrier.is_newest(ticket, self._pause),
            on_fill=self.tell_fill,
            on_trouble=lambda kind, text: on_event(kind, None, text),
            settings=self.settings.desk,
        )

    def getdata(self, **params: Any) -> CCXTFeed:
        """Return the feed of a symbol; see ``CCXTFeed`` for its params."""
        feed = self.DataCls(store=self, **params)  # type: ignore[call-arg]  # Backtrader takes the params
        symbol = str(feed.p.symbol)
        self._feeds[symbol] = feed
        self._barrier.add(symbol, feed.candles)
        return feed

    def getbroker(self, **params: Any) -> CCXTBroker:
        """Return the broker of the account; see ``CCXTBroker`` for its params."""
        return self.BrokerCls(store=self, **params)

    def market(self, symbol: str) -> SpotMarket:
        """Return a symbol as the exchange lists it."""
        return self.gateway.markets[symbol]

    def get_notifications(self) -> list[Any]:
        """Return nothing: events go another way than through Cerebro."""
        return []

    def start(self, data: Any = None, broker: Any = None) -> None:  # noqa: ARG002 - Backtrader's signature
        """Start the thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; what was handed over before is seen through, but a reply that does not come is not waited for."""
        with self._wake:
            if not self._stopping.is_set():
                self._give_up_at = self._monotonic() + self.settings.stop_s
                self._stopping.set()
            self._wake.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, self._give_up_at - self._monotonic()) + _GRACE_S)
            self._tell_end()

    def ready(self, symbol: str) -> None:
        """Take note that the strategy of a symbol is done with its newest bar."""
        self._hand_over_kept(symbol)
        self.on_ready(symbol)
        with self._wake:
            self._ready.add(symbol)
            self._wake.notify()

    def place(self, ticket: Ticket, withdrawn: Sequence[str] = ()) -> None:
        """Hand an order over; returns at once."""
        self._in_turn(ticket.symbol, lambda: self.desk.place(ticket, withdrawn))

    def gate(self, ticket: Ticket) -> str:
        """Return why an order may not be sent now, written down for a replay to refuse it too; empty when it may."""
        reason = self.forbids(ticket)
        if reason:
            self.journal.gate(ticket, reason, self._now_ms())
        return reason

    def place_guard(self, tickets: Sequence[Ticket], known_bar_ms: int) -> None:
        """Keep a stop and target until the strategy is done with the bar: it may yet sell what they are to guard."""
        if tickets:
            names = frozenset(ticket.client_id for ticket in tickets)
            kept = self._kept.setdefault(tickets[0].symbol, [])
            kept.append((names, lambda: self.desk.place_guard(tickets, known_bar_ms)))

    def withdraw(self, orders: Sequence[str], symbol: str) -> None:
        """Hand orders over to be cancelled, or forget those that were kept; returns at once."""
        kept = self._kept.get(symbol, [])
        kept[:] = [each for each in kept if not each[0].intersection(orders)]
        self._in_turn(symbol, lambda: self.desk.withdraw(orders))

    def drop(self, symbol: str) -> None:
        """Wait no longer for the strategy of a symbol: it has ended; what it wanted last is seen through."""
        self._hand_over_kept(symbol)
        with self._wake:
            self._feeds.pop(symbol, None)
            self._barrier.drop(symbol)
            self._ready.discard(symbol)
            self._wake.notify()

    def released_ms(self, symbol: str) -> int:
        """Return the open time of the newest bar that was released, milliseconds UTC; 0 before the first."""
        return self._barrier.released_ms(symbol)

    def call(self, action: Callable[[], Any]) -> Future[Any]:
        """Run something on the store's thread, between two requests; for commands."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(action())
            except (AccessDenied, Stopped) as error:
                future.set_exception(error)
                raise
            except Exception as error:  # noqa: BLE001 - the caller is told
                future.set_exception(error)

        self._hand_over(run)
        return future

    def wake(self) -> None:
        """Ask for the next candle now: a stream says that there is news."""
        with self._wake:
            self._next_poll = self._next_sync = 0.0
            self._wake.notify()

    def _in_turn(self, symbol: str, task: Callable[[], None]) -> None:
        """Hand a task over, after those of its symbol that are kept."""
        if kept := self._kept.get(symbol):
            kept.append((frozenset(), task))
        else:
            self._hand_over(task)

    def _hand_over_kept(self, symbol: str) -> None:
        for _, task in self._kept.pop(symbol, ()):
            self._hand_over(task)

    def _hand_over(self, task: Callable[[], None]) -> None:
        with self._wake:
            self._tasks.append(task)
            self._wake.notify()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                task = self._next_task()
                if task is not None:
                    self._do(task)
                elif not self._stopping.is_set():
                    self._work()
            while self._tasks and self._monotonic() < self._give_up_at:  # what strategies decided before the stop
                self._do(self._tasks.popleft())
            self.journal.flush()
        except Stopped:  # the next start looks up what is unknown
            self.connection = "stopped"
        except Exception as error:  # noqa: BLE001 - told by whoever runs the bot; the stops rest on the exchange
            self.failure = error
        finally:
            self._tell_end()

    def _tell_end(self) -> None:
        for feed in list(self._feeds.values()):
            feed.deliver(Notice(None, "stopped"))

    def _do(self, task: Callable[[], None]) -> None:
        """Do what was handed over; what the exchange does not tell of is left to the next look at open orders."""
        try:
            task()
        except AccessDenied:
            raise
        except (NoAnswer, Refused) as error:
            self._note("errors", None, str(error))

    def _pause(self, seconds: float) -> bool:
        """Wait; tell whether there is no time left, because the bot is asked to stop."""
        if not self._stopping.wait(seconds):
            return False
        left = self._give_up_at - self._monotonic()
        if left > 0:
            time.sleep(min(seconds, left))
        return left <= 0

    def _next_task(self) -> Callable[[], None] | None:
        """Return the next thing to do; None when it is time to look at the exchange."""
        with self._wake:
            while not self._tasks:
                now = self._monotonic()
                all_ready = 0 < len(self._feeds) == len(self._ready)
                due = min(self._next_poll if all_ready else now + 3600.0, self._next_sync_due())
                if self._stopping.is_set() or now >= due:
                    return None
                self._wake.wait(min(due - now, 1.0))
            return self._tasks.popleft()

    def _next_sync_due(self) -> float:
        idle = self._is_live and self.settings.sync_s and self.settings.trades and self.journal.undone()
        return self._next_sync if idle else self._monotonic() + 3600.0

    def _work(self) -> None:
        """Look for closed candles and release the next bar, or look at the open orders."""
        now = self._monotonic()
        try:
            if 0 < len(self._feeds) == len(self._ready) and now >= self._next_poll:
                self._poll()
            elif self.settings.sync_s and now >= self._next_sync:
                self._sync_all()
        except AccessDenied:
            raise
        except (NoAnswer, BrokenCandles, Refused) as error:
            self._broken(error)

    def _poll(self) -> None:
        has_answered, failed = self._barrier.ask()
        if has_answered:
            self._backoff_s = 0.0
            if self.connection != "live" and self._is_live and self._overdue_s() <= self.settings.silence_s:
                self._go_live()
        if self._release():
            self._next_poll = self._monotonic()
            return
        if failed is not None:
            raise failed
        if not self._is_live and self._barrier.is_empty:
            self._go_live()
        self._next_poll = self._monotonic() + self._until_due_s()

    def _release(self) -> bool:
        """Release the next bar, once everything about it is known; tell whether there was one."""
        chosen = self._barrier.next_bar()
        for symbol in list(chosen) if self.settings.trades else ():
            try:
                self._tell_foreign(symbol, self.desk.sync(symbol))
            except Refused as error:
                if error.wait_s is not None or isinstance(error, AccessDenied):
                    raise
                self._barrier.silence(symbol, error)
                del chosen[symbol]
        for symbol, arrivals in chosen.items():
            open_ms, is_late = arrivals.next_open_ms, arrivals.has_newer
            values = self._barrier.release(symbol, arrivals, self._with_side(symbol, open_ms))
            close_ms = open_ms + arrivals.step_ms
            facts = self.journal.deliver(
                symbol, open_ms, close_ms, pack_bar(open_ms, values), is_late=is_late, now_ms=self._now_ms()
            )
            self._ready.discard(symbol)
            feed = self._feeds.get(symbol)
            if feed is not None:  # its strategy may have ended meanwhile; the bar is in the journal for the next start
                feed.deliver(Bar(open_ms, values, is_late, facts))
        return bool(chosen)

    def _with_side(self, symbol: str, open_ms: int) -> float | None:
        if self._side_value is None or "sentiment" not in self._barrier.columns(symbol):
            return None
        return self._side_value(symbol, open_ms)

    def _sync_all(self) -> None:
        self._next_sync = self._monotonic() + self.settings.sync_s
        failed: NoAnswer | Refused | None = None
        for symbol in list(self._feeds):
            try:
                self._tell_foreign(symbol, self.desk.sync(symbol))
            except AccessDenied:
                raise
            except (NoAnswer, Refused) as error:  # the other symbols are looked at all the same
                failed = error
        if failed is not None:
            raise failed

    def _overdue_s(self) -> float:
        """Return for how many seconds the next candle has been due, where that can be known; negative before."""
        due_ms = self._barrier.due_ms() if self.settings.follows_wall else None
        return 0.0 if due_ms is None else (self._now_ms() - due_ms) / 1000.0

    def _until_due_s(self) -> float:
        """Return how long to wait before the next question: until a candle is due, and longer for one that stays away."""
        overdue = self._overdue_s()
        if overdue > self.settings.silence_s and self.connection == "live":
            self._broken(NoAnswer("no candle has come since one was due"))
        return max(-overdue, self.settings.poll_s, min(overdue / 20.0, _LONGEST_BACKOFF_S))

    def _broken(self, error: Exception) -> None:
        """Note that the exchange does not answer, or not properly, and ask again later and later."""
        self._backoff_s = min(max(2 * self._backoff_s, self.settings.poll_s, 0.02), _LONGEST_BACKOFF_S)
        wait = max(self._backoff_s, getattr(error, "wait_s", None) or 0.0)
        self._next_poll = self._next_sync = self._monotonic() + wait
        if self.connection != f"broken: {error}":
            self.connection = f"broken: {error}"
            self._note("disconnects", None, f"no usable answer: {error}")
            for feed in list(self._feeds.values()):
                feed.deliver(Notice(feed.CONNBROKEN, str(error)))

    def _go_live(self) -> None:
        if self.connection.startswith("broken"):
            self._note("disconnects", None, "the exchange answers again")
        self.connection, self._is_live = "live", True
        for feed in list(self._feeds.values()):
            feed.deliver(Notice(feed.LIVE))

    def tell_fill(self, ticket: Ticket, trades: Sequence[Execution]) -> None:
        """Tell whoever listens of new executions."""
        for trade in trades:
            what = f"{trade.size.normalize():f} {ticket.symbol} at {trade.price.normalize():f}"
            self._on_event("fills", ticket.symbol, f"{_DONE[ticket.side]} {what} ({ticket.role})")

    def _tell_foreign(self, symbol: str, orders: Sequence[str]) -> None:
        if orders:
            self._on_event("foreign", symbol, f"open orders that are not ours: {', '.join(orders)}")

    def _note(self, kind: str, symbol: str | None, text: str) -> None:
        self.journal.event(kind, text, self._now_ms(), symbol)
        self._on_event(kind, symbol, text)
