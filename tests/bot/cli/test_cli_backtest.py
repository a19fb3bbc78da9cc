"""``bot backtest``: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from backtest_runs import config_text, small_home

from bot.cli.main import main
from bot.home import Home

HOLD = "name: hold\nstrategy: BuyAndHold\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
REQUIRED = (
    *("run_id", "config", "symbol", "timeframe", "bars", "first", "last", "engine", "cache", "model", "in_sample_bars"),
    *("out_of_sample", "all", "final_value"),
)
FIGURES = (
    *(
        "total_return",
        "buy_and_hold_return",
        "sharpe",
        "sortino",
        "max_drawdown",
        "trades",
        "win_rate",
        "profit_factor",
    ),
    *("fees_paid", "exposure", "direction_accuracy", "direction_accuracy_low", "direction_accuracy_high"),
    *("majority_baseline", "last_sign_baseline", "log_loss_skill", "calibration_error", "gross_return_per_bet"),
    *("break_even_cost", "n"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return small_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def write(tmp_path):
    def written(text: str) -> str:
        path = tmp_path / "strategy.yaml"
        path.write_text(text)
        return str(path)

    return written


def runs(home: Home) -> list[str]:
    return sorted(path.name for path in home.runs.iterdir()) if home.runs.exists() else []


def test_one_json_document_with_every_figure(home, write, capsys):
    assert main(["backtest", write(config_text()), "--home", str(home.root), "--json"]) == 0
    out = capsys.readouterr().out
    document = json.loads(out)
    assert set(REQUIRED) <= set(document)
    for block in ("out_of_sample", "all"):
        assert set(FIGURES) <= set(document[block])
    assert set(document["engine"]) == {"bars_per_second", "seconds"}
    assert set(document["cache"]) == {"hits", "misses"}
    assert {"key", "version", "digest", "trained_until"} <= set(document["model"])
    folder = Path(document["folder"])
    written = json.loads((folder / "result.json").read_text())
    assert {**document, "folder": None} == {**written, "folder": None}
    assert {path.name for path in folder.iterdir()} == {
        *("orders.csv", "trades.csv", "predictions.csv", "equity.csv", "result.json", "report.html"),
    }


def test_a_person_sees_the_headline_beside_its_baselines(home, write, capsys):
    assert main(["backtest", write(config_text()), "--home", str(home.root), "--no-report"]) == 0
    out = capsys.readouterr().out
    for words in ("1,000 bars out of sample", "return after costs", "buy and hold", "direction right", "NOT promoted"):
        assert words in out
    folder = Path(out.split("Run folder: ")[1].split("\n")[0])
    assert folder.is_dir()
    assert not (folder / "report.html").exists()
    assert "report.html" not in out


def test_without_the_cache_no_database_is_made(tmp_path, write):
    home = small_home(tmp_path / "home")
    assert main(["backtest", write(config_text()), "--home", str(home.root), "--no-report", "--no-cache"]) == 0
    assert not home.predictions_db.exists()
    assert main(["backtest", write(config_text()), "--home", str(home.root), "--no-report"]) == 0
    assert home.predictions_db.exists()


def test_several_symbols_are_run_one_by_one(home, write, capsys):
    text = HOLD.replace("[BTCUSDT]", "[AAA, BBB]") + "data: {synth: {bars: 300}}\n"
    assert main(["backtest", write(text), "--home", str(home.root), "--json", "--no-report"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["symbol"] for run in document["runs"]] == ["AAA", "BBB"]
    assert len({run["folder"] for run in document["runs"]}) == 2


@pytest.mark.parametrize(
    "text, code, words",
    [
        ("", 2, "strategy.yaml:1:1: the file is empty"),
        ("name: [", 2, "not valid YAML"),
        (config_text(version="latest"), 2, "{symbol}/basic@newest"),
        (config_text(version="2001-01-01T000000Z_1h_v1"), 2, "no version"),
        (config_text(**{"/basic@": "/forest@"}), 2, "no model BTCUSDT/1h/forest"),
        (config_text(MLBasic="MLBasik"), 2, "did you mean 'MLBasic'"),
        (HOLD.replace("BTCUSDT", "BTCUSD"), 2, "did you mean 'BTCUSDT'"),
        (HOLD.replace("[BTCUSDT]", "[BTCUSDT, BTCUSD]"), 2, "did you mean 'BTCUSDT'"),
        (HOLD + "data: {start: 2020-01-01, end: 2019-01-01}\n", 2, "is not before the end"),
        (HOLD + "live: {apiKey: hunter2}\n", 2, "does not belong in a config"),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_message_and_leaves_nothing(home, write, capsys, text, code, words, as_json):
    before = runs(home)
    assert main(["backtest", write(text), "--home", str(home.root), *(["--json"] if as_json else [])]) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert "hunter2" not in shown.err + shown.out
    assert runs(home) == before
    if as_json:
        document = json.loads(shown.out)
        assert (document["exit_code"], words in document["error"]) == (code, True)


def test_a_config_that_is_not_there(home, tmp_path, capsys):
    assert main(["backtest", str(tmp_path / "nothing.yaml"), "--home", str(home.root)]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_bundle_with_a_changed_byte_is_refused(tmp_path, write, capsys):
    home = small_home(tmp_path / "home")
    model = next(home.models.glob("*/*/*/model.txt"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.chmod(0o644)
    model.write_bytes(bytes(content))
    assert main(["backtest", write(config_text()), "--home", str(home.root)]) == 3
    assert "model.txt" in capsys.readouterr().err
    assert runs(home) == []


def test_a_cache_that_is_no_database_is_said_at_once(tmp_path, write, capsys):
    home = small_home(tmp_path / "home")
    home.predictions_db.write_bytes(b"not a database" * 100)
    assert main(["backtest", write(config_text()), "--home", str(home.root)]) != 0
    assert "predictions.db" in capsys.readouterr().err
    assert runs(home) == []
    assert main(["backtest", write(config_text()), "--home", str(home.root), "--no-cache", "--no-report"]) == 0


def test_an_interruption_leaves_nothing(home, write, capsys, monkeypatch):
    import bot.backtest.run as run

    def interrupted(assembly):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_run", interrupted)
    before = runs(home)
    assert main(["backtest", write(config_text()), "--home", str(home.root)]) == 1
    assert "interrupted" in capsys.readouterr().err
    assert runs(home) == before


def test_the_command_loads_nothing_that_it_does_not_need(home, write, tmp_path):
    code = (
        "import sys\nfrom bot.cli.main import main\n"
        f"assert main(['backtest', {write(config_text())!r}, '--home', {str(home.root)!r}, '--json']) == 0\n"
        "heavy = ('pandas', 'matplotlib', 'lightgbm', 'tensorflow', 'onnxruntime', 'ccxt', 'talib', 'sqlite_utils')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    main(["backtest", write(config_text()), "--home", str(home.root), "--no-report"])  # the cache has its tables now
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ.copy()
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"
