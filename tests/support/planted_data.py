"""Datasets whose truth is known, built without the feature pipeline."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from ml.dataset import Dataset
from ml.paths.dataset import PathDataset

HOUR = 3_600_000


def planted_dataset(
    count: int = 2_000,
    *,
    edge: float = 0.1,
    features: int = 6,
    horizon: int = 1,
    seed: int = 0,
    missing: tuple[int, ...] = (),
    first_index: int = 400_000,
) -> Dataset:
    """Return rows whose first feature tells the direction of the next bar with probability 0.5 + edge.

    ``missing`` are indices (counted from the first) that hold no candle. The second feature is the volatility.
    """
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(count, features)).astype(np.float32)
    sigma = np.abs(generator.normal(0.01, 0.002, count)) + 0.001
    rows[:, 1] = sigma
    up = generator.random(count) < 0.5 + edge * np.sign(rows[:, 0])
    steps = np.where(up, 1.0, -1.0) * np.abs(generator.normal(0, sigma))
    log_close = 5 + np.concatenate([[0.0], np.cumsum(steps)[:-1]])
    returns, past = np.full(count, np.nan), np.full(count, np.nan)
    returns[:-horizon] = log_close[horizon:] - log_close[:-horizon]
    past[horizon:] = returns[:-horizon]
    keep = np.setdiff1d(np.arange(count), np.array(missing, dtype=int))
    lost = np.isin(np.arange(count) + horizon, missing)
    returns[lost] = np.nan
    k = first_index + np.arange(count, dtype=np.int64)
    return Dataset(
        names=tuple(f"feature_{i}" for i in range(features)),
        rows=np.ascontiguousarray(rows[keep]),
        returns=returns[keep],
        past=past[keep],
        k=k[keep],
        open_ms=k[keep] * HOUR,
        close=np.exp(log_close)[keep],
        sigma=rows[keep, 1].astype(np.float64),
        usable=np.ones(len(keep), dtype=bool),
        horizon=horizon,
    )


def with_next_candles(dataset: Dataset, seed: int = 0) -> PathDataset:
    """Return the same rows with a next candle each: its close is that of the label, gap and wicks are noise."""
    generator = np.random.default_rng(seed)
    arrays = {field.name: getattr(dataset, field.name) for field in fields(dataset)}
    noise = generator.normal(0, dataset.sigma[:, None], (len(dataset), 3))
    parts = [0.1 * noise[:, 0], np.abs(noise[:, 1]), np.abs(noise[:, 2]), dataset.returns]
    return PathDataset(**arrays, next_candle=np.stack(parts, axis=1))
