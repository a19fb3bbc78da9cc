"""Times and candles on their way through Backtrader's lines."""

from __future__ import annotations

import datetime as dt

import backtrader as bt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trading_runs import QueueFeed, candles_of, pandas_feed, random_bars

from bot.backtest.feed import CandleFeed
from indicators.errors import IndicatorError
from indicators.lines import all_candles, bar_step_ms, bar_timeframe, close_numbers, milliseconds, newest_candles
from ml.candles import Candles

EPOCH = dt.datetime(1970, 1, 1)


def by_date2num(ms):
    return bt.date2num(EPOCH + dt.timedelta(milliseconds=int(ms)))


@given(
    st.lists(st.integers(0, 4_102_444_800_000), min_size=1, max_size=50),
    st.sampled_from([1, 1000, 60_000, 3_600_000, 86_400_000]),
)
def test_close_times_are_those_of_date2num(times, grid):
    opens = np.array(sorted(times), dtype=np.int64) // grid * grid
    found = close_numbers(opens, 60_000)
    assert found.tolist() == [by_date2num(ms + 60_000) for ms in opens]
    assert [milliseconds(number) for number in found] == (opens + 60_000).tolist()


def test_a_year_of_minutes_is_bit_identical():
    opens = 1_704_067_200_000 + 60_000 * np.arange(366 * 1440)
    assert close_numbers(opens, 60_000)[::97].tolist() == [by_date2num(ms + 60_000) for ms in opens[::97]]


@pytest.mark.parametrize(
    ("unit", "count", "expected"),
    [
        (bt.TimeFrame.Minutes, 1, "1m"),
        (bt.TimeFrame.Minutes, 90, "90m"),
        (bt.TimeFrame.Minutes, 240, "4h"),
        (bt.TimeFrame.Days, 1, "1d"),
        (bt.TimeFrame.Weeks, 1, "1w"),
        (bt.TimeFrame.Seconds, 5, "5s"),
    ],
)
def test_the_timeframe_of_any_feed(unit, count, expected):
    feed = bt.feed.DataBase(timeframe=unit, compression=count)
    assert bar_timeframe(feed) == expected
    assert bar_step_ms(feed) == {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}[
        expected[-1]
    ] * int(expected[:-1])


def test_a_feed_of_months_has_no_timeframe():
    with pytest.raises(IndicatorError, match="has bars of Months"):
        bar_timeframe(bt.feed.DataBase(timeframe=bt.TimeFrame.Months))


class Rebuild(bt.Strategy):
    """Take the newest candles at every bar."""

    params = (("size", 10),)

    def __init__(self):
        self.windows = []
        bt.ind.SMA(self.data, period=2)

    def next(self):
        self.windows.append(newest_candles(self.data, bar_timeframe(self.data), self.p.size))


def windows_of(feed, **run):
    main = bt.Cerebro(stdstats=False)
    main.adddata(feed)
    main.addstrategy(Rebuild)
    return main.run(**run)[0]


def gappy(asked=()):
    plain = candles_of(random_bars(60, 8))
    kept = np.r_[0:20, 25:60]
    columns = {name: column[kept] for name, column in plain.columns.items()}
    trades = {"trades": np.arange(55.0)}
    return Candles.from_columns("1h", {"open_ms": plain.open_ms[kept], **columns, **trades}, asked)


@pytest.mark.parametrize("mode", [{}, {"runonce": False}, {"preload": False}])
def test_the_newest_candles_are_those_of_the_feed(mode):
    start = 1_704_067_200_000
    candles = gappy(((start - 36_000_000, start + 10**9),))
    windows = windows_of(CandleFeed(candles=candles), **mode).windows
    for length, window in enumerate(windows, start=2):
        first = max(0, length - 10)
        for name, column in candles.columns.items():
            np.testing.assert_array_equal(getattr(window, name), column[first:length])
        np.testing.assert_array_equal(window.open_ms, candles.open_ms[first:length])
        known_from = start - 36_000_000 if length <= 10 else int(candles.open_ms[first])
        assert window.asked == ((known_from, int(candles.open_ms[length - 1]) + 3_600_000),)


def test_where_memory_is_saved_the_newest_candles_are_those_that_are_held():
    class Keep(Rebuild):
        def qbuffer(self, savemem=0, replaying=False):
            super().qbuffer(savemem, replaying)
            self.data.minbuffer(12)

    candles = gappy()
    main = bt.Cerebro(stdstats=False)
    main.adddata(CandleFeed(candles=candles))
    main.addstrategy(Keep, size=30)  # as when a model is deployed that reads more than its predecessor
    window = main.run(exactbars=1)[0].windows[40]
    held = len(window)
    assert 12 <= held < 30
    np.testing.assert_array_equal(window.close, candles.close[42 - held : 42])
    np.testing.assert_array_equal(window.open_ms, candles.open_ms[42 - held : 42])
    assert window.asked == ((int(window.open_ms[0]), int(window.open_ms[-1]) + window.step_ms),)


def test_candles_that_the_source_was_not_asked_for_stay_unknown():
    start, hour = 1_704_067_200_000, 3_600_000
    candles = gappy(((start, start + 21 * hour), (start + 24 * hour, start + 60 * hour)))
    window = windows_of(QueueFeed(candles=candles)).windows[24]
    assert window.asked == ((start + 16 * hour, start + 21 * hour), (start + 24 * hour, start + 31 * hour))


def test_candles_of_backtraders_own_feed_are_rebuilt_from_its_lines():
    candles = candles_of(random_bars(50, 9))
    strategy = windows_of(pandas_feed(candles))
    rebuilt = all_candles(strategy.data, "1h")
    for name, column in candles.columns.items():
        np.testing.assert_array_equal(getattr(rebuilt, name), column)
    np.testing.assert_array_equal(rebuilt.open_ms, candles.open_ms)
    assert rebuilt.asked == candles.asked


def test_a_feed_gives_its_own_candles_unless_it_was_cut():
    candles = gappy()
    assert all_candles(windows_of(CandleFeed(candles=candles)).data, "1h") is candles
    cut = CandleFeed(candles=candles, fromdate=dt.datetime(2024, 1, 2))
    rebuilt = all_candles(windows_of(cut).data, "1h")
    assert rebuilt.open_ms[0] == 1_704_067_200_000 + 25 * 3_600_000
    np.testing.assert_array_equal(rebuilt.trades, candles.trades[-len(rebuilt) :])


def test_a_column_without_numbers_is_absent():
    plain = candles_of(random_bars(20, 2))
    no_volume = Candles("1h", plain.open_ms, plain.open, plain.high, plain.low, plain.close)
    assert windows_of(CandleFeed(candles=no_volume)).windows[5].volume is None
