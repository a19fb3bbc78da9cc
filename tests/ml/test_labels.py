"""Labels join candles by absolute index: oracle is a dictionary from index to close."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.candles import Candles
from ml.labels import decided, forward_returns, past_returns

HOUR = 3_600_000


def candles_at(hours, closes=None, shift=0):
    times = np.array(hours, dtype=np.int64) * HOUR + shift
    close = np.linspace(100, 130, len(times)) if closes is None else np.asarray(closes, dtype=float)
    return Candles("1h", times, close, close + 1, close - 1, close)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 80), min_size=1, max_size=60), st.integers(1, 12), st.integers(0, 2**31))
def test_label_is_the_candle_at_the_index_itself(hours, horizon, seed):
    hours = sorted(hours)
    closes = 100 * np.exp(np.random.default_rng(seed).normal(0, 0.01, len(hours)).cumsum())
    by_hour = dict(zip(hours, closes, strict=True))
    candles = candles_at(hours, closes)
    forward, past = forward_returns(candles, horizon), past_returns(candles, horizon)
    for i, hour in enumerate(hours):
        for measured, other, sign in ((forward, hour + horizon, 1), (past, hour - horizon, -1)):
            if other in by_hour:
                assert measured[i] == pytest.approx(sign * math.log(by_hour[other] / by_hour[hour]), abs=1e-15)
            else:
                assert math.isnan(measured[i])


def test_off_grid_candles_are_neither_labelled_nor_labels():
    times = np.array([0, 1, 2, 3, 4], dtype=np.int64) * HOUR
    times[2] += 28 * 60_000
    close = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    candles = Candles("1h", times, close, close, close, close)
    np.testing.assert_array_equal(np.isnan(forward_returns(candles, 1)), [False, True, True, False, True])
    assert forward_returns(candles, 2)[0] != forward_returns(candles, 2)[0]  # its label would be the off-grid one
    assert forward_returns(candles, 2)[1] == pytest.approx(math.log(4))


def test_weekday_index_labels_monday_from_friday():
    days = np.array([0, 1, 2, 3, 4, 7, 8])  # Monday to Friday, Monday, Tuesday
    monday = 4 * 86_400_000
    close = np.arange(1.0, 8.0)
    candles = Candles("1d", monday + days * 86_400_000, close, close, close, close)
    assert math.isnan(forward_returns(candles, 1)[4])
    weekdays = np.array([0, 1, 2, 3, 4, 5, 6])
    assert forward_returns(candles, 1, weekdays)[4] == pytest.approx(math.log(6 / 5))


def test_ties_are_not_decided():
    returns = forward_returns(candles_at([0, 1, 2, 4], [5.0, 5.0, 6.0, 6.0]), 1)
    np.testing.assert_array_equal(decided(returns), [False, True, False, False])
    assert returns[0] == 0.0


def test_horizon_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1 bar"):
        forward_returns(candles_at([0, 1]), 0)


def test_no_candle_no_label():
    assert forward_returns(candles_at([]), 3).shape == (0,)
