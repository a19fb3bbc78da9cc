"""The candle feed: copied columns, bars one by one, close times."""

from __future__ import annotations

import datetime as dt

import backtrader as bt
import numpy as np
import pandas as pd
import pytest
from trading_runs import candles_of, pandas_feed, random_bars

from bot.backtest.feed import CandleFeed
from bot.errors import UsageError
from ml.candles import OPTIONAL_COLUMNS, Candles


class Record(bt.Strategy):
    def __init__(self):
        self.rows = []

    def next(self):
        self.rows.append([getattr(self.data.lines, name)[0] for name in self.data.lines.getlinealiases()])


def rows_of(feed, **run):
    main = bt.Cerebro(stdstats=False)
    main.adddata(feed)
    main.addstrategy(Record)
    return np.array(main.run(**run)[0].rows)


def full(count=200, timeframe="1h"):
    random = np.random.default_rng(5)
    plain = candles_of(random_bars(count, 1), timeframe)
    columns = {name: random.uniform(1, 9, count) for name in OPTIONAL_COLUMNS}
    return Candles.from_columns(timeframe, {"open_ms": plain.open_ms, **plain.columns, **columns})


MODES = [
    {},
    {"runonce": False},
    {"preload": False},
    {"exactbars": 1},
    {"exactbars": -1},
    {"exactbars": -2},
]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_serves_the_same_bars(mode):
    candles = full()
    found = rows_of(CandleFeed(candles=candles), **mode)
    names = CandleFeed(candles=candles).lines.getlinealiases()
    for name, column in candles.columns.items():
        np.testing.assert_array_equal(found[:, names.index(name)], column)
    closes = [bt.date2num(dt.datetime.fromtimestamp((ms + 3_600_000) / 1000, dt.UTC)) for ms in candles.open_ms]
    np.testing.assert_array_equal(found[:, names.index("datetime")], closes)


def test_the_lines_are_those_of_pandas_data():
    candles = candles_of(random_bars(300, 2), "1m")
    np.testing.assert_array_equal(rows_of(CandleFeed(candles=candles)), rows_of(pandas_feed(candles)))


def test_lines_are_there_for_the_columns_that_are():
    candles = candles_of(random_bars(20, 3))
    assert "trades" not in CandleFeed(candles=candles).lines.getlinealiases()
    two = Candles.from_columns(
        "1h", {"open_ms": candles.open_ms, **candles.columns, "trades": candles.close, "taker_buy_base": candles.open}
    )
    feed = CandleFeed(candles=two)
    assert feed.lines.getlinealiases()[-2:] == ("trades", "taker_buy_base")
    assert CandleFeed(candles=candles).lines.getlinealiases()[-1] == "datetime"  # the class is left alone
    assert rows_of(feed)[7, -2] == candles.close[7]
    no_volume = Candles("1h", candles.open_ms, candles.open, candles.high, candles.low, candles.close)
    assert np.isnan(rows_of(CandleFeed(candles=no_volume))[:, 4]).all()


@pytest.mark.parametrize(
    ("timeframe", "unit", "count"),
    [
        ("1m", bt.TimeFrame.Minutes, 1),
        ("1h", bt.TimeFrame.Minutes, 60),
        ("1d", bt.TimeFrame.Days, 1),
    ],
)
def test_backtrader_knows_the_timeframe(timeframe, unit, count):
    feed = CandleFeed(candles=candles_of(random_bars(5, 1), timeframe), name="BTCUSDT")
    assert (feed._timeframe, feed._compression, feed._name) == (unit, count, "BTCUSDT")


def test_from_and_to_dates_cut_the_bars():
    candles = candles_of(random_bars(100, 4))
    feed = CandleFeed(candles=candles, fromdate=dt.datetime(2024, 1, 2), todate=dt.datetime(2024, 1, 3))
    found = rows_of(feed)
    assert len(found) == 25
    assert found[0, 6] == bt.date2num(dt.datetime(2024, 1, 2))
    assert found[0, 0] == candles.close[23]


def test_lookahead_room_is_kept():
    main = bt.Cerebro(stdstats=False, lookahead=3)
    main.adddata(CandleFeed(candles=candles_of(random_bars(30, 1))))
    main.addstrategy(Record)
    strategy = main.run()[0]
    assert len(strategy.rows) == strategy.data.buflen() == 30


def test_off_grid_candles_have_their_exact_close():
    open_ms = np.array([1_518_168_494_789, 1_518_172_094_789])
    values = np.array([1.0, 2.0])
    candles = Candles("1h", open_ms, values, values, values, values)
    found = rows_of(CandleFeed(candles=candles))[:, 6]
    assert found[0] == bt.date2num(pd.Timestamp(1_518_172_094_789, unit="ms").to_pydatetime())


def test_no_candles_give_no_bars():
    empty = candles_of(np.empty((0, 4)))
    assert len(rows_of(CandleFeed(candles=empty))) == 0


def test_what_is_not_candles_is_refused():
    with pytest.raises(UsageError, match="CandleFeed needs candles=Candles"):
        CandleFeed(candles=[1, 2, 3])
