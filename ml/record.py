"""The out-of-sample record: what models said of bars that they had never seen, kept in every bundle.

It is the only source of published accuracy. ``oos_predictions.parquet`` holds one row for each bar of a test fold; its
columns are those of the task.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from ml.candles import format_ms
from ml.errors import BrokenModel, InvalidRecord

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = [
    "DIRECTION_TASKS",
    "RECORD_FILE",
    "OutOfSample",
    "RiskRecord",
    "VolatilityRecord",
    "check_order",
    "concat_records",
    "record_class",
]

RECORD_FILE = "oos_predictions.parquet"

DIRECTION_TASKS = ("direction", "price")
"""Tasks whose record is an `OutOfSample`; the others have columns of their own."""

_Kind = TypeVar("_Kind", "OutOfSample", "RiskRecord", "VolatilityRecord")


class _Columns:
    """What every record does with its columns, which are the fields of a dataclass."""

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        lengths = {name: len(getattr(self, name)) for name in self._names()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of the record differ in length: {lengths}")

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.k)  # type: ignore[attr-defined]

    @classmethod
    def _names(cls) -> tuple[str, ...]:
        return tuple(field.name for field in fields(cls))  # type: ignore[arg-type]

    @classmethod
    def dtypes(cls) -> dict[str, np.dtype[Any]]:
        """Return the columns in order with their types: what a store has to keep."""
        whole = {"open_ms": np.int64, "k": np.int64, "fold": np.int16, "scored": np.bool_}
        return {name: np.dtype(whole.get(name, np.float64)) for name in cls._names()}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Self:
        """Build a record from sequences by name, such as those that a store kept; None and NaN stand for unknown."""
        return cls(**{name: np.asarray(columns[name], dtype=kind) for name, kind in cls.dtypes().items()})

    def columns(self) -> dict[str, Any]:
        """Return every column by name, in order."""
        return {name: getattr(self, name) for name in self._names()}

    def rows(self, chosen: slice | Integers | Flags) -> Self:
        """Return the record of some of the rows."""
        return type(self)(**{name: column[chosen] for name, column in self.columns().items()})

    def scored_columns(self) -> dict[str, Any]:
        """Return every column at the scored rows."""
        return {name: getattr(self, name)[self.scored] for name in self._names()}  # type: ignore[attr-defined]

    def to_parquet(self) -> bytes:
        """Return the file's bytes; the same record gives the same bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({name: pa.array(getattr(self, name)) for name in self._names()})
        buffer = io.BytesIO()
        repeated = [name for name in ("fold", "train_base_rate", "constant") if name in self._names()]
        pq.write_table(table, buffer, compression="zstd", use_dictionary=repeated)
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes) -> Self:
        """Read what ``to_parquet`` wrote.

        Raises
        ------
        BrokenModel
            When the bytes are no Parquet file, or a column is missing.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # read_table would load pandas; a worker thread that still holds the bytes while Python ends aborts the process
            table = pq.ParquetFile(io.BytesIO(content), pre_buffer=False).read(use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise BrokenModel(f"{RECORD_FILE} is not a Parquet file: {error}") from error
        missing = [name for name in cls._names() if name not in table.column_names]
        if missing:
            raise BrokenModel(f"{RECORD_FILE} has no column {', '.join(missing)}")
        columns: dict[str, Any] = {name: _array(table[name]) for name in cls._names()}
        return cls(**columns)


@dataclass(frozen=True, eq=False)
class OutOfSample(_Columns):
    """Predictions of n bars by walk-forward models, in time order.

    Attributes
    ----------
    open_ms, k : int64 arrays, shape (n,)
        Open time and absolute index of the bar.
    fold : int16 array, shape (n,)
        Which model said it; fold 0 is the first.
    raw_score : float64 array, shape (n,)
        The score before calibration.
    p_up : float64 array, shape (n,)
        Probability of a rise, calibrated on earlier folds only; NaN in fold 0, which has none.
    forward_return : float64 array, shape (n,)
        What happened: log return at the horizon; NaN where unknown, 0 for a tie.
    expected_return : float64 array, shape (n,)
        Forecast of that log return, scaled on earlier folds only; NaN in fold 0.
    low, high : float64 arrays, shape (n,)
        90 % band of the log return, from earlier folds only; NaN in fold 0.
    train_base_rate, last_sign_p : float64 arrays, shape (n,)
        What the two baselines said: share of rises in the fold's training rows; probability by the last-sign rule.
    close, sigma : float64 arrays, shape (n,)
        Close in the quote currency, volatility of one bar's log return.
    scored : bool array, shape (n,)
        Labelled, no tie, and ``k % horizon == 0``: label intervals of such rows do not overlap.
    """

    open_ms: Integers
    k: Integers
    fold: npt.NDArray[np.int16]
    raw_score: Floats
    p_up: Floats
    forward_return: Floats
    expected_return: Floats
    low: Floats
    high: Floats
    train_base_rate: Floats
    last_sign_p: Floats
    close: Floats
    sigma: Floats
    scored: Flags

    @cached_property
    def counted(self) -> Flags:
        """Scored bars of the calibrated folds (all but fold 0): what skill is measured on."""
        flags: Flags = self.scored & np.isfinite(self.p_up)
        return flags


@dataclass(frozen=True, eq=False)
class RiskRecord(_Columns):
    """Risks of n bars by walk-forward models, in time order.

    Attributes
    ----------
    open_ms, k, fold, raw_score, close, sigma
        As in `OutOfSample`.
    p_adverse : float64 array, shape (n,)
        Probability of an adverse move, calibrated on earlier folds only; NaN in fold 0.
    outcome : float64 array, shape (n,)
        1.0 where it came, 0.0 where it did not; NaN where unknown.
    train_base_rate, last_outcome_p, volatility_p : float64 arrays, shape (n,)
        What the baselines said: the share in the fold's training rows, the rate by the last outcome, by volatility.
    scored : bool array, shape (n,)
        Labelled, and ``k % horizon == 0``.
    """

    open_ms: Integers
    k: Integers
    fold: npt.NDArray[np.int16]
    raw_score: Floats
    p_adverse: Floats
    outcome: Floats
    train_base_rate: Floats
    last_outcome_p: Floats
    volatility_p: Floats
    close: Floats
    sigma: Floats
    scored: Flags

    @cached_property
    def counted(self) -> Flags:
        """Scored bars of the calibrated folds (all but fold 0): what skill is measured on."""
        flags: Flags = self.scored & np.isfinite(self.p_adverse)
        return flags


@dataclass(frozen=True, eq=False)
class VolatilityRecord(_Columns):
    """Volatilities of n bars by walk-forward models, in time order.

    Attributes
    ----------
    open_ms, k, fold, raw_score, close, sigma
        As in `OutOfSample`.
    forecast : float64 array, shape (n,)
        Volatility over the horizon, from earlier folds' calibration only; NaN in fold 0.
    confidence : float64 array, shape (n,)
        Stated probability that what is realised is within a quarter of it; NaN in fold 0.
    realised : float64 array, shape (n,)
        Root of the sum of squared log returns over the horizon; NaN where unknown.
    ewma, har, constant : float64 arrays, shape (n,)
        Volatility over the horizon by the baselines: exponential average, heterogeneous autoregression, training mean.
    scored : bool array, shape (n,)
        Labelled, and ``k % horizon == 0``.
    """

    open_ms: Integers
    k: Integers
    fold: npt.NDArray[np.int16]
    raw_score: Floats
    forecast: Floats
    confidence: Floats
    realised: Floats
    ewma: Floats
    har: Floats
    constant: Floats
    close: Floats
    sigma: Floats
    scored: Flags

    @cached_property
    def counted(self) -> Flags:
        """Scored bars of the calibrated folds (all but fold 0): what skill is measured on."""
        flags: Flags = self.scored & np.isfinite(self.forecast)
        return flags


_RECORDS: dict[str, type[OutOfSample | RiskRecord | VolatilityRecord]] = {
    **dict.fromkeys(DIRECTION_TASKS, OutOfSample),
    "risk": RiskRecord,
    "volatility": VolatilityRecord,
}


def record_class(task: str) -> type[OutOfSample | RiskRecord | VolatilityRecord]:
    """Return the class of a task's record.

    Raises
    ------
    InvalidRecord
        When the task has no record of single predictions: paths have one of their own.
    """
    if task not in _RECORDS:
        raise InvalidRecord(f"the task {task!r} has no record of single predictions (known: {', '.join(_RECORDS)})")
    return _RECORDS[task]


def check_order(record: OutOfSample | RiskRecord | VolatilityRecord, place: str = "the record") -> None:
    """Refuse a record whose bars are not in strictly increasing order of time.

    Parameters
    ----------
    record
        Any record of single predictions.
    place
        Whose record it is, for the message: ``the record of btc-basic-1h``.

    Raises
    ------
    InvalidRecord
        Naming the first bar that stands twice or out of order.
    """
    for times in (record.open_ms, record.k):
        steps = np.diff(times)
        if (steps <= 0).any():
            row = int(np.argmax(steps <= 0)) + 1
            what = "stands twice" if steps[row - 1] == 0 else f"follows {format_ms(int(record.open_ms[row - 1]))}"
            raise InvalidRecord(
                f"{place}: row {row + 1:,} of {len(record):,}: the bar {format_ms(int(record.open_ms[row]))} {what}; "
                "a record holds each bar once, in order of time"
            )


def concat_records(parts: Sequence[_Kind], place: str = "the record") -> _Kind:
    """Return one record of parts that follow one another in time.

    Parameters
    ----------
    parts
        Records of one class, in order of time; empty ones are welcome, none at all is not.
    place
        As in `check_order`.

    Raises
    ------
    InvalidRecord
        When a bar stands twice or out of order, or the parts are of different tasks.
    """
    kinds = {type(part).__name__ for part in parts}
    if len(kinds) != 1:
        raise InvalidRecord(f"{place}: cannot be made of {' and '.join(sorted(kinds)) or 'nothing'}")
    columns = [part.columns() for part in parts]
    whole = type(parts[0])(**{name: np.concatenate([part[name] for part in columns]) for name in columns[0]})
    check_order(whole, place)
    return whole


def _array(column: Any) -> Any:
    """Return a column of Arrow as an array, where possible without pandas, which ``to_numpy`` would load."""
    import pyarrow as pa

    if column.null_count:
        return column.to_numpy()
    if pa.types.is_boolean(column.type):
        return np.from_dlpack(column.cast(pa.int8()).combine_chunks()).astype(np.bool_)
    return np.from_dlpack(column.combine_chunks())
