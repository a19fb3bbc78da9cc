"""A live run from start to stop: the threads of its symbols, commands, protections, alerts, and what it says of itself."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from bot.decisions import record_decisions
from bot.errors import BotError
from bot.live.assembling import assemble_recorded
from bot.live.feed import Notice
from bot.live.gates import Gates
from bot.live.journal_rows import decision_digest
from bot.live.kill_switch import KillSwitch
from bot.live.ledger import ReplayDiffers
from bot.live.operator import Operator
from bot.live.orders import bot_tag
from bot.live.reporting import StatusBoard
from bot.live.store import CCXTStore
from bot.live.streams import Streams
from bot.market.side_series import side_value
from bot.wall_clock import wall_ms
from ml.candles import format_ms
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.assembly import Assembly
    from bot.config.loader import ConfigFile
    from bot.decision_rows import DecisionRow
    from bot.home import Home
    from bot.live.control import Control
    from bot.live.opening import OpenedRun
    from bot.live.status import LiveStatus
    from bot.live.venue import Venue
    from bot.state import StateDatabase

__all__ = ["LiveRun"]

_TICK_S = 0.1
_PUBLISH_S = 1.0


class LiveRun:
    """One bot that trades.

    Parameters
    ----------
    file, home, state
        Config, home folder and the state database.
    venue
        Where it trades.
    opened
        What ``open_run`` returned.
    now_ms
        This computer's clock, milliseconds UTC.
    on_alert
        Takes a kind of alert and its words.
    last_bar_ms
        Stop after the bar of this open time; None to run until stopped.
    """

    def __init__(
        self,
        file: ConfigFile,
        home: Home,
        state: StateDatabase,
        venue: Venue,
        opened: OpenedRun,
        *,
        now_ms: Callable[[], int] = wall_ms,
        on_alert: Callable[[str, str], None] = lambda _kind, _text: None,
        last_bar_ms: int | None = None,
    ) -> None:
        self.file, self.home, self.venue, self.opened = file, home, venue, opened
        self.run, self.journal = opened.run, opened.journal
        self._state, self.now_ms, self.on_alert, self._last_bar_ms = state, now_ms, on_alert, last_bar_ms
        self.tag = bot_tag(self.run.bot, self.run.run_id)
        self._stop_reason = ""
        self._stop = threading.Event()
        self._failures: deque[Exception] = deque()
        self._done: set[str] = set()
        live = file.config.live
        self.gates = Gates(
            KillSwitch(home.root),
            step_ms=timeframe_ms(file.config.timeframe),
            max_data_age=live.max_data_age if venue.settings.follows_wall else None,
            max_errors=live.max_errors,
            now_ms=now_ms,
        )
        self.store = CCXTStore(
            venue.gateway,
            self.journal,
            timeframe=file.config.timeframe,
            rules={symbol: market.rules for symbol, market in venue.gateway.markets.items()},
            settings=venue.settings,
            forbids=self.gates.forbids,
            on_event=self.on_event,
            side_value=self._side_value,
            now_ms=now_ms,
        )
        self._side_values = {
            symbol: side_value([bound.engine for bound in choice.models], home.candles, file.config.timeframe)
            for symbol, choice in opened.choices.items()
        }
        self.store.on_ready = self._on_ready
        self._streams: Streams | None = None
        self.board = StatusBoard(self)
        self.assemblies: dict[str, Assembly] = {}
        self._threads: list[threading.Thread] = []
        self.operator = Operator(self, state)

    def prepare(self) -> None:
        """Learn the fate of every order of an earlier life, and put feeds, brokers and strategies together.

        Raises
        ------
        NoAnswer, AccessDenied
            When the exchange does not tell what became of an order: a bot that does not know may not start.
        """
        if self.venue.trades:
            self.store.desk.recover()
        paused = self._state.rows(
            "SELECT kind, text FROM live_events WHERE run_id = ? AND kind IN ('pause', 'resume') ORDER BY rowid DESC LIMIT 1",
            (self.run.run_id,),
        )
        if paused and paused[0]["kind"] == "pause":
            self.gates.pause(str(paused[0]["text"]))
        for symbol, choice in self.opened.choices.items():
            self.assemblies[symbol] = self._assemble(symbol, choice)

    def start(self) -> None:
        """Start the store, the streams that wake it, and a thread a symbol."""
        self.store.start()
        settings, gateway = self.venue.settings, self.venue.gateway
        if settings.sync_s:  # a market in lockstep has nothing to tell of itself
            pairs = [f"{market.base}/{market.quote}" for market in gateway.markets.values()]
            self._streams = Streams(
                gateway.exchange,
                pairs,
                self.file.config.timeframe,
                self.store.wake,
                keys=self.venue.keys,
                endpoint=self.venue.endpoint,
            )
            self._streams.start()
        for symbol, assembly in self.assemblies.items():
            thread = threading.Thread(target=self._run_symbol, args=(symbol, assembly), name=symbol, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self, reason: str) -> None:
        """Ask the run to end; resting stops stay on the exchange."""
        self._stop_reason = self._stop_reason or reason
        self._stop.set()

    def watch(self, control: Control, show: Callable[[LiveStatus], None]) -> None:
        """Obey commands and tell the state, until the run ends.

        Raises
        ------
        BotError
            When the run failed; the message says what of.
        """
        try:
            self._obey(control, show)
            self.close()
        finally:
            self.operator.close()
        failure = self.failure
        status = self.board.status("failed" if failure is not None else "stopped")
        control.publish(status)
        show(status)
        if failure is not None:
            raise failure

    def _obey(self, control: Control, show: Callable[[LiveStatus], None]) -> None:
        published, told = 0.0, False
        while not self._stop.wait(_TICK_S):
            for command in control.pending():
                self.operator.obey(control, command)
            self.operator.look_around()
            if self._failures or self.store.failure is not None or not any(t.is_alive() for t in self._threads):
                break
            if time.monotonic() - published >= _PUBLISH_S or self.board.is_fresh:
                published = time.monotonic()
                status = self.board.status(self._state_word())
                control.publish(status)
                if not told:  # from now on a new champion is told to us
                    told = True
                    self.operator.look_for_champions()
                show(status)

    def close(self) -> None:
        """Stop strategies and store, and wait for them; what was decided is sent first, while the exchange answers."""
        if self._streams is not None:
            self._streams.ask_to_stop()
        for assembly in self.assemblies.values():
            assembly.cerebro.runstop()
        self.store.stop()
        for thread in self._threads:
            thread.join()
        if self._streams is not None:
            self._streams.stop()
        self.operator.close()
        self.journal.flush()

    @property
    def failure(self) -> Exception | None:
        """Why the run failed; None where it did not."""
        return self._failures[0] if self._failures else self.store.failure

    def join(self, seconds: float) -> bool:
        """Wait for some seconds; tell whether the strategies have ended, or the run failed."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self.failure is not None or not any(thread.is_alive() for thread in self._threads)

    def wait(self) -> None:
        """Wait for the end without obeying anybody, and raise what it failed of; for runs that end by themselves."""
        while not self.join(1.0) and not self._stop.is_set():
            pass
        self.close()
        if self.failure is not None:
            raise self.failure

    @property
    def left_open(self) -> str:
        """What a run that has ended leaves to the next start, in words; empty where everything is known."""
        waiting = [row.ticket for row in self.journal.undone() if row.state == "intended"] if self.venue.trades else []
        told = [f"{each.client_id} ({each.side} {each.size.normalize():f} {each.symbol})" for each in waiting]
        parts = [f"no answer about {', '.join(told)}: the next start looks it up"] if told else []
        return "; ".join(parts + [f"{verb} was not finished" for verb in self.operator.unfinished])

    # ---- assembling

    def _assemble(self, symbol: str, choice: Any) -> Assembly:
        rules = self.venue.gateway.markets[symbol].rules
        assembly = assemble_recorded(
            self.file, self._state, self.run, self.store, symbol, choice, rules, tag=self.tag, trades=self.venue.trades
        )
        record_decisions(assembly, self._sink(symbol))
        return assembly

    def _side_value(self, symbol: str, open_ms: int) -> float | None:
        value = self._side_values[symbol]
        return None if value is None else value(open_ms)

    def _sink(self, symbol: str) -> Callable[[DecisionRow], None]:
        known = self.journal.decision_digests(symbol)
        told: list[int] = []

        def take(row: DecisionRow) -> None:
            document = json.dumps(row.to_dict(), separators=(",", ":"))
            before = known.pop(row.open_ms, None)
            if before is None:
                self.journal.note_decision(symbol, row.open_ms, document)
            elif before != decision_digest(document) and not told:
                told.append(row.open_ms)
                when = format_ms(row.open_ms)
                self.on_event("errors", symbol, f"from {when} on the replay decides otherwise than the journal says")
            self.board.take(symbol, row)

        return take

    def _run_symbol(self, symbol: str, assembly: Assembly) -> None:
        try:
            assembly.cerebro.run()
        except Exception as error:  # noqa: BLE001 - raised again by whoever watches the run
            self._failures.append(_as_ours(error, assembly))
        finally:
            self.store.drop(symbol)

    def _on_ready(self, symbol: str) -> None:
        """Take note, in a symbol's thread, that its strategy is done with the newest bar."""
        if symbol not in self._done:
            self._done.add(symbol)
            if self.venue.trades:
                self._check_replay(symbol)
        if self._last_bar_ms is not None and self.store.released_ms(symbol) >= self._last_bar_ms:
            self.assemblies[symbol].cerebro.runstop()
            self.assemblies[symbol].cerebro.datas[0].deliver(
                Notice(None, "the last bar")
            )  # it need not wait for another

    def _check_replay(self, symbol: str) -> None:
        """Raise when the journal has orders that the replay did not want."""
        wanted = self.assemblies[symbol].broker.wanted
        for row in self.journal.orders.values():
            ticket = row.ticket
            if ticket.symbol == symbol and ticket.role in {"entry", "exit"} and ticket.client_id not in wanted:
                raise ReplayDiffers(
                    f"the journal has the order {ticket.client_id} ({ticket.side} {ticket.size} {symbol}), the replay does "
                    "not place it. Code, config, model or candles have changed since; nothing is sent"
                )

    # ---- events

    def on_event(self, kind: str, symbol: str | None, text: str) -> None:
        """Take something that happened in any thread: show it, count it, tell whoever wants to know."""
        words = text if symbol is None or symbol in text else f"{symbol}: {text}"
        self.board.event(words)
        if kind == "foreign":
            self.gates.explain(f"orders of {symbol}", words)
            self.on_alert("errors", words)
            return
        if kind in {"errors", "disconnects"} and self.gates.error():
            self.operator.pause(self.gates.paused)
        if kind != "data":
            self.on_alert(kind, words)

    def _state_word(self) -> str:
        if self._stop.is_set():
            return "stopping"
        if len(self._done) < len(self.assemblies):
            return "replaying"
        return "paused" if self.gates.paused else "running"


def _as_ours(error: Exception, assembly: Assembly) -> Exception:
    """Return an error of ours as it is, and a failure of the strategy's code as one message."""
    import traceback

    if hasattr(error, "exit_code"):
        return error
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return BotError(
        f"the strategy {assembly.config.strategy} failed at {frame.filename}:{frame.lineno}: "
        f"{type(error).__name__}: {error}; resting stops stay on the exchange"
    )
