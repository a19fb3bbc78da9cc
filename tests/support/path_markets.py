"""Training runs of path models on markets of known truth, in worker processes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

BARS, STEPS, DRIFT = 20_000, 60, 0.2


@dataclass(frozen=True)
class Outcome:
    """What one training run came to; ``seconds`` is processor time of one core."""

    promoted: bool
    trusted_steps: int
    confidence_gap: float
    seconds: float


def train_on_market(kind: str, drift: float, seed: int) -> Outcome:
    """Simulate a market, train on it with the default settings, and return the figures."""
    candles = synthetic_candles(BARS, path_drift=drift, seed=seed)
    settings = TrainingSettings(parameters={"n_steps_ahead": STEPS}, plots=False)
    started = time.process_time()
    result = train(
        candles, ModelKey("SYNTH", kind, "1h"), settings, at=datetime(2026, 1, 1, tzinfo=UTC), code_version="benchmark"
    )
    figures = result.metrics["out_of_sample"]
    first = figures["confidence"][0]
    return Outcome(
        promoted=result.gate.promoted,
        trusted_steps=figures["trusted_steps"],
        confidence_gap=first["mean_confidence"] - first["hit_rate"],
        seconds=time.process_time() - started,
    )


def train_on_markets(kind: str, drift: float, seeds: range, workers: int = 2) -> list[Outcome]:
    """Run many seeds in worker processes; each uses one core."""
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=workers)(delayed(train_on_market)(kind, drift, seed) for seed in seeds))
