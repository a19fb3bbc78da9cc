"""Candles of a higher timeframe: against pandas, whatever the cut, complete intervals only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.aggregation import aggregate
from ml.candles import Candles
from ml.synthetic import START_MS, synthetic_candles
from registry.errors import InvalidName

HOUR = 3_600_000
RULES = {
    "open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum", "quote_volume": "sum", "trades": "sum",
    "taker_buy_base": "sum", "taker_buy_quote": "sum",
}  # fmt: skip


def without(candles: Candles, missing: np.ndarray) -> Candles:
    """Return the candles without those rows; what was asked stays."""
    keep = ~missing
    columns = {name: column[keep] for name, column in candles.columns.items()}
    return Candles.from_columns(candles.timeframe, {"open_ms": candles.open_ms[keep], **columns}, candles.asked)


@pytest.mark.parametrize("timeframe", ["4h", "1d", "1w"])
def test_it_agrees_with_pandas(timeframe) -> None:
    holes = np.random.default_rng(1).random(3_000) < 0.1
    holes[[0, -1]] = False
    base = without(synthetic_candles(3_000, seed=1), holes)
    found = aggregate(base, timeframe)
    frame = pd.DataFrame(base.columns, index=pd.to_datetime(base.open_ms, unit="ms"))
    rule = {"4h": "4h", "1d": "1D", "1w": "7D"}[timeframe]
    expected = frame.resample(rule, origin=pd.Timestamp("2018-01-01")).agg(RULES).dropna()
    complete = expected.index + pd.Timedelta(rule) <= frame.index[-1] + pd.Timedelta("1h")
    expected = expected[complete]
    np.testing.assert_array_equal(found.open_ms, expected.index.as_unit("ms").asi8)
    for name in RULES:
        np.testing.assert_allclose(found.columns[name], expected[name].to_numpy(), rtol=1e-12, err_msg=name)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(found.columns[name], expected[name].to_numpy(), err_msg=name)


@given(start=st.integers(0, 300), stop=st.integers(301, 600))
@settings(max_examples=60, deadline=None)
def test_an_interval_has_the_same_bits_whatever_the_cut(start, stop) -> None:
    holes = np.random.default_rng(2).random(600) < 0.2
    holes[[0, -1]] = False
    base = without(synthetic_candles(600, seed=2), holes)
    whole, part = aggregate(base, "4h"), aggregate(base.between(START_MS + start * HOUR, START_MS + stop * HOUR), "4h")
    place = np.searchsorted(whole.open_ms, part.open_ms)
    np.testing.assert_array_equal(whole.open_ms[place], part.open_ms)
    for name, column in part.columns.items():
        np.testing.assert_array_equal(column, whole.columns[name][place], err_msg=name)


def test_the_forming_interval_is_left_out_until_its_last_base_candle_has_closed() -> None:
    base = synthetic_candles(12, seed=3)
    assert [len(aggregate(base.slice(0, n), "4h")) for n in range(1, 13)] == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_an_interval_that_a_later_candle_has_passed_is_complete() -> None:
    base = without(
        synthetic_candles(9, seed=3), np.arange(9) == 3
    )  # the last base candle of the first interval is missing
    assert len(aggregate(base.slice(0, 3), "4h")) == 0
    assert len(aggregate(base.slice(0, 4), "4h")) == 1


def test_an_interval_that_history_only_begins_in_is_left_out() -> None:
    base = synthetic_candles(16, seed=4)
    found = aggregate(base.slice(1, 16), "4h")
    np.testing.assert_array_equal(found.open_ms, START_MS + HOUR * np.array([4, 8, 12]))
    assert found.asked == ((START_MS + 4 * HOUR, START_MS + 16 * HOUR),)


def test_an_interval_that_was_not_wholly_asked_for_is_left_out() -> None:
    base = synthetic_candles(16, seed=4)
    asked = ((START_MS, START_MS + 6 * HOUR), (START_MS + 7 * HOUR, START_MS + 16 * HOUR))
    holed = Candles.from_columns("1h", {"open_ms": base.open_ms, **base.columns}, asked)
    np.testing.assert_array_equal(aggregate(holed, "4h").open_ms, START_MS + HOUR * np.array([0, 8, 12]))


def test_what_was_asked_keeps_known_gaps() -> None:
    base = synthetic_candles(24, seed=4)
    base = without(base, (np.arange(24) >= 4) & (np.arange(24) < 12))
    found = aggregate(base, "4h")
    assert len(found) == 4
    assert found.asked == ((START_MS, START_MS + 24 * HOUR),)


def test_off_grid_candles_belong_to_the_interval_that_they_open_in() -> None:
    base = synthetic_candles(8, seed=5)
    times = base.open_ms + np.where(np.arange(8) >= 4, 28 * 60_000, 0)
    found = aggregate(Candles.from_columns("1h", {"open_ms": times, **base.columns}), "4h")
    assert len(found) == 2
    assert found.volume[1] == base.volume[4:].sum()


def test_missing_columns_stay_missing_and_nothing_gives_nothing() -> None:
    base = synthetic_candles(8, seed=5)
    bare = Candles("1h", base.open_ms, base.open, base.high, base.low, base.close)
    assert set(aggregate(bare, "4h").columns) == {"open", "high", "low", "close"}
    assert len(aggregate(bare.slice(0, 0), "4h")) == 0
    assert len(aggregate(bare.slice(0, 2), "4h")) == 0


def test_the_same_timeframe_is_the_same_candles() -> None:
    base = synthetic_candles(8, seed=5)
    assert aggregate(base, "1h").digest == base.digest


@pytest.mark.parametrize("timeframe", ["30m", "90m", "1x"])
def test_timeframes_that_do_not_fit_are_refused(timeframe) -> None:
    with pytest.raises(InvalidName):
        aggregate(synthetic_candles(8), timeframe)
