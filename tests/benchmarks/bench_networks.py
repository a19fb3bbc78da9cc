"""Networks and the vector machine: bits alone and in a batch, one live prediction, honest promotion on markets we know."""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from small_networks import network_bytes

from ml.bundles import open_runner
from ml.engine import PredictionEngine
from ml.onnx_runner import OnnxRunner
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import TrainingResult, train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

__all__ = ["FAMILIES", "measure", "train_family"]

BARS = 35_040
_SMALL = {"epochs": 15, "device": "cpu"}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "momentum-svm": ("momentum", "svm", {}),
    "price_nn-mlp": ("price_nn", "mlp", _SMALL),
    "basic-tcn": ("basic", "tcn", {**_SMALL, "sequence_length": 16, "units": 16}),
    "basic-lstm": ("basic", "lstm", {**_SMALL, "sequence_length": 16, "units": 16}),
}
"""Type, architecture and parameters: small networks, few epochs."""

_AT = datetime(2026, 1, 1, tzinfo=UTC)


def train_family(name: str, edge: float, seed: int, bars: int = BARS) -> TrainingResult:
    """Train one family on one simulated market: default features, three folds, no battery."""
    kind, architecture, parameters = FAMILIES[name]
    settings = TrainingSettings(
        parameters=parameters, architecture=architecture, folds=3, plots=False, robustness=False, seed=seed
    )
    candles = synthetic_candles(bars, edge=edge, seed=seed)
    return train(candles, ModelKey("SYNTH", kind, "1h"), settings, at=_AT, code_version="test")


def measure(
    found_seeds: int = 5, null_seeds: int = 10, families: tuple[str, ...] = tuple(FAMILIES)
) -> list[dict[str, Any]]:
    """Return one row for each promise; all of it takes about half an hour on one core."""
    return [*_bits(), *_live(), *(row for name in families for row in _promoted(name, found_seeds, null_seeds))]


def _bits() -> list[dict[str, Any]]:
    """Compare every row alone with the same row in a batch."""
    names = tuple(f"feature_{i}" for i in range(120))
    rows = np.random.default_rng(0).normal(size=(1_119, 120)).astype(np.float32)
    found = []
    for kind, sequence in (("mlp", 1), ("lstm", 120), ("tcn", 120)):
        runner = OnnxRunner.from_bytes(network_bytes(names, sequence, kind, units=32))
        given = rows[: 500 + sequence - 1]
        together = runner.scores(given)
        alone = np.array([runner.scores(given[i : i + sequence])[0] for i in range(500)])
        differing = int((together.view(np.int64) != alone.view(np.int64)).sum())
        found.append(
            {
                "what": f"{kind}, windows of {sequence} x 120: rows with other bits alone than in a batch",
                "asked": "0 of 500",
                "measured": f"{differing} of 500",
                "ok": differing == 0,
            }
        )
    return found


def _live() -> list[dict[str, Any]]:
    """Time the newest bar of a vector machine of 5,000 rows, features included; and its bits and size."""
    result = train_family("momentum-svm", 0.06, 1, 12_000)
    candles = synthetic_candles(12_000, edge=0.06, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        registry = PredictionModelRegistry(Path(folder), open_runner=open_runner)
        engine = PredictionEngine(registry.register(ModelKey("SYNTH", "momentum", "1h"), result.files, at=_AT))
        windows = [candles.slice(end - engine.window_bars, end) for end in range(11_000, 11_200)]
        seconds = []
        for window in windows:
            started = time.perf_counter()
            engine.predict_newest(window)
            seconds.append(time.perf_counter() - started)
        batch = engine.predict_batch(candles)
        alone = np.array([engine.predict_newest(window)[0] for window in windows])
    differing = int((alone.view(np.int64) != batch.values[10_999:11_199].view(np.int64))[:, :7].any(axis=1).sum())
    size = len(result.files["model.onnx"])
    return [
        {
            "what": "one momentum prediction, live path, features included, no cache",
            "asked": "<= 1 ms",
            "measured": f"median {1e3 * median(seconds):.2f} ms",
            "ok": median(seconds) <= 1e-3,
        },
        {
            "what": "momentum: newest bars with other bits than in a batch",
            "asked": "0 of 200",
            "measured": f"{differing} of 200",
            "ok": differing == 0,
        },
        {
            "what": "momentum: size of the model",
            "asked": "<= 5 MB",
            "measured": f"{size / 1e6:.2f} MB",
            "ok": size <= 5_000_000,
        },
    ]


def _promoted(name: str, found_seeds: int, null_seeds: int) -> list[dict[str, Any]]:
    """Train on markets with a planted edge and on markets without."""
    started = time.process_time()
    found = [train_family(name, 0.06, 6_000 + i).gate for i in range(found_seeds)]
    seconds = (time.process_time() - started) / max(1, found_seeds)
    nothing = [train_family(name, 0.0, 7_000 + i).gate for i in range(null_seeds)]
    promoted, alarms = sum(gate.promoted for gate in found), sum(gate.promoted for gate in nothing)
    weakest = min(
        (test.mean_gain / max(test.standard_error, 1e-12) for gate in found for test in gate.tests), default=0
    )
    return [
        {
            "what": f"{name}, planted edge 0.06, {BARS:,} bars, 3 folds: promoted",
            "asked": f"{found_seeds} of {found_seeds}",
            "measured": f"{promoted} of {found_seeds} (smallest z {weakest:.1f}, {seconds:.0f} s of processor time a model)",
            "ok": promoted == found_seeds,
        },
        {
            "what": f"{name}, no edge, {BARS:,} bars: promoted",
            "asked": "<= 1 of 10",
            "measured": f"{alarms} of {null_seeds}",
            "ok": alarms <= max(1, null_seeds // 10),
        },
    ]
