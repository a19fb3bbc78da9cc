"""Two models on the same bars: the difference of their losses, with the interval that chance alone would explain.

Both said what they said of bars that they had not seen. Only bars that both records count enter, so the market is the same
for both; the differences are taken bar by bar, in order of time, and their interval allows for serial correlation. It speaks
of the two models as they were fitted: on seven years of hours, `basic` with another seed differs from itself by 0.0003 nats.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import NotEnoughBars, SchemaMismatch
from ml.evaluation import log_loss
from ml.intervals import MeanInterval, mean_interval
from ml.paths.record import PATHS_FILE, PathRecord
from ml.record import RECORD_FILE, OutOfSample, RiskRecord, VolatilityRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["FAMILIES_OF_TASKS", "AnyRecord", "Comparison", "compare_records", "read_record", "record_file"]

FAMILIES_OF_TASKS = {
    "direction": "direction",
    "price": "direction",
    "risk": "risk",
    "volatility": "volatility",
    "path": "path",
}
"""Tasks whose records may be compared: those with the same value answer the same question."""

AnyRecord = OutOfSample | RiskRecord | VolatilityRecord | PathRecord

_LEAST_ROWS = 30
_SMALLEST = 1e-300


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model A against model B on the rows that both counted.

    Attributes
    ----------
    rows : int
        How many.
    first_ms, last_ms : int
        Open times of the first and the last.
    unit : str
        Of the loss: ``nats`` for probabilities, ``QLIKE`` for volatilities, ``sigma^2`` for paths.
    loss_a, loss_b : float
        Mean losses.
    gain : MeanInterval
        Mean of B's loss minus A's: above 0 where A is better.
    accuracy_a, accuracy_b : float or None
        Shares of bars on which the stated direction (or breach) was right; None where nothing is right or wrong.
    accuracy_gain : MeanInterval or None
        Mean of A's hits minus B's.
    agreement : float or None
        Share of bars on which both said the same.
    """

    rows: int
    first_ms: int
    last_ms: int
    unit: str
    loss_a: float
    loss_b: float
    gain: MeanInterval
    accuracy_a: float | None
    accuracy_b: float | None
    accuracy_gain: MeanInterval | None
    agreement: float | None

    @property
    def tied(self) -> bool:
        """Whether chance explains the difference: its two-sided 95 % interval holds 0, or nothing differs at all."""
        return not (self.gain.low > 0 or self.gain.high < 0)

    @property
    def better(self) -> str | None:
        """``a`` or ``b``, None for a tie."""
        if self.tied:
            return None
        return "a" if self.gain.mean > 0 else "b"

    def verdict(self, name_a: str, name_b: str) -> str:
        """Return the result in words."""
        size = f"{abs(self.gain.mean):.5f} {self.unit} a bar"
        if self.gain.mean == 0 and self.gain.standard_error == 0:
            return f"{name_a} and {name_b} said the same of all {self.rows:,} bars"
        interval = f"95 % interval of the difference {self.gain.low:+.5f} to {self.gain.high:+.5f}, {self.rows:,} bars"
        if self.tied:
            return f"{name_a} and {name_b} are statistically tied: they differ by {size}, which chance explains ({interval})"
        winner, loser = (name_a, name_b) if self.better == "a" else (name_b, name_a)
        return f"{winner} is better than {loser} by {size}, more than chance explains ({interval})"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "tied": self.tied, "better": self.better}


def record_file(task: str) -> str:
    """Return the name of the bundle's file that holds the out-of-sample record of a task."""
    return PATHS_FILE if task == "path" else RECORD_FILE


def read_record(task: str, content: bytes) -> AnyRecord:
    """Read the out-of-sample record of a bundle of that task.

    Raises
    ------
    SchemaMismatch
        When records of the task cannot be compared row by row.
    BrokenModel
        When the bytes are not such a record.
    """
    kind = FAMILIES_OF_TASKS.get(task)
    if kind is None:
        raise SchemaMismatch(
            f"models of the task {task} cannot be compared bar by bar: only those of {', '.join(FAMILIES_OF_TASKS)}"
        )
    if kind == "path":
        return PathRecord.from_parquet(content)
    if kind == "risk":
        return RiskRecord.from_parquet(content)
    return VolatilityRecord.from_parquet(content) if kind == "volatility" else OutOfSample.from_parquet(content)


def compare_records(a: AnyRecord, b: AnyRecord) -> Comparison:
    """Compare two records on the rows that both counted.

    Paths are compared over their first steps, as many as lie between two starts, so that they do not overlap: by the mean of
    ``(r_h - f_h)^2 / (sigma^2 h)``.

    Raises
    ------
    SchemaMismatch
        When the records are of different kinds, or the outcomes of common bars differ: then the models were judged on
        different candles or horizons.
    NotEnoughBars
        When fewer than 30 rows are common.
    """
    if type(a) is not type(b):
        raise SchemaMismatch("the two models answer different questions: there is no loss that is common to both")
    left: Any = a
    right: Any = b
    if isinstance(a, PathRecord) and isinstance(b, PathRecord):
        left, right = _Paths.pair(a, b)
    rows_a, rows_b = np.flatnonzero(left.counted), np.flatnonzero(right.counted)
    times, here, there = np.intersect1d(
        left.open_ms[rows_a], right.open_ms[rows_b], assume_unique=True, return_indices=True
    )
    if len(times) < _LEAST_ROWS:
        raise NotEnoughBars(
            f"{len(times)} bars are counted in both out-of-sample records, at least {_LEAST_ROWS} are needed: "
            "train both on candles of the same time"
        )
    rows_a, rows_b = rows_a[here], rows_b[there]
    said_a, said_b = _Said.of(left, rows_a), _Said.of(right, rows_b)
    if not np.allclose(said_a.outcome, said_b.outcome, rtol=1e-9, atol=1e-12):
        row = int(np.argmax(~np.isclose(said_a.outcome, said_b.outcome, rtol=1e-9, atol=1e-12)))
        raise SchemaMismatch(
            f"the two models were judged on different outcomes: of bar {int(times[row])} (open, ms) one record holds "
            f"{said_a.outcome[row]:.6g}, the other {said_b.outcome[row]:.6g}"
        )
    hits: tuple[float | None, float | None, MeanInterval | None, float | None] = (None, None, None, None)
    if said_a.hits is not None and said_b.hits is not None:
        right_a, right_b = said_a.hits, said_b.hits
        hits = (
            float(right_a.mean()),
            float(right_b.mean()),
            mean_interval(right_a - right_b),
            float((right_a == right_b).mean()),
        )
    return Comparison(
        rows=len(times),
        first_ms=int(times[0]),
        last_ms=int(times[-1]),
        unit=_UNITS.get(type(left), "nats"),
        loss_a=float(said_a.loss.mean()),
        loss_b=float(said_b.loss.mean()),
        gain=mean_interval(said_b.loss - said_a.loss),
        accuracy_a=hits[0],
        accuracy_b=hits[1],
        accuracy_gain=hits[2],
        agreement=hits[3],
    )


@dataclass(frozen=True, eq=False)
class _Said:
    """What one record says of some rows: loss, what came true, and 1.0 where the stated side was right."""

    loss: Floats
    outcome: Floats
    hits: Floats | None

    @classmethod
    def of(cls, record: Any, rows: Integers) -> _Said:
        reader = _READERS[type(record)]
        return cls(*reader(record, rows))


def _direction(record: OutOfSample, rows: Integers) -> tuple[Floats, Floats, Floats]:
    p_up, returns = record.p_up[rows], record.forward_return[rows]
    rose = returns > 0
    return log_loss(p_up, rose), returns, ((p_up >= 0.5) == rose).astype(np.float64)


def _risk(record: RiskRecord, rows: Integers) -> tuple[Floats, Floats, Floats]:
    stated, outcome = record.p_adverse[rows], record.outcome[rows]
    came = outcome > 0.5
    return log_loss(stated, came), outcome, ((stated >= 0.5) == came).astype(np.float64)


def _volatility(record: VolatilityRecord, rows: Integers) -> tuple[Floats, Floats, None]:
    """QLIKE of Patton 2011, ``ln f^2 + r^2 / f^2``, without the terms that no forecast changes."""
    square = np.maximum(record.forecast[rows] ** 2, _SMALLEST)
    realised = record.realised[rows]
    return np.log(square) + realised**2 / square, realised, None


@dataclass(frozen=True, eq=False)
class _Paths:
    """The first steps of paths: what came, and the error in units of the volatility that a random walk would have there."""

    open_ms: Integers
    error: Floats
    outcome: Floats
    counted: npt.NDArray[np.bool_]

    @classmethod
    def pair(cls, a: PathRecord, b: PathRecord) -> tuple[_Paths, _Paths]:
        """Return both records cut to the steps that lie between two common starts."""
        common = np.intersect1d(a.k, b.k)
        spacing = int(np.median(np.diff(common))) if len(common) > 1 else 1
        steps = max(1, min(a.steps, b.steps, spacing))
        return cls._cut(a, steps), cls._cut(b, steps)

    @classmethod
    def _cut(cls, record: PathRecord, steps: int) -> _Paths:
        unit = record.sigma[:, None] * np.sqrt(np.arange(1, steps + 1))
        outcome = record.outcomes()[:, :steps]
        error = (outcome - record.forecasts()[:, :steps]) / unit
        counted: npt.NDArray[np.bool_] = np.isfinite(error.sum(axis=1))
        return cls(record.open_ms, error, outcome, counted)


def _paths(record: _Paths, rows: Integers) -> tuple[Floats, Floats, None]:
    return (record.error[rows] ** 2).mean(axis=1), record.outcome[rows].mean(axis=1), None


_UNITS: dict[type, str] = {VolatilityRecord: "QLIKE", _Paths: "sigma^2"}
_READERS: dict[type, Callable[..., tuple[Floats, Floats, Floats | None]]] = {
    OutOfSample: _direction,
    RiskRecord: _risk,
    VolatilityRecord: _volatility,
    _Paths: _paths,
}
