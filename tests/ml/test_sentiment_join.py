"""Sentiment is joined by its publication: what is published after a close never reaches that candle or its prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from feature_identity import Reference, bits
from hypothesis import given, settings
from hypothesis import strategies as st
from market_series import DAY, HOUR, random_candles

from ml.aggregation import aggregate
from ml.bundles import open_files
from ml.candles import Candles
from ml.errors import InvalidCandles, MissingColumns
from ml.features.catalogue import feature_names
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.fingerprints import fingerprints
from ml.sentiment import join_sentiment, published_at
from ml.synthetic import synthetic_candles
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey

NAMES = (*feature_names("sentiment"), "ewma_volatility")


def naive(moments, published, values, max_age):
    """Look at every value for every moment."""
    found = []
    for moment in moments:
        newest = None
        for time, value in zip(published, values, strict=True):
            if time <= moment:
                newest = (time, value)
        found.append(np.nan if newest is None or moment - newest[0] > max_age else newest[1])
    return np.array(found)


@settings(max_examples=150, deadline=None)
@given(
    times=st.lists(st.integers(0, 400), unique=True, max_size=12).map(sorted),
    moments=st.lists(st.integers(-20, 500), max_size=20),
    max_age=st.integers(0, 120),
)
def test_the_newest_published_value_and_none_that_is_stale(times, moments, max_age):
    values = np.arange(len(times), dtype=float) + 1
    published = np.array(times, dtype=np.int64)
    found = published_at(np.array(moments, dtype=np.int64), published, values, max_age)
    assert np.array_equal(found, naive(moments, times, values, max_age), equal_nan=True)


@pytest.mark.parametrize("times, values", [([1, 1], [1.0, 2.0]), ([2, 1], [1.0, 2.0]), ([1], [1.0, 2.0])])
def test_a_series_out_of_order_is_refused(times, values):
    with pytest.raises(ValueError, match=r"strictly increasing|values for"):
        published_at(np.array([5]), np.array(times), np.array(values), 10)


def market(bars=2_400, seed=2) -> tuple[Candles, np.ndarray, np.ndarray]:
    """Hourly candles, and daily values from their fourth day on."""
    candles = synthetic_candles(bars, edge=0.2, seed=seed)
    days = np.arange(candles.open_ms[0] // DAY + 3, candles.open_ms[-1] // DAY + 2) * DAY
    values = np.round(np.random.default_rng(seed).uniform(0, 100, len(days)))
    return candles, days, values


def test_a_value_counts_from_the_candle_that_closes_at_its_publication():
    candles, days, values = market()
    joined = join_sentiment(candles, days, values)
    closes = candles.open_ms + HOUR
    first = int(np.searchsorted(closes, days[0]))
    assert closes[first] == days[0]
    assert np.isnan(joined.sentiment[:first]).all()
    assert joined.sentiment[first] == values[0]
    assert joined.sentiment[first + 23] == values[0]
    assert joined.sentiment[first + 24] == values[1]
    later = join_sentiment(candles, days + 5 * HOUR, values)
    assert np.array_equal(later.sentiment[5:], joined.sentiment[:-5], equal_nan=True)


def test_it_is_part_of_the_candle_and_of_its_digest():
    candles, days, values = market()
    joined = join_sentiment(candles, days, values)
    assert candles.sentiment is None
    assert "sentiment" in joined.columns
    assert joined.digest != candles.digest
    other = values.copy()
    other[10] += 1
    assert join_sentiment(candles, days, other).digest != joined.digest
    assert np.array_equal(joined.slice(5, 90).sentiment, joined.sentiment[5:90], equal_nan=True)
    for wrong in (np.inf, -1.0):
        with pytest.raises(InvalidCandles, match="sentiment is"):
            replace(candles, sentiment=np.full(len(candles), wrong))


def test_a_higher_timeframe_takes_what_was_known_last():
    candles, days, values = market()
    closes = candles.open_ms[0] + np.arange(1, 200) * HOUR
    base = join_sentiment(candles, closes, np.arange(1, 200, dtype=float) % 90, max_age_ms=HOUR)
    whole = aggregate(base, "4h")
    assert np.array_equal(
        whole.sentiment, base.sentiment[np.searchsorted(base.open_ms, whole.open_ms + 3 * HOUR)], equal_nan=True
    )


@settings(max_examples=25, deadline=None)
@given(day=st.integers(5, 95), new=st.integers(0, 100), delay=st.sampled_from([0, 1, 13, 30]))
def test_a_later_value_changes_no_earlier_candle_feature_or_cache_key(day, new, delay):
    candles, days, values = market()
    published = days + delay * HOUR
    changed = values.copy()
    changed[day] = new
    before, after = (join_sentiment(candles, published, each) for each in (values, changed))
    end = int(np.searchsorted(candles.open_ms + HOUR, published[day]))
    schema = FeatureSchema.of(NAMES, "1h")
    pipeline = FeaturePipeline(schema)
    rows = [bits(pipeline.compute(each).rows[:end]) for each in (before, after)]
    keys = [fingerprints(each, schema)[:end] for each in (before, after)]

    assert np.array_equal(before.sentiment[:end], after.sentiment[:end], equal_nan=True)
    assert np.array_equal(*rows)
    assert np.array_equal(*keys)
    if end < len(candles) and new != values[day]:
        assert not np.array_equal(fingerprints(before, schema)[end], fingerprints(after, schema)[end])


def test_features_are_bit_identical_from_any_start():
    candles = random_candles(3_000, seed=8, gaps=0.004)
    subject = Reference(FeaturePipeline(FeatureSchema.for_candles(candles, NAMES)), candles)
    rng = np.random.default_rng(1)
    for _ in range(25):
        start = int(rng.integers(0, 1_500))
        subject.check_part(start, int(rng.integers(start + 1, 3_001)))
        subject.check_slice_start(int(rng.integers(1, len(subject.blocks))), 3_000)
    assert subject.full.valid.sum() > 500
    assert subject.checked > 10_000


def test_days_are_counted_in_time_not_in_candles():
    candles, days, _ = market()
    joined = join_sentiment(candles, days, np.arange(len(days), dtype=float), max_age_ms=DAY)
    holes = np.ones(len(candles), dtype=bool)
    holes[1_500:1_512] = False  # half a day without candles
    cut = {name: column[holes] for name, column in joined.columns.items()}
    gapped = Candles.from_columns("1h", {"open_ms": joined.open_ms[holes], **cut})
    schema = FeatureSchema.of(("sentiment_change_1", "sentiment_change_7"), "1h", candles_per_index=0.9)
    rows = FeaturePipeline(schema).compute(gapped).rows
    known = rows[np.isfinite(rows).all(axis=1)]
    assert len(known) > 500
    for place, days_back in enumerate((1, 7)):
        usual = np.float32(days_back / 50)
        column = known[:, place]
        assert (column == usual).mean() > 0.98
        assert set(np.round(column * 50).astype(int)) <= {days_back, days_back + 1}


KEY = ModelKey("BTCUSDT", "sentiment", "1h")
SETTINGS = TrainingSettings(
    features=("rsi_14", "taker_imbalance_20", "volatility_20"),
    parameters={"num_boost_round": 20, "min_data_in_leaf": 50},
    folds=3,
    plots=False,
    robustness=False,
    sentiment="fear_and_greed",
)
AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_trained_bundle_carries_the_series_in_its_self_test_and_forgets_nothing_later():
    candles, days, values = market(2_400)
    joined = join_sentiment(candles, days, values)
    files = train(joined, KEY, SETTINGS, at=AT, code_version="test").files
    document = json.loads(files["metadata.json"])
    assert document["data"]["sentiment"] == "fear_and_greed"
    assert set(feature_names("sentiment")) <= set(document["features"])
    bundle = open_files(files)
    assert "sentiment" in bundle.schema.columns
    changed = values.copy()
    changed[80:] = 100 - changed[80:]
    end = int(np.searchsorted(candles.open_ms + HOUR, days[80]))
    before = bundle.predict_candles(joined)
    frame = pd.DataFrame(
        {"timestamp": joined.open_ms, **joined.columns}
    )  # a frame with the column is as good as candles
    assert bundle.predict_candles(Candles.from_frame(frame, "1h")).values.tobytes() == before.values.tobytes()
    after = bundle.predict_candles(join_sentiment(candles, days, changed))
    assert before.values[:end].tobytes() == after.values[:end].tobytes()
    assert before.values[end:].tobytes() != after.values[end:].tobytes()


def test_without_the_series_the_message_names_the_command():
    candles, _, _ = market()
    with pytest.raises(MissingColumns, match=r"`bot data import FILE --kind sentiment`"):
        train(candles, KEY, SETTINGS, at=AT, code_version="test")
