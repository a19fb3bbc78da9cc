"""Documents of the drift report, made by the monitors themselves on a simulated champion."""

from __future__ import annotations

import numpy as np

from ml.drift.calibration import calibration_gap
from ml.drift.features import feature_drift
from ml.drift.naive import naive_figure
from ml.drift.predictions import prediction_drift
from ml.drift.reference import DriftReference, drift_reference, read_reference, reference_bytes
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.intervals import wilson
from ml.synthetic import synthetic_candles

HOUR = 3_600_000
START_MS = 1_735_689_600_000  # 2025-01-01
YEAR = 8_760
P0 = 0.543


def feature_rows(bars: int, seed: int, timeframe: str = "1h"):
    """Return the default features of a simulated market, rows with all values only, and their names."""
    candles = synthetic_candles(bars, seed=seed, timeframe=timeframe)
    schema = FeatureSchema.for_candles(candles, None)
    rows = FeaturePipeline(schema).compute(candles).rows
    return rows[np.isfinite(rows).all(axis=1)], schema.names


def reference_of(rows, names, signal=None, task: str = "direction") -> DriftReference:
    """Return a reference as it comes back from its file."""
    return read_reference(reference_bytes(drift_reference(rows, names, signal, task=task)))


def shiryaev_roberts(came_true, p0: float, p1: float) -> np.ndarray:
    """Return the statistic after each evaluation."""
    value, values = 0.0, []
    for came in came_true.tolist():
        value = (1.0 + value) * (p1 / p0 if came else (1.0 - p1) / (1.0 - p0))
        values.append(value)
    return np.array(values)


def drift_document(*, healthy: int = 3_000, fallen: int = 0, seed: int = 0, shift: float = 0.0) -> dict:
    """Return the document of a champion that is right in 55 % of ``healthy`` evaluations and 50 % of ``fallen`` ones.

    ``shift`` is added to its features, in standard deviations, over the newest rows.
    """
    rng = np.random.default_rng(seed)
    count = healthy + fallen
    rate = np.concatenate([np.full(healthy, 0.55), np.full(fallen, 0.50)])
    came_true = rng.random(count) < rate
    logit = np.abs(rng.normal(0.0, 0.25, count))
    stated = 1.0 / (1.0 + np.exp(-logit))
    open_ms = START_MS + HOUR * np.arange(count)
    path = shiryaev_roberts(came_true, P0, 0.5)
    alarm = bool((path >= YEAR).any())
    hits = int(came_true[healthy:].sum())
    until = int(open_ms[-1]) + HOUR

    rows, names = feature_rows(9_000, seed)
    old, new = rows[:-720], rows[-720:].copy()
    new[:, ::4] += np.float32(shift) * old[:, ::4].std(axis=0)
    before = 1.0 / (1.0 + np.exp(-rng.normal(0.0, 0.25, 5_000)))
    now = 1.0 / (1.0 + np.exp(-rng.normal(0.3 * shift, 0.25, 720)))
    reference = reference_of(old, names, before)
    words = "Its hit rate is what it was: 55.0 % of 8,760 evaluations before."
    if alarm:
        low, high = wilson(hits, fallen)
        words = (
            f"Its hit rate fell from 55.0 % of 8,760 evaluations to {100 * hits / fallen:.1f} % of {fallen:,} "
            f"(95 % interval {100 * low:.1f} to {100 * high:.1f} %): a sound model raises such an alarm once a year."
        )
    return {
        "symbol": "BTCUSDT",
        "model_type": "basic",
        "timeframe": "1h",
        "task": "direction",
        "horizon": 1,
        "version": "2025-01-01T000000Z_1h_v7",
        "recipe": "hourly-trees",
        "since": "2025-01-01T00:00Z",
        "until": str(np.datetime64(until, "ms"))[:16] + "Z",
        "state": "alarm" if alarm else "calm",
        "words": words,
        "performance": {
            "open_ms": open_ms.tolist(),
            "came_true": came_true.tolist(),
            "stated": stated.tolist(),
            "statistic": path.tolist(),
            "level": float(YEAR),
            "overlap": 1,
            "reference": P0,
            "reference_rows": YEAR,
            "reference_hits": 4_818,
            "fall": {"since": healthy, "n": fallen} if fallen else None,
        },
        "calibration": calibration_gap(stated, came_true).to_dict(),
        "features": feature_drift(reference, new, names).to_dict(),
        "predictions": prediction_drift(reference, now).to_dict(),
        "naive": naive_figure(open_ms, came_true, 0.55, until).to_dict(),
    }
