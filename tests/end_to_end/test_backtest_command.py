"""From a built-in market to a run folder through the commands, as a user types them."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bot.backtest.outputs import FILES
from bot.cli.main import main
from bot.config.loader import load_config
from ml.synthetic import synthetic_candles

FEATURES = "ewma_volatility,rsi_14,taker_imbalance_20,volatility_20,hour"
CONFIG = """\
name: end-to-end
strategy: MLBasic
params: {{enter: 0.53, exit: 0.47, min_edge: {edge}}}
symbols: [SYNTH]
timeframe: 1h
data: {{exchange: synth, start: 2018-10-01, end: 2018-12-31}}
models: {{prediction: "{{symbol}}/basic@{version}"}}
broker: {{cash: 10000, commission: 0.0005, slippage: 0.0002}}
risk: {{stop_loss: 0.05, take_profit: 0.2}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """Return a home in which a market was made and a model trained on all but its last quarter."""
    root = tmp_path_factory.mktemp("home")
    assert main(["data", "synth", "--bars", "8760", "--edge", "0.2", "--seed", "3", "--home", str(root)]) == 0
    train = ["train", "model", "SYNTH", "--end-date", "2018-09-30", "--features", FEATURES, "--skip-plots"]
    assert main([*train, "--home", str(root)]) == 0
    return root


@pytest.fixture
def backtest(home, tmp_path, capsys):
    """Return a function that runs the command on a config and returns code, document and errors."""

    def run(text: str, *options: str) -> tuple[int, dict, str]:
        path = tmp_path / "strategy.yaml"
        path.write_text(text)
        capsys.readouterr()
        code = main(["backtest", str(path), "--home", str(home), "--json", *options])
        shown = capsys.readouterr()
        return code, json.loads(shown.out), shown.err

    return run


def text(edge: str = "cost", version: str = "latest") -> str:
    return CONFIG.format(edge=edge, version=version)


def test_a_planted_edge_is_found_and_earned(backtest):
    code, document, _ = backtest(text())
    assert code == 0
    out = document["out_of_sample"]
    assert document["model"]["promoted"] is True
    assert document["model"]["trained_until"] == "2018-10-01T00:00:00Z"
    assert (document["in_sample_bars"], document["bars"], out["bars"]) == (0, 92 * 24, 92 * 24)
    assert (document["first"], document["last"]) == ("2018-10-01T00:00:00Z", "2018-12-31T23:00:00Z")
    assert document["predictions"]["prediction"] == {"ok": 92 * 24}  # the features were warm at the first bar
    assert out["direction_accuracy_low"] > 0.6 > max(out["majority_baseline"], out["last_sign_baseline"])
    assert out["trades"] > 10
    assert out["total_return"] > 0.5
    assert document["min_edge"]["bars_reaching"] > 0


def test_every_figure_follows_from_the_files(backtest):
    _, document, _ = backtest(text())
    folder, out = Path(document["folder"]), document["out_of_sample"]
    equity, trades = pd.read_csv(folder / "equity.csv"), pd.read_csv(folder / "trades.csv")
    predictions, orders = pd.read_csv(folder / "predictions.csv"), pd.read_csv(folder / "orders.csv")
    candles = synthetic_candles(8760, edge=0.2, seed=3)
    rows = np.searchsorted(candles.open_ms, equity["open_ms"])
    assert equity["close"].tolist() == candles.close[rows].tolist()
    assert predictions["open_ms"].tolist() == equity["open_ms"].tolist()

    returns = equity["equity"].pct_change().dropna()
    assert out["sharpe"] == pytest.approx(returns.mean() / returns.std() * np.sqrt(8766), rel=1e-9)
    closed = trades[trades["exit_reason"] != "open"]
    assert out["win_rate"] == pytest.approx((closed["profit"] > 0).mean())
    won, lost = closed.loc[closed["profit"] > 0, "profit"].sum(), -closed.loc[closed["profit"] < 0, "profit"].sum()
    assert out["profit_factor"] == pytest.approx(won / lost)
    assert set(trades["exit_reason"]) <= {"exit", "stop", "target", "open"}

    forward = np.log(equity["close"].shift(-1) / equity["close"])
    known = forward.notna() & (forward != 0)
    right = (predictions["p_up"] >= 0.5) == (forward > 0)
    assert out["direction_accuracy"] == pytest.approx(right[known].mean())
    assert out["n"] == int(known.sum())

    market = orders[orders["reason"].isin(["entry", "exit"]) & (orders["status"] == "filled")]
    opens = pd.Series(candles.open, index=candles.open_ms).loc[market["open_ms"]].to_numpy()
    worse = np.where(market["side"] == "buy", 1.0002, 0.9998)
    assert np.abs(market["price"].to_numpy() - opens * worse).max() <= 0.01  # a tick
    wanted = predictions.loc[predictions["p_up"] >= 0.53, "open_ms"] + 3_600_000
    assert set(orders.loc[orders["reason"] == "entry", "open_ms"]) <= set(wanted)


def test_the_same_run_gives_the_same_bytes_cached_or_not(backtest, home):
    (home / "predictions.db").unlink(missing_ok=True)
    documents = [backtest(text(), *options)[1] for options in ((), (), ("--no-cache",))]
    assert [document["cache"]["misses"] > 0 for document in documents] == [True, False, False]
    assert documents[1]["cache"]["hits"] == documents[0]["cache"]["misses"] > 0
    assert len({document["run_id"] for document in documents}) == 1
    for name in FILES:
        contents = [(Path(document["folder"]) / name).read_bytes() for document in documents]
        if name == "result.json":
            contents = [{**json.loads(content), "engine": 0, "cache": 0} for content in contents]
        assert contents[0] == contents[1] == contents[2], name


def test_another_process_gives_the_same_bytes(backtest, home, tmp_path):
    _, document, _ = backtest(text())
    path = tmp_path / "strategy.yaml"
    command = [sys.executable, "-m", "bot", "backtest", str(path), "--home", str(home), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    )
    other = json.loads(done.stdout)
    assert other["run_id"] == document["run_id"]
    for name in set(FILES) - {"result.json"}:
        assert (Path(other["folder"]) / name).read_bytes() == (Path(document["folder"]) / name).read_bytes(), name


def test_the_market_in_memory_is_the_market_in_the_store(backtest):
    stored = backtest(text())[1]
    memory = backtest(text().replace("exchange: synth", "synth: {bars: 8760, edge: 0.2, seed: 3}"))[1]
    assert memory["data"]["digest"] == stored["data"]["digest"]
    assert memory["out_of_sample"] == stored["out_of_sample"]


def test_without_champion_newest_still_runs_and_is_marked(tmp_path, capsys):
    root = tmp_path / "home"
    main(["data", "synth", "--bars", "6000", "--edge", "0.2", "--seed", "3", "--home", str(root)])
    train = ["train", "model", "SYNTH", "--features", FEATURES, "--skip-plots", "--no-promote", "--home", str(root)]
    assert main(train) == 0
    path = tmp_path / "strategy.yaml"
    path.write_text(text().replace("start: 2018-10-01, end: 2018-12-31", "start: 2018-06-01"))
    capsys.readouterr()
    assert main(["backtest", str(path), "--home", str(root)]) == 2
    message = capsys.readouterr().err
    assert "strategy.yaml:7:22" in message
    assert "{symbol}/basic@newest" in message
    assert not (root / "runs").exists()
    path.write_text(path.read_text().replace("@latest", "@newest"))
    assert main(["backtest", str(path), "--home", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "NOT promoted" in shown
    assert "nothing here is evidence" in shown
    folder = next((root / "runs").iterdir())
    result = json.loads((folder / "result.json").read_text())
    assert result["model"]["promoted"] is False
    assert result["in_sample_bars"] == result["bars"]
    assert result["out_of_sample"]["bars"] == 0
    assert result["out_of_sample"]["total_return"] is None
    assert "not promoted" in (folder / "report.html").read_text()


def test_the_example_of_init_runs_on_its_market(tmp_path, home):
    assert main(["init", str(tmp_path / "new")]) == 0
    path = tmp_path / "new" / "strategy.yaml"
    changed = path.read_text().replace("start: 2020-01-01", "start: 2018-10-01")
    path.write_text(changed)
    assert load_config(path).config.symbols == ("SYNTH",)
    assert main(["backtest", str(path), "--home", str(home), "--no-report"]) == 0


def test_an_interruption_during_the_run_leaves_nothing(home, tmp_path):
    marker = tmp_path / "started"
    (tmp_path / "slow_strategy_of_a_user.py").write_text(
        "import time, pathlib, backtrader as bt\n"
        "class Slow(bt.Strategy):\n"
        "    def next(self):\n"
        f"        pathlib.Path({str(marker)!r}).touch()\n"
        "        time.sleep(0.05)\n"
    )
    path = tmp_path / "slow.yaml"
    path.write_text("name: slow\nstrategy: slow_strategy_of_a_user:Slow\nsymbols: [SYNTH]\ntimeframe: 1h\n")
    before = sorted((home / "runs").iterdir()) if (home / "runs").exists() else []
    command = [sys.executable, "-m", "bot", "backtest", str(path), "--home", str(home)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if marker.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert (sorted((home / "runs").iterdir()) if (home / "runs").exists() else []) == before


def test_a_disk_that_is_full_leaves_nothing(home, tmp_path):
    path = tmp_path / "strategy.yaml"
    path.write_text(text())
    before = sorted((home / "runs").iterdir()) if (home / "runs").exists() else []
    done = subprocess.run(
        [sys.executable, "-m", "bot", "backtest", str(path), "--home", str(home), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),  # no file may grow beyond
    )
    assert done.returncode == 1
    assert "cannot write the run" in done.stderr
    assert "File too large" in done.stderr
    assert (sorted((home / "runs").iterdir()) if (home / "runs").exists() else []) == before
