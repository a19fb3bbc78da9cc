"""Forecast paths: 300 steps, alone and in thousands, against LightGBM's bits and against a loop over a pandas frame."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from path_forests import boosters, model_of
from path_pandas import naive_path
from path_reference import paths_step_by_step

from ml.candles import Candles
from ml.features.schema import FeatureSchema
from ml.paths.features import default_path_names
from ml.synthetic import synthetic_candles

if TYPE_CHECKING:
    from collections.abc import Callable

    from ml.paths.rollout import PathModel

__all__ = ["measure"]

STEPS, STARTS, THREADS = 300, 43_200, 2
SIZES = {"150 x 15 leaves": (150, 15), "500 x 31 leaves": (500, 31)}
SAMPLE = 2_000  # starts whose time is scaled to all of them
NAIVE_STEPS = 20
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"
Found = list[dict[str, Any]]


def measure(*, full: bool = False) -> Found:
    """Return identity and speed; ``full`` walks all 43,200 starts of the largest model instead of a sample."""
    candles = minutes()
    found: Found = []
    for size, (trees, leaves) in SIZES.items():
        for kind, limit in (("close", 4.0), ("ohlc", 16.0)):
            schema = FeatureSchema.for_candles(candles, default_path_names(kind, "1m"))
            fitted = boosters(schema, candles.slice(0, 20_000), kind, trees=trees, leaves=leaves)
            model = model_of(schema, [each.model_to_string() for each in fitted], kind, 0.5)
            start = len(candles) - 1
            alone = _seconds(lambda model=model, start=start: model.paths(candles, [start], STEPS), 15)
            found.append(
                _row(f"one path of {STEPS} steps, {_models(kind)} of {size}, one core, warm", limit, 1e3 * alone, "ms")
            )
            found.append(_identity(model, fitted, candles, size))
            if kind == "close":
                found.append(_against_pandas(fitted[0], candles, schema, alone, size))
                found.extend(_many(model, candles, size, full=full and trees == 500))
    return found


def minutes() -> Candles:
    """Return consecutive minutes of BTC, or of the built-in market where the data is absent."""
    if not _DATA.exists():
        return synthetic_candles(60_000, edge=0.06, timeframe="1m")
    import pandas as pd

    frame = pd.read_csv(_DATA)
    columns = {name: frame[name].to_numpy() for name in ("open", "high", "low", "close")}
    return Candles.from_columns("1m", columns | {"open_ms": frame["timestamp"].to_numpy()}).slice(0, 60_000)


def _models(kind: str) -> str:
    return "one model" if kind == "close" else "four models"


def _identity(model: PathModel, fitted: list[Any], candles: Candles, size: str) -> dict[str, Any]:
    score = [lambda row, booster=each: booster.predict(row, raw_score=True, num_threads=1) for each in fitted]
    starts = [len(candles) - 1, len(candles) - 700]
    ours = model.paths(candles, starts, STEPS)
    theirs = paths_step_by_step(model, candles, starts, STEPS, score)
    differ = int((ours.view(np.int64) != theirs.view(np.int64)).sum())
    return {
        "what": f"path values whose bits differ from step-by-step LightGBM ({_models(model.kind)} of {size})",
        "asked": "0",
        "measured": f"{differ} of {ours.size:,}",
        "ok": differ == 0,
    }


def _against_pandas(booster: Any, candles: Candles, schema: FeatureSchema, alone: float, size: str) -> dict[str, Any]:
    import pandas as pd

    frame = pd.DataFrame({"open_ms": candles.open_ms, "close": candles.close})
    naive_path(booster, frame, schema.names, 2)
    naive = _seconds(lambda: naive_path(booster, frame, schema.names, NAIVE_STEPS), 1, warm=False) * STEPS / NAIVE_STEPS
    return {
        "what": f"one path of {STEPS} steps against a growing pandas frame and lightgbm.predict ({size})",
        "asked": ">= 400x",
        "measured": f"{naive / alone:.0f}x ({naive:.2f} s, {NAIVE_STEPS} steps scaled)",
        "ok": naive >= 400 * alone,
    }


def _many(model: PathModel, candles: Candles, size: str, *, full: bool) -> Found:
    newest = np.arange(len(candles) - STARTS, len(candles))
    thousand = newest[np.linspace(0, STARTS - 1, 1000).astype(int)]
    seconds = _seconds(lambda: model.paths(candles, thousand, STEPS, threads=THREADS), 3)
    found = [_row(f"1,000 paths of {STEPS} steps on two cores, one model of {size}", 1.7, seconds, "s")]
    some = newest if full else newest[:SAMPLE]
    seconds = _seconds(lambda: model.paths(candles, some, STEPS, threads=THREADS), 1, warm=False) * STARTS / len(some)
    how = "" if full else f", {SAMPLE:,} of them scaled"
    return [
        *found,
        _row(f"{STARTS:,} paths of {STEPS} steps on two cores, one model of {size}{how}", 75.0, seconds, "s"),
    ]


def _row(what: str, limit: float, measured: float, unit: str) -> dict[str, Any]:
    return {
        "what": what,
        "asked": f"<= {limit:g} {unit}",
        "measured": f"{measured:.2f} {unit}",
        "ok": measured <= limit,
    }


def _seconds(call: Callable[[], Any], rounds: int, *, warm: bool = True) -> float:
    if warm:
        call()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return median(taken)
