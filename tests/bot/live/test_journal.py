"""The journal: what it says after a restart is what it said before, and a bar gets exactly what happened in it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from bot.errors import StorageError
from bot.live.journal import _NOTE_NEW_GUARDS, Journal
from bot.live.journal_rows import RunRow, begin_run, pack_bar, read_series
from bot.live.orders import Execution, Guard, OrderReport, Ticket
from bot.state import StateDatabase
from ml.synthetic import synthetic_candles

STEP = 60_000
RUN = RunRow("run", "bot", 0, None, "paper", "sim", {"config": {"a": 1}}, {"BTCUSDT": 1000.0}, {"USDT": "1000"})


@pytest.fixture
def state(tmp_path):
    with StateDatabase(tmp_path / "state.db") as opened:
        begin_run(opened, RUN, {})
        yield opened


@pytest.fixture
def journal(state):
    return Journal(state, RUN)


def ticket(name: str = "a", role: str = "entry", **more) -> Ticket:
    side = "buy" if role == "entry" else "sell"
    kind = "stop" if role == "stop" else "market"
    stop = Decimal(99) if role == "stop" else None
    return Ticket(name, "BTCUSDT", 0, side, kind, role, Decimal(2), None, stop, **more)


def trade(number: int, size: str, at_ms: int, name: str = "a") -> Execution:
    return Execution(name, str(number), Decimal(size), Decimal("100.01"), Decimal("0.00000001"), "USDT", at_ms)


def report(status: str, *trades: Execution, name: str = "a", updated_ms: int = 0) -> OrderReport:
    total = sum((each.size for each in trades), Decimal(0))
    return OrderReport(name, "77", status, total, updated_ms, trades)


def deliver(journal: Journal, number: int):
    return journal.deliver(
        "BTCUSDT", number * STEP, (number + 1) * STEP, pack_bar(number * STEP, (1.0,)), is_late=False, now_ms=0
    )


def test_everything_comes_back_as_it_was(journal, state):
    asked = Ticket(
        "b", "BTCUSDT", 60_000, "buy", "limit", "entry", Decimal("0.10"), Decimal("9.90"), guard=Guard(0.01, None, 0.3)
    )
    journal.intend([ticket(guard=Guard(0.1, 0.2)), asked], 5)
    journal.intend([ticket("c", "stop", pair="l", parent="a")], 6, 60_000)
    journal.report(report("open", trade(1, "0.5", 10), trade(2, "0.7", 20)))
    journal.refuse("b", "no", is_cash_short=True)
    again = Journal(state, RUN)
    assert again.orders == journal.orders
    assert again.trades_of("a") == journal.trades_of("a")
    assert [row.ticket.client_id for row in again.guards_of("a")] == ["c"]
    assert [row.ticket.client_id for row in again.undone()] == ["a", "c"]
    assert again.unbooked("a") == Decimal("1.2")
    assert again.traded("BTCUSDT") == journal.traded("BTCUSDT")


def test_a_trade_counts_once_however_often_it_is_reported(journal):
    journal.intend([ticket()], 0)
    first = trade(1, "0.5", 10)
    assert journal.report(report("open", first)) == (first,)
    assert journal.report(report("open", first)) == ()
    second = trade(2, "1.5", 10)
    assert journal.report(report("filled", first, second)) == (second,)
    assert journal.order("a").executed == Decimal(2)


def test_the_end_of_an_order_is_not_written_without_all_its_trades(journal):
    journal.intend([ticket()], 0)
    short = OrderReport("a", "77", "filled", Decimal(2), 0, (trade(1, "0.5", 10),))
    with pytest.raises(ValueError, match=r"add up to 0\.5"):
        journal.report(short)
    assert (journal.order("a").state, journal.trades_of("a")) == ("intended", [])


def test_what_is_done_stays_done(journal, state):
    journal.intend([ticket()], 0)
    all_of_it = (trade(1, "2", 10),)
    journal.report(report("filled", *all_of_it))
    assert journal.report(report("open", *all_of_it)) == ()
    assert journal.report(OrderReport("a", "77", "open", Decimal(0), 0, ())) == ()
    assert Journal(state, RUN).order("a").state == "filled"


def test_a_trade_belongs_to_the_bar_in_which_it_happened_and_a_late_one_to_the_next(journal):
    journal.intend([ticket()], 0)
    inside, at_close = trade(1, "0.5", STEP - 1), trade(2, "0.5", STEP)
    journal.report(report("open", inside, at_close))
    assert deliver(journal, 0).executions == {"a": (inside,)}
    assert journal.unbooked("a") == Decimal("0.5")
    late = trade(3, "0.25", 10)
    journal.report(report("open", inside, at_close, late))
    assert deliver(journal, 1).executions == {"a": (late, at_close)}
    assert journal.unbooked("a") == 0
    assert deliver(journal, 2).executions == {}


def test_a_bar_says_the_same_after_a_restart(journal, state):
    journal.intend([ticket()], 0)
    journal.intend([ticket("s", "stop", pair="l", parent="a")], 0)
    journal.report(report("filled", trade(1, "2", 10)))
    journal.refuse("s", "would trigger")
    journal.intend([ticket("s1", "stop", pair="l1", parent="a")], 0)
    first, second = deliver(journal, 0), deliver(journal, 1)
    assert list(first.guards) == ["a"]
    assert [leg.client_id for leg in first.guards["a"]] == ["s1"], "the newest guard"
    assert first.endings["s"].reason == "would trigger"
    assert not second
    again = Journal(state, RUN)
    assert again.all_facts("BTCUSDT") == {0: first}
    assert again.facts("BTCUSDT", STEP) == second


def test_a_guard_is_known_in_the_bar_in_which_the_ledger_asked_for_it(journal):
    journal.intend([ticket()], 0)
    journal.report(report("filled", trade(1, "2", 10)))
    deliver(journal, 0)
    journal.intend([ticket("s", "stop", pair="l", parent="a")], 0, 0)
    assert [leg.client_id for leg in journal.facts("BTCUSDT", 0).guards["a"]] == ["s"]
    assert deliver(journal, 1).guards == {}


def test_what_is_forgone_ends_at_the_next_bar_and_what_is_gated_never_was(journal):
    journal.forgo(ticket(), "too late", 0)
    journal.gate(ticket("g"), "paused", 0)
    assert journal.undone() == []
    assert {name: ending.state for name, ending in deliver(journal, 0).endings.items()} == {"a": "refused"}


def test_decisions_are_written_with_the_next_bar(journal, state):
    journal.note_decision("BTCUSDT", 0, "{}")
    assert state.rows("SELECT * FROM live_decisions") == []
    deliver(journal, 0)
    journal.note_decision("BTCUSDT", STEP, "{}")
    journal.flush()
    assert [row["open_ms"] for row in state.rows("SELECT open_ms FROM live_decisions ORDER BY open_ms")] == [0, STEP]


@pytest.mark.parametrize("step", ["intend", "report", "deliver", "refuse"])
def test_a_write_that_fails_changes_nothing(journal, state, step, monkeypatch):
    journal.intend([ticket()], 0)
    before = Journal(state, RUN)
    calls = {
        "intend": lambda: journal.intend([ticket("b")], 0),
        "report": lambda: journal.report(report("filled", trade(1, "2", 10))),
        "deliver": lambda: deliver(journal, 0),
        "refuse": lambda: journal.refuse("a", "no"),
    }
    plain = state.execute

    def full(sql, params=()):
        if sql.startswith(("INSERT INTO live_order_states", "UPDATE")):
            raise StorageError("the disk is full")
        return plain(sql, params)

    monkeypatch.setattr(state, "execute", full)
    with pytest.raises(StorageError, match="full"):
        calls[step]()
    monkeypatch.undo()
    after = Journal(state, RUN)
    assert after.orders == before.orders == journal.orders
    assert state.rows("SELECT * FROM live_bars") == []
    assert after.trades_of("a") == journal.trades_of("a") == []


def test_a_bar_is_delivered_once(journal):
    import sqlite3

    deliver(journal, 0)
    with pytest.raises(sqlite3.IntegrityError):
        deliver(journal, 0)


def test_candles_come_back_to_the_last_bit(state, journal):
    candles = synthetic_candles(40, edge=0.05, timeframe="1m")
    warm = candles.slice(0, 30)
    run = RunRow("other", "bot", 1, None, "paper", "sim", {}, {}, {})
    begin_run(state, run, {"BTCUSDT": (warm, int(candles.open_ms[30]))})
    other = Journal(state, run)
    for row in range(30, 40):
        open_ms = int(candles.open_ms[row])
        values = tuple(float(column[row]) for column in candles.columns.values())
        other.deliver("BTCUSDT", open_ms, open_ms + STEP, pack_bar(open_ms, values), is_late=row == 39, now_ms=0)
    series = read_series(state, "other", "BTCUSDT")
    assert series.history.digest == candles.digest
    assert series.late == (False,) * 9 + (True,)
    assert Journal.newest_run(state, "bot") == run


def test_an_intent_waits_for_the_disk_and_what_can_be_asked_again_goes_there_with_the_next(journal, state):
    def waits() -> bool:
        return state.rows("PRAGMA synchronous")[0][0] == 2  # FULL, as the last transaction had it

    journal.intend([ticket()], 0)
    assert waits()
    journal.report(report("filled", trade(1, "2", 10)))
    assert not waits()
    deliver(journal, 0)
    assert not waits()
    for write in (
        lambda: journal.intend([ticket("b")], 1),
        lambda: journal.sending("b", 2),
        lambda: journal.unsent("b"),
        lambda: journal.refuse("b", "no"),
        lambda: journal.gate(ticket("c"), "paused", 3),
        lambda: journal.forgo(ticket("d"), "too late", 4),
        journal.flush,
    ):
        journal.report(report("filled", trade(1, "2", 10)))
        deliver(journal, journal_bars(state))
        write()
        assert waits()


def journal_bars(state: StateDatabase) -> int:
    return int(state.rows("SELECT count(*) FROM live_bars")[0][0])


def test_a_power_cut_takes_no_intent_and_nothing_that_an_intent_was_decided_from(journal, state, tmp_path):
    log = tmp_path / "state.db-wal"
    bought, sold = trade(1, "2", 10), trade(2, "2", STEP + 10, "b")

    def everything(kept: Journal) -> list[tuple]:
        return [
            (kept.order("a").state, kept.trades_of("a"), kept.unbooked("a")),
            (kept.order("b").state, kept.trades_of("b"), kept.unbooked("b")),
        ]

    journal.intend([ticket()], 0)
    safe = log.stat().st_size  # at this moment the order is sent
    journal.report(report("filled", bought))
    deliver(journal, 0)
    journal.intend([ticket("b", "exit")], 1)
    safe_again = log.stat().st_size
    journal.report(report("filled", sold, name="b"))
    deliver(journal, 1)
    whole, end = everything(journal), log.stat().st_size
    content = (tmp_path / "state.db").read_bytes(), log.read_bytes()
    seen = set()
    for size in range(safe, end + 1, 24 + 4096):  # a frame of the log at a time
        home = tmp_path / str(size)
        home.mkdir()
        (home / "state.db").write_bytes(content[0])
        (home / "state.db-wal").write_bytes(content[1][:size])
        with StateDatabase(home / "state.db") as left:
            kept = Journal(left, RUN)
            assert kept.order("a").state in {"intended", "filled"}
            bars = journal_bars(left)
            seen.add((kept.order("a").state, bars, kept.order("b") and kept.order("b").state))
            if size >= safe_again:  # the sale was decided from the purchase: that is there, too
                assert kept.order("b") is not None
                assert (kept.order("a").state, kept.unbooked("a"), bars >= 1) == ("filled", 0, True)
            kept.report(
                report("filled", bought)
            )  # what the next start asks the exchange for, and the bars that it gives
            for number in range(bars, 1):
                deliver(kept, number)
            if kept.order("b") is None:
                kept.intend([ticket("b", "exit")], 1)
            kept.report(report("filled", sold, name="b"))
            for number in range(max(bars, 1), 2):
                deliver(kept, number)
            assert everything(kept) == whole
    assert seen == {
        ("intended", 0, None),
        ("filled", 0, None),
        ("filled", 1, None),
        ("filled", 1, "intended"),
        ("filled", 1, "filled"),
        ("filled", 2, "filled"),
    }


def test_the_guards_that_are_new_are_found_without_reading_every_order(journal, state):
    journal.intend([ticket()], 0)
    plan = " ".join(
        row["detail"] for row in state.rows(f"EXPLAIN QUERY PLAN {_NOTE_NEW_GUARDS}", (0, "r", "s", "r", "s"))
    )
    assert "live_orders USING INDEX live_orders_new_guards (run_id=? AND symbol=?)" in plan
    assert "live_executions USING INDEX live_executions_by_bar (run_id=? AND symbol=? AND bar_ms=?)" in plan
    assert "SCAN" not in plan
