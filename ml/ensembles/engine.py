"""Predictions of an ensemble, through the engines of its members: one bar or many, with the same bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.engine import PredictionEngine
from ml.ensembles.bundle import OpenEnsemble, open_ensemble
from ml.evidence import joined
from ml.expiry import expiry_of
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status

if TYPE_CHECKING:
    from ml.cache import PredictionCache
    from ml.candles import Candles
    from registry.model import StrategyModel

    Row = tuple[float, ...]

__all__ = ["EnsembleEngine"]

_NOTHING: tuple[float, ...] = (float("nan"),) * len(PREDICTION_COLUMNS)
_CONFIDENCE = PREDICTION_COLUMNS.index("confidence")


class EnsembleEngine(PredictionEngine):
    """Predicts with a registered ensemble; every member predicts as it would alone, from the same cache.

    A bar that some member does not answer has the worst of the members' statuses and no number.

    Parameters
    ----------
    model
        A version of the type ``ensemble``.
    cache
        Where the members' predictions are kept.
    expires_after_ms
        Counts from each member's own training: the ensemble expires with the first of them. None for what the ensemble's
        bundle says, or a member's own where that is shorter.

    Raises
    ------
    BrokenModel, SchemaMismatch, InvalidBundle
        When the ensemble or a member cannot be opened; see ``ml.ensembles.bundle.open_ensemble``.
    """

    def __init__(
        self,
        model: StrategyModel,
        *,
        cache: PredictionCache | None = None,
        expires_after_ms: int | None = None,
    ) -> None:
        limit = expiry_of(model, expires_after_ms)
        super().__init__(None, expires_after_ms=limit)
        self.model = model
        opened = model.runner if model.open_runner is not None else open_ensemble(model)
        if not isinstance(opened, OpenEnsemble):  # the registry was made with an opener of single models
            opened = open_ensemble(model)
        self._ensemble = opened
        self.members = tuple(
            PredictionEngine(member, cache=cache, expires_after_ms=_shorter(limit, member, expires_after_ms))
            for member in opened.members
        )

    @property
    def horizon(self) -> int:
        """Bars ahead that a prediction speaks of."""
        return self._ensemble.horizon

    @property
    def states(self) -> tuple[str, ...]:
        """Columns of a prediction that the ensemble speaks of."""
        return self._ensemble.states

    @property
    def window_bars(self) -> int:
        """Candles, the newest included, that always suffice for a prediction of the newest bar."""
        return max(member.window_bars for member in self.members)

    @property
    def cache_hits(self) -> int:
        """Answers of members that came from the cache."""
        return sum(member.cache_hits for member in self.members)

    @property
    def cache_misses(self) -> int:
        """Answers of members that the cache was asked for and did not hold."""
        return sum(member.cache_misses for member in self.members)

    @property
    def cache_problem(self) -> str | None:
        """Why a member left the cache aside; None while all use it."""
        return next((member.cache_problem for member in self.members if member.cache_problem), None)

    def outcome_ms(self, candles: Candles) -> int:
        """Return when the candle closes that the prediction of the last bar speaks of, milliseconds UTC."""
        return self.members[0].outcome_ms(candles)

    def predict_newest(self, candles: Candles) -> tuple[Row, int]:
        """Predict the last bar with the bits that `predict_batch` gives it; see ``PredictionEngine.predict_newest``."""
        answers = [member.predict_newest(candles) for member in self.members]
        status = max(code for _, code in answers)
        if status != Status.OK:
            return _NOTHING, int(status)
        rows = np.array([[row] for row, _ in answers], dtype=np.float64)
        values = self._ensemble.publish(rows, candles.close[-1:])
        if np.isnan(values[0, _CONFIDENCE]):
            return _NOTHING, int(Status.ERROR)
        return tuple(values[0].tolist()), int(Status.OK)

    def predict_batch(self, candles: Candles) -> PredictionBatch:
        """Predict every bar; see ``PredictionEngine.predict_batch``."""
        answers = [member.predict_batch(candles) for member in self.members]
        status = np.max([answer.status for answer in answers], axis=0).astype(np.int8)
        batch = PredictionBatch(np.full((len(candles), len(PREDICTION_COLUMNS)), np.nan), status)
        rows = np.flatnonzero(status == Status.OK)
        if len(rows):
            tables = np.stack([answer.values[rows] for answer in answers])
            batch.values[rows] = self._ensemble.publish(tables, np.ascontiguousarray(candles.close[rows]))
            failed = rows[np.isnan(batch.values[rows, _CONFIDENCE])]
            batch.status[failed] = Status.ERROR
        return batch

    def evidence(self, candles: Candles) -> tuple[str, str]:
        """Return digests over the members' evidence; see ``PredictionEngine.evidence``."""
        return joined([member.evidence(candles) for member in self.members])

    def evidence_batch(self, candles: Candles) -> list[tuple[str, str]]:
        """Return the evidence of every bar; see ``PredictionEngine.evidence_batch``."""
        members = [member.evidence_batch(candles) for member in self.members]
        return [joined(parts) for parts in zip(*members, strict=True)]


def _shorter(limit: int | None, member: StrategyModel, stated_ms: int | None) -> int | None:
    """Return after how long a member may not answer any more: the ensemble's limit or its own, but what a config states."""
    own = expiry_of(member, stated_ms)
    return min((each for each in (limit, own) if each is not None), default=None)
