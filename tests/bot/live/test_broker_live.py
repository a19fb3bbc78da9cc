"""The live broker: the ledger books what the journal says of a bar, once, and a replay comes to the same."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from live_bench import CASH, MINUTE_MS, START_MS, WARM, Bench, Life, broken_rules, differences, folder_in_memory

from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer
from bot.live.journal import Journal
from bot.live.ledger import ReplayDiffers
from bot.state import StateDatabase

BENCHES = [
    Bench(seed=40, bars=120),
    Bench(seed=41, bars=120, in_kind=True),
    Bench(seed=42, bars=120, symbols=("BTCUSDT", "ETHUSDT")),
]


@pytest.fixture
def folder():
    with folder_in_memory() as path:
        yield path


@pytest.mark.parametrize("bench", BENCHES, ids=["quote fees", "fees in kind", "two symbols"])
def test_the_live_log_is_the_backtest_log_and_a_replay_has_it_again(bench, folder):
    with ExchangeServer(bench.exchange()) as server:
        logs = Life(bench, server.url, folder).run()
        number = server.requests[-1]["number"]
        assert differences(bench.backtest(), logs) == []
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
        assert differences(logs, Life(bench, server.url, folder).run()) == []
        posts = [each for each in server.requests if each["number"] > number and each["method"] == "POST"]
        assert posts == [], "a replay sends nothing"
    done = Counter(
        (row[4], row[9]) for rows in logs.values() for row in rows if row[1] == "order" and row[2] == "Completed"
    )
    assert sum(count for (_, protective), count in done.items() if protective) >= 5
    assert len(done) >= 5, f"orders of few kinds: {done}"


@pytest.mark.parametrize("in_kind", [False, True])
def test_fills_in_pieces_are_booked_one_by_one(in_kind, folder):
    bench = Bench(seed=43, bars=120, partial=(0.3, 0.3), wild=True, in_kind=in_kind)
    with ExchangeServer(bench.exchange()) as server:
        life = Life(bench, server.url, folder)
        logs = life.run()
        trades = server.exchange.trades("BTCUSDT", limit=10**6)
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
        assert differences(logs, Life(bench, server.url, folder).run()) == []
    fills = life.brokers["BTCUSDT"].fills
    booked = Counter((Decimal(repr(fill.size)), Decimal(repr(fill.price)), Decimal(repr(fill.fee))) for fill in fills)
    assert booked == Counter((trade.quantity, trade.price, trade.commission) for trade in trades)
    assert len(trades) > 1.5 * len({trade.order_id for trade in trades})


def test_the_books_add_up_to_the_account_to_the_last_digit(folder):
    bench = Bench(seed=44, bars=150)
    with ExchangeServer(bench.exchange()) as server:
        life = Life(bench, server.url, folder)
        life.run()
        cash = Decimal(repr(CASH))
        for trade in server.exchange.trades("BTCUSDT", limit=10**6):
            cash += (-1 if trade.side == "BUY" else 1) * trade.quote_quantity - trade.commission
        free, locked = server.exchange.balances()["USDT"]
    assert free + locked == cash
    assert life.brokers["BTCUSDT"].getcash() == pytest.approx(float(cash), abs=1e-6)


@pytest.mark.parametrize("change", ["size", "side", "dropped"])
def test_a_replay_that_decides_otherwise_than_the_journal_stops(change, folder):
    bench = Bench(seed=45, bars=70)
    with ExchangeServer(bench.exchange()) as server:
        Life(bench, server.url, folder).run()
        with StateDatabase(folder / "state.db") as state:
            entries = "role = 'entry' AND parent IS NULL"
            first = state.rows(f"SELECT client_id FROM live_orders WHERE {entries} ORDER BY rowid LIMIT 1")[0][0]
            if change == "size":
                state.execute("UPDATE live_orders SET size = '1.00000' WHERE client_id = ?", (first,))
            elif change == "side":
                state.execute("UPDATE live_orders SET side = 'sell' WHERE client_id = ?", (first,))
            else:
                for table in ("live_order_states", "live_executions"):
                    state.execute(f"DELETE FROM {table} WHERE client_id = ?", (first,))
                state.execute("DELETE FROM live_orders WHERE client_id = ?", (first,))
        before = len(server.requests)
        with pytest.raises(ReplayDiffers):
            Life(bench, server.url, folder).run()
        assert all(each["method"] == "GET" for each in server.requests[before:])


def test_a_trade_of_an_order_that_the_books_do_not_hold_is_booked_all_the_same(folder):
    """The operator sells by command, again and again: the strategy learns of it at the next bar, in a replay as well."""
    bench = Bench(seed=46, bars=140)
    done = []
    with ExchangeServer(bench.exchange()) as server:
        life = Life(bench, server.url, folder)

        def sell(_symbol: str, open_ms: int) -> None:
            held = sum(trade.size if side == "buy" else -trade.size for side, trade in life.journal.traded("BTCUSDT"))
            busy = [row for row in life.journal.undone() if row.ticket.role in {"entry", "exit"}]
            if held < 1 or busy or open_ms < (done[-1] if done else START_MS + WARM * MINUTE_MS) + 4 * MINUTE_MS:
                return
            done.append(open_ms)
            life.store.call(lambda: life.store.desk.close_out("BTCUSDT", lambda: held, open_ms, "mbtest")).result(10)

        life.on_bar = sell
        logs = life.run()
        assert len(done) > 5
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
        assert differences(logs, Life(bench, server.url, folder).run()) == []
    with StateDatabase(folder / "state.db") as state:
        journal = Journal(state, Journal.newest_run(state, "bench"))
        closed = [row.state for row in journal.orders.values() if row.ticket.role == "close"]
        assert closed == ["filled"] * len(done)


def test_a_position_whose_guard_and_sale_were_refused_is_guarded_anew_at_the_next_bar(folder):
    bench = Bench(seed=68, bars=50)
    with ExchangeServer(bench.exchange()) as server:
        passed, short = (
            "Stop price would trigger immediately.",
            "Account has insufficient balance for requested action.",
        )
        pair, single = r"/api/v3/orderList/oco", r"/api/v3/order"
        server.faults.add(
            Fault("error_before", path=pair, code=-2010, message="The relationship of the prices is not correct."),
            Fault("error_before", path=single, method="POST", code=-2010, message=passed, skip=1),
            Fault("error_before", path=single, method="POST", code=-2010, message=short, skip=1),
        )
        life = Life(bench, server.url, folder)
        logs = life.run()
        assert server.faults.counts["error_before"] == 3
        legs = life.journal.guards_of(next(iter(life.journal.orders)))
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
        assert differences(logs, Life(bench, server.url, folder).run()) == []
    assert [leg.state for leg in legs[:4]] == ["refused"] * 4
    assert legs[4].ended_bar_ms != legs[3].ended_bar_ms
    assert {leg.state for leg in legs[4:6]} <= {"open", "filled", "expired", "cancelled"}
