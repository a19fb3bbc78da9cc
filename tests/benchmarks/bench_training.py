"""Training: is a planted edge found, is nothing found where there is nothing, is confidence a probability, is it quick?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from planted_markets import confidence_gap, train_on_market, train_on_markets

BARS = 35_040


def measure(found_seeds: int = 20, null_seeds: int = 60, quick_seeds: int = 5) -> list[dict[str, Any]]:
    """Return one row for each promise; seeds start at 1,000 so that no other test has seen them."""
    train_on_market(0.04, 999, 12_000)  # compiles kernels once, before anything is timed
    found = train_on_markets(0.04, range(1_000, 1_000 + found_seeds))
    nothing = train_on_markets(0.0, range(2_000, 2_000 + null_seeds))
    quick = train_on_markets(0.06, range(3_000, 3_000 + quick_seeds), bars=17_520)
    promoted = sum(outcome.promoted for outcome in found)
    false_alarms = sum(outcome.promoted for outcome in nothing)
    quick_promoted = sum(outcome.promoted for outcome in quick)
    errors = np.array([outcome.calibration_error for outcome in found])
    gap = confidence_gap(found)
    worst = max(abs(outcome.mean_confidence - outcome.hit_rate) for outcome in found)
    seconds = np.array([outcome.core_seconds for outcome in found])
    z = np.array([outcome.smallest_z for outcome in found])
    return [
        {
            "what": f"planted edge 0.04, {BARS:,} bars, horizon 1: promoted",
            "asked": f">= {found_seeds - 1} of {found_seeds}",
            "measured": f"{promoted} of {found_seeds} (smallest z {z.min():.1f}, mean {z.mean():.1f})",
            "ok": promoted >= found_seeds - 1,
        },
        {
            "what": f"no edge, {BARS:,} bars: promoted",
            "asked": f"<= {null_seeds // 20} of {null_seeds}",
            "measured": f"{false_alarms} of {null_seeds}",
            "ok": false_alarms <= null_seeds // 20,
        },
        {
            "what": "planted edge 0.06, 17,520 bars (quickstart): promoted",
            "asked": f"{quick_seeds} of {quick_seeds}",
            "measured": f"{quick_promoted} of {quick_seeds}",
            "ok": quick_promoted == quick_seeds,
        },
        {
            "what": "debiased calibration error, edge 0.04",
            "asked": "mean <= 0.015, none above 0.03",
            "measured": f"mean {errors.mean():.4f}, largest {errors.max():.4f}",
            "ok": bool(errors.mean() <= 0.015 and errors.max() <= 0.03),
        },
        {
            "what": "mean stated confidence minus hit rate, edge 0.04",
            "asked": "within 0.01",
            "measured": f"{gap:+.4f} over all seeds (furthest seed {worst:.4f})",
            "ok": abs(gap) <= 0.01,
        },
        {
            "what": f"processor seconds a model, {BARS:,} bars, features, 5 folds and final, one core",
            "asked": "<= 6",
            "measured": f"median {np.median(seconds):.1f}, largest {seconds.max():.1f}",
            "ok": bool(np.median(seconds) <= 6),
        },
    ]
