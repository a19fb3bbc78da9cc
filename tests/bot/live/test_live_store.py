"""The store: bad days of the exchange, the disk and the operator, from the first bar to the stop."""

from __future__ import annotations

import threading
import time

import pytest
from live_bench import MINUTE_MS, START_MS, WARM, Bench, Life, broken_rules, differences, folder_in_memory

from bot.errors import StorageError
from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer
from bot.live.answers import AccessDenied
from bot.live.journal import Journal
from bot.live.journal_rows import RunRow, begin_run
from bot.live.store import CCXTStore
from bot.state import StateDatabase

ORDERS = r"/api/v3/(order|orderList/oco)"


@pytest.fixture
def folder():
    with folder_in_memory() as path:
        yield path


def market(bench: Bench, **options) -> ExchangeServer:
    return ExchangeServer(bench.exchange(), **options)


def at_bar(number: int, action, symbol: str = "BTCUSDT"):
    """Return what does something once, when the strategy of a symbol gets a bar."""
    done = []

    def on_bar(name: str, open_ms: int) -> None:
        if name == symbol and open_ms == START_MS + number * MINUTE_MS and not done:
            done.append(open_ms)
            action()

    return on_bar


def orders_sent(server: ExchangeServer) -> list[dict]:
    return [each for each in server.requests if each["method"] == "POST" and "/order" in each["path"]]


def times(logs: dict[str, list]) -> list[float]:
    return [row[2] for row in logs["BTCUSDT"] if row[1] == "bar"]


def test_an_exchange_that_is_down_in_the_middle_changes_nothing(folder):
    bench = Bench(seed=5)
    with market(bench) as server:
        down = Fault("reset_before", path=r"/api/v3/.*", count=8)
        life = Life(bench, server.url, folder, on_bar=at_bar(40, lambda: server.faults.add(down)))
        logs = life.run()
        assert differences(bench.backtest(), logs) == []
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
    kinds = [kind for kind, _, _ in life.events]
    assert "disconnects" in kinds


def test_an_exchange_that_does_not_answer_is_asked_less_and_less_often(folder):
    bench = Bench(seed=5)
    with market(bench) as server:
        life = Life(bench, server.url, folder)

        def break_down() -> None:
            server.faults.add(Fault("reset_before", path=r"/api/v3/.*", count=None))
            threading.Timer(2.0, life.stop).start()

        life.on_bar = at_bar(40, break_down)
        began = time.monotonic()
        life.settings = {"stop_s": 0.5}
        life.run()
        assert time.monotonic() - began < 8.0
        failed = server.faults.counts["reset_before"]
    assert 5 <= failed <= 25, (
        "twice 20 ms, 40 ms, ... in two seconds; a request may be sent a second time by its library"
    )


def test_a_stop_sees_through_what_was_decided_before(folder):
    """The reply to an order is lost, and the bot is asked to stop: the order is looked up and guarded all the same."""
    bench = Bench(seed=6)
    placed: list[str] = []
    with market(bench) as server:
        life = Life(bench, server.url, folder)

        def prepare() -> None:
            plain = life.store.place

            def place(ticket, withdrawn=()) -> None:
                if ticket.guard is not None and not placed:
                    placed.append(ticket.client_id)
                    server.faults.add(
                        Fault("reset_after", path=ORDERS, method="POST"),
                        Fault("reset_before", path=r"/api/v3/order", method="GET", count=4),
                    )
                    plain(ticket, withdrawn)
                    life.stop()
                    threading.Thread(target=life.store.stop).start()
                else:
                    plain(ticket, withdrawn)

            life.store.place = place

        life.on_bar = at_bar(WARM, prepare)
        life.run()
        assert server.exchange.placed()[placed[0]] == 1
        resting = {order.client_id for order in server.call(server.exchange.open_orders)}
    with StateDatabase(folder / "state.db") as state:
        journal = Journal(state, Journal.newest_run(state, "bench"))
        assert journal.order(placed[0]).state == "filled"
        legs = journal.guards_of(placed[0])
        assert {leg.ticket.client_id for leg in legs} == resting
        assert {leg.state for leg in legs} == {"open"}


def test_keys_that_lose_their_permission_stop_the_run_and_the_next_one_goes_on(folder):
    bench = Bench(seed=7)
    with market(bench) as server:
        denied = Fault("error_before", path=ORDERS, method="POST", code=-2015)
        life = Life(bench, server.url, folder, on_bar=at_bar(45, lambda: server.faults.add(denied)))
        with pytest.raises(AccessDenied):
            life.run()
        number = len(orders_sent(server))
        logs = Life(bench, server.url, folder).run()
        assert len(orders_sent(server)) > number
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []


def test_a_disk_that_is_full_stops_the_run_before_anything_is_sent(folder):
    bench = Bench(seed=8)
    with market(bench) as server:
        life = Life(bench, server.url, folder)
        before: list[int] = []

        def fill_up() -> None:
            before.append(len(orders_sent(server)))
            plain = life.state.execute

            def execute(sql, params=()):
                if sql.startswith("INSERT INTO live_orders"):
                    raise StorageError("the disk is full")
                return plain(sql, params)

            life.state.execute = execute

        life.on_bar = at_bar(40, fill_up)
        with pytest.raises(StorageError, match="full"):
            life.run()
        assert len(orders_sent(server)) == before[0]
        logs = Life(bench, server.url, folder).run()
        assert differences(bench.backtest(), logs) == []
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []


def test_a_symbol_that_vanishes_leaves_the_others_alone(folder):
    bench = Bench(seed=9, symbols=("BTCUSDT", "ETHUSDT"), bars=90)
    with market(bench) as server:
        life = Life(bench, server.url, folder, settings={"gap_s": 0.1, "stop_s": 0.5})
        gone = Fault("delist", symbol="BTCUSDT")
        life.on_bar = at_bar(50, lambda: server.call(lambda: server.venue.control.happen(gone)), "ETHUSDT")
        watcher = threading.Thread(target=_stop_when_over, args=(life, "ETHUSDT"))
        original = life.assemble

        def assemble():
            logs = original()
            watcher.start()
            return logs

        life.assemble = assemble
        logs = life.run()
        watcher.join()
        asked = [
            each for each in server.requests if "klines" in each["path"] and "symbol=BTCUSDT" in each["parameters"]
        ]
        refused = [each for each in asked if each["status"] == 400]
    assert sum(row[1] == "bar" for row in logs["ETHUSDT"]) == bench.bars
    assert sum(row[1] == "bar" for row in logs["BTCUSDT"]) < 60
    assert 1 <= len(refused) <= 3, "it is not asked for candles again and again"
    assert any(kind == "errors" and symbol == "BTCUSDT" for kind, symbol, _ in life.events)


def test_a_halted_market_refuses_orders_and_the_run_goes_on(folder):
    bench = Bench(seed=10)
    with market(bench) as server:
        halt = Fault("halt", symbol="BTCUSDT")
        life = Life(
            bench, server.url, folder, on_bar=at_bar(40, lambda: server.call(lambda: server.venue.control.happen(halt)))
        )
        logs = life.run()
    assert sum(row[1] == "bar" for row in logs["BTCUSDT"]) == bench.bars
    late = [row for row in logs["BTCUSDT"] if row[1] == "order" and row[0] > 45]
    assert {row[2] for row in late} <= {"Submitted", "Accepted", "Rejected", "Canceled", "Margin"}


def test_bars_that_were_missed_are_caught_up_and_not_traded_on(folder):
    """The market goes on while the bot is away: what it would have decided is not sent late."""
    bench = Bench(seed=11, bars=100)
    with market(bench) as server:
        life = Life(bench, server.url, folder)
        life.on_bar = at_bar(40, life.stop)
        life.run()
        number = len(orders_sent(server))
        server.call(lambda: server.venue.desk.advance(30))
        logs = Life(bench, server.url, folder).run()
        entries = [each for each in orders_sent(server)[number:] if "side=BUY" in each["parameters"]]
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
        again = Life(bench, server.url, folder).run()
    assert times(logs) == times(bench.backtest())
    names = [part for each in entries for part in each["parameters"].split("&") if part.startswith("newClientOrderId=")]
    bars = [int(name.split("-")[1]) * 1000 for name in names]
    assert all(not START_MS + 41 * MINUTE_MS <= bar < START_MS + 69 * MINUTE_MS for bar in bars)
    assert differences(logs, again) == []


def test_what_was_forbidden_once_stays_forbidden_in_a_replay(folder):
    bench = Bench(seed=12)
    with market(bench) as server:
        paused = {"on": False}
        life = Life(bench, server.url, folder)
        life.forbids = lambda ticket: "paused" if paused["on"] and ticket.side == "buy" else ""
        switch = {START_MS + 30 * MINUTE_MS: True, START_MS + 50 * MINUTE_MS: False}
        life.on_bar = lambda _symbol, open_ms: paused.update(on=switch.get(open_ms, paused["on"]))
        logs = life.run()
        again = Life(bench, server.url, folder).run()
    assert any(row[1] == "order" and row[2] == "Rejected" and 31 <= row[0] <= 51 for row in logs["BTCUSDT"])
    assert differences(logs, again) == []


def _stop_when_over(life: Life, symbol: str) -> None:
    deadline = time.monotonic() + 60
    while life.store.released_ms(symbol) < life.bench.last_ms and time.monotonic() < deadline:
        time.sleep(0.02)
    life.stop()


class Quiet:
    """An exchange that answers, and has no new candle."""

    recv_window_ms, clock_ahead_ms, markets = 5_000, 0, {}

    def __init__(self, candles) -> None:
        self._page, self.asked = candles, 0

    def candles(self, *_args, **_options):
        self.asked += 1
        return self._page

    def open_orders(self, _symbol):
        return []


def test_a_market_without_candles_is_told_once_and_asked_less_and_less_often(tmp_path):
    """A halted market answers every question, with the candles that it had."""
    bench = Bench()
    candles = bench.candles("BTCUSDT")
    clock = {"s": (int(candles.open_ms[-1]) + 2 * MINUTE_MS) / 1000.0}
    told = []
    quiet = Quiet(candles.slice(len(candles) - 2, len(candles)))
    with StateDatabase(tmp_path / "state.db") as state:
        run = RunRow("run", "bench", 0, None, "paper", "sim", {}, {}, {})
        begin_run(state, run, {})
        store = CCXTStore(
            quiet,
            Journal(state, run),
            timeframe="1m",
            rules={},
            on_event=lambda *event: told.append(event),
            now_ms=lambda: int(clock["s"] * 1000),
            monotonic=lambda: clock["s"],
        )
        store.getdata(candles=candles.slice(0, len(candles) - 1), symbol="BTCUSDT")
        start, questions = clock["s"], []
        while clock["s"] < start + 7200:
            store._ready.add("BTCUSDT")
            store._work()
            questions.append(clock["s"] - start)
            clock["s"] = max(clock["s"] + 0.01, store._next_poll)
    assert [kind for kind, _, _ in told] == ["disconnects"]
    assert sum(second < 60 for second in questions) <= 121
    assert sum(second > 3600 for second in questions) <= 3600 / 30 + 1
