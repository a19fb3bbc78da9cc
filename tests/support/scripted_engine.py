"""A deterministic engine with the methods that indicators call: predictions are a function of a candle's own numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ml.candles import Candles
from ml.paths.forecast import PathSummaries
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status


@dataclass(frozen=True)
class Edges:
    """What ``holding_edges`` returns."""

    bounds: np.ndarray
    lower_bound: np.ndarray

    def at(self, p_up) -> np.ndarray:
        place = np.clip(np.searchsorted(self.bounds, p_up, side="right") - 1, 0, len(self.lower_bound) - 1)
        return np.where(np.asarray(p_up) >= self.bounds[0], self.lower_bound[place], np.nan)


class ScriptedEngine:
    """Predict a scripted probability for each open time; bars before ``warm_after_ms`` of history are warming.

    ``scale`` times twice the distance of the probability from one half is the expected log return. ``risk`` gives a score
    for each open time, as a risk model does.
    """

    def __init__(
        self,
        candles: Candles,
        p_up: np.ndarray,
        *,
        warming: int = 0,
        window_bars: int = 16,
        edges=None,
        risk=None,
        scale: float = 0.01,
        horizon: int = 1,
    ):
        self.name, self.timeframe, self.horizon, self.window_bars = "scripted", candles.timeframe, horizon, window_bars
        self.digest, self.trained_until_ms = "0" * 64, 0
        self._times, self._p_up = candles.open_ms, np.asarray(p_up, dtype=np.float64)
        self._first = int(candles.open_ms[min(warming, len(candles) - 1)]) if warming else int(candles.open_ms[0])
        self._edges, self._scale = edges, scale
        self._risk = None if risk is None else np.asarray(risk, dtype=np.float64)

    def predict_batch(self, candles: Candles) -> PredictionBatch:
        rows = np.searchsorted(self._times, candles.open_ms)
        p_up = self._p_up[rows]
        move = self._scale * (2 * p_up - 1)
        values = np.full((len(candles), len(PREDICTION_COLUMNS)), np.nan)
        values[:, 0] = candles.close * np.exp(move)
        values[:, 1] = move
        values[:, 2] = np.where(p_up >= 0.5, 1.0, -1.0)
        values[:, 3] = np.maximum(p_up, 1 - p_up)
        values[:, 4] = p_up
        values[:, 5] = candles.close * np.exp(move - 0.02)
        values[:, 6] = candles.close * np.exp(move + 0.02)
        if self._risk is not None:
            values[:, 7] = self._risk[rows]
        status = np.where(candles.open_ms < self._first, Status.WARMING, Status.OK).astype(np.int8)
        status[np.isnan(p_up)] = Status.NO_MODEL
        values[status != Status.OK] = np.nan
        return PredictionBatch(values, status)

    def predict_newest(self, candles: Candles) -> tuple[list[float], int]:
        batch = self.predict_batch(candles.slice(len(candles) - 1, len(candles)))
        return batch.values[0].tolist(), int(batch.status[0])

    def holding_edges(self, enter: float, exit: float) -> Edges:  # noqa: A002
        return self._edges or Edges(np.array([0.0, 0.5, 0.6, 1.0]), np.array([np.nan, 0.001, 0.004]))


class ScriptedPaths(ScriptedEngine):
    """Forecast paths with a scripted peak for each open time, as the engine of a model of paths does; NaN says nothing."""

    def __init__(self, candles: Candles, gain, step, p_up, *, trusted_steps: int, steps: int = 60, **options):
        super().__init__(candles, np.where(np.isnan(gain), np.nan, p_up), **options)
        self.steps, self.trusted_steps = steps, trusted_steps
        self._gain, self._step = np.asarray(gain, dtype=np.float64), np.asarray(step, dtype=np.float64)

    def check_steps(self, steps) -> tuple[int, ...]:
        return tuple(steps)

    def summaries(self, candles: Candles, steps) -> PathSummaries:
        rows = np.searchsorted(self._times, candles.open_ms)
        batch = self.predict_batch(candles)
        found = PathSummaries.absent(len(candles), tuple(steps), Status.OK, self.trusted_steps)
        values, at = found.values, len(tuple(steps))
        values[:, : at + 2] = 0.0
        if self.trusted_steps:
            values[:, at + 2] = np.log1p(self._gain[rows])
            values[:, at + 3] = self._step[rows]
            values[:, at + 4] = batch.column("confidence")
        else:
            values[:, at + 3] = 0.0
        values[batch.status != Status.OK] = np.nan
        found.status[:] = batch.status
        return found

    def newest_summary(self, candles: Candles, steps) -> PathSummaries:
        return self.summaries(candles.slice(len(candles) - 1, len(candles)), steps)


def smooth_probabilities(count: int, seed: int, *, spread: float = 0.08, persistence: float = 0.97) -> np.ndarray:
    """Return probabilities around one half that wander: a seeded autoregressive process, squashed into (0, 1)."""
    noise = np.random.default_rng(seed).normal(0, 1, count)
    state, path = 0.0, np.empty(count)
    scale = np.sqrt(1 - persistence**2)
    for row in range(count):
        state = persistence * state + scale * noise[row]
        path[row] = state
    return 0.5 + 0.5 * np.tanh(2 * spread * path)
