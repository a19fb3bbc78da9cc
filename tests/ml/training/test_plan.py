"""The plan: its counts are those of the run that follows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from planted_data import planted_dataset

from ml.candles import Candles
from ml.dataset import purged_walk_forward
from ml.errors import NotEnoughBars
from ml.features.schema import FeatureSchema
from ml.predictors.basic import BasicPredictor
from ml.synthetic import synthetic_candles
from ml.training.plan import check_length, minimum_bars, plan, plan_dataset
from ml.training.walk_forward import walk_forward


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_plan_counts_what_is_then_scored(horizon):
    dataset = planted_dataset(3_000, horizon=horizon, missing=tuple(range(2_000, 2_050)))
    promised = plan_dataset(dataset, "1h")
    record = walk_forward(
        dataset,
        purged_walk_forward(dataset),
        BasicPredictor({"num_boost_round": 5}),
        seed=0,
        threads=1,
        progress=lambda _fraction, _text: None,
    )
    assert promised.scored == record.counted.sum()
    assert promised.usable == 2_950
    assert promised.labelled == dataset.labelled.sum()


def test_bars_for_leads_to_that_many_scored_bars():
    small = plan_dataset(planted_dataset(2_000, horizon=3), "1h")
    wanted = small.bars_for(1_000)
    reached = plan_dataset(planted_dataset(wanted, horizon=3), "1h").scored
    assert reached == pytest.approx(1_000, abs=5)


def test_the_three_sizes_and_the_words():
    candles = synthetic_candles(4_000, seed=1)
    found = plan(candles, FeatureSchema.for_candles(candles, ("rsi_14", "ewma_volatility")), 1)
    assert found.needed == {"0.53": 3_001, "0.54": 1_686, "0.55": 1_077}
    text = "\n".join(found.lines())
    for words in ("4,000 bars", "3,001", "about 1,700 (1,686)", "1,077", f"{found.usable:,} of them after the warm-up"):
        assert words in text
    assert found.usable + found.warming == 4_000
    assert found.to_dict()["scored"] == found.scored


def test_what_can_be_seen_grows_with_the_data():
    small, large = (plan_dataset(planted_dataset(n), "1h") for n in (1_000, 8_000))
    assert 0.5 < large.smallest_visible < small.smallest_visible
    assert "no model is promoted" in "\n".join(small.lines())
    assert "this data can show a hit rate of" in "\n".join(large.lines())


def test_no_scored_bar_shows_nothing():
    found = plan_dataset(planted_dataset(300, horizon=200), "1h")
    assert found.scored <= 1
    assert found.scored or math.isnan(found.smallest_visible)


@pytest.mark.parametrize(("timeframe", "least"), [("1m", 1_000), ("5m", 1_000), ("1h", 500), ("1d", 500)])
def test_minimum_bars(timeframe, least):
    assert minimum_bars(timeframe) == least
    candles = synthetic_candles(least, timeframe=timeframe)
    check_length(candles)
    with pytest.raises(NotEnoughBars) as caught:
        check_length(candles.slice(0, least - 1))
    assert str(caught.value).startswith(f"Insufficient data for training (got {least - 1} rows)")
    assert f"{least:,} bars of {timeframe}" in str(caught.value)
    assert "bot data download" in str(caught.value)
    assert "--features" not in str(caught.value)  # no choice of features makes more bars


def test_bars_off_the_grid_are_named_as_the_reason():
    candles = synthetic_candles(2_000)
    half_past = replace(candles, open_ms=candles.open_ms + 1_800_000, asked=())
    with pytest.raises(
        NotEnoughBars, match=r"2,000 of them do not open on a multiple of 1h \(such as that of .*:30:00Z\)"
    ):
        check_length(half_past)


def test_an_empty_range_is_refused_in_the_same_words():
    empty = np.empty(0)
    candles = Candles("1h", empty.astype(np.int64), empty, empty, empty, empty)
    with pytest.raises(NotEnoughBars, match=r"Insufficient data for training \(got 0 rows\)"):
        check_length(candles)


def test_a_warm_up_that_eats_the_data_is_named():
    candles = synthetic_candles(900)
    with pytest.raises(NotEnoughBars) as caught:
        plan(candles, FeatureSchema.for_candles(candles), 1)
    assert "Insufficient data for training (got 900 rows)" in str(caught.value)
    assert "warm the features up" in str(caught.value)
