"""The prediction cache at the size of three months of minutes: 131,040 predictions."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ml.bundles import open_runner
from ml.cache import PredictionCache
from ml.candles import Candles
from ml.engine import PredictionEngine
from ml.features.schema import FeatureSchema
from ml.fingerprints import fingerprints
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.model import StrategyModel
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

__all__ = ["measure"]

BARS, BLOCK = 131_040, 1024
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"


def measure() -> list[dict[str, Any]]:
    """Return the figures of the cache, of the fingerprints, and how many wrong answers revised inputs got."""
    candles = minutes()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [*_storage(root), _fingerprints(candles), *_engine(root, candles)]


def minutes() -> Candles:
    """Return minutes of BTC, or of the built-in market where the data is absent."""
    if not _DATA.exists():
        return synthetic_candles(BARS, edge=0.06, timeframe="1m")
    import pandas as pd

    frame = pd.read_csv(_DATA)
    columns = {name: frame[name].to_numpy() for name in frame.columns} | {"open_ms": frame["timestamp"].to_numpy()}
    return Candles.from_columns("1m", columns).slice(0, BARS)


def _row(what: str, asked: str, seconds: float, limit: float, unit: str = "ms") -> dict[str, Any]:
    factor = 1e3 if unit == "ms" else 1e6
    return {"what": what, "asked": asked, "measured": f"{factor * seconds:.1f} {unit}", "ok": seconds <= limit}


def _storage(root: Path) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    sizes = [BLOCK] * (BARS // BLOCK) + [BARS % BLOCK]
    width = len(PREDICTION_COLUMNS)
    chunks = {os.urandom(16): PredictionBatch(rng.normal(size=(n, width)), np.zeros(n, np.int8)) for n in sizes if n}
    writes, reads = [], []
    for turn in range(5):
        cache = PredictionCache(root / f"storage{turn}.db")
        start = time.perf_counter()
        cache.put_chunks(chunks)
        writes.append(time.perf_counter() - start)
        cache.close()
        cache = PredictionCache(root / f"storage{turn}.db")
        start = time.perf_counter()
        found = cache.get_chunks(list(chunks))
        reads.append(time.perf_counter() - start)
        if sum(map(len, found.values())) != BARS:
            raise RuntimeError("the cache lost predictions")
        cache.close()
    cache = PredictionCache(root / "storage0.db")
    upserts = []
    for _ in range(5000):
        key = os.urandom(16)
        start = time.perf_counter()
        cache.put_bar(key, (0.5,) * len(PREDICTION_COLUMNS), int(Status.OK))
        upserts.append(time.perf_counter() - start)
    cache.close()
    return [
        _row(f"cache: {BARS:,} predictions written", "<= 500 ms", median(writes), 0.5),
        _row(f"cache: {BARS:,} predictions read", "<= 50 ms", median(reads), 0.05),
        _row("cache: one upsert, median of 5,000", "<= 50 us", median(upserts), 50e-6, "us"),
    ]


def _fingerprints(candles: Candles) -> dict[str, Any]:
    schema = FeatureSchema.for_candles(candles)
    taken = []
    for _ in range(7):
        start = time.process_time()  # one thread that waits for nothing: other work on the machine does not count
        fingerprints(candles, schema)
        taken.append(time.process_time() - start)
    return _row(f"cache: fingerprints of {len(candles):,} windows (processor time)", "<= 300 ms", median(taken), 0.3)


def _engine(root: Path, candles: Candles) -> list[dict[str, Any]]:
    first, second = (_model(root / name, candles, seed) for name, seed in (("one", 0), ("two", 1)))
    cache = PredictionCache(root / "engine.db")
    start = time.perf_counter()
    cold = PredictionEngine(first, cache=cache).predict_batch(candles)
    between = time.perf_counter()
    warm = PredictionEngine(first, cache=cache).predict_batch(candles)
    end = time.perf_counter()
    differ = int(np.sum(cold.values.view(np.int64) != warm.values.view(np.int64)))
    wrong, checked = _revisions((first, second), cache, candles.slice(0, 12_000))
    cache.close()
    return [
        {
            "what": f"engine: {len(candles):,} bars computed, then again from the cache (fingerprints included)",
            "asked": "the same bits",
            "measured": f"{between - start:.2f} s, then {end - between:.2f} s; {differ} values differ",
            "ok": differ == 0,
        },
        {
            "what": f"cache: wrong hits after revised candles, models, parameters and kernels ({checked:,} predictions)",
            "asked": "0",
            "measured": str(wrong),
            "ok": wrong == 0,
        },
    ]


def _model(root: Path, candles: Candles, seed: int) -> StrategyModel:
    key, at = ModelKey("BTCUSDT", "basic", "1m"), datetime(2026, 1, 1, tzinfo=UTC)
    settings = TrainingSettings(parameters={"num_boost_round": 30 + seed}, folds=2, seed=seed, plots=False)
    files = train(candles.slice(0, 15_000), key, settings, at=at, code_version="benchmark").files
    return PredictionModelRegistry(root, open_runner).register(key, files, at=at)


def _revisions(
    models: tuple[StrategyModel, StrategyModel], cache: PredictionCache, candles: Candles
) -> tuple[int, int]:
    """Revise one thing a round and count the predictions of the cached engine that are not those of a plain one."""
    from ml import recall

    rng = np.random.default_rng(0)
    wrong = checked = 0
    real = recall.feature_code_version
    try:
        for turn in range(30):
            parts = {name: column.copy() for name, column in candles.columns.items()}
            row = int(rng.integers(0, len(candles)))
            if turn % 3:
                parts["volume"][row] *= 1 + 2.0**-40
                parts["close"][row] = parts["low"][row]
            kept = np.arange(len(candles)) != row if turn % 5 == 4 else slice(None)
            changed = replace(candles, open_ms=candles.open_ms[kept], **{n: c[kept] for n, c in parts.items()})
            model = models[turn % 2]
            recall.feature_code_version = lambda turn=turn: f"kernels {turn // 10}"
            found = PredictionEngine(model, cache=cache).predict_batch(changed)
            expected = PredictionEngine(model).predict_batch(changed)
            differs = (found.values.view(np.int64) != expected.values.view(np.int64)).any(axis=1)
            wrong += int((differs | (found.status != expected.status)).sum())
            checked += len(changed)
    finally:
        recall.feature_code_version = real
    return wrong, checked
