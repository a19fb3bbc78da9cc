"""A small trained model in a registry, made once a test session."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ml.bundles import open_runner
from ml.candles import Candles
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.model import StrategyModel
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KEY = ModelKey("BTCUSDT", "basic", "1h")
FEATURES = ("ewma_volatility", "rsi_14", "taker_imbalance_20", "volatility_20", "hour")
AT = datetime(2026, 1, 2, tzinfo=UTC)


@functools.cache
def market(bars: int = 3000, seed: int = 3) -> Candles:
    """Return candles with a large planted edge."""
    return synthetic_candles(bars, edge=0.2, seed=seed)


@functools.cache
def bundle_files(trees: int = 25, seed: int = 3) -> dict[str, bytes]:
    """Return the files of a model of five features, trained on the whole of `market`."""
    settings = TrainingSettings(
        features=FEATURES, parameters={"num_boost_round": trees, "min_data_in_leaf": 50}, folds=3, plots=False
    )
    return train(market(seed=seed), KEY, settings, at=AT, code_version="test").files


def register(root: Path, *, trees: int = 25, seed: int = 3) -> StrategyModel:
    """Register that model below a folder."""
    registry = PredictionModelRegistry(root, open_runner=open_runner)
    return registry.register(KEY, bundle_files(trees, seed), at=AT)


@functools.cache
def trading_days(bars: int = 1400, seed: int = 3) -> Candles:
    """Return daily candles from Mondays to Fridays, as of a stock."""
    daily = synthetic_candles(bars, edge=0.2, seed=seed, timeframe="1d")
    kept = (daily.open_ms // 86_400_000 + 3) % 7 < 5
    return replace(daily, open_ms=daily.open_ms[kept], **{name: c[kept] for name, c in daily.columns.items()})


def register_trading_days(root: Path) -> StrategyModel:
    """Register a model of `trading_days`: its schema counts weekdays."""
    settings = TrainingSettings(
        features=FEATURES[:4], parameters={"num_boost_round": 5, "min_data_in_leaf": 50}, folds=3, plots=False
    )
    key = ModelKey("BTCUSDT", "basic", "1d")
    files = train(trading_days(), key, settings, at=AT, code_version="test").files
    return PredictionModelRegistry(root, open_runner=open_runner).register(key, files, at=AT)


def with_holes(candles: Candles, seed: int, share: float = 0.15) -> Candles:
    """Drop some candles, whole stretches among them: facts of the market, inside what was asked."""
    rng = np.random.default_rng(seed)
    kept = rng.random(len(candles)) >= share
    for start in rng.integers(0, len(candles), 3):
        kept[start : start + int(rng.integers(5, 60))] = False
    kept[0] = True
    parts = {name: column[kept] for name, column in candles.columns.items()}
    return replace(candles, open_ms=candles.open_ms[kept], **parts)


def revised(candles: Candles, row: int, column: str = "close", factor: float = 1.0001) -> Candles:
    """Change one number of one candle; high and low follow where they must."""
    parts = {name: values.copy() for name, values in candles.columns.items()}
    parts[column][row] *= factor
    parts["high"] = np.maximum.reduce([parts["high"], parts["open"], parts["close"]])
    parts["low"] = np.minimum.reduce([parts["low"], parts["open"], parts["close"]])
    return replace(candles, **parts)
