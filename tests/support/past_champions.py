"""Versions of one model that were trained on the first bars of a market, and when each was champion."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from small_models import AT, FEATURES

from ml.candles import Candles
from ml.engines import open_bundle
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.model import StrategyModel
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

__all__ = ["BARS", "close_of", "market", "promote", "register_trained", "registry_of"]

BARS = 4_000
HOUR = 3_600_000


@functools.cache
def market(symbol: str = "BTCUSDT") -> Candles:
    """Return the candles of a symbol, the same as ``backtest_runs.small_home`` stores."""
    return synthetic_candles(BARS, edge=0.2, seed=3 + (symbol != "BTCUSDT"))


@functools.cache
def _files(symbol: str, bars: int, trees: int, horizon: int) -> dict[str, bytes]:
    settings = TrainingSettings(
        features=FEATURES,
        parameters={"num_boost_round": trees, "min_data_in_leaf": 50},
        folds=3,
        plots=False,
        horizon=horizon,
    )
    key = ModelKey(symbol, "basic", "1h")
    return train(market(symbol).slice(0, bars), key, settings, at=AT, code_version="test").files


def registry_of(root: Path) -> PredictionModelRegistry:
    """Return a registry whose versions can be run."""
    return PredictionModelRegistry(root, open_bundle)


def register_trained(
    root: Path, bars: int, *, trees: int = 12, symbol: str = "BTCUSDT", horizon: int = 1, **metadata: object
) -> StrategyModel:
    """Register a version that was trained on the first so many bars; ``metadata`` replaces fields of its metadata."""
    files = dict(_files(symbol, bars, trees, horizon))
    if metadata:
        files["metadata.json"] = json.dumps({**json.loads(files["metadata.json"]), **metadata}).encode()
    return registry_of(root).register(ModelKey(symbol, "basic", "1h"), files, at=AT)


def close_of(row: int, *, late_ms: int = 0) -> datetime:
    """Return the moment at which a bar of the market closes."""
    return datetime.fromtimestamp((int(market().open_ms[row]) + HOUR) / 1000, UTC) + timedelta(milliseconds=late_ms)


def promote(root: Path, model: StrategyModel, at: datetime, reason: str = "better") -> None:
    """Make a version the champion at a moment."""
    registry_of(root).promote(model.key, model.version_id, at=at, reason=reason)
