"""Records in parts: joined in time order, kept as plain columns, refused where a row stands twice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from recipe_versions import version_files

from ml.errors import InvalidRecord
from ml.record import RECORD_FILE, OutOfSample, RiskRecord, VolatilityRecord, check_order, concat_records, record_class

KINDS = {
    "direction": ("basic", OutOfSample),
    "risk": ("risk", RiskRecord),
    "volatility": ("volatility", VolatilityRecord),
}


def stored(task):
    kind, cls = KINDS[task]
    return cls.from_parquet(version_files(kind)[RECORD_FILE])


@pytest.mark.parametrize("task", sorted(KINDS))
def test_parts_give_the_whole(task):
    record = stored(task)
    assert record_class(task) is type(record)
    cuts = [0, 10, 10, 700, len(record)]
    parts = [record.rows(slice(a, b)) for a, b in pairwise(cuts)]
    assert [len(part) for part in parts] == [10, 0, 690, len(record) - 700]
    assert concat_records(parts).to_parquet() == record.to_parquet()
    assert record.rows(np.arange(len(record)) >= 700).to_parquet() == parts[-1].to_parquet()


@pytest.mark.parametrize("task", sorted(KINDS))
def test_a_store_of_plain_values_gives_the_same_bits_back(task):
    record = stored(task)
    kept = {
        name: [None if isinstance(value, float) and np.isnan(value) else value for value in column.tolist()]
        for name, column in record.columns().items()
    }
    again = type(record).from_columns(kept)
    assert list(record.dtypes()) == list(record.columns())
    assert {name: column.dtype for name, column in again.columns().items()} == record.dtypes()
    assert again.to_parquet() == record.to_parquet()


def test_price_and_direction_keep_the_same_record_and_paths_none():
    assert record_class("price") is OutOfSample
    with pytest.raises(InvalidRecord, match=r"'path' has no record of single predictions \(known: direction, price"):
        record_class("path")


def test_a_row_twice_or_out_of_order_is_named():
    record = stored("direction")
    check_order(record)
    place = "the record of btc-basic-1h"
    with pytest.raises(InvalidRecord, match=r"^the record of btc-basic-1h: row 701 of 1,\d+: the bar .*Z stands twice"):
        concat_records([record.rows(slice(0, 700)), record.rows(slice(699, 1_000))], place)
    with pytest.raises(
        InvalidRecord, match=r"row 301 of 700: the bar .*Z follows 20..-.*Z; a record holds each bar once"
    ):
        concat_records([record.rows(slice(400, 700)), record.rows(slice(0, 400))], place)
    index = record.columns() | {"k": np.where(np.arange(len(record)) == 5, record.k[4], record.k)}
    with pytest.raises(InvalidRecord, match="row 6 of"):
        check_order(OutOfSample(**index))


def test_parts_of_different_tasks_and_no_parts_are_refused():
    with pytest.raises(InvalidRecord, match="cannot be made of OutOfSample and RiskRecord"):
        concat_records([stored("direction"), stored("risk")])
    with pytest.raises(InvalidRecord, match="cannot be made of nothing"):
        concat_records([])
