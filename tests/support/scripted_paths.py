"""A deterministic engine of paths with the methods that MLForecast calls: straight lines of a scripted slope."""

from __future__ import annotations

import numpy as np
from scripted_engine import ScriptedEngine

from ml.paths.forecast import PathSummaries
from ml.predictions import Status


class ScriptedPaths(ScriptedEngine):
    """Predict the log return ``step * slope``, slope = ``scale * (2 p_up - 1)``, with a kink down after the trusted steps."""

    def __init__(self, candles, p_up, *, steps: int = 60, trusted_steps: int = 5, **options):
        super().__init__(candles, p_up, **options)
        self.steps, self.trusted_steps = steps, trusted_steps

    def check_steps(self, steps):
        if not all(1 <= step <= self.steps for step in steps):
            raise ValueError(f"a step is not among 1 to {self.steps}")
        return tuple(steps)

    def summaries(self, candles, steps, threads=None) -> PathSummaries:
        batch = self.predict_batch(candles)
        slope, confidence = batch.column("expected_return"), batch.column("confidence")
        steps, trusted = self.check_steps(steps), self.trusted_steps
        path = slope[:, None] * np.minimum(np.arange(1, self.steps + 1), max(trusted, 1))
        found = PathSummaries.absent(len(candles), steps, Status.OK, trusted)
        found.status[:] = batch.status
        for place, step in enumerate(steps):
            found.values[:, place] = path[:, step - 1]
        rises = slope > 0
        rest = found.values[:, len(steps) :]
        rest[:, 0], rest[:, 1] = path.max(axis=1), path.min(axis=1)
        if trusted:
            rest[:, 2] = path[:, :trusted].max(axis=1)
            rest[:, 3] = np.where(rises, trusted, 1)
            rest[:, 4] = confidence
        else:
            rest[:, 3] = 0.0
        found.values[batch.status != Status.OK] = np.nan
        return found

    def newest_summary(self, candles, steps) -> PathSummaries:
        return self.summaries(candles.slice(len(candles) - 1, len(candles)), steps)
