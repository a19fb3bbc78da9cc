"""The one way from closed candles to forecast paths: one bar or many, cached or computed, with the same bits.

A path is a function of the bundle and of the slice of candles of the bar that it starts from, as a prediction is; the cache
is safe for the same reason.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import Candles
from ml.edges import HoldingEdges, holding_edges
from ml.engine import PredictionEngine
from ml.errors import InvalidParameter, NotEnoughBars, SchemaMismatch
from ml.expiry import expiry_of
from ml.features.blocks import block_index, find_blocks, index_start_ms, valid_bars
from ml.fingerprints import most_candles
from ml.paths.bundle import PathBundle, open_path_runner
from ml.paths.forecast import Path, PathSummaries
from ml.paths.recall import PathRecall
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status
from ml.runs import find_runs, slice_of, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from ml.cache import PredictionCache
    from ml.features.pipeline import FeaturePipeline
    from registry.model import StrategyModel

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]
    Codes = npt.NDArray[np.int8]
    Row = tuple[float, ...]

__all__ = ["PathEngine"]

_NOTHING: Row = (float("nan"),) * len(PREDICTION_COLUMNS)
_CONFIDENCE = PREDICTION_COLUMNS.index("confidence")
_BATCH = 4_096  # paths that are computed at once: they fit into the memory of a small machine


class PathEngine(PredictionEngine):
    """Forecasts with one registered model of paths, in a backtest and live alike.

    As a `PredictionEngine` it answers with the prediction of the last trusted step (of step 1, with confidence 0.5, where
    none is trusted). May be copied to another process; not for use by two threads at once.

    Parameters
    ----------
    model
        A version of a type of paths.
    cache
        Where numbers of paths are kept; a cache that fails later is left aside with one warning.
    expires_after_ms
        As ``PredictionEngine``.
    threads
        Cores to use for many bars; all that the process may use unless given. No bit depends on them.

    Raises
    ------
    BrokenModel, SchemaMismatch, InvalidBundle
        When the bundle cannot be opened; see ``ml.paths.bundle.open_path_runner``.
    """

    def __init__(
        self,
        model: StrategyModel,
        *,
        cache: PredictionCache | None = None,
        expires_after_ms: int | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(None, expires_after_ms=expiry_of(model, expires_after_ms))
        self.model = model
        opened = model.runner if model.open_runner is not None else open_path_runner(model)
        self._paths: PathBundle = opened if isinstance(opened, PathBundle) else open_path_runner(model)
        self._recalled = PathRecall(cache, model.digest, self._paths)
        self.threads = threads or _cores()

    @property
    def horizon(self) -> int:
        """Bars ahead that a single prediction speaks of: the last trusted step, or 1."""
        return self._paths.horizon

    @property
    def steps(self) -> int:
        """Steps ahead that a path has."""
        return self._paths.steps

    @property
    def trusted_steps(self) -> int:
        """Steps that beat persistence and drift out of sample; no order may rest on a path beyond them."""
        return self._paths.publisher.trusted_steps

    @property
    def states(self) -> tuple[str, ...]:
        """Columns of a prediction that the model speaks of."""
        return self._paths.publisher.states

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the candles that the model reads."""
        return self._paths.schema.columns

    @property
    def window_bars(self) -> int:
        """Candles, the newest included, that always suffice for a path from the newest bar."""
        return most_candles(self._paths.schema) + 1

    @property
    def cache_hits(self) -> int:
        """Bars that were answered from the cache."""
        return self._recalled.hits

    @property
    def cache_misses(self) -> int:
        """Bars that the cache was asked for and did not hold."""
        return self._recalled.misses

    @property
    def cache_problem(self) -> str | None:
        """Why the cache was left aside; None while it is in use, or was never there."""
        return self._recalled.problem

    def outcome_ms(self, candles: Candles) -> int:
        """Return when the candle closes that the prediction of the last bar speaks of, milliseconds UTC."""
        if not len(candles):
            raise NotEnoughBars("there is no bar to predict from")
        return int(self._closes_ms(candles, self.horizon)[-1])

    def predict_newest(self, candles: Candles) -> tuple[Row, int]:
        """Predict the last bar with the bits that `predict_batch` gives it; see ``PredictionEngine.predict_newest``."""
        absent = self._absence_of_newest(candles)
        if absent is not None:
            return _NOTHING, int(absent)
        try:
            rows = self._paths.pipeline.latest(candles).rows
            values = self._paths.predictions(candles, np.array([len(candles) - 1]), rows)
        except Exception as error:  # noqa: BLE001 - a strategy's bar must not end the run: it is told, and logged once
            self._report_failure(error, int(candles.open_ms[-1]))
            return _NOTHING, int(Status.ERROR)
        if np.isnan(values[0, _CONFIDENCE]):
            return _NOTHING, int(Status.ERROR)
        return tuple(values[0].tolist()), int(Status.OK)

    def predict_batch(self, candles: Candles) -> PredictionBatch:
        """Predict every bar; see ``PredictionEngine.predict_batch``."""

        def compute(part: Candles, positions: Integers) -> Floats:
            rows = self._paths.pipeline.compute(part).rows
            return self._paths.predictions(part, positions, rows[positions], self.threads)

        width = len(PREDICTION_COLUMNS)
        values, status = self._answer(candles, f"prediction|{self.horizon}", width, _CONFIDENCE, compute)
        return PredictionBatch(values, status)

    def path(self, candles: Candles | Any, timeframe: str | None = None) -> Path:
        """Return the path from the newest bar, with bands and confidences.

        Parameters
        ----------
        candles
            Closed candles up to the bar, or a pandas frame of them; the last ``window_bars`` suffice.
        timeframe
            Length of a frame's candles; the model's, where it is left out.

        Raises
        ------
        NotEnoughBars, SchemaMismatch, MissingColumns, InvalidCandles
            As ``predict``.
        """
        if not isinstance(candles, Candles):
            candles = Candles.from_frame(candles, timeframe or self._paths.schema.timeframe)
        if not len(candles):
            raise NotEnoughBars("there is no bar to predict from")
        absent = self._absence_of_newest(candles)
        open_ms, close = int(candles.open_ms[-1]), float(candles.close[-1])
        if absent is None:
            found = self._paths.model.newest(candles, self.steps)
            closes = found if found.ndim == 1 else found[:, 3]
            absent = None if np.isfinite(closes).all() else Status.ERROR
        if absent is not None:
            nothing = np.empty(0)
            return Path(
                *(open_ms, absent, self.name, close, self.trusted_steps, np.empty(0, dtype=np.int64)),
                *(np.empty((0, 4)), nothing, nothing, nothing, nothing),
            )
        opens = np.concatenate([[close], closes[:-1]])
        whole = (
            found
            if found.ndim == 2
            else np.stack([opens, np.maximum(opens, closes), np.minimum(opens, closes), closes], 1)
        )
        sigma, long = self._paths.volatilities(self._paths.pipeline.latest(candles).rows)
        low, high = self._paths.publisher.bands.apply(closes[None], sigma, long)
        every = np.arange(1, self.steps + 1)
        returns = self._paths.summarise_paths(found[None], np.array([close]), every)[0, : self.steps]
        p_up = self._paths.publisher.probabilities(returns, np.full(self.steps, sigma[0]), every)
        return Path(
            open_ms=open_ms,
            status=Status.OK,
            model_name=self.name,
            close=close,
            trusted_steps=self.trusted_steps,
            close_ms=self._closes_ms(candles, self.steps),
            candles=whole,
            returns=returns,
            confidence=np.maximum(p_up, 1.0 - p_up),
            low=low[0],
            high=high[0],
            start_ms=open_ms + candles.step_ms,
        )

    def summaries(self, candles: Candles, steps: Sequence[int], threads: int | None = None) -> PathSummaries:
        """Return what strategies read of the path of every bar.

        Parameters
        ----------
        candles
            Closed candles.
        steps
            Steps to give the return at, 1 to the length of a path.
        threads
            Cores to use; those of the engine unless given.

        Raises
        ------
        InvalidParameter
            When a step is not among those of a path.
        SchemaMismatch, MissingColumns
            When the candles are not what the model reads.
        """
        chosen = self.check_steps(steps)
        cores = self.threads if threads is None else threads

        def compute(part: Candles, positions: Integers) -> Floats:
            sigma, _ = self._paths.volatilities(self._paths.pipeline.compute(part).rows[positions])
            return self._summarise(part, positions, sigma, chosen, cores)

        asked = f"summary|{','.join(map(str, chosen))}|{self.steps}"
        values, status = self._answer(candles, asked, len(chosen) + 5, 0, compute)
        return PathSummaries(chosen, values, self.trusted_steps, status)

    def newest_summary(self, candles: Candles, steps: Sequence[int]) -> PathSummaries:
        """Return the last bar's row with the bits that `summaries` gives it; the path of a live bar."""
        chosen = self.check_steps(steps)
        absent = self._absence_of_newest(candles)
        if absent is None:
            try:
                sigma, _ = self._paths.volatilities(self._paths.pipeline.latest(candles).rows)
                values = self._summarise(candles, np.array([len(candles) - 1]), sigma, chosen, 1)
                if np.isfinite(values[0, 0]):
                    return PathSummaries(chosen, values, self.trusted_steps, np.zeros(1, dtype=np.int8))
            except Exception as error:  # noqa: BLE001 - as in predict_newest
                self._report_failure(error, int(candles.open_ms[-1]))
            absent = Status.ERROR
        return PathSummaries.absent(1, chosen, absent, self.trusted_steps)

    def check_steps(self, steps: Sequence[int]) -> tuple[int, ...]:
        """Return the steps as a tuple; raise ``InvalidParameter`` where one is not a step of the path."""
        chosen = tuple(steps)
        wrong = [
            step
            for step in chosen
            if isinstance(step, bool) or not isinstance(step, int) or not 1 <= step <= self.steps
        ]
        if wrong or not chosen:
            said = f"{wrong[0]!r} is no step of a path of {self.name}" if wrong else "no step is chosen"
            raise InvalidParameter(f"{said}: expected whole numbers from 1 to {self.steps}")
        return chosen

    def _reads(self) -> tuple[FeaturePipeline, int]:
        """Return what computes the features that a path starts from; the steps behind follow from these and the candles."""
        return self._paths.pipeline, 1

    def holding_edges(self, enter: float, exit: float) -> HoldingEdges:  # noqa: A002 - the config's word
        """Return that nothing is known: the record of a model of paths holds no probability of every bar."""
        return holding_edges(None, enter, exit)

    def _summarise(
        self, candles: Candles, positions: Integers, sigma: Floats, chosen: tuple[int, ...], threads: int
    ) -> Floats:
        """Return the values of ``PathSummaries``, float64 (n, s + 5)."""
        steps = np.array(chosen, dtype=np.int64)
        found = self._paths.summarise(candles, positions, steps, self.steps, threads)
        peak, at = found[:, -2], found[:, -1]
        known = np.isfinite(peak)
        p_up = self._paths.publisher.probabilities(
            np.where(known, peak, np.nan), sigma, np.where(known, at, 0).astype(np.int64)
        )
        return np.column_stack([found, np.maximum(p_up, 1.0 - p_up)])

    def _answer(
        self,
        candles: Candles,
        asked: str,
        width: int,
        tell_tale: int,
        compute: Callable[[Candles, Integers], Floats],
    ) -> tuple[Floats, Codes]:
        """Return values, float64 (n, width), and statuses of every bar; NaN in the column ``tell_tale`` is a failure."""
        bundle, count = self._paths, len(candles)
        self._require(candles)
        values, status = np.full((count, width), np.nan), np.full(count, Status.WARMING, dtype=np.int8)
        expired = self._first_expired(candles)
        schema = bundle.schema
        blocks = find_blocks(candles, schema.anchor_bars, schema.index)
        valid = valid_bars(candles, blocks, schema.min_candles)
        missing = self._recalled.find(candles, blocks, find_runs(blocks, valid, expired), asked, values, status)
        for block, lo, hi in spans(list(missing)):
            positions = lo + np.flatnonzero(~candles.off_grid[lo:hi])
            part = slice_of(candles, blocks, block, hi)
            for begin in range(0, len(positions), _BATCH):
                here = positions[begin : begin + _BATCH]
                found = compute(part, here - (hi - len(part)))
                values[here] = found
                status[here] = np.where(np.isnan(found[:, tell_tale]), Status.ERROR, Status.OK)
        values[status == Status.ERROR] = np.nan
        self._recalled.keep(missing, values, status)
        late = np.arange(count) >= expired
        values[late], status[late] = np.nan, Status.EXPIRED
        return values, status

    def _absence_of_newest(self, candles: Candles) -> Status | None:
        """Return why the last bar has no answer, or None where it may have one."""
        self._require(candles)
        if not len(candles):
            return Status.WARMING
        if self._first_expired(candles) < len(candles):
            return Status.EXPIRED
        schema = self._paths.schema
        blocks = find_blocks(candles, schema.anchor_bars, schema.index)
        if candles.off_grid[-1] or not valid_bars(candles, blocks, schema.min_candles)[-1]:
            return Status.WARMING
        return None

    def _require(self, candles: Candles) -> None:
        schema = self._paths.schema
        if candles.timeframe != schema.timeframe:
            raise SchemaMismatch(f"{self.name} reads candles of {schema.timeframe}, these are of {candles.timeframe}")
        schema.require_columns(candles)

    def _closes_ms(self, candles: Candles, steps: int) -> Integers:
        """Return when the candles close that stand 1 to ``steps`` indices after the last bar."""
        schema = self._paths.schema
        ahead = block_index(candles, schema.index)[-1] + np.arange(1, steps + 1)
        closes: Integers = index_start_ms(ahead, schema.timeframe, schema.index) + candles.step_ms
        return closes


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
