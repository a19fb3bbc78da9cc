"""Models of paths on 43,200 real minutes: how long training takes, and a backtest with a path of 300 steps on every bar."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from indicators.forecast import MLForecast
from ml.cache import PredictionCache
from ml.candles import Candles
from ml.engines import open_bundle, open_engine
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import TrainingResult, train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

__all__ = ["measure"]

BARS, STEPS, THREADS = 43_200, 300, 2
AT = datetime(2026, 1, 1, tzinfo=UTC)
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"
SEEDS_DEFAULTS = {
    "num_boost_round": 500,
    "learning_rate": 0.05,
    "num_leaves": 31,
    "max_depth": 7,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "min_data_in_leaf": 20,
    "lambda_l2": 0.0,
    "max_bin": 255,
}
"""What the seeds' guide prescribes, LightGBM's own defaults where it says nothing."""


def measure() -> list[dict[str, Any]]:
    """Return training times, skill beside that of the guide's parameters, size, and the backtest with and without cache."""
    candles = minutes()
    _train(candles.slice(0, 6_000), "autoregressive", {"n_steps_ahead": 20})  # compiles the kernels once
    _train(candles.slice(0, 6_000), "multi_ohlc", {"n_steps_ahead": 20})
    results, rows = {}, []
    for kind, limit in (("autoregressive", 20), ("multi_ohlc", 80)):
        started, worked = time.perf_counter(), time.process_time()
        results[kind] = _train(candles, kind, {})
        seconds, work = time.perf_counter() - started, time.process_time() - worked
        size = sum(len(text) for name, text in results[kind].files.items() if name.endswith(".txt")) / 1e6
        most = 5 if kind == "autoregressive" else 20
        rows += [
            _row(
                f"{kind}: training on {BARS:,} bars of 1m, two cores",
                f"<= {limit} s",
                f"{seconds:.1f} s ({work:.0f} processor seconds)",
                seconds <= limit,
            ),
            _row(f"{kind}: size of the model files", f"<= {most} MB", f"{size:.2f} MB", size <= most),
        ]
    return [*rows, *_skill(candles, results["autoregressive"]), *_backtest(candles, results["autoregressive"])]


def minutes() -> Candles:
    """Return minutes of BTC, or of the built-in market where the data is absent."""
    if not _DATA.exists():
        return synthetic_candles(BARS, timeframe="1m")
    import pandas as pd

    return Candles.from_frame(pd.read_csv(_DATA, nrows=BARS), "1m")


def _train(candles: Candles, kind: str, parameters: dict[str, Any]) -> TrainingResult:
    settings = TrainingSettings(parameters=parameters, threads=THREADS, plots=False)
    return train(candles, ModelKey("BTCUSDT", kind, "1m"), settings, at=AT, code_version="benchmark")


def _skill(candles: Candles, ours: TrainingResult) -> list[dict[str, Any]]:
    """Compare one step ahead on every test bar, and the published paths at step 1."""
    theirs = _train(candles, "autoregressive", SEEDS_DEFAULTS)
    mine, other = (result.metrics["out_of_sample"] for result in (ours, theirs))
    first = [figures["first_step"]["close"]["r2"] for figures in (mine, other)]
    path = [figures["by_step"]["r2_os"][0] for figures in (mine, other)]
    return [
        _row(
            "return of the next bar explained out of sample, ours and with the guide's parameters",
            "not worse",
            f"{100 * first[0]:+.3f} % and {100 * first[1]:+.3f} %",
            first[0] >= first[1],
        ),
        _row(
            "the same at step 1 of the published paths (shrunk)",
            "not worse",
            f"{100 * path[0]:+.3f} % and {100 * path[1]:+.3f} %",
            path[0] >= path[1],
        ),
    ]


def _backtest(candles: Candles, result: TrainingResult) -> list[dict[str, Any]]:
    """Run a strategy that reads the path of every bar; a rerun reads the cache."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        key = ModelKey("BTCUSDT", "autoregressive", "1m")
        model = PredictionModelRegistry(root / "models", open_runner=open_bundle).register(key, result.files, at=AT)
        seconds, work, seen = [], [], []
        for _ in range(2):
            engine = open_engine(model, cache=PredictionCache(root / "predictions.db"))
            started, worked = time.perf_counter(), time.process_time()
            seen.append(_run(candles, engine))
            seconds.append(time.perf_counter() - started)
            work.append(time.process_time() - worked)
    same = seen[0].tobytes() == seen[1].tobytes()
    count = int(np.isfinite(seen[0]).sum())
    return [
        _row(
            f"backtest with a path of {STEPS} steps on {BARS:,} bars, cold cache, two cores",
            "<= 75 s",
            f"{seconds[0]:.1f} s ({work[0]:.0f} processor seconds, {count:,} paths)",
            seconds[0] <= 75,
        ),
        _row("the same, warm cache", "<= 3 s", f"{seconds[1]:.2f} s", seconds[1] <= 3),
        _row("differing bits between both", "0", "0" if same else "some", same),
    ]


def _run(candles: Candles, engine: Any) -> np.ndarray:
    class Read(bt.Strategy):
        def __init__(self) -> None:
            self.forecast = MLForecast(self.data, model=engine, steps=(1, 60, STEPS))
            self.seen: list[float] = []

        def next(self) -> None:
            self.seen.append(self.forecast.lines.return_3[0])

    cerebro = FastCerebro()
    cerebro.adddata(CandleFeed(candles=candles))
    cerebro.addstrategy(Read)
    return np.array(cerebro.run()[0].seen)


def _row(what: str, asked: str, measured: str, ok: bool) -> dict[str, Any]:
    return {"what": what, "asked": asked, "measured": measured, "ok": bool(ok)}


if __name__ == "__main__":
    for row in measure():
        sys.stdout.write(f"{row}\n")
