"""``bot parity``: what it prints, and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from recorded_runs import SHORT, home_with

from bot.cli.main import main
from bot.market.store import CandleStore
from bot.parity import run as parity_run

SUPPORT = Path(__file__).resolve().parents[2] / "support"
CONFIG = f"""\
name: restless
strategy: restless_strategy:Restless
symbols: [BTCUSDT]
timeframe: 1h
data: {{exchange: local{SHORT}}}
broker: {{cash: 10000, commission: 0.0005, slippage: 0.0002, lot_step: 0.00001, price_tick: 0.01}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = home_with(tmp_path_factory.mktemp("home"))
    shutil.copy(SUPPORT / "restless_strategy.py", made.root)
    return made


def run(home, capsys, *words: str, text: str = CONFIG, old: str = "", new: str = ""):
    path = home.root / "config.yaml"
    path.write_text(text.replace(old, new) if old else text)
    code = main(["parity", str(path), "--home", str(home.root), *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_an_identical_run_ends_with_0_and_the_counts(home, capsys):
    code, out, _ = run(home, capsys)
    assert code == 0
    assert "restless: identical" in out
    assert "of these stops and targets" in out
    assert "requests over HTTP by the ccxt client" in out
    code, out, _ = run(home, capsys, "--json")
    found = json.loads(out)
    assert (code, found["identical"], found["account"]) == (0, True, [])
    counts = found["symbols"]["BTCUSDT"]["counts"]
    assert counts["bars"] == 72
    assert counts["orders"] == found["orders"] > 20
    assert found["replayed"]["BTCUSDT"]["counts"] == counts


def test_a_run_without_orders_proves_nothing_unless_it_may_be_idle(home, capsys):
    quiet = {"old": "timeframe", "new": "params: {restless: 0}\ntimeframe"}
    code, out, err = run(home, capsys, **quiet)
    assert code == 3
    assert "identical" in out
    assert "--allow-idle" in err
    assert run(home, capsys, "--json", **quiet)[0] == 3
    assert run(home, capsys, "--allow-idle", **quiet)[0] == 0


def test_a_difference_ends_with_3_and_names_the_first(home, capsys, monkeypatch):
    honest = parity_run.embedded_server

    def other(file, candles, rules, start_ms, **options):
        shifted = candles["BTCUSDT"]
        close = shifted.close.copy()
        close[-10] = shifted.low[-10]
        columns = {"open_ms": shifted.open_ms, **shifted.columns, "close": close}
        changed = type(shifted).from_columns(shifted.timeframe, columns, shifted.asked)
        return honest(file, {"BTCUSDT": changed}, rules, start_ms, **options)

    monkeypatch.setattr(parity_run, "embedded_server", other)
    code, out, _ = run(home, capsys)
    assert code == 3
    assert "NOT identical" in out
    assert "data differs in candle.close: backtest " in out
    code, out, _ = run(home, capsys, "--json")
    first = json.loads(out)["symbols"]["BTCUSDT"]["first"]
    assert (code, first["class"], first["what"]) == (3, "data", "candle.close")
    assert first["live"] < first["backtest"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Restless", "Restles", "restless_strategy has no bt.Strategy named 'Restles'"),
        ("timeframe: 1h", "timeframe: 2h", "BTCUSDT 2h"),
        ("[BTCUSDT]", "[BTCUSD]", "BTCUSD"),
        ("name: restless", "nam: restless", "nam"),
        (SHORT, ", start: 2030-01-01", "no candles from 2030-01-01 on"),
    ],
)
def test_what_is_wrong_in_the_config_is_one_message(home, capsys, old, new, message):
    code, out, err = run(home, capsys, old=old, new=new)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_config_or_a_run_is_needed(home, capsys):
    assert main(["parity", "--home", str(home.root)]) == 2
    assert "bot parity CONFIG.yaml, or bot parity --run RUN" in capsys.readouterr().err


def test_a_series_without_candles_before_the_first_bar_begins_with_the_second(home, capsys, tmp_path):
    store = CandleStore(home.candles)
    candles = store.read("BTCUSDT", "1h", "local").candles.slice(0, 60)
    store.write(candles, "NEWUSDT", "local")
    code, out, _ = run(home, capsys, "--json", old=SHORT, new="", text=CONFIG.replace("BTCUSDT", "NEWUSDT"))
    assert code == 0
    assert json.loads(out)["symbols"]["NEWUSDT"]["counts"]["bars"] == 59
