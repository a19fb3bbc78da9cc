"""The plan, the figures and the verdict of a model of paths."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.intervals import wilson
from ml.paths.bands import band_coverage
from ml.paths.skill import BASELINES, confidence_figures, first_step_figures, skill_by_step, trusted_steps
from ml.tasks.path import PathWords
from ml.tasks.words import percent
from ml.training.gate import BaselineTest, GateDecision
from ml.training.plan import TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.paths.record import PathRecord, StepRecord

__all__ = ["MINIMUM_PATHS", "PathPlan", "decide_path", "path_figures"]

MINIMUM_PATHS = 500
"""Fewer paths than this are never promoted."""


@dataclass(frozen=True, slots=True)
class PathPlan(TrainingPlan):
    """How much of the data can be learnt from; ``horizon`` is the length of a path, ``scored`` how many paths are judged."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the plan in words."""
        words = [
            f"{self.bars:,} bars, {self.usable:,} of them after the warm-up ({self.warming:,} without features)",
            f"{self.scored:,} paths of {self.horizon} steps will be judged, from starts that the model has not seen",
        ]
        if self.scored < MINIMUM_PATHS:
            words.append(f"with fewer than {MINIMUM_PATHS:,} paths no model is promoted")
        return words


def path_figures(
    record: PathRecord, steps: StepRecord, shrink: tuple[float, ...], parts: tuple[str, ...]
) -> dict[str, Any]:
    """Return every figure of a record.

    ``trusted_steps``; ``horizon`` (the last trusted step, or 1), which ``n``, ``r2_os``, ``direction_accuracy`` with its
    interval, ``majority_baseline`` and ``gain`` speak of; ``by_step``: see ``ml.paths.skill.skill_by_step``; ``confidence``
    at step 1 and at the horizon; ``bands``: see ``ml.paths.bands.band_coverage``; ``first_step``: one step ahead of every
    test bar.
    """
    table = skill_by_step(record)
    trusted = trusted_steps(table)
    horizon = max(1, trusted)
    row = {name: column[horizon - 1] for name, column in table.items()}
    came = record.outcomes()[:, horizon - 1]
    moved = np.isfinite(came) & (came != 0)
    apart = min(int(moved.sum()), int(row["independent"]))  # paths that overlap count once in the interval
    low, high = wilson(round(row["hit_rate"] * apart), apart) if apart else (math.nan, math.nan)
    rises = float(np.mean(came[moved] > 0)) if moved.any() else math.nan
    return {
        "task": "path",
        "n": row["n"],
        "paths": len(record),
        "spacing": record.spacing,
        "n_steps_ahead": record.steps,
        "trusted_steps": trusted,
        "horizon": horizon,
        "shrink": list(shrink),
        "r2_os": row["r2_os"],
        "direction_accuracy": row["hit_rate"],
        "direction_accuracy_low": low,
        "direction_accuracy_high": high,
        "majority_baseline": float(np.mean((record.drift[moved] >= 0) == (came[moved] > 0))) if moved.any() else rises,
        "gain": {
            name: {
                "mean": row[f"gain_{name}"],
                "standard_error": row[f"gain_{name}_se"],
                "lower_95": row[f"gain_{name}_lower"],
            }
            for name in BASELINES
        },
        "first_ms": int(record.open_ms[0]) if len(record) else None,
        "last_ms": int(record.open_ms[-1]) if len(record) else None,
        "confidence": [confidence_figures(record, step) for step in sorted({1, horizon})],
        "bands": band_coverage(record),
        "first_step": first_step_figures(steps, parts),
        "by_step": table,
    }


def decide_path(figures: Mapping[str, Any]) -> GateDecision:
    """Return the verdict: promoted where at least one step is trusted, on enough paths."""
    table = figures["by_step"]
    tests = tuple(
        BaselineTest(
            baseline=name,
            mean_gain=table[f"gain_{name}"][0],
            standard_error=table[f"gain_{name}_se"][0],
            lower_bound=table[f"gain_{name}_lower"][0],
            passed=table[f"gain_{name}_lower"][0] > 0,
        )
        for name in BASELINES
    )
    count = int(table["n"][0])
    promoted = figures["trusted_steps"] >= 1 and count >= MINIMUM_PATHS
    return GateDecision(promoted, count, MINIMUM_PATHS, tests, _reason(figures, tests, count, promoted=promoted))


def _reason(figures: Mapping[str, Any], tests: tuple[BaselineTest, ...], count: int, *, promoted: bool) -> str:
    if count < MINIMUM_PATHS:
        return (
            f"refused: only {count:,} paths could be judged on data that the model had not seen, and fewer than "
            f"{MINIMUM_PATHS:,} prove nothing"
        )
    trusted, total = figures["trusted_steps"], figures["n_steps_ahead"]
    if promoted:
        return (
            f"promoted: of {count:,} paths that it had not seen, the first {trusted} of {total} steps beat no change and the "
            f"drift by more than chance explains; at step {trusted} {percent(figures['r2_os'], 2)} of the squared return is "
            "explained. This is a statement about squared error, not about profit"
        )
    failed = " and ".join(PathWords.baselines[test.baseline] for test in tests if not test.passed)
    said = (
        "its forecasts of the next bar came out no better than the opposite, so the path stands still"
        if figures["shrink"][-1] == 0
        else f"measured against {failed or 'too few paths that do not overlap'}, its first step could be chance"
    )
    return (
        f"refused: {count:,} paths that it had not seen, no step of {total} is to be trusted: {said}; that is usual on real "
        "candles: try more bars or a longer timeframe"
    )
