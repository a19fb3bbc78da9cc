"""A dry run: live candles, orders filled by the bars; the books are those of a backtest, and the journal explains them."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from decimal import ROUND_FLOOR, Decimal

import pytest

from bot.assembly import assemble_backtest
from bot.config.loader import parse_config
from bot.decisions import record_decisions
from bot.home import Home
from bot.live.ledger import ReplayDiffers
from bot.live.opening import choose_all, open_run
from bot.live.runner import LiveRun
from bot.live.venue import embedded_server, embedded_venue
from bot.state import StateDatabase

CONFIG = """\
name: dry
strategy: restless_strategy:Restless
params: {restless: 12}
symbols: [SYNTH]
timeframe: 1h
data: {synth: {bars: 230, edge: 0.0, seed: 5}, start: 2018-01-03}
broker: {cash: 10000, commission: 0.001, slippage: 0.0005, fees_in_kind: true}
"""


HOLD = CONFIG.replace("restless_strategy:Restless", "BuyAndHold").replace(
    "params: {restless: 12}\n", "risk: {stop_loss: 0.2}\n"
)


@pytest.fixture
def file(request):
    return parse_config(getattr(request, "param", CONFIG))


@pytest.fixture
def backtest(file, tmp_path):
    """Return the rows of a backtest, and its assembly after the run."""
    assembly = assemble_backtest(file, "SYNTH", Home(tmp_path / "backtest"))
    rows = []
    record_decisions(assembly, lambda row: rows.append(row.to_dict()))
    assembly.cerebro.run()
    return rows, assembly


class DryRuns:
    """One life after another of a bot that trades dry on a market in lockstep."""

    def __init__(self, file, home, assembly):
        self.file, self.home = file, home
        self.state = StateDatabase(home.state_db)
        series = {"SYNTH": (assembly.candles.slice(0, assembly.first_row), assembly.trade_from_ms)}
        candles, rules = {"SYNTH": assembly.candles}, {"SYNTH": assembly.rules}
        self.server = embedded_server(file, candles, rules, assembly.trade_from_ms)
        self.server.start()
        venue = embedded_venue(self.server, series, lockstep=True)
        settings = replace(venue.settings, trades=False)
        self.venue = replace(venue, trades=False, mode="dry", settings=settings)

    def open(self, last_ms=None, file=None):
        file = file or self.file
        choices = choose_all(file, self.home)
        opened = open_run(file, self.home, self.state, self.venue, choices=choices, now_ms=lambda: 1)
        live = LiveRun(file, self.home, self.state, self.venue, opened, last_bar_ms=last_ms)
        live.prepare()
        return live

    def play(self, last_ms):
        live = self.open(last_ms)
        live.start()
        live.wait()
        return live

    def rows(self):
        found = self.state.rows("SELECT document FROM live_decisions ORDER BY open_ms")
        return [json.loads(row["document"]) for row in found]

    def close(self):
        self.venue.gateway.close()
        self.server.stop()
        self.state.close()


@pytest.fixture
def dry(file, backtest, tmp_path):
    runs = DryRuns(file, Home(tmp_path / "dry"), backtest[1])
    yield runs
    runs.close()


def books(live):
    """Return what the broker's books hold: quote, and base with what is left of positions."""
    broker = live.assemblies["SYNTH"].broker
    data = live.assemblies["SYNTH"].cerebro.datas[0]
    return broker.getcash(), broker.getposition(data).size + broker.dust.get(data, 0.0)


def account(live):
    """Return what the journal's executions make of the cash at the start, in decimals."""
    quote, base = Decimal(10_000), Decimal(0)
    for side, trade in live.journal.traded("SYNTH"):
        sign = 1 if side == "buy" else -1
        base += sign * trade.size - (trade.fee if trade.fee_asset == "SYNTH" else 0)
        quote -= sign * trade.size * trade.price + (trade.fee if trade.fee_asset == "USDT" else 0)
    return quote, base


def assert_explained(live):
    """Check that journal and books say the same, up to the unit of the books at each trade."""
    unit = 1e-8 * max(1, len(live.journal.traded("SYNTH")))
    for held, explained in zip(books(live), account(live), strict=True):
        assert held == pytest.approx(float(explained), abs=unit)


@pytest.mark.parametrize(
    "file", [CONFIG, CONFIG.replace("true}", "false}")], ids=["fees in kind", "fees in quote"], indirect=True
)
def test_it_is_the_backtest_and_the_journal_explains_it(dry, backtest):
    rows, assembly = backtest
    live = dry.play(int(assembly.candles.open_ms[-1]))
    assert dry.rows() == rows
    fills = assembly.broker.fills
    assert {fill.reason for fill in fills} >= {"entry", "exit", "stop", "target"}
    assert len(live.journal.traded("SYNTH")) == len(fills) > 60
    assert_explained(live)
    asked = {request["path"] for request in dry.server.requests}
    assert asked == {"/api/v3/exchangeInfo", "/api/v3/klines"}  # not one order


def test_a_restart_at_any_bar_goes_on_as_if_nothing_had_happened(dry, backtest):
    rows, assembly = backtest
    times = assembly.candles.open_ms
    first = assembly.first_row
    for row in (first + 1, first + 37, first + 101, len(times) - 1):
        live = dry.play(int(times[row]))
        assert_explained(live)
    assert dry.rows() == rows
    assert len(live.journal.traded("SYNTH")) == len(assembly.broker.fills)
    assert dry.state.rows("SELECT count(*) FROM live_runs")[0][0] == 1


def test_bars_that_were_missed_are_no_bars_to_trade_on_and_a_replay_knows_it(dry, backtest):
    _, assembly = backtest
    dry.play(int(assembly.candles.open_ms[assembly.first_row + 30]))
    dry.server.call(lambda: dry.server.venue.desk.advance(25))  # while nobody looks
    end = int(assembly.candles.open_ms[assembly.first_row + 80])
    late = dry.play(end)
    refused = [each.reason for each in late.assemblies["SYNTH"].broker.rejections]
    assert "too late: a newer bar had closed when this one came" in refused
    again = dry.play(end + 20 * 3_600_000)
    assert again.assemblies["SYNTH"].broker.fills[: len(late.assemblies["SYNTH"].broker.fills)] == (
        late.assemblies["SYNTH"].broker.fills
    )
    assert_explained(again)


def test_another_strategy_is_no_continuation(dry, backtest):
    _, assembly = backtest
    dry.play(int(assembly.candles.open_ms[assembly.first_row + 60]))
    dry.state.execute("UPDATE live_orders SET size = '0.001' WHERE role = 'entry'")
    live = dry.open(int(assembly.candles.open_ms[assembly.first_row + 61]))
    live.start()
    with pytest.raises(ReplayDiffers, match="another decision than the journal"):
        live.wait()


@pytest.mark.parametrize("file", [HOLD], ids=["hold"], indirect=True)
def test_close_all_sells_at_once_and_a_restart_has_it_in_its_books(dry, backtest):
    _, assembly = backtest
    times = [int(time) for time in assembly.candles.open_ms]
    live = dry.play(times[assembly.first_row + 20])
    assert books(live)[1] > 0.1
    resting = live.journal.undone("SYNTH")
    assert [order.ticket.role for order in resting] == ["stop"]

    live = dry.open()
    future = live.assemblies["SYNTH"].broker.ask_close()
    live.gates.pause("closed by command")
    live.journal.event("pause", "closed by command", 1)
    live.start()
    try:
        said = future.result(20)
        sale = next(trade for _, trade in live.journal.traded("SYNTH") if trade.client_id.endswith("c"))
        bar_ms = live.journal.order(sale.client_id).ticket.bar_ms
        _until(lambda: live.store.released_ms("SYNTH") > bar_ms)
    finally:
        live.close()
    assert said == f"SYNTH: sold {sale.size} at {sale.price}, in the simulated account"
    close = Decimal(repr(float(assembly.candles.close[times.index(bar_ms)])))
    assert sale.price == (close * Decimal("0.9995")).quantize(Decimal("0.01"), ROUND_FLOOR)
    assert 0 <= account(live)[1] < Decimal("0.00001")  # all of it was sold
    assert all(live.journal.order(order.ticket.client_id).is_done for order in resting)
    assert books(live)[1] < 1e-5
    assert_explained(live)

    after = dry.play(live.store.released_ms("SYNTH") + 10 * 3_600_000)
    assert books(after)[1] < 1e-5
    assert not after.store.failure
    assert_explained(after)
    assert "the replay decides otherwise" not in str(after.board.status("stopped").events)


def _until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
