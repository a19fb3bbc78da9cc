"""Direction, risk and volatility by trees: honest promotion, calibration, size, bits and one live prediction."""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from family_markets import AT, Outcome, market, outcomes, train_type

from ml.bundles import open_runner
from ml.engine import PredictionEngine
from ml.runners import LightGBMRunner
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

__all__ = ["measure"]

BARS = 17_520
CALIBRATED_BARS = 35_040  # as for the type basic
TYPES = ("direction", "risk", "volatility")
MEGABYTE = 1_000_000


def measure(
    found_seeds: int = 20, null_seeds: int = 60, forest_seeds: int = 10, workers: int = 2
) -> list[dict[str, Any]]:
    """Return one row for each promise; all of it takes about half an hour on two cores.

    Null markets: random walks for a direction; bars in random order for all three, because the built-in market's volatility
    clusters, which is the truth and not an error.
    """
    rows = [row for name in TYPES for row in _served(name)]
    found = outcomes("direction", "edge", range(3_000, 3_000 + found_seeds), CALIBRATED_BARS, workers)
    rows.append(_found("direction", found, found_seeds, CALIBRATED_BARS))
    rows += _calibrated("direction", found)
    few = max(1, found_seeds // 4)
    rows.append(
        _found(
            "risk", outcomes("risk", "edge", range(3_000, 3_000 + few), CALIBRATED_BARS, workers), few, CALIBRATED_BARS
        )
    )
    for name, kind, seeds in (
        ("direction", "random", null_seeds),
        ("direction", "shuffled", null_seeds),
        ("volatility", "shuffled", null_seeds),
        ("risk", "shuffled", forest_seeds),
    ):
        rows.append(_nothing(name, kind, outcomes(name, kind, range(4_000, 4_000 + seeds), BARS, workers)))
    return rows


def _found(name: str, runs: list[Outcome], seeds: int, bars: int = BARS) -> dict[str, Any]:
    promoted = sum(run.promoted for run in runs)
    least = seeds - 1 if seeds >= 20 else seeds
    z = [run.smallest_z for run in runs]
    return {
        "what": f"{name}: planted edge 0.06, {bars:,} bars: promoted",
        "asked": f">= {least} of {seeds}",
        "measured": f"{promoted} of {seeds} (smallest z {min(z):.1f}, median {median(z):.1f}; "
        f"{median([run.core_seconds for run in runs]):.1f} s of a core each)",
        "ok": promoted >= least,
    }


def _nothing(name: str, kind: str, runs: list[Outcome]) -> dict[str, Any]:
    promoted, most = sum(run.promoted for run in runs), max(1, len(runs) // 20)
    words = "random walk" if kind == "random" else "bars in random order"
    return {
        "what": f"{name}: {words}, {BARS:,} bars: promoted",
        "asked": f"<= {most} of {len(runs)}",
        "measured": f"{promoted} of {len(runs)} (largest z {max(run.smallest_z for run in runs):.1f}; "
        f"{median([run.core_seconds for run in runs]):.1f} s of a core each)",
        "ok": promoted <= most,
    }


def _calibrated(name: str, runs: list[Outcome]) -> list[dict[str, Any]]:
    errors = np.array([run.calibration_error for run in runs])
    gap = float(np.mean([run.gap for run in runs]))
    return [
        {
            "what": f"{name}: debiased calibration error, edge 0.06, {CALIBRATED_BARS:,} bars",
            "asked": "mean <= 0.015, none above 0.03",
            "measured": f"mean {errors.mean():.4f}, largest {errors.max():.4f}",
            "ok": bool(errors.mean() <= 0.015 and errors.max() <= 0.03),
        },
        {
            "what": f"{name}: mean stated confidence minus hit rate, edge 0.06, {CALIBRATED_BARS:,} bars",
            "asked": "within 0.01",
            "measured": f"{gap:+.4f}",
            "ok": abs(gap) <= 0.01,
        },
    ]


def _served(name: str) -> list[dict[str, Any]]:
    """Return size, memory, bits and the time of a live prediction of one bundle with default features."""
    candles = market("edge", 1, BARS)
    result = train_type(name, candles)
    text = result.files["model.txt"]
    LightGBMRunner.from_text(text)
    tracemalloc.start()
    kept = LightGBMRunner.from_text(text)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    with tempfile.TemporaryDirectory() as folder:
        registry = PredictionModelRegistry(Path(folder), open_runner=open_runner)
        engine = PredictionEngine(registry.register(ModelKey("SYNTH", name, "1h"), result.files, at=AT))
        batch = engine.predict_batch(candles)
        ends = range(len(candles) - 300, len(candles) + 1)
        windows = [candles.slice(max(0, end - engine.window_bars), end) for end in ends]
        for window in windows[:20]:
            engine.predict_newest(window)
        seconds, alone = [], []
        for window in windows:
            started = time.perf_counter()
            row, _ = engine.predict_newest(window)
            seconds.append(time.perf_counter() - started)
            alone.append(row)
    newest = np.array(alone)
    whole = batch.values[len(candles) - 301 :]
    differing = int((newest.view(np.uint64) != whole.view(np.uint64))[~(np.isnan(newest) & np.isnan(whole))].sum())
    del kept
    return [
        {
            "what": f"{name}: model.txt, and loaded memory",
            "asked": "<= 5 MB, <= 20 MB",
            "measured": f"{len(text) / MEGABYTE:.2f} MB, {memory / MEGABYTE:.2f} MB",
            "ok": len(text) <= 5 * MEGABYTE and memory <= 20 * MEGABYTE,
        },
        {
            "what": f"{name}: one live prediction with features",
            "asked": "<= 1 ms",
            "measured": f"median {1e3 * median(seconds):.2f} ms",
            "ok": median(seconds) <= 1e-3,
        },
        {
            "what": f"{name}: 301 bars one by one against the batch",
            "asked": "0 differing bits",
            "measured": f"{differing} differing numbers",
            "ok": differing == 0,
        },
    ]
