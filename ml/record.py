"""The out-of-sample record: what models said of bars that they had never seen, kept in every bundle.

It is the only source of published accuracy. ``oos_predictions.parquet`` holds one row for each bar of a test fold.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["RECORD_FILE", "OutOfSample"]

RECORD_FILE = "oos_predictions.parquet"


@dataclass(frozen=True, eq=False)
class OutOfSample:
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

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of the record differ in length: {lengths}")

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.k)

    @cached_property
    def counted(self) -> Flags:
        """Scored bars of the calibrated folds (all but fold 0): what skill is measured on."""
        flags: Flags = self.scored & np.isfinite(self.p_up)
        return flags

    def scored_columns(self) -> dict[str, Any]:
        """Return every column at the scored rows."""
        return {field.name: getattr(self, field.name)[self.scored] for field in fields(self)}

    def to_parquet(self) -> bytes:
        """Return the file's bytes; the same record gives the same bytes."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({field.name: pa.array(getattr(self, field.name)) for field in fields(self)})
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", use_dictionary=["fold", "train_base_rate"])
        return buffer.getvalue()

    @classmethod
    def from_parquet(cls, content: bytes) -> OutOfSample:
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
        missing = [field.name for field in fields(cls) if field.name not in table.column_names]
        if missing:
            raise BrokenModel(f"{RECORD_FILE} has no column {', '.join(missing)}")
        columns: dict[str, Any] = {field.name: _array(table[field.name]) for field in fields(cls)}
        return cls(**columns)


def _array(column: Any) -> Any:
    """Return a column of Arrow as an array, where possible without pandas, which ``to_numpy`` would load."""
    import pyarrow as pa

    if column.null_count:
        return column.to_numpy()
    if pa.types.is_boolean(column.type):
        return np.from_dlpack(column.cast(pa.int8()).combine_chunks()).astype(np.bool_)
    return np.from_dlpack(column.combine_chunks())
