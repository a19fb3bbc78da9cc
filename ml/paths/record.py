"""The out-of-sample record of a model of paths, kept in every bundle: the only source of its published figures.

``oos_paths.parquet`` holds one row for each path: where it started, what was predicted and what came of it at every step.
``oos_steps.parquet`` holds the score of every bar of every test fold, from which ``shrink`` is fitted. Numbers are rounded to
single precision before anything is measured on them, so another program finds the very figures in the files.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Floats32 = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["PATHS_FILE", "STEPS_FILE", "PathRecord", "StepRecord"]

PATHS_FILE = "oos_paths.parquet"
STEPS_FILE = "oos_steps.parquet"


@dataclass(frozen=True, eq=False)
class PathRecord:
    """Paths of m starts by walk-forward models, in time order.

    Attributes
    ----------
    open_ms, k : int64 arrays, shape (m,)
        Open time and absolute index of the bar that the path starts from.
    fold : int16 array, shape (m,)
        Which model said it. Fold 0 has none: its shrink is not known yet.
    close, sigma : float64 arrays, shape (m,)
        Close in the quote currency and volatility of one bar's log return, at the start.
    long_sigma : float64 array, shape (m,)
        Its long-run level at the start; NaN where the features do not hold one.
    drift : float64 array, shape (m,)
        Mean log return of a bar in the fold's training rows.
    predicted, realised : float32 arrays, shape (m, steps)
        Log return from the start's close to the close at each step, as predicted and as it came; NaN where the candle at
        that index does not exist.
    """

    open_ms: Integers
    k: Integers
    fold: npt.NDArray[np.int16]
    close: Floats
    sigma: Floats
    long_sigma: Floats
    drift: Floats
    predicted: Floats32
    realised: Floats32

    def __post_init__(self) -> None:
        """Refuse columns of different length."""
        lengths = {each.name: len(getattr(self, each.name)) for each in fields(self)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of the record differ in length: {lengths}")
        if self.predicted.ndim != 2 or self.predicted.shape != self.realised.shape:
            raise ValueError(f"paths have shapes {self.predicted.shape} and {self.realised.shape}")

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self.k)

    @property
    def steps(self) -> int:
        """Steps ahead."""
        return int(self.predicted.shape[1])

    @property
    def spacing(self) -> float:
        """Median distance of neighbouring starts, in indices; NaN for fewer than two."""
        return float(np.median(np.diff(self.k))) if len(self) > 1 else float("nan")

    def forecasts(self) -> Floats:
        """Return the predicted log returns as float64 (m, steps)."""
        return self.predicted.astype(np.float64)

    def outcomes(self) -> Floats:
        """Return the realised log returns as float64 (m, steps)."""
        return self.realised.astype(np.float64)

    def to_parquet(self) -> bytes:
        """Return the file's bytes; the same record gives the same bytes."""
        return _write({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_parquet(cls, content: bytes) -> PathRecord:
        """Read what ``to_parquet`` wrote.

        Raises
        ------
        BrokenModel
            When the bytes are no Parquet file, a column is missing, or the paths differ in length.
        """
        return cls(**_read(content, PATHS_FILE, [each.name for each in fields(cls)]))


@dataclass(frozen=True, eq=False)
class StepRecord:
    """One step ahead of every bar of the test folds, in time order.

    Attributes
    ----------
    open_ms, k : int64 arrays, shape (n,)
        Open time and absolute index of the bar.
    fold : int16 array, shape (n,)
        Which model said it; fold 0 is the first.
    score, target : float32 arrays, shape (n, parts)
        What each forest said of the next candle before any shrinking, and what came: log ratios in units of the bar's
        volatility, cut at five of them. One part for paths of closes; open gap, upper wick, lower wick and close move for
        paths of candles. Targets are NaN where the next candle is not known.
    """

    open_ms: Integers
    k: Integers
    fold: npt.NDArray[np.int16]
    score: Floats32
    target: Floats32

    def to_parquet(self) -> bytes:
        """Return the file's bytes; the same record gives the same bytes."""
        return _write({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def from_parquet(cls, content: bytes) -> StepRecord:
        """Read what ``to_parquet`` wrote; errors are those of ``PathRecord.from_parquet``."""
        return cls(**_read(content, STEPS_FILE, [each.name for each in fields(cls)]))


def _write(columns: dict[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = {}
    for name, values in columns.items():
        if values.ndim == 1:
            arrays[name] = pa.array(values)
        else:
            flat = pa.array(np.ascontiguousarray(values).reshape(-1))
            arrays[name] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    buffer = io.BytesIO()
    listed = [name for name, values in columns.items() if values.ndim > 1]
    pq.write_table(
        pa.table(arrays),
        buffer,
        compression="zstd",
        use_dictionary=["fold"],
        use_byte_stream_split=[f"{name}.list.element" for name in listed],
    )
    return buffer.getvalue()


def _read(content: bytes, name: str, wanted: list[str]) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # read_table would load pandas; a worker thread that still holds the bytes while Python ends aborts the process
        table = pq.ParquetFile(io.BytesIO(content), pre_buffer=False).read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise BrokenModel(f"{name} is not a Parquet file: {error}") from error
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise BrokenModel(f"{name} has no column {', '.join(missing)}")
    columns: dict[str, Any] = {}
    for column in wanted:
        array = table[column].combine_chunks()
        if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
            flat = np.from_dlpack(array.flatten())
            if len(array) and len(flat) % len(array):
                raise BrokenModel(f"{name}: the lists of {column} differ in length")
            columns[column] = flat.reshape(len(array), -1)
        else:
            columns[column] = np.from_dlpack(array)
    return columns
