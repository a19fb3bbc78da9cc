"""The pipeline: shapes, absence, errors, the version of its code."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from market_series import HOUR, random_candles

import ml.features
from ml.errors import MissingColumns, SchemaMismatch
from ml.features import version
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema

CANDLES = random_candles(600, seed=2, gaps=0.0)
PIPELINE = FeaturePipeline(FeatureSchema.of(["rsi_14", "return_1", "returns", "momentum_1"], "1h"))


def test_rows_are_float32_in_the_order_of_the_schema():
    matrix = PIPELINE.compute(CANDLES)

    assert matrix.rows.shape == (600, 4)
    assert matrix.rows.dtype == np.float32
    assert matrix.rows.flags.c_contiguous
    assert len(matrix) == 600
    assert np.array_equal(matrix.rows[:, 1], matrix.rows[:, 2], equal_nan=True)
    assert np.array_equal(matrix.rows[:, 1], matrix.rows[:, 3], equal_nan=True)
    assert np.isnan(matrix.rows[~matrix.valid]).all()
    assert matrix.valid[256:].all()


def test_the_newest_bar_needs_its_slice_only():
    full = PIPELINE.compute(CANDLES)
    window = CANDLES.slice(len(CANDLES) - PIPELINE.schema.window_bars, len(CANDLES))

    latest = PIPELINE.latest(window)

    assert latest.valid.all()
    assert latest.rows.tobytes() == full.rows[-1:].tobytes()


def test_a_bar_without_history_says_nothing():
    for count in (1, 50, 120):
        latest = PIPELINE.latest(CANDLES.slice(0, count))
        assert not latest.valid[0]
        assert np.isnan(latest.rows).all()


def test_no_candles_give_no_rows():
    empty = CANDLES.slice(0, 0)

    assert PIPELINE.compute(empty).rows.shape == (0, 4)
    assert PIPELINE.latest(empty).rows.shape == (0, 4)


def test_a_hole_in_what_was_asked_silences_what_looks_over_it():
    hole = int(CANDLES.open_ms[300])
    asked = ((CANDLES.asked[0][0], hole), (hole + HOUR, CANDLES.asked[-1][1]))
    parts = {name: np.delete(column, 300) for name, column in CANDLES.columns.items()}
    candles = replace(CANDLES, open_ms=np.delete(CANDLES.open_ms, 300), **parts, asked=asked)

    valid = PIPELINE.compute(candles).valid

    assert valid[299]
    assert not valid[300]
    assert PIPELINE.latest(candles.slice(0, 301)).valid[0] == valid[300]
    assert valid[-1]


def test_candles_of_another_timeframe_are_refused():
    with pytest.raises(SchemaMismatch, match="features are of 1h candles, these are of 5m"):
        PIPELINE.compute(random_candles(10, timeframe="5m"))


def test_missing_columns_are_named():
    pipeline = FeaturePipeline(FeatureSchema.of(["taker_imbalance_20"], "1h"))

    with pytest.raises(
        MissingColumns, match=r"taker_imbalance_20 \(group microstructure\) needs the column taker_buy_base"
    ):
        pipeline.latest(random_candles(10, columns="volume"))


def test_the_input_stays_as_it_was():
    before = {name: column.copy() for name, column in CANDLES.columns.items()}

    PIPELINE.compute(CANDLES)

    assert all(np.array_equal(before[name], column, equal_nan=True) for name, column in CANDLES.columns.items())


ONE_SIGNATURE = """
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.synthetic import synthetic_candles

candles = synthetic_candles(2_300, seed=3)
full = FeaturePipeline(FeatureSchema.for_candles(candles))
assert full.compute(candles).valid.any()
assert full.latest(candles).valid.all()
print({len(call.function.signatures) for call in full._calls})
"""


def test_each_kernel_is_compiled_once():
    if not hasattr(PIPELINE._calls[0].function, "signatures"):
        pytest.skip("kernels run as plain Python")
    done = subprocess.run([sys.executable, "-c", ONE_SIGNATURE], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("{1}\n", "")  # a process of its own: other tests have other kinds of arrays


def test_the_version_of_the_code_is_that_of_its_source(monkeypatch, tmp_path):
    package = Path(version.__file__).parents[1]
    for folder in ("kernels", "features"):
        for path in (package / folder).rglob("*.py"):
            copy = tmp_path / path.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    monkeypatch.setattr(version, "__file__", str(tmp_path / "features" / "version.py"))
    fresh = version.feature_code_version.__wrapped__

    assert fresh() == ml.features.FEATURE_CODE_VERSION
    with (tmp_path / "kernels" / "returns.py").open("a") as file:
        file.write("# changed\n")
    assert fresh() != ml.features.FEATURE_CODE_VERSION
    with pytest.raises(AttributeError, match="no attribute 'CODE'"):
        _ = ml.features.CODE


def test_names_are_known_without_loading_numba():
    code = (
        "import sys, ml.features.schema, ml.features.pipeline; print('numba' in sys.modules, 'pandas' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.split() == ["False", "False"]
