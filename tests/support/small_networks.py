"""Bundles of small ONNX networks with drawn weights: nothing is trained, so no training library but onnx is needed."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import small_models
from small_models import AT, KEY, market

from ml.bundles import build_golden, open_runner
from ml.candles import Candles
from ml.features.schema import FeatureSchema
from ml.publishing import read_publisher
from ml.training.onnx_export import Graph
from registry.model import StrategyModel
from registry.store import PredictionModelRegistry


def network_bytes(names: tuple[str, ...], sequence: int, kind: str = "lstm", seed: int = 0, units: int = 6) -> bytes:
    """Return an LSTM, a convolution or a dense network over windows of scaled rows."""
    rng = np.random.default_rng(seed)
    graph, width = Graph(names, sequence), len(names)
    rows = graph.scaled(rng.normal(0, 0.1, width), rng.uniform(0.5, 2, width), 5.0)

    def drawn(*shape: int) -> str:
        return graph.constant(rng.normal(0, 0.5, shape))

    if sequence == 1:
        state = graph.add("Tanh", graph.add("MatMul", rows, drawn(width, units)))
    elif kind == "lstm":
        weights = drawn(1, 4 * units, width), drawn(1, 4 * units, units), drawn(1, 8 * units)
        turned = graph.add("Transpose", rows, perm=[1, 0, 2])
        state = graph.add("LSTM", turned, *weights, outputs=2, hidden_size=units)
        state = graph.add("Reshape", state, graph.constant([-1, units], np.int64))
    else:
        turned = graph.add("Transpose", rows, perm=[0, 2, 1])
        state = graph.add("Relu", graph.add("Conv", turned, drawn(units, width, 3), dilations=[2], pads=[4, 0]))
        state = graph.add("Gather", state, graph.constant(-1, np.int64), axis=2)
    return graph.to_bytes(graph.add("MatMul", state, drawn(units, 1)))


@functools.cache
def network_files(sequence: int, kind: str = "lstm", seed: int = 0) -> dict[str, bytes]:
    """Return the files of a bundle: those of the small trees, with a network in their place."""
    files = dict(small_models.bundle_files())
    del files["model.txt"]
    schema = FeatureSchema.from_dict(json.loads(files["feature_schema.json"]))
    model = {"model.onnx": network_bytes(schema.names, sequence, kind, seed)}
    calibration = read_publisher(json.loads(files["calibration.json"]))
    return files | model | {"golden.json": build_golden(market(), schema, model, calibration)}


def register_network(root: Path, sequence: int, kind: str = "lstm", seed: int = 0) -> StrategyModel:
    """Register that bundle below a folder."""
    registry = PredictionModelRegistry(root, open_runner=open_runner)
    return registry.register(KEY, network_files(sequence, kind, seed), at=AT)


def off_the_grid(candles: Candles, seed: int, share: float = 0.02) -> Candles:
    """Move the open times of some candles by a few minutes."""
    rng = np.random.default_rng(seed)
    moved = np.where(rng.random(len(candles)) < share, rng.integers(1, 40, len(candles)) * 60_000, 0)
    moved[0] = 0
    return Candles.from_columns(
        candles.timeframe, {"open_ms": candles.open_ms + moved, **candles.columns}, asked=candles.asked
    )
