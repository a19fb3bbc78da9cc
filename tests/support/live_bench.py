"""A busy strategy traded live against the local exchange: by itself, under faults, and killed again and again.

A *life* is one process of the bot, from its start until it has had the last bar or is killed. All lives of one run share a
state database; the last one replays everything, so its log is the whole log of the run.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import backtrader as bt
from trading_runs import START_MS, candles_of, random_bars

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.broker.spot import SpotBroker
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.tape import Tape
from bot.live.client import Keys, trading_client
from bot.live.desk import DeskSettings
from bot.live.gateway import Gateway
from bot.live.journal import Journal
from bot.live.journal_rows import RunRow, begin_run, read_series
from bot.live.orders import bot_tag
from bot.live.store import CCXTStore
from bot.live.store_settings import StoreSettings
from bot.live.streams import Streams
from bot.live.venue import close_after
from bot.state import StateDatabase
from ml.candles import Candles

__all__ = ["Bench", "Busy", "Life", "folder_in_memory"]

RULES = ExchangeRules.from_dict({"price_tick": "0.01", "lot_step": "0.00001", "min_notional": 5})
WARM = 20
MINUTE_MS = 60_000
CASH = 10_000.0
TAG = bot_tag("bench", "run")


class Busy(bt.Strategy):
    """Orders of every kind, decided by the digits of the close; a log of everything that it is told.

    Params
    ------
    log : list
        Takes one row for each bar, order notice and closed trade.
    wild : bool
        Also what a backtest must judge otherwise than an exchange: guarded limit and stop entries.
    last : int
        Number of the bar from which on it places nothing.
    on_bar : callable
        Called with symbol and open time of each bar.
    """

    params = (("log", None), ("wild", False), ("last", 1 << 40), ("on_bar", None))

    def __init__(self):
        self.order = None
        self.age = 0

    def notify_order(self, order):
        row = [len(self), "order", order.getstatusname(), order.isbuy(), order.exectype, order.created.size]
        done = order.executed
        self.p.log.append([*row, done.size, done.price, done.comm, dict(order.info).get("protective")])
        if self.order is not None and order.ref == self.order.ref and not order.alive():
            self.order = None

    def notify_trade(self, trade):
        if trade.isclosed:
            self.p.log.append([len(self), "trade", trade.pnl, trade.pnlcomm])

    def next(self):
        data, broker = self.data, self.broker
        held = self.getposition().size
        close = data.close[0]
        self.p.log.append([len(self), "bar", data.datetime[0], close, broker.getcash(), broker.getvalue(), held])
        if self.p.on_bar is not None:
            self.p.on_bar(str(data.p.symbol), broker.bar_open_ms(data))
        if len(self) >= self.p.last:
            return
        if self.order is not None:
            self.age += 1
            if self.age > 2:
                self.cancel(self.order)
            return
        self.age = 0
        digit = round(close * 100) % 16
        self.order = self._sell(digit, close) if held else self._buy(digit, close)

    def _buy(self, digit, close):
        size = self.broker.getcash() * 0.35 / close  # twice that would be there: an order placed twice is filled twice
        guard = {"stop_loss": 0.006, "take_profit": 0.009}
        if digit < 6:
            chosen = guard if digit < 4 else {"stop_loss": 0.004}
            return self.buy(size=size, **chosen)
        guard = guard if self.p.wild else {}
        if digit == 6:
            return self.buy(size=size, exectype=bt.Order.Limit, price=close * 0.998, **guard)
        if digit == 7:
            return self.buy(size=size, exectype=bt.Order.Stop, price=close * 1.002, **guard)
        if digit == 8:
            return self.buy(size=size, exectype=bt.Order.StopLimit, price=close * 1.001, plimit=close * 1.002)
        return self.buy(size=size / 2) if digit == 9 else None

    def _sell(self, digit, close):
        size = self.broker.sellable(self.data)
        if digit == 10:
            return self.sell(size=size)
        if digit == 11:
            return self.sell(size=size, exectype=bt.Order.Limit, price=close * 1.004)
        if digit == 12:
            return self.sell(size=size, exectype=bt.Order.Stop, price=close * 0.996)
        if digit == 13:
            return self.buy(size=self.broker.getcash() * 0.3 / close, stop_loss=0.005)
        return self.sell(size=size / 2) if digit == 14 else None


class Watched(LocalExchange):
    """A market that keeps nothing to itself: every order by client id."""

    def placed(self) -> Counter:
        """Return how many orders there were with each client id."""
        return Counter(order.client_id for order in self.register.all_orders())


@dataclass(frozen=True)
class Bench:
    """Markets and the terms on which they are traded; equal benches have equal candles.

    Attributes
    ----------
    seed, bars
        Of the random candles; the first ``WARM`` warm up.
    symbols
        Each has its own candles, ledger and thread.
    in_kind, partial, wild
        Fees in the asset bought; fills in pieces; guarded limit entries.
    recv_window_ms, margin_ms, timeout_ms
        Small, so that what is unknown is soon certain.
    """

    seed: int = 1
    bars: int = 80
    symbols: tuple[str, ...] = ("BTCUSDT",)
    in_kind: bool = False
    partial: tuple[float, ...] = ()
    wild: bool = False
    recv_window_ms: int = 250
    margin_ms: int = 100
    timeout_ms: int = 400

    @property
    def is_exact(self) -> bool:
        """Whether the backtest's log is the live log to the last row."""
        return not self.wild and not self.partial

    def candles(self, symbol: str) -> Candles:
        """Return the candles of a symbol."""
        number = self.symbols.index(symbol)
        return candles_of(random_bars(self.bars, 1000 * number + self.seed, volatility=0.004), timeframe="1m")

    @property
    def fees(self) -> FeeSchedule:
        """What a fill costs."""
        return FeeSchedule(0.001, in_kind=self.in_kind)

    @property
    def first_ms(self) -> int:
        """Open time of the first bar that may trade."""
        return START_MS + WARM * MINUTE_MS

    @property
    def last_ms(self) -> int:
        """Open time of the last bar."""
        return START_MS + (self.bars - 1) * MINUTE_MS

    def terms(self) -> dict[str, Any]:
        """Return the params that both brokers share."""
        return {"rules": RULES, "fees": self.fees, "slippage": 0.0005, "trade_from_ms": self.first_ms}

    def strategy(self, log: list, on_bar=None) -> dict[str, Any]:
        """Return the params of the strategy."""
        return {"log": log, "wild": self.wild, "last": self.bars - 2, "on_bar": on_bar}

    def exchange(self) -> Watched:
        """Return a new market that stands at the first bar that may trade."""
        tapes = {
            symbol: (
                Market(symbol, symbol.removesuffix("USDT"), "USDT", RULES),
                Tape(close_after(self.candles(symbol))),
            )
            for symbol in self.symbols
        }
        balances = {"USDT": Decimal(repr(CASH)) * len(self.symbols)}
        return Watched(tapes, balances, fees=self.fees, slippage=0.0005, start_ms=self.first_ms, partial=self.partial)

    def exchange_again(self, folder: Path) -> Watched:
        """Return the market that an exchange with a state file has left behind."""
        from bot.exchange.persistence import StateFile

        state, exchange = StateFile(folder / "exchange.db"), self.exchange()
        state.restore(exchange)
        state.close()
        return exchange

    def backtest(self) -> dict[str, list]:
        """Return the log of each symbol's backtest."""
        logs = {}
        for symbol in self.symbols:
            log = logs[symbol] = []
            cerebro = FastCerebro()
            broker = SpotBroker(**self.terms())
            broker.setcash(CASH)
            cerebro.setbroker(broker)
            feed = CandleFeed(candles=self.candles(symbol))
            feed.p.symbol = symbol
            cerebro.adddata(feed)
            cerebro.addstrategy(Busy, **self.strategy(log))
            cerebro.run()
        return logs

    def without_faults(self) -> dict[str, list]:
        """Return the logs of one undisturbed life against a market of its own."""
        from bot.exchange.server import ExchangeServer

        with ExchangeServer(self.exchange()) as server, folder_in_memory() as folder:
            return Life(self, server.url, folder).run()

    def to_dict(self) -> dict[str, Any]:
        """Return the bench as JSON holds it."""
        return {**self.__dict__, "symbols": list(self.symbols), "partial": list(self.partial)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Bench:
        """Build it from JSON."""
        return cls(**{**values, "symbols": tuple(values["symbols"]), "partial": tuple(values["partial"])})


@dataclass
class Life:
    """One process of the bot.

    Attributes
    ----------
    bench, url, folder
        What is traded, where, and where ``state.db`` is.
    settings
        Replaces parts of the store's settings.
    on_bar
        Called with symbol and open time of each bar that the strategy gets.
    forbids
        As the store takes it.
    streams
        Whether websocket streams wake the store.
    events
        What the store told: kind, symbol, words.
    """

    bench: Bench
    url: str
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    on_bar: Any = None
    forbids: Any = None
    streams: bool = False
    events: list = field(default_factory=list)
    brokers: dict = field(default_factory=dict)
    watch: Any = None

    def open(self) -> None:
        """Connect, continue or begin the run, and learn what became of its orders."""
        bench = self.bench
        self.state = StateDatabase(self.folder / "state.db")
        client = trading_client(
            "binance",
            Keys("key", "secret"),
            endpoint=self.url,
            recv_window_ms=bench.recv_window_ms,
            timeout_ms=bench.timeout_ms,
        )
        self.gateway = Gateway(client)
        _insist(lambda: self.gateway.open(bench.symbols))
        _insist(self.gateway.set_clock)
        run = Journal.newest_run(self.state, "bench")
        if run is None:
            cash = dict.fromkeys(bench.symbols, CASH)
            run = RunRow("run", "bench", 0, None, "paper", "sim", {}, cash, {})
            series = {symbol: (bench.candles(symbol).slice(0, WARM), bench.first_ms) for symbol in bench.symbols}
            begin_run(self.state, run, series)
        self.journal = Journal(self.state, run)
        settings = {"poll_s": 0.0, "follows_wall": False, "gap_s": 5.0, "sync_s": 0.0, **self.settings}
        settings.setdefault("desk", DeskSettings(margin_ms=bench.margin_ms))
        self.store = CCXTStore(
            self.gateway,
            self.journal,
            timeframe="1m",
            rules={symbol: market.rules for symbol, market in self.gateway.markets.items()},
            settings=StoreSettings(**settings),
            on_event=lambda *event: self.events.append(event),
            **({} if self.forbids is None else {"forbids": self.forbids}),
        )

    def assemble(self) -> dict[str, Any]:
        """Put a Cerebro a symbol together; returns the logs that they will fill."""
        self.logs: dict[str, list] = {}
        self.cerebros: dict[str, Any] = {}
        for symbol in self.bench.symbols:
            series = read_series(self.state, "run", symbol)
            facts = self.journal.all_facts(symbol)
            feed = self.store.getdata(candles=series.history, symbol=symbol, late=series.late, facts=facts)
            broker = self.store.getbroker(**self.bench.terms(), tag=TAG)
            broker.setcash(CASH)
            cerebro = FastCerebro()
            cerebro.setbroker(broker)
            cerebro.adddata(feed)
            log = self.logs[symbol] = []
            cerebro.addstrategy(Busy, **self.bench.strategy(log, self.on_bar))
            self.cerebros[symbol], self.brokers[symbol] = cerebro, broker
        self.store.on_ready = self._on_ready
        return self.logs

    def run(self) -> dict[str, list]:
        """Live to the last bar and return the log of each symbol."""
        self.open()
        try:
            self.store.desk.recover()
            self._check_guarded()
            self.assemble()
            self.store.start()
            if self.streams:
                pairs = [f"{market.base}/{market.quote}" for market in self.gateway.markets.values()]
                watch = Streams("binance", pairs, "1m", self.store.wake, keys=Keys("key", "secret"), endpoint=self.url)
                watch.start()
                self.watch = watch
            failures: list[BaseException] = []
            threads = [
                threading.Thread(target=self._trade, args=(symbol, failures), daemon=True) for symbol in self.cerebros
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.store.stop()
            if failures or self.store.failure is not None:
                raise failures[0] if failures else self.store.failure
            return self.logs
        finally:
            if self.watch is not None:
                self.watch.stop()
            self.store.stop()
            self.gateway.close()
            self.state.close()

    def _check_guarded(self) -> None:
        """Raise where a purchase that asked for a guard is held without one after a start, and nothing is being sold."""
        for symbol in self.bench.symbols:
            decided = [
                row.ticket
                for row in self.journal.orders.values()
                if row.ticket.symbol == symbol and not row.ticket.parent
            ]
            held = sum(trade.size if side == "buy" else -trade.size for side, trade in self.journal.traded(symbol))
            bought = [ticket for ticket in decided if ticket.side == "buy" and self.journal.trades_of(ticket.client_id)]
            sold = [ticket for ticket in decided if ticket.side == "sell"]
            if held < 1 or not bought or bought[-1].guard is None or any(s.bar_ms >= bought[-1].bar_ms for s in sold):
                continue
            listed = []
            _insist(lambda: listed.append(self.gateway.open_orders(symbol)))  # noqa: B023 - asked at once
            names = {report.client_id for report in listed[-1]} | {
                row.ticket.client_id for row in self.journal.undone()
            }
            guards = [leg for leg in self.journal.guards_of(bought[-1].client_id) if leg.ticket.client_id in names]
            if not guards:
                raise AssertionError(f"{held} {symbol} held without a guard after a start")

    def stop(self) -> None:
        """Ask the strategies to end."""
        for cerebro in self.cerebros.values():
            cerebro.runstop()

    def _on_ready(self, symbol: str) -> None:
        if self.store.released_ms(symbol) >= self.bench.last_ms:
            self.cerebros[symbol].runstop()

    def _trade(self, symbol: str, failures: list) -> None:
        try:
            self.cerebros[symbol].run()
        except BaseException as error:
            failures.append(error)
        finally:
            self.store.drop(symbol)


def _insist(request) -> None:
    """Ask until there is an answer: a start that fails is no matter of this bench."""
    from bot.live.answers import NoAnswer, Refused

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            request()
        except (NoAnswer, Refused):
            time.sleep(0.02)
        else:
            return
    raise RuntimeError("the exchange did not answer for a minute")


def broken_rules(bench: Bench, exchange: Watched, folder: Path, logs: dict[str, list], strays: list[str]) -> list[str]:
    """Return what must never be, after the last life of a run; empty when all is well."""
    found = []
    placed = exchange.placed()
    found += [f"{client_id} was placed {count} times" for client_id, count in placed.items() if count > 1]
    found += [f"a stray request: {stray}" for stray in strays]
    with StateDatabase(folder / "state.db") as state:
        journal = Journal(state, Journal.newest_run(state, "bench"))
        rows = state.rows("SELECT client_id FROM live_orders")
        if len({row[0] for row in rows}) != len(rows):
            found.append("a client id twice in the journal")
        unknown = [client_id for client_id in placed if client_id not in journal.orders]
        found += [f"{client_id} is not in the journal" for client_id in unknown]
        cash = Decimal(repr(CASH)) * len(bench.symbols)
        fills = 0
        for symbol in bench.symbols:
            base = symbol.removesuffix("USDT")
            theirs = {
                str(trade.trade_id): (trade.quantity, trade.price) for trade in exchange.trades(symbol, limit=10**6)
            }
            ours = {trade.trade_id: (trade.size, trade.price) for _, trade in journal.traded(symbol)}
            if theirs != ours:
                found.append(
                    f"{symbol}: trades of the exchange {theirs.keys() ^ ours.keys()} differ from the journal's"
                )
            held = sum((trade.size if side == "buy" else -trade.size) for side, trade in journal.traded(symbol))
            held -= sum(trade.fee for _, trade in journal.traded(symbol) if trade.fee_asset == base)
            free, locked = exchange.balances()[base]
            if abs(free + locked - held) > Decimal("1e-8") * max(1, len(ours)):
                found.append(f"{symbol}: the exchange holds {free + locked} {base}, the journal {held}")
            if any(journal.unbooked(client_id) for client_id in journal.orders):
                return found  # of the bars that come: the ledger will learn of it
            last = next(row for row in reversed(logs[symbol]) if row[1] == "bar")
            lot = Decimal("0.00001")
            if abs(Decimal(repr(last[6])) - held) > lot:  # what is below a lot is dust to the ledger
                found.append(f"{symbol}: the ledger holds {last[6]}, the journal {held}")
            cash += Decimal(repr(last[4])) - Decimal(repr(CASH))
            fills += len(ours)
        free, locked = exchange.balances()["USDT"]
        if abs(free + locked - cash) > Decimal("1e-8") * max(1, fills):
            found.append(f"the exchange holds {free + locked} USDT, the ledgers {cash}")
    return found


def differences(expected: dict[str, list], logs: dict[str, list]) -> list[str]:
    """Return the first row of each symbol in which two logs differ, both as JSON has them."""
    found = []
    expected, logs = json.loads(json.dumps(expected)), json.loads(json.dumps(logs))
    for symbol, rows in expected.items():
        other = logs.get(symbol, [])
        for number, (one, two) in enumerate(zip(rows, other, strict=False)):
            if one != two:
                found.append(
                    f"{symbol}: row {number}: expected {one}, got {two}; before: {rows[max(0, number - 3) : number]}"
                )
                break
        else:
            if len(rows) != len(other):
                found.append(f"{symbol}: expected {len(rows)} rows, got {len(other)}")
    return found


@contextmanager
def folder_in_memory():
    """Yield a folder that a killed process cannot lose but whose flushes cost nothing, where the system has one."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=memory if os.access(memory, os.W_OK) else None))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
