"""Models of paths on markets of known truth: is a planted drift trusted, and is nothing trusted where there is nothing?

The planted edge of the other families shows in taker volume, which no path carries; paths have a plant of their own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

__all__ = ["measure"]

BARS, STEPS, DRIFT = 20_000, 60, 0.2


@dataclass(frozen=True)
class Outcome:
    """What one training run came to; ``seconds`` is processor time of one core."""

    promoted: bool
    trusted_steps: int
    confidence_gap: float
    seconds: float


def measure(found_seeds: int = 20, null_seeds: int = 60, candle_seeds: int = 10) -> list[dict[str, Any]]:
    """Return one row for each promise; seeds start at 1,000 so that no other test has seen them."""
    train_on_market("autoregressive", DRIFT, 999)  # compiles kernels once, before anything is timed
    found = train_on_markets("autoregressive", DRIFT, range(1_000, 1_000 + found_seeds))
    nothing = train_on_markets("autoregressive", 0.0, range(2_000, 2_000 + null_seeds))
    candles = train_on_markets("multi_ohlc", DRIFT, range(3_000, 3_000 + candle_seeds))
    no_candles = train_on_markets("multi_ohlc", 0.0, range(4_000, 4_000 + candle_seeds))
    return [
        *_rows("autoregressive", found, nothing),
        *_rows("multi_ohlc", candles, no_candles),
    ]


def train_on_market(kind: str, drift: float, seed: int) -> Outcome:
    """Simulate a market, train on it with the default settings, and return the figures."""
    candles = synthetic_candles(BARS, path_drift=drift, seed=seed)
    settings = TrainingSettings(parameters={"n_steps_ahead": STEPS}, plots=False)
    started = time.process_time()
    result = train(
        candles, ModelKey("SYNTH", kind, "1h"), settings, at=datetime(2026, 1, 1, tzinfo=UTC), code_version="benchmark"
    )
    figures = result.metrics["out_of_sample"]
    first = figures["confidence"][0]
    return Outcome(
        promoted=result.gate.promoted,
        trusted_steps=figures["trusted_steps"],
        confidence_gap=first["mean_confidence"] - first["hit_rate"],
        seconds=time.process_time() - started,
    )


def train_on_markets(kind: str, drift: float, seeds: range, workers: int = 2) -> list[Outcome]:
    """Run many seeds in worker processes; each uses one core."""
    from joblib import Parallel, delayed

    return list(Parallel(n_jobs=workers)(delayed(train_on_market)(kind, drift, seed) for seed in seeds))


def _rows(kind: str, found: list[Outcome], nothing: list[Outcome]) -> list[dict[str, Any]]:
    promoted, alarms = sum(each.promoted for each in found), sum(each.promoted for each in nothing)
    steps = [each.trusted_steps for each in found]
    gap = float(np.nanmean([each.confidence_gap for each in found]))
    most = len(nothing) // 20
    return [
        {
            "what": f"{kind}: planted path drift {DRIFT:g}, {BARS:,} bars: promoted",
            "asked": f">= {len(found) - 1} of {len(found)}",
            "measured": (
                f"{promoted} of {len(found)} (trusted steps of {STEPS}: least {min(steps)}, median {np.median(steps):.0f})"
            ),
            "ok": promoted >= len(found) - 1,
        },
        {
            "what": f"{kind}: no edge: promoted",
            "asked": f"<= {max(most, 1)} of {len(nothing)}",
            "measured": f"{alarms} of {len(nothing)}",
            "ok": alarms <= max(most, 1),
        },
        {
            "what": f"{kind}: mean stated confidence minus hit rate at step 1",
            "asked": "within 0.02",
            "measured": f"{gap:+.4f} (processor seconds a model: {np.median([each.seconds for each in found]):.1f})",
            "ok": abs(gap) <= 0.02,
        },
    ]
