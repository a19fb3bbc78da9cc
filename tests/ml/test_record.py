"""The out-of-sample record as a file."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest

from ml.errors import BrokenModel
from ml.record import OutOfSample


def record_of(count=50):
    generator = np.random.default_rng(0)
    columns = {field.name: generator.normal(size=count) for field in dataclasses.fields(OutOfSample)}
    columns["open_ms"] = np.arange(count, dtype=np.int64) * 3_600_000
    columns["k"] = np.arange(count, dtype=np.int64)
    columns["fold"] = (np.arange(count) // 10).astype(np.int16)
    columns["scored"] = np.arange(count) % 2 == 0
    columns["p_up"][:10] = np.nan
    return OutOfSample(**columns)


def test_parquet_round_trip_keeps_every_bit_and_is_read_by_pandas():
    record = record_of()
    content = record.to_parquet()
    again = OutOfSample.from_parquet(content)
    frame = pd.read_parquet(io.BytesIO(content))
    for field in dataclasses.fields(OutOfSample):
        column = getattr(record, field.name)
        assert getattr(again, field.name).dtype == column.dtype
        assert getattr(again, field.name).tobytes() == column.tobytes()
        np.testing.assert_array_equal(frame[field.name].to_numpy(), column)
    assert record.to_parquet() == content


def test_first_fold_is_not_counted():
    record = record_of()
    assert record.counted.sum() == 20
    assert not record.counted[:10].any()


def test_damaged_and_foreign_files_are_refused():
    with pytest.raises(BrokenModel, match="not a Parquet file"):
        OutOfSample.from_parquet(b"nonsense")
    buffer = io.BytesIO()
    pd.DataFrame({"k": [1, 2]}).to_parquet(buffer)
    with pytest.raises(BrokenModel, match="has no column open_ms"):
        OutOfSample.from_parquet(buffer.getvalue())


def test_columns_of_different_length_are_refused():
    with pytest.raises(ValueError, match="differ in length"):
        dataclasses.replace(record_of(), k=np.arange(3))
