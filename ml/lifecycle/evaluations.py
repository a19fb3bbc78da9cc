"""Evaluations: what the judges read of an out-of-sample record, in one shape for every task.

One row is a bar whose outcome is known and of which something was stated, whichever its phase ``k % horizon``. Rows of one
phase do not overlap; the judges look at each phase by itself (``ml.lifecycle.phases``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import SchemaMismatch
from ml.evaluation import BASELINES, Forecasts, log_loss
from ml.intervals import wilson
from ml.labels import decided
from ml.record import DIRECTION_TASKS, OutOfSample, RiskRecord, VolatilityRecord, check_order, record_class
from ml.tasks.risk_figures import RISK_BASELINES
from ml.tasks.volatility_figures import VOLATILITY_BASELINES, qlike
from ml.volatility_publisher import WITHIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["ONE_SIDED_90", "Evaluations", "evaluations_of", "on_common_bars"]

ONE_SIDED_90 = 1.2815515655446004
"""Normal quantile of a one-sided 90 % bound: a lower bound lies above the truth in 1 of 10 cases."""

_COIN = 0.5
_COLUMNS = ("open_ms", "k", "came_true", "stated", "null_rate", "loss")


@dataclass(frozen=True, eq=False)
class Evaluations:
    """Evaluations of n bars in time order, all phases.

    Attributes
    ----------
    task
        ``direction``, ``price``, ``risk`` or ``volatility``.
    horizon
        Bars ahead.
    open_ms, k : int64 arrays, shape (n,)
        Open time and absolute index of the bar; both strictly increasing.
    came_true : bool array, shape (n,)
        Direction and price: the stated direction was right; risk: the adverse move came; volatility: what was realised lies
        within a quarter of the forecast.
    stated : float64 array, shape (n,)
        Probability that was stated of that event.
    null_rate : float64 array, shape (n,)
        Probability of it by somebody without a model. Direction and price: the majority's share in the training rows where
        its one-sided 90 % lower Wilson bound is above 0.5, else 0.5; risk: the training base rate; volatility: NaN.
    loss : float64 array, shape (n,)
        Log-loss in nats; QLIKE for volatility.
    baseline_loss : mapping of str to float64 array, shape (n,)
        The same of each baseline, by the names of the figures' ``gain``.
    """

    task: str
    horizon: int
    open_ms: Integers
    k: Integers
    came_true: Flags
    stated: Floats
    null_rate: Floats
    loss: Floats
    baseline_loss: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse columns of different length, and rows that are repeated or out of order."""
        if self.horizon < 1:
            raise ValueError(f"a horizon is at least 1 bar, got {self.horizon}")
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        lengths |= {name: len(values) for name, values in self.baseline_loss.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of the evaluations differ in length: {lengths}")
        for name, values in (("open_ms", self.open_ms), ("k", self.k)):
            if len(values) > 1 and not (steps := np.diff(values) > 0).all():
                row = int(np.argmin(steps)) + 1
                raise ValueError(
                    f"row {row} of the evaluations, {name} {int(values[row])}, is not after row {row - 1}, "
                    f"{name} {int(values[row - 1])}: a bar counts once, in order of time"
                )

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.k)

    @property
    def unit(self) -> str:
        """Unit of the loss: ``nats`` or ``QLIKE``."""
        return "QLIKE" if self.task == "volatility" else "nats"

    @property
    def phases(self) -> range:
        """Phases that a bar may have."""
        return range(self.horizon)

    def phase(self, number: int) -> Evaluations:
        """Return the rows with ``k % horizon == number``: their label intervals do not overlap."""
        return self.take(self.k % self.horizon == number)

    def since(self, open_ms: int) -> Evaluations:
        """Return the bars that opened at that time or later."""
        return self.take(self.open_ms >= open_ms)

    def before(self, open_ms: int) -> Evaluations:
        """Return the bars that opened earlier than that."""
        return self.take(self.open_ms < open_ms)

    def take(self, rows: Flags | Integers) -> Evaluations:
        """Return the rows of a mask or of ascending positions."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        baselines = {name: values[rows] for name, values in self.baseline_loss.items()}
        return Evaluations(self.task, self.horizon, **columns, baseline_loss=baselines)

    def gain(self, baseline: str) -> Floats:
        """Return how much less each bar lost than with the baseline, float64 (n,).

        Raises
        ------
        KeyError
            When the task has no such baseline.
        """
        saved: Floats = self.baseline_loss[baseline] - self.loss
        return saved

    @classmethod
    def concat(cls, parts: Sequence[Evaluations]) -> Evaluations:
        """Return several stretches of time as one; each begins after the one before it.

        Raises
        ------
        ValueError
            When there is none, they are of different tasks, horizons or baselines, or they overlap.
        """
        kinds = {(part.task, part.horizon, tuple(part.baseline_loss)) for part in parts}
        if len(kinds) != 1:
            raise ValueError(f"expected evaluations of one task, horizon and set of baselines, got {sorted(kinds)}")
        first = parts[0]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        baselines = {name: np.concatenate([p.baseline_loss[name] for p in parts]) for name in first.baseline_loss}
        return cls(first.task, first.horizon, **columns, baseline_loss=baselines)


def evaluations_of(
    record: OutOfSample | RiskRecord | VolatilityRecord,
    task: str,
    horizon: int,
    training_rows: int | Integers | None = None,
) -> Evaluations:
    """Return the evaluations of a record: rows of every phase with a known outcome, no tie, and something stated.

    Parameters
    ----------
    record
        Of that task, in time order.
    task
        ``direction``, ``price``, ``risk`` or ``volatility``.
    horizon
        Bars ahead.
    training_rows : int or int64 array, shape (rows of the record,), optional
        Rows that the base rate was counted on. Direction and price allow the majority's share the Wilson bound of that many
        rows; None takes the share as it is, which is harder to beat.

    Raises
    ------
    SchemaMismatch
        When the record is not one of the task.
    InvalidRecord
        When bars are repeated or out of order, or the task has no record of single predictions.
    """
    expected = record_class(task)
    if not isinstance(record, expected):
        raise SchemaMismatch(f"a record of the task {task} is a {expected.__name__}, got a {type(record).__name__}")
    check_order(record)
    if isinstance(record, OutOfSample):
        parts = _direction(record, training_rows)
    elif isinstance(record, RiskRecord):
        parts = _risk(record)
    else:
        parts = _volatility(record)
    rows, came_true, stated, null_rate, loss, baselines = parts
    return Evaluations(
        task, horizon, record.open_ms[rows], record.k[rows], came_true, stated, null_rate, loss, baselines
    )


def on_common_bars(*evaluations: Evaluations) -> tuple[Evaluations, ...]:
    """Return each of them cut to the bars that all hold, so that losses may be compared row by row.

    Raises
    ------
    SchemaMismatch
        When they answer different questions: the losses have another unit, or the horizons differ.
    """
    questions = {(one.task if one.task not in DIRECTION_TASKS else "direction", one.horizon) for one in evaluations}
    if len(questions) > 1:
        raise SchemaMismatch(
            f"models of different tasks or horizons cannot be compared bar by bar: {sorted(questions)}"
        )
    if not evaluations:
        return ()
    common = evaluations[0].open_ms
    for one in evaluations[1:]:
        common = np.intersect1d(common, one.open_ms, assume_unique=True)
    return tuple(one.take(np.searchsorted(one.open_ms, common)) for one in evaluations)


_Parts = tuple["Integers", "Flags", "Floats", "Floats", "Floats", "dict[str, Floats]"]


def _direction(record: OutOfSample, training_rows: int | Integers | None) -> _Parts:
    rows = np.flatnonzero(decided(record.forward_return) & np.isfinite(record.p_up))
    said = Forecasts(
        record.p_up[rows], record.forward_return[rows], record.train_base_rate[rows], record.last_sign_p[rows]
    )
    behind = training_rows if training_rows is None or isinstance(training_rows, int) else training_rows[rows]
    baselines = {name: log_loss(said.baseline(name), said.rose) for name in BASELINES}
    null_rate = _null_rate(said.base_rate, behind)
    return rows, said.hits, said.confidence, null_rate, log_loss(said.p_up, said.rose), baselines


def _null_rate(base_rate: Floats, training_rows: int | Integers | None) -> Floats:
    """Return the majority's hit rate where there surely is a majority, else a coin's.

    The bound itself would let "always up" gather evidence in a rising market: 17.7 % of years in place of 6.4 %, where 52 %
    of the bars rise and 4,000 rows were learnt from.
    """
    majority = np.maximum(base_rate, 1.0 - base_rate)
    if training_rows is None:
        return majority
    pairs = np.stack([majority, np.broadcast_to(np.asarray(training_rows, dtype=np.float64), majority.shape)], axis=1)
    distinct, place = np.unique(pairs, axis=0, return_inverse=True)  # one pair a refit
    sure = [count > 0 and wilson(share * count, count, ONE_SIDED_90)[0] > _COIN for share, count in distinct]
    rates: Floats = np.where(sure, distinct[:, 0], _COIN)[place.reshape(-1)]
    return rates


def _risk(record: RiskRecord) -> _Parts:
    rows = np.flatnonzero(np.isfinite(record.outcome) & np.isfinite(record.p_adverse))
    came, stated = record.outcome[rows] > 0.5, record.p_adverse[rows]
    baselines = {name: log_loss(getattr(record, column)[rows], came) for name, column in RISK_BASELINES.items()}
    return rows, came, stated, record.train_base_rate[rows], log_loss(stated, came), baselines


def _volatility(record: VolatilityRecord) -> _Parts:
    # a realised volatility of 0 has an infinite loss; the task leaves such bars out of its labels
    rows = np.flatnonzero((record.realised > 0) & np.isfinite(record.forecast) & np.isfinite(record.confidence))
    forecast, realised = record.forecast[rows], record.realised[rows]
    baselines = {name: qlike(realised, getattr(record, name)[rows]) for name in VOLATILITY_BASELINES}
    within = np.abs(realised / forecast - 1.0) <= WITHIN
    return rows, within, record.confidence[rows], np.full(len(rows), np.nan), qlike(realised, forecast), baselines
