"""Every output of every kernel on a short series, against its oracle; quick also as plain Python (NUMBA_DISABLE_JIT=1)."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
from feature_identity import Reference, bits
from feature_oracles import oracle_of
from market_series import frame_of, random_candles

from ml.features.catalogue import feature, feature_names
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.kernels.logarithms import log_ratio
from ml.kernels.table import DERIVED, KERNELS

SHORT = (
    *(name for name in feature_names() if feature(name).candles("1h") <= 130),
    *(
        "ema_8",
        "ema_8_distance",
        "ema_3_distance",
        "ema_4_slope",
        "ema_5_slope",
        "ema_6",
        "trix_3",
        "rsi_3",
        "atr_3_pct",
    ),
    *("adx_5", "plus_di_5", "minus_di_5", "sma_1", "zscore_2", "trend_3", "skew_3", "kurtosis_4", "min_2", "max_3"),
    *(
        "obv_1",
        "up_ratio_1",
        "kyle_lambda_3",
        "breakout_1",
        "volume_trend_2",
        "amihud_ratio_3",
        "min_33",
        "stochastic_3_d",
        "sentiment_change_3",
        "sentiment_distance_4",
    ),
)


@functools.cache
def subject() -> Reference:
    names = [*SHORT, "ewma_volatility"]
    candles = random_candles(560, seed=5, gaps=0.01, flat=0.05, idle=0.05)
    return Reference(FeaturePipeline(FeatureSchema.of(names, "1h", candles_per_index=0.95)), candles)


def test_every_output_is_reached():
    reached = {(spec.kernel, spec.output) for spec in map(feature, [*SHORT, "ewma_volatility"])}

    assert reached == {(kernel.name, output) for kernel in KERNELS.values() for output in kernel.outputs}
    assert {name for kernel in KERNELS.values() for name in kernel.inputs if name in DERIVED} == set(DERIVED)


@pytest.mark.parametrize("name", [*SHORT, "ewma_volatility"])
def test_against_the_oracle(name):
    reference = subject()
    place = reference.pipeline.schema.names.index(name)
    known = np.flatnonzero(reference.full.valid)
    first, begin, end = reference.blocks.positions[-1]
    assert (known >= begin).sum() > 50
    frame = frame_of(reference.candles.slice(first, end))
    oracle, period = oracle_of(name)
    with np.errstate(all="ignore"):
        expected = np.asarray(oracle(frame, period), dtype=float)[begin - first :]
    actual = reference.full.rows[begin:end, place].astype(float)

    assert np.array_equal(np.isnan(expected), np.isnan(actual))
    good = ~np.isnan(expected)
    tolerance = 2e-4 if feature(name).window("1h") == 0 else 2e-6  # what remains of the seed of a smoother
    scale = expected[good].std() if good.any() else 0.0
    assert np.allclose(actual[good], expected[good], rtol=2e-6, atol=tolerance * scale + 1e-12)


def test_the_same_bits_from_any_start():
    reference = subject()
    for block in range(1, len(reference.blocks)):
        reference.check_slice_start(block, len(reference.candles))
    for start in (1, 40, 130):
        reference.check_part(start, len(reference.candles) - start)

    assert reference.checked > 10_000


def test_a_slice_shorter_than_the_windows_says_nothing():
    reference = subject()
    schema = reference.pipeline.schema
    few = reference.candles.slice(0, 7)
    calls = reference.pipeline._calls
    inputs = reference.pipeline._inputs(few, 0)
    for keep in (0, 6):
        buffer = np.zeros((len(schema.names), 7 - keep), dtype=np.float32)
        reference.pipeline._run(inputs, np.array([[0, 0, keep, 7]]), buffer, keep)
        for spec in schema.features:
            call = next(call for call in calls if call.function.__name__ == spec.kernel)
            row = call.rows[list(call.periods).index(spec.period), spec.output_index()]
            if spec.window("1h") > 7:
                assert np.isnan(buffer[row]).all(), spec.name


def test_from_the_first_candle_of_a_slice():
    pipeline = FeaturePipeline(FeatureSchema.of(SHORT, "1h"))
    candles = random_candles(150, seed=9, gaps=0.0, flat=0.0, idle=0.1)
    frame = frame_of(candles)
    buffer = np.zeros((len(SHORT), 150), dtype=np.float32)
    pipeline._run(pipeline._inputs(candles, 0), np.array([[0, 0, 0, 150]]), buffer, 0)
    for spec, row in zip(pipeline.schema.features, pipeline._order, strict=True):
        if spec.window("1h") == 0:
            continue
        oracle, period = oracle_of(spec.name)
        with np.errstate(all="ignore"):
            expected = np.asarray(oracle(frame, period), dtype=float)
        actual = buffer[row].astype(float)
        assert np.array_equal(np.isnan(expected), np.isnan(actual)), spec.name
        scale = np.nanstd(expected)
        assert np.allclose(actual, expected, rtol=2e-6, atol=2e-6 * scale + 1e-12, equal_nan=True), spec.name


def test_equal_volumes_deviate_by_nothing():
    candles = random_candles(300, seed=10, gaps=0.0, columns="volume")
    steady = replace(candles, volume=np.where(np.arange(300) < 150, 0.1, 0.3))
    pipeline = FeaturePipeline(FeatureSchema.of(["volume_zscore_20", "volume_ratio"], "1h"))

    matrix = pipeline.compute(steady)

    assert np.isnan(matrix.rows[170:, 0]).all()
    assert (matrix.rows[170:, 1] == 1.0).all()
    assert matrix.rows[150, 0] == np.float32(np.sqrt(19))


def test_flat_windows_and_silence_are_exact_whatever_went_before():
    candles = random_candles(560, seed=6, gaps=0.0, flat=0.0, idle=0.0)
    columns = {name: column.copy() for name, column in candles.columns.items()}
    for name in ("open", "high", "low", "close"):
        columns[name][400:] = columns["close"][399]
    columns["volume"][399] *= 1e9  # a spike, then nothing: no remainder of it may stay in a sum
    for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        columns[name][400:] = 0.0
    names = (
        "sma_20_distance",
        "zscore_20",
        "bollinger_20_width",
        "volatility_20",
        "trend_20",
        "volume_sma_20",
        "obv_20",
    )
    names += (
        "taker_imbalance_20",
        "up_ratio_20",
        "efficiency_ratio_20",
        "parkinson_20",
        "corwin_schultz_20",
        "skew_20",
    )
    pipeline = FeaturePipeline(FeatureSchema.of(names, "1h"))

    matrix = pipeline.compute(type(candles).from_columns("1h", {"open_ms": candles.open_ms, **columns}))

    rows = dict(zip(names, matrix.rows[-100:].T, strict=True))
    for name in ("sma_20_distance", "bollinger_20_width", "volatility_20", "trend_20", "volume_sma_20", "up_ratio_20"):
        assert (rows[name] == 0.0).all(), name
    for name in ("parkinson_20", "corwin_schultz_20"):
        assert (rows[name] == 0.0).all(), name
    for name in ("zscore_20", "obv_20", "taker_imbalance_20", "efficiency_ratio_20", "skew_20"):
        assert np.isnan(rows[name]).all(), name


def test_logarithms_of_near_and_far_ratios():
    bottom = np.array([1.0, 1.0, 100.0, 3.0, 5e-5, 2.0])
    top = np.array([1.0, 1.0 + 2.0**-52, 106.0, 1.0, 9e4, 2.1])
    out = np.empty(6)

    log_ratio(top, bottom, out)

    expected = [math.log1p((a - b) / b) for a, b in zip(top, bottom, strict=True)]
    assert np.allclose(out, expected, rtol=1e-15, atol=0.0)
    assert out[0] == 0.0


def test_rows_are_nan_where_a_bar_is_not_valid():
    reference = subject()
    rows = reference.full.rows

    assert np.isnan(rows[~reference.full.valid]).all()
    assert (bits(rows[reference.full.valid]) != bits(np.array([np.nan], dtype=np.float32))).any(axis=1).all()
