"""Common rows of members whose truth is known, built without any model."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from ml.ensembles.rows import CommonRows

HOUR = 3_600_000


def member_rows(
    count: int = 4_000,
    *,
    signals: tuple[tuple[float, ...], ...] = ((0.25, 0.0), (0.0, 0.25)),
    believed: float = 1.0,
    horizon: int = 1,
    seed: int = 0,
) -> CommonRows:
    """Return bars whose log odds of a rise are a sum of hidden sources, and members that see some of them.

    ``signals`` holds one row for each member: the weight of each source in the log odds that it states. The truth is the sum
    of the sources, each with the largest weight that any member gives it. ``believed`` multiplies what the members state.
    """
    generator = np.random.default_rng(seed)
    weights = np.array(signals)
    sources = generator.normal(size=(count, weights.shape[1]))
    truth = (sources * weights.max(axis=0)).sum(axis=1)
    rose = generator.random(count) < 1 / (1 + np.exp(-truth))
    sigma = np.abs(generator.normal(0.01, 0.002, count)) + 0.002
    size = np.abs(generator.normal(0, sigma * np.sqrt(horizon))) + 1e-6
    p_up = 1 / (1 + np.exp(-believed * sources @ weights.T))
    expected = sigma[:, None] * 0.8 * (2 * p_up - 1)
    k = 400_000 + np.arange(count, dtype=np.int64)
    return CommonRows(
        names=tuple(f"BTCUSDT/member{i}@v" for i in range(len(weights))),
        open_ms=k * HOUR,
        k=k,
        stated=np.ascontiguousarray(p_up),
        expected=expected,
        low=expected - 1.6 * sigma[:, None] * np.sqrt(horizon),
        high=expected + 1.6 * sigma[:, None] * np.sqrt(horizon),
        outcome=np.where(rose, size, -size),
        close=100 * np.exp(np.cumsum(generator.normal(0, 0.01, count))),
        sigma=sigma,
        baselines={"train_base_rate": np.full(count, 0.5), "last_sign_p": np.full(count, 0.501)},
        scored=k % horizon == 0,
    )


def cut(rows: CommonRows, end: int) -> CommonRows:
    """Return the first ``end`` rows."""
    parts = {f.name: getattr(rows, f.name)[:end] for f in fields(rows) if f.name not in {"names", "kind", "baselines"}}
    return replace(rows, **parts, baselines={name: column[:end] for name, column in rows.baselines.items()})


def altered(rows: CommonRows, first: int, seed: int = 9) -> CommonRows:
    """Return the rows with everything that was said and happened from position ``first`` on shuffled and turned round."""
    order = np.arange(len(rows))
    np.random.default_rng(seed).shuffle(order[first:])
    parts = {}
    for name in ("stated", "expected", "low", "high", "outcome", "sigma", "close"):
        parts[name] = getattr(rows, name)[order].copy()
    if rows.kind == "volatility":
        parts["outcome"][first:] *= 3
        return replace(rows, **parts)
    parts["stated"][first:] = 1 - parts["stated"][first:]
    parts["outcome"][first:] = 1 - parts["outcome"][first:] if rows.kind == "risk" else -3 * parts["outcome"][first:]
    return replace(rows, **parts)
