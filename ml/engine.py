"""The one way from closed candles to predictions: one bar or many, cached or computed, with the same bits.

A prediction is a function of the bundle and of the slice of candles that its feature row sees. That is what makes the cache
safe: its keys are digests over bundle, feature code, runtime and slice. What depends on anything else (whether a bar may be
answered at all, expiry) is decided outside it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.bundles import BundleRunner, open_runner
from ml.candles import Candles, format_ms
from ml.edges import HoldingEdges, holding_edges
from ml.errors import NotEnoughBars, SchemaMismatch
from ml.evidence import NO_EVIDENCE, evidence_of_all, evidence_of_newest, evidence_of_rows, newest_rows, newest_window
from ml.expiry import expiry_of, first_expired
from ml.features.blocks import block_index, find_blocks, index_start_ms, valid_bars
from ml.fingerprints import most_candles
from ml.predictions import PREDICTION_COLUMNS, Prediction, PredictionBatch, Status
from ml.recall import Recall
from ml.record import DIRECTION_TASKS, RECORD_FILE, OutOfSample
from ml.runs import find_runs, neighbours, slice_of, spans
from ml.sequences import candle_reach, find_windows, stretches

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.cache import PredictionCache
    from ml.features.blocks import Blocks
    from ml.features.pipeline import FeaturePipeline
    from ml.sequences import Windows
    from registry.model import StrategyModel

    Floats32 = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Row = tuple[float, ...]

__all__ = ["PredictionEngine"]

_LOG = logging.getLogger(__name__)
_NOTHING: tuple[float, ...] = (float("nan"),) * len(PREDICTION_COLUMNS)


class PredictionEngine:
    """Predicts with one registered version, in a backtest and live alike.

    May be copied to another process; the cache's connection is opened there anew. Not for use by two threads at once.

    Parameters
    ----------
    model
        A version of the registry, or None: then every bar has status NO_MODEL.
    cache
        Where predictions are kept; a cache that fails later is left aside with one warning.
    expires_after_ms
        A bar that closes later than this after ``trained_until_ms`` has status EXPIRED; None for what the bundle says of
        itself (``expires_after_ms`` of its metadata), and never where it says nothing.

    Raises
    ------
    BrokenModel, SchemaMismatch, InvalidBundle
        When the bundle cannot be opened; see ``ml.bundles.open_runner``.
    """

    def __init__(
        self,
        model: StrategyModel | None = None,
        *,
        cache: PredictionCache | None = None,
        expires_after_ms: int | None = None,
    ) -> None:
        if expires_after_ms is not None and expires_after_ms < 0:
            raise ValueError(f"expires_after_ms may not be negative, got {expires_after_ms}")
        self.model = model
        self.expires_after_ms = expiry_of(model, expires_after_ms)
        self._bundle: BundleRunner | None = None
        self._recall: Recall | None = None
        self._edges: dict[tuple[float, float], HoldingEdges] = {}
        self._failures: set[str] = set()
        self._seen: tuple[Candles, Blocks, Integers | None, Floats32] | None = None
        if model is not None:
            self._bundle = model.runner if model.open_runner is not None else open_runner(model)
            self._recall = Recall(cache, model.digest, self._bundle)

    @property
    def name(self) -> str:
        """``SYMBOL/TYPE@VERSION``, or ``no model``."""
        return "no model" if self.model is None else str(self.model)

    @property
    def timeframe(self) -> str | None:
        """Length of the candles that the model reads; None without a model."""
        return None if self.model is None else self.model.timeframe

    @property
    def horizon(self) -> int:
        """Bars ahead that a prediction speaks of; 0 without a model."""
        return 0 if self._bundle is None else self._bundle.horizon

    @property
    def states(self) -> tuple[str, ...]:
        """Columns of a prediction that the model speaks of; empty without a model."""
        return () if self._bundle is None else self._bundle.calibration.states

    @property
    def window_bars(self) -> int:
        """Candles, the newest included, that always suffice for a prediction of the newest bar."""
        if self._bundle is None:
            return 1
        return most_candles(self._bundle.schema) + 1 + candle_reach(self._bundle.sequence)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the candles that the model reads; none without a model."""
        return () if self._bundle is None else self._bundle.schema.columns

    @property
    def cache_hits(self) -> int:
        """Bars that were answered from the cache."""
        return 0 if self._recall is None else self._recall.hits

    @property
    def cache_misses(self) -> int:
        """Bars that the cache was asked for and did not hold."""
        return 0 if self._recall is None else self._recall.misses

    @property
    def cache_problem(self) -> str | None:
        """Why the cache was left aside; None while it is in use, or was never there."""
        return None if self._recall is None else self._recall.problem

    @property
    def digest(self) -> str | None:
        """SHA-256 that names the bundle's content; None without a model."""
        return None if self.model is None else self.model.digest

    @property
    def trained_until_ms(self) -> int | None:
        """Close time of the last candle that training saw; None without a model."""
        return None if self.model is None else int(self.model.metadata["trained_until_ms"])

    def unseen_from(self, open_ms: Integers) -> int:
        """Return the position of the first of some bars from which on none was seen by the training of what answers it.

        Parameters
        ----------
        open_ms : int64 array, shape (n,)
            Open times, increasing.

        Returns
        -------
        int
            0 where no bar was seen, also without a model; n where the last one was.
        """
        until = self.trained_until_ms
        return 0 if until is None else int(np.searchsorted(open_ms, until))

    def outcome_ms(self, candles: Candles) -> int:
        """Return when the candle closes that the prediction of the last bar speaks of, milliseconds UTC.

        It is ``horizon`` indices later, as its schema counts them: for a series of weekdays Monday follows Friday.

        Raises
        ------
        NotEnoughBars
            When there is no bar.
        """
        if not len(candles):
            raise NotEnoughBars("there is no bar to predict from")
        kind = "calendar" if self._bundle is None else self._bundle.schema.index
        later = block_index(candles, kind)[-1:] + self.horizon
        return int(index_start_ms(later, candles.timeframe, kind)[0]) + candles.step_ms

    def predict(self, candles: Candles | Any, timeframe: str | None = None) -> Prediction:
        """Predict the newest bar.

        Parameters
        ----------
        candles
            Closed candles, or a pandas frame with a UTC index of open times (or a column ``open_ms`` or ``timestamp``) and
            the columns open, high, low, close and volume; other columns are ignored.
        timeframe
            Length of a frame's candles; the model's, where it is left out.

        Raises
        ------
        NotEnoughBars
            When there is no bar at all.
        SchemaMismatch, MissingColumns
            When the candles are not of the model's timeframe, or lack a column that its features need.
        InvalidCandles
            When a frame holds no valid candles.
        """
        if not isinstance(candles, Candles):
            length = timeframe or self.timeframe
            if length is None:
                raise SchemaMismatch("without a model the timeframe of a frame is unknown: pass timeframe=")
            candles = Candles.from_frame(candles, length)
        if not len(candles):
            raise NotEnoughBars("there is no bar to predict from")
        row, status = self.predict_newest(candles)
        return Prediction(int(candles.open_ms[-1]), Status(status), self.name, *row)

    def predict_newest(self, candles: Candles) -> tuple[Row, int]:
        """Predict the last bar with the bits that `predict_batch` gives it; the path of a live bar.

        Parameters
        ----------
        candles
            Closed candles up to the bar; the last ``window_bars`` of them suffice.

        Returns
        -------
        row : tuple of 9 floats
            In the order of ``PREDICTION_COLUMNS``; NaN throughout unless the status is OK.
        status : int
            Code of ``Status``. A failure inside features or model is ERROR, and is logged.

        Raises
        ------
        SchemaMismatch, MissingColumns
            When the candles are not what the model reads at all.
        """
        bundle, recall = self._bundle, self._recall
        if bundle is None or recall is None:
            return _NOTHING, int(Status.NO_MODEL)
        self._check(candles, bundle)
        if not len(candles):
            return _NOTHING, int(Status.WARMING)
        if self._first_expired(candles) < len(candles):
            return _NOTHING, int(Status.EXPIRED)
        schema = bundle.schema
        blocks = find_blocks(candles, schema.anchor_bars, schema.index)
        valid = valid_bars(candles, blocks, schema.min_candles)
        if candles.off_grid[-1] or not valid[-1]:
            return _NOTHING, int(Status.WARMING)
        window: Integers | None = None
        if bundle.sequence > 1:
            window = newest_window(candles, valid, bundle.sequence)
            if window is None:
                return _NOTHING, int(Status.WARMING)
        key, known = recall.bar(candles, blocks, None if window is None else int(window[0]))
        if known is not None:
            return known
        try:
            rows = newest_rows(bundle.pipeline, candles, window)
            self._seen = (candles, blocks, window, rows.copy())  # evidence of this bar need not compute it again
            found = bundle.predict(rows, candles.close[-1:])
        except Exception as error:  # noqa: BLE001 - a strategy's bar must not end the run: it is told, and logged once
            self._report_failure(error, int(candles.open_ms[-1]))
            return _NOTHING, int(Status.ERROR)
        row, status = tuple(found.values[0].tolist()), int(found.status[0])
        recall.keep_bar(key, row, status)
        return row, status

    def predict_batch(self, candles: Candles) -> PredictionBatch:
        """Predict every bar.

        A bar is WARMING where its features do not exist yet, where one of the rows that a model of sequences reads does not,
        and where it is off the grid of the timeframe: such bars stay in windows of features, but are never scored or traded.

        Raises
        ------
        SchemaMismatch, MissingColumns
            When the candles are not what the model reads.
        """
        bundle, recall = self._bundle, self._recall
        count = len(candles)
        if bundle is None or recall is None:
            return PredictionBatch.absent(count, Status.NO_MODEL)
        self._check(candles, bundle)
        batch = PredictionBatch.absent(count, Status.WARMING)
        expired = self._first_expired(candles)
        schema = bundle.schema
        blocks = find_blocks(candles, schema.anchor_bars, schema.index)
        valid = valid_bars(candles, blocks, schema.min_candles)
        windows = None
        if bundle.sequence > 1:
            windows = find_windows(valid, stretches(candles), bundle.sequence)
            valid = windows.complete
        runs = find_runs(blocks, valid, expired)
        oldest = {} if windows is None else {run: windows.oldest(run[1]) for run in runs}
        missing = recall.runs(candles, blocks, runs, batch, oldest)
        for group in neighbours(list(missing)):
            self._compute(bundle, candles, blocks, group, batch, windows)
        recall.keep_runs(missing, batch)
        for where, status in ((candles.off_grid, Status.WARMING), (np.arange(count) >= expired, Status.EXPIRED)):
            batch.values[where] = np.nan
            batch.status[where] = status
        return batch

    def newest_features(self, candles: Candles) -> dict[str, float]:
        """Return the features of the last bar by name, for whoever explains a prediction; empty without a model.

        Raises
        ------
        SchemaMismatch, MissingColumns
            When the candles are not what the model reads.
        """
        if self._bundle is None:
            return {}
        self._check(candles, self._bundle)
        row = self._bundle.pipeline.latest(candles).rows
        return dict(zip(self._bundle.schema.names, row[0].astype(np.float64).tolist(), strict=True)) if len(row) else {}

    def evidence(self, candles: Candles) -> tuple[str, str]:
        """Return digests of what the prediction of the last bar is computed from; the path of a live bar.

        Parameters
        ----------
        candles
            Closed candles up to the bar; the last ``window_bars`` of them suffice. Of the very object that `predict_newest`
            was given last, the digest is that of the rows which the model has read.

        Returns
        -------
        fingerprint, features : str
            Hex of the candles' fingerprint, which the key of the prediction cache holds, and of the float32 feature rows;
            see ``ml.evidence``. Both are empty without a model, and where the bar has no features. Expiry changes neither.

        Raises
        ------
        SchemaMismatch, MissingColumns
            When the candles are not what the model reads.
        """
        if self._seen is not None and self._seen[0] is candles and self._bundle is not None:
            return evidence_of_rows(self._bundle.schema, *self._seen)
        read = self._reads()
        return NO_EVIDENCE if read is None else evidence_of_newest(*read, candles)

    def evidence_batch(self, candles: Candles) -> list[tuple[str, str]]:
        """Return the evidence of every bar, equal to what `evidence` says of each."""
        read = self._reads()
        return [NO_EVIDENCE] * len(candles) if read is None else evidence_of_all(*read, candles)

    def _reads(self) -> tuple[FeaturePipeline, int] | None:
        """Return what computes the features, and how many rows one prediction reads; None without a model."""
        return None if self._bundle is None else (self._bundle.pipeline, self._bundle.sequence)

    def holding_edges(self, enter: float, exit: float) -> HoldingEdges:  # noqa: A002 - the config's word
        """Return what the bundle's out-of-sample record earned per holding.

        Nothing is known without a model, or of one that does not speak of a direction.

        See ``ml.edges.holding_edges``.
        """
        if (enter, exit) not in self._edges:
            speaks = self.model is not None and self.model.metadata.get("task", "direction") in DIRECTION_TASKS
            record = OutOfSample.from_parquet(self.model.read(RECORD_FILE)) if self.model and speaks else None
            self._edges[enter, exit] = holding_edges(record, enter, exit)
        return self._edges[enter, exit]

    def _check(self, candles: Candles, bundle: BundleRunner) -> None:
        if candles.timeframe != bundle.schema.timeframe:
            raise SchemaMismatch(
                f"{self.name} reads candles of {bundle.schema.timeframe}, these are of {candles.timeframe}"
            )
        bundle.schema.require_columns(candles)

    def _first_expired(self, candles: Candles) -> int:
        """Return the position of the first bar that closes too long after training."""
        return first_expired(candles, self.trained_until_ms, self.expires_after_ms)

    def _compute(
        self,
        bundle: BundleRunner,
        candles: Candles,
        blocks: Blocks,
        group: list[tuple[int, int, int]],
        batch: PredictionBatch,
        windows: Windows | None,
    ) -> None:
        """Fill in the runs of neighbouring blocks, from the candles that the slices of their rows hold."""
        block = group[0][0] if windows is None else blocks.holding(windows.oldest(group[0][1]))
        first, end = int(blocks.positions[block, 0]), group[-1][2]
        part = slice_of(candles, blocks, block, end)
        rows = bundle.pipeline.compute(part).rows
        for _, lo, hi in spans(group):
            if windows is None:
                found = bundle.predict(rows[lo - first : hi - first], candles.close[lo:hi])
                batch.values[lo:hi] = found.values
                batch.status[lo:hi] = found.status
                continue
            taken = windows.rows(lo, hi - 1)
            found = bundle.predict(rows[taken - first], candles.close[taken[bundle.sequence - 1 :]])
            of_bar = windows.rank[lo:hi] - windows.rank[lo]  # off the grid a bar is repeated, and blanked later
            batch.values[lo:hi] = found.values[of_bar]
            batch.status[lo:hi] = found.status[of_bar]

    def _report_failure(self, error: Exception, open_ms: int) -> None:
        """Log each kind of failure once with its traceback."""
        kind = f"{type(error).__name__}: {error}"
        if kind not in self._failures:
            self._failures.add(kind)
            _LOG.error("%s: no prediction for %s: %s", self.name, format_ms(open_ms), kind, exc_info=error)
