"""``bot why``: which bar is meant, what a person reads of it, and when the run cannot be repeated."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from backtest_runs import config_text, small_home
from small_ensembles import registry_of
from small_models import KEY, bundle_files, revised, synthetic_candles

from bot import version
from bot.cli.main import main
from bot.decision_words import action_words, gate_cells, prediction_words, reason_words, row_lines
from bot.home import Home
from bot.market.store import CandleStore
from ml.candles import format_ms
from ml.predictions import PREDICTION_COLUMNS
from strategies.decision import ask

HOUR = 3_600_000
RISK = "stop_loss: 0.05, take_profit: 0.03, cooldown_bars: 2, max_drawdown: 0.9"


def backtest(home: Home, **choices) -> dict:
    """Run the config over a home; returns the result with its folder."""
    path = home.root / "run.yaml"
    path.write_text(config_text(**choices).replace("stop_loss: 0.05", RISK))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["backtest", str(path), "--home", str(home.root), "--json", "--no-report"]) == 0
    return json.loads(out.getvalue())


def table(folder, name: str) -> list[dict]:
    with (Path(folder) / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home with a run, for those who change nothing."""
    return small_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def ran(home):
    return backtest(home, when=", start: 2018-03-10")


@pytest.fixture
def own(home, ran, tmp_path):
    """A copy of it, and the run in it."""
    shutil.copytree(home.root, tmp_path / "home")
    copied = Home(tmp_path / "home")
    return copied, str(copied.runs / Path(ran["folder"]).name)


def store(home: Home, candles) -> None:
    """Put candles in the place of those that are stored."""
    CandleStore(home.candles).write(candles, "BTCUSDT", "local")


def asked(home, capsys, *words):
    code = main(["why", *words, "--home", str(home.root), "--json"])
    return code, json.loads(capsys.readouterr().out)


def told(home, capsys, *words):
    code = main(["why", *words, "--home", str(home.root)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_person_reads_what_was_known_decided_and_done(home, ran, capsys):
    document = ran
    entry = next(order for order in table(ran["folder"], "orders.csv") if order["reason"] == "entry")
    filled_ms = int(entry["open_ms"])
    code, out, _ = told(home, capsys, document["folder"], str(filled_ms - HOUR))
    assert code == 0
    lines = out.splitlines()
    assert lines[1] == (
        f"BTCUSDT 1h, bar of {format_ms(filled_ms - HOUR)}, decided at its close {format_ms(filled_ms)}"
    )
    for words in (
        *("ordered to buy: every gate agreed (signal)", "probability of a rise", ">= 52 %", "drawdown", "< 90 %"),
        *("bars since the last exit", "money to spend", "BTCUSDT/basic@2026-01-02T000000Z_1h_v1", "volume"),
        *(
            "stop below by 5 %, target above by 3 %",
            f"#{entry['order']} buy {float(entry['size']):,.10g} at the next open",
        ),
        *("in sample", "0 held"),
    ):
        assert words in out
    _, after, _ = told(home, capsys, document["folder"], str(filled_ms))
    assert f"#{entry['order']} buy {float(entry['size']):,.10g} at {float(entry['price']):,.10g}" in after
    assert "(entry), in this bar" in after


def test_the_document_is_the_row_of_that_bar(home, ran, capsys):
    document = ran
    predictions = {int(row["open_ms"]): row for row in table(ran["folder"], "predictions.csv")}
    for open_ms in (min(predictions), sorted(predictions)[1_200], max(predictions)):
        code, row = asked(home, capsys, document["folder"], str(open_ms))
        assert (code, row["open_ms"], row["symbol"], row["differences"]) == (0, open_ms, "BTCUSDT", [])
        said, expected = row["predictions"]["prediction"], predictions[open_ms]
        assert said["status"] == expected["status"]
        for name in PREDICTION_COLUMNS:
            assert said["values"][name] == (None if expected[name] == "" else float(expected[name]))
        assert row["in_sample"] == (expected["in_sample"] == "1")
        assert said["version"] == document["model"]["version"]


def test_any_moment_inside_a_bar_means_that_bar(home, ran, capsys):
    folder = ran["folder"]
    open_ms = 1_520_798_400_000  # 2018-03-11T20:00:00Z
    for text in (
        *("2018-03-11T20:00", "2018-03-11 20:59:59Z", "2018-03-11T21:30+01:00"),
        *(str(open_ms), str(open_ms + HOUR - 1)),
    ):
        assert asked(home, capsys, folder, text)[1]["open_ms"] == open_ms
    assert asked(home, capsys, folder, "2018-03-11")[1]["open_ms"] == open_ms - 20 * HOUR
    assert asked(home, capsys, folder, str(open_ms + HOUR))[1]["open_ms"] == open_ms + HOUR


def test_a_run_is_found_by_its_folder_its_name_its_end_and_its_id(own, ran, capsys):
    home, first = own
    folder = Path(first)
    again = backtest(home, when=", start: 2018-03-10")
    assert again["run_id"] == ran["run_id"]
    for name in (str(folder), f"{folder}/result.json", folder.name):
        assert asked(home, capsys, name, "2018-04-01")[1]["run"] == folder.name
    for name in (ran["run_id"][:8], ran["run_id"]):
        assert asked(home, capsys, name, "2018-04-01")[1]["folder"] == again["folder"]


@pytest.mark.parametrize(
    "run, time, words",
    [
        (None, "2018-03-09T23:00", ["is outside the run", "2018-03-10T00:00:00Z to 2018-06-16T15:00:00Z"]),
        (None, "2018-06-16T16:00", ["2018-06-16T16:00:00Z is outside the run"]),
        (None, "yesterday", ["'yesterday' is not a date: expected 2024-01-31"]),
        (None, "99999999999999", ["outside the run"]),
        ("nothing-like-it", "2018-04-01", ["no run 'nothing-like-it'", "the newest: "]),
        ("00000000", "2018-04-01", ["no run '00000000'"]),
    ],
)
def test_near_misses_name_what_there_is(home, ran, capsys, run, time, words):
    code, answer = asked(home, capsys, run or ran["folder"], time)
    assert code == answer["exit_code"] == 2
    for each in words:
        assert each in answer["error"]


def test_a_name_that_is_nearly_right_is_suggested(home, ran, capsys):
    name = Path(ran["folder"]).name
    _, answer = asked(home, capsys, name[:-1] + "x", "2018-04-01")
    assert f"did you mean {name}?" in answer["error"]
    end = ran["run_id"][:8]
    _, answer = asked(home, capsys, end[:-1] + ("0" if end[-1] != "0" else "1"), "2018-04-01")
    assert f"did you mean {name}?" in answer["error"]


def test_without_any_run_it_says_how_to_make_one(tmp_path, capsys):
    code, answer = asked(Home(tmp_path), capsys, "run", "2018-04-01")
    assert code == 2
    assert "bot backtest CONFIG" in answer["error"]


def test_a_moment_in_a_gap_names_its_neighbours(own, capsys):
    home, _ = own
    whole = CandleStore(home.candles).read("BTCUSDT", "1h", "local").candles
    kept = (whole.open_ms < 1_522_540_800_000) | (whole.open_ms >= 1_522_540_800_000 + 3 * HOUR)
    columns = {name: column[kept] for name, column in whole.columns.items()}
    holed = replace(whole, open_ms=whole.open_ms[kept], **columns)
    store(home, holed)
    document = backtest(home, when=", start: 2018-03-10")
    code, answer = asked(home, capsys, document["folder"], "2018-04-01T01:30")
    assert code == 2
    assert "there is no candle of 2018-04-01T01:30:00Z" in answer["error"]
    assert "opens at 2018-03-31T23:00:00Z, the next at 2018-04-01T03:00:00Z" in answer["error"]


def test_candles_that_came_later_change_nothing_and_revised_ones_are_told(own, ran, capsys):
    home, folder = own
    _, before = asked(home, capsys, folder, "2018-05-01")
    longer = synthetic_candles(4_100, edge=0.2, seed=3)
    stored = CandleStore(home.candles).read("BTCUSDT", "1h", "local").candles
    assert (longer.close[:4_000] == stored.close).all()
    store(home, longer)
    assert asked(home, capsys, folder, "2018-05-01") == (0, before)
    store(home, revised(stored, 3_000))
    code, answer = asked(home, capsys, folder, "2018-05-01")
    assert code == answer["exit_code"] == 1
    assert f"not the same: the candles (digest {ran['data']['digest'][:12]} then, " in answer["error"]
    assert "--anyway" in answer["error"]
    code, out, _ = told(home, capsys, folder, "2018-05-01", "--anyway")
    assert code == 0
    assert "not as in the run: the candles" in out


def test_other_code_is_told(home, ran, capsys, monkeypatch):
    document = ran
    monkeypatch.setattr(version, "code_version", lambda: "9.9+abc")
    code, answer = asked(home, capsys, document["folder"], "2018-05-01")
    assert code == 1
    assert f"the code ({document['code_version']} then, 9.9+abc now)" in answer["error"]
    code, row = asked(home, capsys, document["folder"], "2018-05-01", "--anyway")
    assert code == 0
    assert row["differences"] == [f"the code ({document['code_version']} then, 9.9+abc now)"]


def test_a_newer_model_changes_nothing_and_another_under_its_name_is_told(own, ran, capsys):
    home, folder = own
    _, before = asked(home, capsys, folder, "2018-05-01")
    registry = registry_of(home.models)
    registry.register(KEY, bundle_files(26), at=datetime(2026, 2, 1, tzinfo=UTC))
    assert asked(home, capsys, folder, "2018-05-01") == (0, before)
    shutil.rmtree(home.models)
    registry_of(home.models).register(KEY, bundle_files(26), at=datetime(2026, 1, 2, tzinfo=UTC))
    code, answer = asked(home, capsys, folder, "2018-05-01")
    assert code == 1
    assert f"the model of the role prediction (digest {ran['model']['digest'][:12]} then" in answer["error"]
    shutil.rmtree(home.models)
    code, answer = asked(home, capsys, folder, "2018-05-01")
    assert code == 2
    assert "no model BTCUSDT/1h/basic" in answer["error"] or "no model" in answer["error"]


@pytest.mark.parametrize(
    "content, words",
    [("{", "is damaged"), ("[]", "is not the result of a backtest"), ('{"config": {}}', "it lacks symbol")],
)
def test_a_damaged_result_is_one_message(tmp_path, capsys, content, words):
    (tmp_path / "result.json").write_text(content)
    code, answer = asked(Home(tmp_path / "home"), capsys, str(tmp_path), "2018-05-01")
    assert code == 3
    assert words in answer["error"]


def test_a_config_of_another_program_is_one_message(home, ran, tmp_path, capsys):
    other = {**ran, "config": {**ran["config"], "leverage": 5}}
    (tmp_path / "result.json").write_text(json.dumps(other))
    code, answer = asked(home, capsys, str(tmp_path), "2018-05-01")
    assert code == 3
    assert "leverage" in answer["error"]


OWN = """\
import backtrader as bt

class Own(bt.Strategy):
    def next(self):
        if len(self) == 30:
            self.buy(size=0.1)
        if len(self) == 31:
            self.buy(size=1e6)
"""


def test_a_strategy_of_the_users_own_shows_its_orders_and_its_file_is_watched(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "watched_strategy.py").write_text(OWN)
    config = tmp_path / "own.yaml"
    config.write_text(
        "name: own\nstrategy: watched_strategy:Own\nsymbols: [SYNTH]\ntimeframe: 1h\ndata: {synth: {bars: 200}}\n"
    )
    home = Home(tmp_path / "home")
    assert main(["backtest", str(config), "--home", str(home.root), "--json", "--no-report"]) == 0
    document = json.loads(capsys.readouterr().out)
    times = [document["data"]["fed_from"]]
    start = datetime.fromisoformat(times[0]).timestamp()
    bar = int(start * 1000) + 29 * HOUR
    _, out, _ = told(home, capsys, document["folder"], str(bar))
    assert "a subclass of MLStrategy does" in out
    assert "#1 buy 0.1 at the next open" in out
    _, out, _ = told(home, capsys, document["folder"], str(bar + HOUR))
    assert "refused: not enough cash" in out
    assert out.count("not enough cash") == 1
    _, out, _ = told(home, capsys, document["folder"], str(bar + 2 * HOUR))
    assert "ordered     nothing" in out
    (tmp_path / "watched_strategy.py").write_text(OWN + "# another\n")
    code, answer = asked(home, capsys, document["folder"], str(bar))
    assert code == 1
    assert "the strategy's own file" in answer["error"]


def test_gates_in_words():
    assert gate_cells(ask("p_up", 0.5, ">=", 0.55).to_dict()) == ("no", "probability of a rise", "50 % >= 55 %")
    near = gate_cells(ask("p_up", 0.54999999999, ">=", 0.55).to_dict())[2]
    assert near == "54.999999999 % >= 55 %"
    assert gate_cells(ask("budget", 0.1 + 0.2, ">", 0.3).to_dict())[2] == "0.30000000000000004 > 0.3"
    assert gate_cells({**ask("status", 1.0, "==", 0.0).to_dict(), "passed": None}) == ("-", "prediction", "warming")
    assert gate_cells(ask("my_gate", 3.0, "<", 4.0).to_dict()) == ("ok", "my gate", "3 < 4")
    assert gate_cells(ask("rsi", float("nan"), "<", 30.0).to_dict()) == ("no", "RSI", "none < 30")


def test_reasons_and_predictions_in_words():
    assert reason_words("leave", "signal") == "the model's signal to close"
    assert reason_words("enter", "signal") == "every gate agreed"
    assert reason_words("enter", "refused_by_broker: no cash") == "the broker refused the order: no cash"
    assert reason_words("enter", "refused_by_broker") == "the broker refused the order"
    assert reason_words("leave", "full_moon") == "full moon"
    assert action_words("wait") == "stayed out"
    nothing = dict.fromkeys(PREDICTION_COLUMNS)
    assert prediction_words({"status": "no_model", "values": nothing}) == "none (no model)"
    said = {"status": "ok", "values": {**nothing, "risk": 40.0, "volatility": 0.01, "direction": -1.0}}
    assert prediction_words(said) == "down, risk 40.0 of 100, volatility 1.000 %"
    path = {"peak_return": 0.012, "peak_step": 5.0, "peak_confidence": 0.6}
    assert prediction_words({"status": "ok", "values": nothing, "path": path}) == (
        "peak of the path +1.200 % after 5 bars, confidence 60 %"
    )
    silent = {**path, "peak_return": None}
    assert "no step of the path is trusted" in prediction_words({"status": "ok", "values": nothing, "path": silent})


def test_an_order_that_was_refused_at_its_fill_is_told():
    candle = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    order = {
        "number": 4,
        "side": "sell",
        "kind": "stoplimit",
        "size": 2.0,
        "price": 90.0,
        "limit": 89.0,
        "stop_loss": None,
        "take_profit": None,
        "refused": "",
    }
    refusal = {"bar_open_ms": 0, "order_ref": 3, "side": "buy", "size": 1.0, "reason": "not enough cash at the fill"}
    row = {
        "symbol": "X",
        "timeframe": "1h",
        "open_ms": 0,
        "candle": {**candle, "volume": None},
        "predictions": {},
        "decision": None,
        "orders": [order],
        "fills": [],
        "refusals": [refusal],
        "position": 0.0,
        "cash": 1.0,
        "value": 1.0,
    }
    text = "\n".join(row_lines(row))
    assert "#4 sell 2 at stoplimit 90 89" in text
    assert "#3 buy 1, in this bar: not enough cash at the fill" in text
    assert "volume none" in text
