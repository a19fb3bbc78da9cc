"""Whole commands as a user starts them: process start, imports, work, files, exit."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["measure"]

BARS = 131_040
REPEATS = 5
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"
_CONFIG = """\
name: benchmark
strategy: MLBasic
params: {enter: 0.52, exit: 0.48, min_edge: none}
symbols: [BTCUSDT]
timeframe: 1m
data: {exchange: local}
models: {prediction: "{symbol}/basic@newest"}
broker: {cash: 10000, commission: 0.0001, slippage: 0.00005, lot_step: 0.00001, price_tick: 0.01}
"""


def measure() -> list[dict[str, Any]]:
    """Return the times of ``bot --help`` and of a warm ``bot backtest`` over three months of minutes."""
    helps = [_timed(["--help"], {})[0] for _ in range(REPEATS)]
    with tempfile.TemporaryDirectory() as folder:
        return [_row("bot --help, median", statistics.median(helps), 0.3), *_backtest(Path(folder))]


def _backtest(folder: Path) -> list[dict[str, Any]]:
    """Return wall and processor time of the command; on a machine that does other things they differ."""
    environment = {"BOT_HOME": str(folder / "home")}
    config = folder / "benchmark.yaml"
    config.write_text(_CONFIG)
    if _DATA.exists():
        source = ["data", "import", str(_DATA), "--symbol", "BTCUSDT", "--timeframe", "1m", "--exchange", "local"]
    else:
        source = [
            "data",
            "synth",
            "--symbol",
            "BTCUSDT",
            "--timeframe",
            "1m",
            "--bars",
            str(BARS),
            "--exchange",
            "local",
        ]
    _timed(source, environment)
    train = ["train", "model", "BTCUSDT", "--type", "basic", "--timeframe", "1m", "--horizon", "5", "--skip-plots"]
    _timed(train, environment)
    _timed(["backtest", str(config)], environment)  # compiles kernels and fills the cache
    walls, processors, document = [], [], {}
    for _ in range(REPEATS):
        wall, processor, text = _timed(["backtest", str(config), "--json"], environment)
        walls.append(wall)
        processors.append(processor)
        document = json.loads(text)
    what = f"bot backtest, {document['bars']:,} bars of 1m, {document['all']['trades']:,} trades, report written, warm"
    return [
        _row(f"{what}: fastest of {REPEATS}", min(walls), 4.0),
        _row(f"{what}: processor time, median", statistics.median(processors), 4.0),
    ]


def _timed(arguments: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Run one command; return its wall and processor seconds and its output."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bot", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    wall, after = time.perf_counter() - started, os.times()
    processor = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, processor, done.stdout


def _row(what: str, seconds: float, limit: float) -> dict[str, Any]:
    return {"what": what, "asked": f"<= {limit} s", "measured": f"{seconds:.2f} s", "ok": seconds <= limit}
