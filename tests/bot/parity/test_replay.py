"""A recorded run: its replay decides the same, what a real exchange does otherwise is told, and nothing is written."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
from pathlib import Path

import pytest
from recorded_runs import SHORT, basic_config, home_with, record_run, restless_config

from bot.cli.main import main
from bot.errors import UsageError
from bot.home import Home
from bot.parity.check import check_run
from ml.candles import format_ms

SUPPORT = Path(__file__).resolve().parents[2] / "support"
HOUR = 3_600_000


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A home with a run on an exchange that slips more than the config says."""
    home = home_with(tmp_path_factory.mktemp("home"))
    return home, record_run(basic_config(), home, slippage=0.0006)


@pytest.fixture
def own(recorded, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(recorded[0].root, tmp_path / "home")
    return Home(tmp_path / "home")


def change(home: Home, statement: str, *values) -> None:
    with sqlite3.connect(home.state_db) as connection:
        assert connection.execute(statement, values).rowcount > 0


def asked(home: Home, capsys, *words: str):
    code = main([*words, "--home", str(home.root), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_recorded_decision_comes_again(recorded):
    home, run_id = recorded
    before = home.state_db.read_bytes()
    check = check_run(home, "run")
    assert check.replay.run.run_id == run_id
    assert check.replay.is_identical
    assert check.replay.symbols[0].counts["bars"] == 216
    assert check.orders > 20
    assert home.state_db.read_bytes() == before


def test_slippage_is_what_the_exchange_took_beyond_the_config(recorded):
    sums = check_run(recorded[0], "run").slippage.to_dict()
    # market orders and stops slip by 6 bp instead of 2 bp; targets are limits and slip by nothing
    assert sums["worst_slippage_bp"] == pytest.approx(6.0, abs=1.2)  # ticks of 0.01 on prices of some 100
    assert sums["worst_beyond_bp"] == pytest.approx(4.0, abs=1.2)
    assert 0 < sums["beyond_bp"] < sums["slippage_bp"] < 6.5
    assert sums["late"] == sums["partly_traded"] == sums["by_command"] == 0
    for order in check_run(recorded[0], "run").slippage.traded:
        if order.role == "target":
            assert order.beyond == 0.0
        else:
            assert order.beyond == pytest.approx(0.0004 * order.reference, abs=0.02)


def test_the_plain_backtest_stands_beside_it(recorded):
    beside = check_run(recorded[0], "run").backtests["BTCUSDT"]
    assert beside.comparison.first.kind == "fill"
    assert beside.both > 15
    assert beside.backtest_value > beside.live_value  # it slipped less


def test_orders_of_every_kind_come_again_after_a_restart(tmp_path):
    home = home_with(tmp_path)
    file = restless_config(SUPPORT)
    record_run(file, home, bars=216)
    check = check_run(home, "restless", folder=SUPPORT)
    assert check.replay.is_identical, check.replay.symbols[0].first.words()
    sums = check.slippage.to_dict()
    assert sums["worst_beyond_bp"] == pytest.approx(0.0, abs=1e-9)
    assert sums["beyond_quote"] == pytest.approx(0.0, abs=1e-9)
    kinds = {(order.role, order.kind) for order in check.slippage.traded}
    assert {("entry", "market"), ("entry", "limit"), ("exit", "market"), ("stop", "stop"), ("target", "limit")} <= kinds
    assert check.backtests["BTCUSDT"].comparison.is_identical


def test_a_revised_bar_is_the_first_divergence(own, capsys):
    rows = sqlite3.connect(own.state_db).execute("SELECT open_ms, content FROM live_bars ORDER BY open_ms").fetchall()
    opened, content = rows[100]
    high = struct.unpack_from("<d", content, 16)[0]
    changed = content[:16] + struct.pack("<d", high * 1.01) + content[24:]
    change(own, "UPDATE live_bars SET content = ? WHERE open_ms = ?", changed, opened)
    code, found = asked(own, capsys, "parity", "--run", "run")
    first = found["symbols"]["BTCUSDT"]["first"]
    assert (code, found["identical"]) == (3, False)
    assert (first["open_ms"], first["class"], first["what"]) == (opened, "data", "candle.high")
    assert first["recorded"] != first["replayed"]


def test_another_price_in_an_execution_is_a_difference_of_fills(own, capsys):
    change(own, "UPDATE live_executions SET price = '1' WHERE rowid = 5")
    code, found = asked(own, capsys, "parity", "--run", "run")
    assert code == 3
    assert found["symbols"]["BTCUSDT"]["first"]["class"] == "fill"


def test_another_size_in_an_order_is_a_difference_of_decisions(own, capsys):
    change(
        own, "UPDATE live_orders SET size = '7' WHERE rowid = (SELECT max(rowid) FROM live_orders WHERE role = 'entry')"
    )
    code, found = asked(own, capsys, "parity", "--run", "run")
    first = found["symbols"]["BTCUSDT"]["first"]
    assert (code, first["class"]) == (3, "decision")
    assert "comes to another decision" in first["replayed"]


def test_a_run_is_found_by_the_beginning_of_its_id(recorded, capsys):
    home, run_id = recorded
    code, found = asked(home, capsys, "parity", "--run", run_id[:6])
    assert (code, found["run_id"]) == (0, run_id)
    with pytest.raises(UsageError, match="did you mean 'run'"):
        check_run(home, "runn")


def test_a_home_without_bots_is_one_message(tmp_path):
    with pytest.raises(UsageError, match="no bot has run here"):
        check_run(Home(tmp_path), "run")


def test_the_table_shows_the_orders_and_the_sums(recorded, capsys):
    assert main(["parity", "--run", "run", "--home", str(recorded[0].root)]) == 0
    out = capsys.readouterr().out
    assert "every recorded decision came again" in out
    assert "slippage in total" in out
    assert "buy entry (market)" in out
    assert "plain backtest over these bars" in out


def test_why_tells_a_bar_of_a_live_run_with_its_orders(recorded, capsys):
    home, run_id = recorded
    row = sqlite3.connect(home.state_db).execute(
        "SELECT bar_ms, client_id FROM live_orders WHERE role = 'entry' AND state = 'filled' ORDER BY bar_ms"
    )
    bar_ms, client_id = row.fetchone()
    code, found = asked(home, capsys, "why", "run", format_ms(bar_ms + HOUR // 2))
    assert (code, found["run"], found["open_ms"]) == (0, run_id, bar_ms)
    order = next(order for order in found["live_orders"] if order["client_id"] == client_id)
    assert order["state"] == "filled"
    assert sum(float(trade["size"]) for trade in order["executions"]) == float(order["size"])
    assert found["decision"]["action"] == "enter"
    assert (
        main(["why", run_id[:8], str(bar_ms + HOUR), "--home", str(home.root)]) == 0
    )  # the bar in which it was filled
    out = capsys.readouterr().out
    assert client_id in out
    assert "decided at the bar of" in out
    assert main(["why", "run", "2019-01-01", "--home", str(home.root)]) == 2
    assert "outside what the run has written" in capsys.readouterr().err
    assert main(["why", "rum", "2018-04-28", "--home", str(home.root)]) == 2
    assert "did you mean 'run'" in capsys.readouterr().err


def test_a_run_of_two_symbols_asks_which_one(tmp_path, capsys):
    home = home_with(tmp_path, symbols=("BTCUSDT", "ETHUSDT"))
    record_run(restless_config(SUPPORT, symbols="[BTCUSDT, ETHUSDT]", when=SHORT), home, bars=20)
    words = ["why", "restless", "2018-04-27T05:00", "--home", str(home.root)]
    assert main(words) == 2
    assert "--symbol BTCUSDT" in capsys.readouterr().err
    assert main([*words, "--symbol", "ETH/USDT"]) == 0
    assert "ETHUSDT 1h, bar of 2018-04-27T05:00:00Z" in capsys.readouterr().out
