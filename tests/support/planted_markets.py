"""The trainer on the built-in market, over many seeds: what the default tests and the benchmark share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey


@dataclass(frozen=True)
class Outcome:
    """What one training run on one simulated market came to; ``core_seconds`` is processor time of one core."""

    seed: int
    promoted: bool
    smallest_z: float
    hit_rate: float
    mean_confidence: float
    calibration_error: float
    core_seconds: float


def train_on_market(edge: float, seed: int, bars: int) -> Outcome:
    """Simulate a market, train on it with the default settings, and return the figures."""
    candles = synthetic_candles(bars, edge=edge, seed=seed)
    started = time.process_time()
    result = train(
        candles,
        ModelKey("SYNTH", "basic", "1h"),
        TrainingSettings(plots=False),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        code_version="test",
    )
    seconds = time.process_time() - started
    figures = result.metrics["out_of_sample"]
    return Outcome(
        seed=seed,
        promoted=result.gate.promoted,
        smallest_z=min(test.mean_gain / max(test.standard_error, 1e-12) for test in result.gate.tests),
        hit_rate=figures["direction_accuracy"],
        mean_confidence=figures["mean_confidence"],
        calibration_error=figures["calibration_error"],
        core_seconds=seconds,
    )


def train_on_markets(edge: float, seeds: range, bars: int = 35_040, workers: int = 2) -> list[Outcome]:
    """Run many seeds in worker processes; each uses one core."""
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=workers)(delayed(train_on_market)(edge, seed, bars) for seed in seeds))


def confidence_gap(outcomes: list[Outcome]) -> float:
    """Return mean stated confidence minus hit rate over all runs."""
    return float(np.mean([outcome.mean_confidence - outcome.hit_rate for outcome in outcomes]))
