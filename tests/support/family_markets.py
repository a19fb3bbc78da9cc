"""The tree families on markets whose truth is known: what the slow tests and the benchmark share."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from ml.candles import Candles
from ml.predictors.catalogue import predictor_class
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings, default_horizon
from ml.training.trainer import TrainingResult, train
from registry.names import ModelKey

AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Outcome:
    """What one training run came to; ``core_seconds`` is processor time, ``gap`` mean stated minus what came true."""

    promoted: bool
    smallest_z: float
    calibration_error: float
    gap: float
    core_seconds: float


def shuffled_returns(candles: Candles, seed: int) -> Candles:
    """Return the same bars in another order: every bar keeps its shape and volume, and nothing tells of the next one."""
    order = np.random.default_rng(seed).permutation(len(candles))
    before = np.concatenate([candles.open[:1], candles.close[:-1]])
    close = candles.open[0] * np.exp(np.cumsum(np.log(candles.close / before)[order]))
    opens = np.concatenate([candles.open[:1], close[:-1]])
    columns = {name: column[order] for name, column in candles.columns.items()}
    columns |= {
        "open": opens,
        "close": close,
        "high": np.maximum(opens * (candles.high / before)[order], np.maximum(opens, close)),
        "low": np.minimum(opens * (candles.low / before)[order], np.minimum(opens, close)),
    }
    return replace(candles, **columns)


def market(kind: str, seed: int, bars: int) -> Candles:
    """Return a market: ``edge`` with a plant of 0.06, ``random`` without one, ``shuffled`` in random order."""
    candles = synthetic_candles(bars, edge=0.06 if kind == "edge" else 0.0, seed=seed)
    return shuffled_returns(candles, seed) if kind == "shuffled" else candles


def train_type(name: str, candles: Candles, seed: int = 0) -> TrainingResult:
    """Train a type with its default parameters, features and horizon, without plots and battery."""
    horizon = default_horizon("1h", predictor_class(name).task)
    settings = TrainingSettings(horizon=horizon, plots=False, robustness=False, seed=seed)
    return train(candles, ModelKey("SYNTH", name, "1h"), settings, at=AT, code_version="test")


def outcome(name: str, kind: str, seed: int, bars: int) -> Outcome:
    """Train one type on one market."""
    started = time.process_time()
    result = train_type(name, market(kind, seed, bars))
    figures = result.metrics["out_of_sample"]
    came = figures.get("direction_accuracy", figures.get("came_true", figures.get("within")))
    stated = figures["mean_risk"] if name == "risk" else figures["mean_confidence"]
    return Outcome(
        promoted=result.gate.promoted,
        smallest_z=min(test.mean_gain / max(test.standard_error, 1e-12) for test in result.gate.tests),
        calibration_error=figures.get("calibration_error", float("nan")),
        gap=stated - came,
        core_seconds=time.process_time() - started,
    )


def outcomes(name: str, kind: str, seeds: range, bars: int = 17_520, workers: int = 1) -> list[Outcome]:
    """Train one type on many markets; each run uses one core."""
    if workers == 1:
        return [outcome(name, kind, seed, bars) for seed in seeds]
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=workers)(delayed(outcome)(name, kind, seed, bars) for seed in seeds))
