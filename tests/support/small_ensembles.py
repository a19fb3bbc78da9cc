"""Small trained models and ensembles of them in a registry."""

from __future__ import annotations

import functools
from pathlib import Path

from small_models import AT, KEY, market

from ml.engines import open_bundle
from ml.ensembles.predictor import EnsemblePredictor
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.model import StrategyModel
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

FEATURES = (
    ("ewma_volatility", "taker_imbalance_20", "rsi_14"),
    ("ewma_volatility", "taker_imbalance_20", "hour"),
    ("ewma_volatility", "volatility_20"),
)


@functools.cache
def member_files(number: int, horizon: int = 1, bars: int = 3_000) -> dict[str, bytes]:
    """Return the files of a model of few features; each number sees others."""
    settings = TrainingSettings(
        horizon=horizon,
        features=FEATURES[number],
        parameters={"num_boost_round": 15, "min_data_in_leaf": 50},
        folds=3,
        plots=False,
        robustness=False,
        seed=number,
    )
    return train(market(bars), KEY, settings, at=AT, code_version="test").files


def registry_of(root: Path) -> PredictionModelRegistry:
    """Return a registry that opens every type."""
    return PredictionModelRegistry(root, open_runner=open_bundle)


def register_members(root: Path, count: int = 2) -> list[StrategyModel]:
    """Register that many members."""
    registry = registry_of(root)
    return [registry.register(KEY, member_files(number), at=AT) for number in range(count)]


def register_ensemble(root: Path, method: str = "weighted_avg", count: int = 2, **options) -> StrategyModel:
    """Register members and an ensemble of them, and return the latter as a reader gets it."""
    predictor = EnsemblePredictor(register_members(root, count), method=method, **options)
    files = predictor.build(at=AT, code_version="test").files
    made = registry_of(root).register(predictor.key, files, at=AT)
    return select(root, made.version_id)


def select(root: Path, version: str = "newest") -> StrategyModel:
    """Return a registered ensemble, verified."""
    key = ModelKey(KEY.symbol, "ensemble", KEY.timeframe)
    return registry_of(root).select_bundle(
        symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=version
    )
