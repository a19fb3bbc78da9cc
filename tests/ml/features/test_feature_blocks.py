"""Slices of time: positions, weekdays, density, and which bars have features."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from market_series import DAY, HOUR, START_MS, random_candles, real_candles, weekday_candles

from ml.candles import Candles
from ml.errors import SchemaMismatch
from ml.features.blocks import block_index, block_slices, density, find_blocks, index_start_ms, valid_bars
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema


def hours(places, asked=()):
    times = np.asarray(places, dtype=np.int64) * HOUR
    ones = np.ones(len(times))
    return Candles("1h", times, ones, ones, ones, ones, asked=asked)


def days(first: date, count: int, weekend: bool = False):
    found = [first + timedelta(days=k) for k in range(count)]
    times = [
        datetime(d.year, d.month, d.day, tzinfo=UTC).timestamp() * 1000 for d in found if weekend or d.weekday() < 5
    ]
    ones = np.ones(len(times))
    return Candles("1d", np.array(times, dtype=np.int64), ones, ones, ones, ones)


@given(
    st.lists(st.integers(0, 2_000), min_size=1, max_size=200, unique=True).map(sorted),
    st.sampled_from([64, 128, 256]),
)
def test_positions_are_those_of_the_definition(index, anchor_bars):
    index = np.array(index)

    positions = block_slices(index, anchor_bars)

    assert np.array_equal(np.concatenate([np.arange(begin, end) for _, begin, end in positions]), np.arange(len(index)))
    for first, begin, end in positions:
        (block,) = set(index[begin:end] // anchor_bars)
        inside = (index >= (block - 1) * anchor_bars) & (index < (block + 1) * anchor_bars)
        assert np.array_equal(np.flatnonzero(inside), np.arange(first, end))


def test_an_empty_series_has_no_blocks():
    empty = hours([])

    assert len(find_blocks(empty, 64)) == 0
    assert valid_bars(empty, find_blocks(empty, 64), 1).shape == (0,)
    assert density(empty) == 1.0


def test_weekdays_count_mondays_to_fridays():
    candles = days(date(2023, 12, 25), 28)

    k = block_index(candles, "weekdays")

    assert np.array_equal(np.diff(k), np.ones(len(k) - 1))
    assert np.array_equal(index_start_ms(k, "1d", "weekdays"), candles.open_ms)


def test_a_weekend_bar_shares_the_index_of_its_friday():
    candles = days(date(2024, 1, 5), 4, weekend=True)  # Friday to Monday

    k = block_index(candles, "weekdays")

    assert list(k - k[0]) == [0, 0, 0, 1]


@pytest.mark.parametrize("timeframe", ["1m", "1h", "4h", "1d", "1w"])
def test_the_start_of_an_index_is_its_inverse(timeframe):
    step = {"1m": 60_000, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY, "1w": 7 * DAY}[timeframe]
    start = START_MS if timeframe != "1w" else START_MS + 3 * DAY  # a Monday
    times = start + np.arange(50, dtype=np.int64) * step
    candles = Candles(timeframe, times, *(np.ones(50),) * 4)

    assert np.array_equal(index_start_ms(candles.index, timeframe), times)


def test_only_daily_bars_are_counted_in_weekdays():
    with pytest.raises(SchemaMismatch, match="only 1d can"):
        block_index(hours([1, 2]), "weekdays")
    with pytest.raises(SchemaMismatch, match="expected calendar or weekdays"):
        block_index(hours([1, 2]), "moon")


def test_density_leaves_out_what_was_never_asked():
    candles = hours([0, 1, 3, 1_000, 1_001], asked=((0, 4 * HOUR), (1_000 * HOUR, 1_002 * HOUR)))

    assert density(candles) == 5 / 6
    assert density(replace(candles, asked=((0, 1_002 * HOUR),))) == 5 / 1_002


def test_a_bar_needs_the_start_of_its_slice_and_enough_candles():
    candles = hours([*range(64, 130), *range(140, 200)], asked=((64 * HOUR, 200 * HOUR),))
    blocks = find_blocks(candles, 64)

    valid = valid_bars(candles, blocks, 70)

    # block 1 (64..127) would need hour 0; the slice of block 2 (128..191) starts at 64, its 70th candle is hour 143; that of
    # block 3 starts at 128 and holds 62
    assert list(candles.index[valid]) == [*range(143, 192)]
    assert not valid_bars(replace(candles, asked=((65 * HOUR, 192 * HOUR),)), blocks, 70)[: 66 + 52].any()


def test_what_was_not_asked_in_between_has_no_features():
    asked = ((0, 100 * HOUR), (110 * HOUR, 300 * HOUR))
    candles = hours([*range(100), *range(110, 300)], asked=asked)

    valid = valid_bars(candles, find_blocks(candles, 64), 1)

    # up to hour 99 the slice is known; hours 110 to 191 look back over the hole; hour 192 on looks back to 128
    assert list(candles.index[valid]) == [*range(64, 100), *range(192, 300)]


def test_the_index_of_a_slice_start_may_be_a_gap():
    candles = hours(range(70, 200), asked=((64 * HOUR, 200 * HOUR),))

    assert valid_bars(candles, find_blocks(candles, 64), 1)[candles.index >= 128].all()


def share(candles):
    schema = FeatureSchema.for_candles(candles)
    return schema, FeaturePipeline(schema).compute(candles).valid.mean()


def test_most_bars_of_foreign_exchange_have_features(shared_data):
    hourly = real_candles(shared_data, "fx_EURUSD", "1h")
    schema, valid = share(hourly)
    daily_schema, daily_valid = share(weekday_candles(hourly))

    assert (schema.anchor_bars, schema.index) == (2048, "calendar")
    assert valid >= 0.9
    assert (daily_schema.anchor_bars, daily_schema.index) == (256, "weekdays")
    assert daily_valid >= 0.65


def test_a_market_that_never_closes_takes_1024(shared_data):
    schema, valid = share(real_candles(shared_data, "binance_spot_BTCUSDT_1h", "1h"))

    assert (schema.anchor_bars, schema.index) == (1024, "calendar")
    assert valid >= 0.98


def test_hours_of_a_stock_take_8192():
    weekdays = days(date(2015, 1, 1), 3_000).open_ms
    times = (weekdays[:, None] + np.arange(14, 21) * HOUR).ravel()  # seven bars a day
    candles = Candles("1h", times, *(np.ones(len(times)),) * 4)

    assert FeatureSchema.for_candles(candles).anchor_bars == 8192


def test_off_grid_candles_stay_in_windows():
    candles = random_candles(700, seed=1, gaps=0.0)
    assert candles.off_grid.any()
    pipeline = FeaturePipeline(FeatureSchema.of(["sma_5"], "1h"))
    place = int(np.flatnonzero(candles.off_grid)[0]) + 1

    row = pipeline.compute(candles).rows[place, 0]

    assert row == np.float32(candles.close[place - 4 : place + 1].mean())
