"""Models of paths on markets of known truth: is a planted drift trusted, and is nothing trusted where there is nothing?

The planted edge of the other families shows in taker volume, which no path carries; paths have a plant of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from path_markets import BARS, DRIFT, STEPS, Outcome, train_on_market, train_on_markets

__all__ = ["measure"]


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
