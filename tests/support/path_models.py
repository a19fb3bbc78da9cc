"""Small trained models of paths in a registry, each made once a test session."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from pathlib import Path

from ml.candles import Candles
from ml.engines import open_bundle
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import TrainingResult, train
from registry.model import StrategyModel
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

STEPS = 24
AT = datetime(2026, 1, 2, tzinfo=UTC)
FEATURES = {
    "autoregressive": (
        "return_1",
        "return_5",
        "sma_20_distance",
        "rsi_14",
        "volatility_20",
        "hour_sin",
        "ewma_volatility",
    ),
    "multi_ohlc": ("return_1", "return_5", "sma_20_distance", "atr_14_pct", "close_location", "ewma_volatility"),
}


@functools.cache
def drifting(bars: int = 4000, seed: int = 3) -> Candles:
    """Return candles with a large planted drift that lasts."""
    return synthetic_candles(bars, path_drift=0.3, seed=seed)


def path_key(kind: str) -> ModelKey:
    return ModelKey("SYNTH", kind, "1h")


def path_settings(kind: str, **parameters) -> TrainingSettings:
    chosen = {"num_boost_round": 25, "min_data_in_leaf": 50, "n_steps_ahead": STEPS, **parameters}
    return TrainingSettings(features=FEATURES[kind], parameters=chosen, folds=3, plots=False)


@functools.cache
def trained(kind: str) -> TrainingResult:
    """Return a model trained on the whole of `drifting`."""
    return train(drifting(), path_key(kind), path_settings(kind), at=AT, code_version="test")


def register_path(root: Path, kind: str = "autoregressive") -> StrategyModel:
    """Register that model below a folder."""
    return PredictionModelRegistry(root, open_runner=open_bundle).register(path_key(kind), trained(kind).files, at=AT)
