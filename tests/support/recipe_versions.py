"""Versions of small recipes: models of every task, trained on the first bars of a market that goes on."""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime

import small_networks
from small_models import market

from ml.bundles import build_golden
from ml.candles import Candles
from ml.features.schema import FeatureSchema
from ml.price_publisher import fit_price
from ml.record import OutOfSample
from ml.training.documents import json_bytes
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

BARS = 3_600
TRAINED = 3_000
HOUR = 3_600_000
FEATURES = ("ewma_volatility", "rsi_14", "taker_imbalance_20", "volatility_20", "hour")
HORIZONS = {"basic": 1, "risk": 4, "volatility": 4, "price": 2, "network": 3, "far": 48}
PARAMETERS = {
    "risk": {"n_estimators": 10, "sample_rows": 500},
    "volatility": {"num_boost_round": 15, "min_data_in_leaf": 50},
    "far": {"num_boost_round": 3, "min_data_in_leaf": 50},
    "basic": {"num_boost_round": 15, "min_data_in_leaf": 50},
}
TYPES = {"risk": "risk", "volatility": "volatility", "far": "volatility"}
KINDS = ("basic", "risk", "volatility", "price", "network")


def recipe_key(kind: str) -> ModelKey:
    return ModelKey("BTCUSDT", TYPES.get(kind, "basic"), "1h")


def recipe_settings(kind: str, **changes) -> TrainingSettings:
    """Return small settings without plots and battery."""
    base = {
        "horizon": HORIZONS[kind],
        "features": FEATURES[:1] if kind == "far" else FEATURES,
        "parameters": PARAMETERS.get(kind, PARAMETERS["basic"]),
        "folds": 3,
        "plots": False,
        "robustness": False,
    }
    return TrainingSettings(**base | changes)


def close_time(candles: Candles) -> datetime:
    """Return the moment at which the last candle closes."""
    return datetime.fromtimestamp((int(candles.open_ms[-1]) + candles.step_ms) / 1000, UTC)


@functools.cache
def version_files(kind: str, bars: int = TRAINED) -> dict[str, bytes]:
    """Return the files of a version that was trained on the first bars of the market.

    ``far`` is a volatility so far ahead that its baselines read more candles than its only feature; ``price`` are the trees
    of ``basic`` with another publisher, ``network`` is an untrained LSTM over windows of five rows.
    """
    candles = market(BARS).slice(0, bars)
    result = train(candles, recipe_key(kind), recipe_settings(kind), at=close_time(candles), code_version="test")
    files = dict(result.files)
    if kind in PARAMETERS:
        return files
    schema, publisher = FeatureSchema.from_dict(json.loads(files["feature_schema.json"])), result.calibration
    model = {"model.txt": files.pop("model.txt")}
    if kind == "price":
        rows = OutOfSample.from_parquet(files["oos_predictions.parquet"]).scored_columns()
        publisher = fit_price(rows["raw_score"], rows["forward_return"], rows["sigma"], horizon=HORIZONS[kind])
        files["metadata.json"] = json_bytes({**json.loads(files["metadata.json"]), "task": "price"})
        files["calibration.json"] = json_bytes(publisher.to_dict())
    else:
        model = {"model.onnx": small_networks.network_bytes(schema.names, 5)}
    return files | model | {"golden.json": build_golden(candles, schema, model, publisher)}
