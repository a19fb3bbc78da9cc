"""Trees in numba against ``lightgbm.predict`` with one thread: 500 trees of 31 leaves on 100 features, in one run."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np

from ml.candles import Candles
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.runners import LightGBMRunner
from ml.synthetic import synthetic_candles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["measure"]

TREES, LEAVES, FEATURES, ROWS = 500, 31, 100, 20_000
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"


def measure() -> list[dict[str, Any]]:
    """Return bit identity and speed on rows of a market and on Gaussian rows."""
    found = []
    for name, rows in (("market rows", market_rows()), ("Gaussian rows", gaussian_rows())):
        target = np.nan_to_num(rows[:, :10]).sum(axis=1) + np.random.default_rng(1).normal(size=len(rows)) * 3
        parameters = {
            "objective": "regression",
            "num_leaves": LEAVES,
            "verbosity": -1,
            "learning_rate": 0.05,
            "num_threads": 1,
        }
        booster = lightgbm.train(parameters, lightgbm.Dataset(rows, target), TREES)
        found += _compare(name, booster, rows)
    return found


def market_rows() -> np.ndarray:
    """Return feature rows of consecutive minutes of BTC, or of the built-in market where the data is absent."""
    if _DATA.exists():
        import pandas as pd

        frame = pd.read_csv(_DATA)
        columns = {name: frame[name].to_numpy() for name in frame.columns} | {"open_ms": frame["timestamp"].to_numpy()}
        candles = Candles.from_columns("1m", columns).slice(0, ROWS + 3000)
    else:
        candles = synthetic_candles(ROWS + 3000, edge=0.06, timeframe="1m")
    names = FeatureSchema.for_candles(candles).names
    keep = list(dict.fromkeys(("ewma_volatility", *names)))[:FEATURES]
    matrix = FeaturePipeline(FeatureSchema.of(keep, "1m")).compute(candles)
    return np.ascontiguousarray(matrix.rows[matrix.valid][-ROWS:])


def gaussian_rows() -> np.ndarray:
    """Return rows whose branches no processor predicts."""
    return np.random.default_rng(0).normal(size=(ROWS, FEATURES)).astype(np.float32)


def _compare(name: str, booster: lightgbm.Booster, rows: np.ndarray) -> list[dict[str, Any]]:
    runner = LightGBMRunner.from_text(booster.model_to_string().encode())
    holes = rows.copy()
    holes[np.random.default_rng(2).random(holes.shape) < 0.05] = np.nan
    differ = 0
    for sample in (rows, holes):
        expected = booster.predict(sample, raw_score=True, num_threads=1)
        differ += int((runner.scores(sample).view(np.int64) != expected.view(np.int64)).sum())
        alone = np.array([runner.scores(sample[i : i + 1])[0] for i in range(2000)])
        differ += int((alone.view(np.int64) != expected[:2000].view(np.int64)).sum())
    at = iter(range(10**9))

    def single(predict: Callable[[np.ndarray], Any]) -> Callable[[], Any]:
        def run() -> None:
            i = next(at) % len(rows)
            predict(rows[i : i + 1])

        return run

    theirs_one, ours_one = _interleaved(
        single(lambda row: booster.predict(row, raw_score=True, num_threads=1)), single(runner.scores), 3000
    )
    theirs, ours = _interleaved(
        lambda: booster.predict(rows, raw_score=True, num_threads=1), lambda: runner.scores(rows), 5
    )
    micro = 1e6 / len(rows)
    shape = f"{TREES} x {LEAVES} leaves, {rows.shape[1]} features, {name}"
    return [
        {
            "what": f"trees: scores whose bits differ from LightGBM's ({shape})",
            "asked": "0",
            "measured": str(differ),
            "ok": differ == 0,
        },
        {
            "what": f"trees: one row against lightgbm.predict, one thread ({name})",
            "asked": ">= 2.5x",
            "measured": f"{theirs_one / ours_one:.2f}x ({1e6 * ours_one:.1f} us, LightGBM {1e6 * theirs_one:.1f} us)",
            "ok": theirs_one >= 2.5 * ours_one,
        },
        {
            "what": f"trees: {len(rows):,} rows against lightgbm.predict, one thread ({name})",
            "asked": ">= 1x",
            "measured": f"{theirs / ours:.2f}x ({micro * ours:.2f} us a row, LightGBM {micro * theirs:.2f})",
            "ok": theirs >= ours,
        },
    ]


def _interleaved(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the median seconds of both, measured in turn so that a busy machine slows both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for call, times in zip((first, second), taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return median(taken[0][1:]), median(taken[1][1:])
