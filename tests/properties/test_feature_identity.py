"""A feature row has the same bits whatever the start of history, the chunk, batch or newest bar, and the gaps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from feature_identity import Reference, bits, with_chunk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market_series import random_candles, real_candles, weekday_candles

from ml.features.catalogue import feature, feature_names
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema


def every_name(candles) -> list[str]:
    held = set(candles.columns)
    return [name for name in feature_names() if held.issuperset(feature(name).columns)]


def reference(candles) -> Reference:
    schema = FeatureSchema.for_candles(candles, every_name(candles))
    return Reference(FeaturePipeline(schema), candles)


def sweep(subject: Reference, seed: int, wanted: int) -> int:
    """Cut the history at random places, and exactly at slice starts, until so many values are compared."""
    rng = np.random.default_rng(seed)
    count = len(subject.candles)
    span = 2 * subject.pipeline.schema.anchor_bars
    at_slice_starts = 0
    while subject.checked < wanted:
        start = int(rng.integers(0, count // 2))
        subject.check_part(start, int(rng.integers(start + 1, count + 1)))
        block = int(rng.integers(1, len(subject.blocks)))
        end = int(subject.blocks.positions[block, 2])
        at_slice_starts += subject.check_slice_start(block, min(count, end + int(rng.integers(0, span))))
    return at_slice_starts


@pytest.mark.parametrize(
    "name, timeframe", [("binance_spot_BTCUSDT_1h", "1h"), ("fx_EURUSD", "1h"), ("binance_spot_XRPUSDT", "1h")]
)
def test_real_candles_with_outages_weekends_and_off_grid_bars(shared_data, name, timeframe):
    subject = reference(real_candles(shared_data, name, timeframe))

    at_slice_starts = sweep(subject, seed=1, wanted=4_000_000)

    assert subject.checked >= 1_000_000
    assert at_slice_starts > 1_000


def test_daily_bars_of_weekdays(shared_data):
    subject = reference(weekday_candles(real_candles(shared_data, "fx_EURUSD", "1h")))
    assert subject.pipeline.schema.index == "weekdays"

    sweep(subject, seed=2, wanted=1_000_000)


@pytest.mark.parametrize("chunk", [1, 700, 100_000])
def test_chunks_do_not_show(monkeypatch, chunk):
    candles = random_candles(6_000, seed=3)
    names = [name for name in every_name(candles) if feature(name).candles("1h") <= 250]
    pipeline = FeaturePipeline(FeatureSchema.of(names, "1h", candles_per_index=0.5))
    expected = pipeline.compute(candles)

    with_chunk(monkeypatch, chunk)

    assert np.array_equal(bits(pipeline.compute(candles).rows), bits(expected.rows))
    assert expected.valid.mean() > 0.7


def test_a_feature_has_the_same_bits_in_any_company():
    candles = random_candles(4_000, seed=4)
    names = [name for name in every_name(candles) if feature(name).candles("1h") <= 250]
    together = FeatureSchema.of(names, "1h", candles_per_index=0.5)
    expected = FeaturePipeline(together).compute(candles)
    for place, name in enumerate(names):
        alone = FeatureSchema((name,), "1h", together.anchor_bars)
        matrix = FeaturePipeline(alone).compute(candles)
        known = expected.valid
        assert matrix.valid[known].all()
        assert np.array_equal(bits(matrix.rows[known, 0]), bits(expected.rows[known, place])), name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_gaps_and_any_cut(data):
    seed = data.draw(st.integers(0, 50), label="seed")
    gaps = data.draw(st.sampled_from([0.0, 0.005, 0.05, 0.3]), label="gaps")
    timeframe, columns = data.draw(
        st.sampled_from([("1h", "full"), ("5m", "full"), ("1h", "volume"), ("1d", "prices"), ("4h", "full")])
    )
    candles = random_candles(1_500, seed, timeframe=timeframe, gaps=gaps, columns=columns)
    names = data.draw(st.lists(st.sampled_from(every_name(candles)), min_size=1, max_size=12, unique=True))
    names = [name for name in names if feature(name).candles(timeframe) <= 300] or ["return_1"]
    schema = FeatureSchema.of(names, timeframe, candles_per_index=0.4)
    subject = Reference(FeaturePipeline(schema), candles)
    start = data.draw(st.integers(0, len(candles) - 1), label="start")
    stop = data.draw(st.integers(start + 1, len(candles)), label="stop")
    subject.check_part(start, stop)
    subject.check_slice_start(data.draw(st.integers(0, len(subject.blocks) - 1), label="block"), len(candles))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1_000), place=st.integers(0, 1_999), factor=st.floats(0.5, 2.0))
def test_later_candles_never_change_earlier_rows(seed, place, factor):
    candles = random_candles(2_000, seed % 20)
    names = [name for name in every_name(candles) if feature(name).candles("1h") <= 250]
    pipeline = FeaturePipeline(FeatureSchema.of(names, "1h", candles_per_index=0.5))
    changed = {name: column.copy() for name, column in candles.columns.items()}
    for column in changed.values():
        column[place:] *= factor
    expected = pipeline.compute(candles)
    matrix = pipeline.compute(replace(candles, **changed))

    assert np.array_equal(matrix.valid, expected.valid)
    assert np.array_equal(bits(matrix.rows[:place]), bits(expected.rows[:place]))
