"""The history of features: whatever was asked before, the rows are those of a computation from scratch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_models import market, revised, trading_days, with_holes
from small_networks import off_the_grid

from ml.candles import Candles
from ml.errors import MissingColumns, SchemaMismatch
from ml.features.history import FeatureHistory
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema

NAMES = ("ewma_volatility", "rsi_14", "return_1", "macd_signal", "vwap_distance", "obv_20", "volatility_20", "hour")
OTHER = ("ewma_volatility", "sma_20_distance")


SCHEMA = FeatureSchema.of(NAMES, "1h")


def same(history: FeatureHistory, candles: Candles, schema: FeatureSchema = SCHEMA) -> None:
    found, expected = history.matrix(candles, schema), FeaturePipeline(schema).compute(candles)
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.rows, expected.rows)
    assert found.rows.dtype == np.float32


def damaged(seed: int) -> Candles:
    return off_the_grid(with_holes(market(), seed), seed + 1)


def test_a_window_that_moves_computes_what_is_new_only():
    history, candles = FeatureHistory(), damaged(2)
    same(history, candles.slice(0, 1_500))
    before = history.computed
    for step in range(1, 20):
        same(history, candles.between(int(candles.open_ms[17 * step]), int(candles.open_ms[1_500 + 12 * step])))
    assert history.computed - before == 19 * 12


def test_any_order_of_windows_schemas_and_revisions_gives_the_rows_of_a_fresh_computation():
    rng = np.random.default_rng(5)
    history, candles = FeatureHistory(), damaged(3)
    other = FeatureSchema.of(OTHER, "1h")
    for _ in range(60):
        start, end = sorted(rng.integers(0, len(candles), 2))
        window = (
            candles.slice(int(start), int(end))
            if rng.random() < 0.5
            else candles.between(int(candles.open_ms[start]), int(candles.open_ms[end]))
        )
        if len(window) > 50 and rng.random() < 0.5:
            window = revised(window, int(rng.integers(len(window))), rng.choice(["close", "volume", "taker_buy_base"]))
        same(history, window, SCHEMA if rng.random() < 0.8 else other)


def test_candles_that_came_late_or_went_are_noticed():
    whole = market()
    history = FeatureHistory()
    for missing in (np.arange(1_200, 1_230), np.arange(0, 0), np.arange(30, 40), np.arange(2_990, 3_000)):
        kept = np.ones(len(whole), dtype=bool)
        kept[missing] = False
        parts = {name: column[kept] for name, column in whole.columns.items()}
        same(history, replace(whole, open_ms=whole.open_ms[kept], **parts))
    # the same candles, of which another part was asked for: other bars have features
    for asked in (((int(whole.open_ms[600]), int(whole.open_ms[-1]) + 1),), whole.asked):
        same(history, replace(whole, asked=asked))
    # candles before the first one have gone, though they were asked for
    later = whole.slice(700, 3_000)
    same(history, whole)
    same(history, replace(later, asked=whole.asked))


def test_columns_that_come_and_go():
    whole, history = market(), FeatureHistory()
    same(history, whole)
    schema = FeatureSchema.of(("ewma_volatility", "return_1"), "1h")
    bare = Candles("1h", whole.open_ms, whole.open, whole.high, whole.low, whole.close)
    same(history, whole, schema)
    same(history, bare, schema)
    with pytest.raises(MissingColumns):
        history.matrix(bare, FeatureSchema.of(("ewma_volatility", "taker_imbalance_20"), "1h"))
    with pytest.raises(SchemaMismatch):
        history.matrix(replace(whole, timeframe="5m"), SCHEMA)


def test_weekdays_and_nothing():
    days = trading_days()
    schema = FeatureSchema.for_candles(days, ("ewma_volatility", "return_1", "rsi_14"))
    history = FeatureHistory()
    for end in (300, 700, 705, 900, len(days)):
        same(history, days.slice(0, end), schema)
    same(history, days.slice(0, 0), schema)
    same(history, days, schema)
