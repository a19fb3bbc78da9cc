"""The flat loop against Cerebro's own: same orders, fills, cash, values, notifications and analyses."""

from __future__ import annotations

import datetime as dt

import backtrader as bt
import numpy as np
import pytest
from spot_oracle import Setup
from trading_runs import (
    QueueFeed,
    Scripted,
    Watch,
    both,
    candles_of,
    fills_of,
    place,
    random_bars,
    run_basic,
    spot_broker,
    withdraw,
)

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed

BARS = random_bars(1500, 11, volatility=0.004, gap=0.001)
FLAT = (100.0, 101.0, 99.0, 100.0)


class Everything(bt.Strategy):
    """Brackets with limit entries, shorts, stops, margin calls and trailing stops, by turns, at crossings."""

    params = (("short", True),)

    def __init__(self):
        self.fast, self.slow = bt.ind.SMA(period=5), bt.ind.EMA(period=20)
        self.cross = bt.ind.CrossOver(self.fast, self.slow)
        self.spread = self.fast - self.slow
        self.log, self.turn, self.first = [], 0, next(bt.Order.refbasis)

    def prenext(self):
        self.log.append((len(self), "prenext"))

    def nextstart(self):
        self.log.append((len(self), "nextstart"))
        self.next()

    def next(self):
        self.log.append((len(self), self.data.datetime[0], self.datetime[0], self.spread[0], self.spread[-1]))
        if not self.cross[0]:
            return
        self.turn += 1
        price, turn = self.data.close[0], self.turn % 5
        if self.position and turn not in {2, 3}:
            self.close()
        elif turn == 0:
            self.buy_bracket(size=1, limitprice=price * 1.004, stopprice=price * 0.997, price=price * 0.9995)
        elif turn == 1:
            self.sell(size=2)
        elif turn == 2:
            self.buy(size=1, exectype=bt.Order.Stop, price=price * 1.002, valid=dt.timedelta(hours=9))
        elif turn == 3:
            self.buy(size=1e6)
        else:
            self.sell(size=1, exectype=bt.Order.StopTrail, trailpercent=0.002)

    def notify_order(self, order):
        executed = order.executed
        row = (order.ref - self.first, order.status, executed.size, executed.price, executed.pnl, executed.comm)
        self.log.append((len(self), *row))

    def notify_trade(self, trade):
        self.log.append((len(self), "trade", trade.status, trade.pnlcomm, trade.size))


class Listening(Everything):
    """The same, told of cash and value at every bar."""

    def notify_cashvalue(self, cash, value):
        self.log.append((len(self), "cash", cash, value))

    def notify_fund(self, cash, value, fundvalue, shares):
        self.log.append((len(self), "fund", fundvalue, shares))


class WithLines(Everything):
    """The same, with a line of its own."""

    lines = ("mine",)

    def next(self):
        self.lines.mine[0] = self.data.close[0]
        super().next()
        self.log.append(("mine", self.lines.mine[-1] if len(self) > 21 else None))


ANALYZERS = (
    Watch,
    bt.analyzers.TradeAnalyzer,
    bt.analyzers.DrawDown,
    bt.analyzers.TimeReturn,
    bt.analyzers.SharpeRatio,
    bt.analyzers.SQN,
    bt.analyzers.Transactions,
    bt.analyzers.PositionsValue,
    bt.analyzers.GrossLeverage,
)


def run(cerebro, strategy, *, broker=None, analyzers=(), candles=None, **params):
    main = cerebro(**{"stdstats": False, **params})
    if broker is not None:
        main.broker = broker
    main.broker.setcash(1e6)
    main.broker.setcommission(commission=1e-4)
    main.adddata(CandleFeed(candles=candles or candles_of(BARS, "1h")))
    main.addstrategy(strategy)
    for analyzer in analyzers:
        main.addanalyzer(analyzer)
    return main, main.run()[0]


def is_flat(monkeypatch):
    """Return a list to which each flat run adds."""
    runs = []
    whole = FastCerebro._run_flat
    monkeypatch.setattr(FastCerebro, "_run_flat", lambda self, *args: runs.append(1) or whole(self, *args))
    return runs


@pytest.mark.parametrize("strategy", [Everything, Listening, WithLines])
@pytest.mark.parametrize("spot", [False, True])
def test_both_loops_give_the_same_run(monkeypatch, strategy, spot):
    flat = is_flat(monkeypatch)
    results = []
    for cerebro in (bt.Cerebro, FastCerebro):
        main, ran = run(cerebro, strategy, broker=spot_broker(Setup(taker=0.0)) if spot else None)
        results.append(
            (ran.log, main.broker.getcash(), main.broker.getvalue(), len(ran), len(ran.data), len(ran._orders))
        )
    assert flat == [1]
    assert results[0] == results[1]
    events = [row for row in results[0][0] if len(row) == 7]
    assert {row[2] for row in events} >= {1, 2, 4, 5, 6}
    assert spot or {row[2] for row in events} >= {7}


@pytest.mark.parametrize("spot", [False, True])
def test_analyzers_that_a_user_adds_see_the_same(monkeypatch, spot):
    flat = is_flat(monkeypatch)
    results = []
    for cerebro in (bt.Cerebro, FastCerebro):
        broker = spot_broker(Setup(taker=0.0)) if spot else None
        _, ran = run(cerebro, Everything, broker=broker, analyzers=ANALYZERS)
        watched = ran.analyzers.watch
        results.append(([each.get_analysis() for each in ran.analyzers][1:], watched.cash, watched.value, ran.log))
    assert flat == [1]
    assert results[0] == results[1]
    assert len(results[0][1]) == len(BARS)


def test_ml_basic_trades_the_same_on_plain_backtrader():
    random = np.random.default_rng(3)
    p_up = np.clip(0.5 + np.cumsum(random.normal(0, 0.02, len(BARS))) % 0.4 - 0.2, 0.01, 0.99).tolist()
    setup = Setup(stop_loss=0.01, take_profit=0.02, slippage=0.0002, cooldown_bars=2, max_daily_loss=0.03)
    found = []
    for cerebro, plain in ((bt.Cerebro, True), (FastCerebro, False)):
        broker, strategy, watch = run_basic(BARS, p_up, setup, cerebro=cerebro, plain=plain)
        found.append((fills_of(broker), watch.cash, watch.value, strategy.counts))
    assert found[0] == found[1]
    assert len(found[0][0]) > 50


def observers(main):
    main.addobserver(bt.observers.DrawDown)


def writers(main):
    import io

    main.addwriter(bt.WriterFile, csv=True, out=io.StringIO())


def timers(main):
    main.add_timer(bt.timer.SESSION_START, strats=True)


def second_feed(main):
    main.adddata(CandleFeed(candles=candles_of(random_bars(1500, 12), "1h")))


@pytest.mark.parametrize("addition", [observers, writers, timers, second_feed])
def test_what_needs_cerebros_own_loop_gets_it(monkeypatch, addition):
    flat = is_flat(monkeypatch)
    logs = []
    for cerebro in (bt.Cerebro, FastCerebro):
        main = cerebro(stdstats=False)
        main.broker.setcash(1e6)
        main.adddata(CandleFeed(candles=candles_of(BARS, "1h")))
        main.addstrategy(Everything)
        addition(main)
        logs.append((main.run()[0].log, main.broker.getvalue()))
    assert flat == []
    assert logs[0] == logs[1]


def test_cheat_on_open_takes_cerebros_own_loop(monkeypatch):
    flat = is_flat(monkeypatch)
    logs = [run(cerebro, Everything, cheat_on_open=True)[1].log for cerebro in (bt.Cerebro, FastCerebro)]
    assert flat == []
    assert logs[0] == logs[1]


def test_a_strategy_that_overrides_the_machinery_takes_cerebros_own_loop(monkeypatch):
    class Own(Everything):
        def _oncepost(self, moment):
            super()._oncepost(moment)

    flat = is_flat(monkeypatch)
    logs = [run(cerebro, Own)[1].log for cerebro in (bt.Cerebro, FastCerebro)]
    assert flat == []
    assert logs[0] == logs[1]


def test_a_broker_of_another_kind_takes_cerebros_own_loop(monkeypatch):
    class Idle(bt.broker.BrokerBase):
        cash = startingcash = 1000.0

        def getcash(self):
            return self.cash

        def getvalue(self, datas=None):
            return self.cash

        def get_notification(self):
            return None

        setcash = staticmethod(lambda cash: None)

    flat = is_flat(monkeypatch)
    main, ran = run(FastCerebro, bt.Strategy, broker=Idle())
    assert flat == []
    assert len(ran) == len(BARS)


class OnAnInnerIndicator(bt.Strategy):
    """An indicator whose clock is an indicator inside another: it does not move in Backtrader's batch mode either."""

    def __init__(self):
        macd = bt.ind.MACD()
        inner = macd._lineiterators[0][0]
        self.late = bt.ind.SMA(inner, period=3)
        self.log = []

    def next(self):
        self.log.append((len(self), len(self.late)))


def test_an_indicator_with_another_clock_moves_as_in_cerebro(monkeypatch):
    flat = is_flat(monkeypatch)
    logs = [run(cerebro, OnAnInnerIndicator)[1].log for cerebro in (bt.Cerebro, FastCerebro)]
    assert flat == []
    assert logs[0] == logs[1]
    assert len(logs[0]) > 1400


@pytest.mark.parametrize("inner", [False, True])
def test_a_run_can_be_stopped_from_inside(inner):
    class Stops(OnAnInnerIndicator if inner else bt.Strategy):
        def next(self):
            if len(self) == 77:
                self.env.runstop()

    lengths = [len(run(cerebro, Stops)[1]) for cerebro in (bt.Cerebro, FastCerebro)]
    assert lengths == [77, 77]


@pytest.mark.parametrize("inner", [False, True])
def test_a_run_can_be_stopped_by_an_order(inner):
    class Stops(OnAnInnerIndicator if inner else bt.Strategy):
        def next(self):
            if len(self) == 99:
                self.buy(size=1)

        def notify_order(self, order):
            if order.status == order.Completed:
                self.env.runstop()

    found = [len(run(cerebro, Stops, quicknotify=True)[1]) for cerebro in (bt.Cerebro, FastCerebro)]
    assert found == [99, 99]


def test_quick_notifications_arrive_as_in_cerebro(monkeypatch):
    flat = is_flat(monkeypatch)
    logs = [run(cerebro, Listening, quicknotify=True)[1].log for cerebro in (bt.Cerebro, FastCerebro)]
    assert flat == [1]
    assert logs[0] == logs[1]


def test_two_strategies_share_the_account(monkeypatch):
    flat = is_flat(monkeypatch)
    logs = []
    for cerebro in (bt.Cerebro, FastCerebro):
        main = cerebro(stdstats=False)
        main.broker.setcash(1e6)
        main.adddata(CandleFeed(candles=candles_of(BARS, "1h")))
        main.addstrategy(Everything)
        main.addstrategy(Listening)
        first, second = main.run()
        # the numbers of orders count through both
        logs.append(([row for row in first.log if len(row) < 7], [row for row in second.log if len(row) < 7]))
    assert flat == [1]
    assert logs[0] == logs[1]


def test_a_feed_that_ran_elsewhere_leaves_no_prices_behind():
    feed = CandleFeed(candles=candles_of([FLAT, (100.0, 101.0, 99.0, 100.5), (90.0, 91.0, 89.0, 90.5), FLAT]))
    fills = []
    for cerebro in (bt.Cerebro, FastCerebro, bt.Cerebro):
        main = cerebro(stdstats=False)
        main.broker = spot_broker(Setup(taker=0.0))
        main.adddata(feed)
        main.addstrategy(Scripted, script={1: place("a", "buy", size=1.0)})
        main.run()
        fills.append([fill.price for fill in main.broker.fills])
    assert fills == [[90.0]] * 3


def test_bars_one_by_one_and_saved_memory_give_the_same_trades():
    found = []
    for mode in ({}, {"runonce": False}, {"preload": False}, {"exactbars": 1}, {"exactbars": -1}, {"exactbars": -2}):
        broker, _, watch = run_basic(BARS[:400], [0.6, 0.5, 0.4, 0.5] * 100, Setup(stop_loss=0.004), **mode)
        found.append((fills_of(broker), watch.cash, watch.value))
    assert all(each == found[0] for each in found)
    assert len(found[0][0]) > 100


def test_a_live_feed_that_pauses_gives_the_same_run():
    logs = []
    for kind in (CandleFeed, QueueFeed):
        main = FastCerebro()
        main.broker = spot_broker(Setup(taker=0.0))
        main.adddata(kind(candles=candles_of(BARS[:800], "1h")))
        main.addstrategy(Everything)
        logs.append((main.run()[0].log, main.broker.fills, main.broker.getvalue()))
    assert logs[0] == logs[1]
    assert len(logs[0][1]) > 5


def test_guards_that_rest_again_wait_for_the_next_bar_also_when_live():
    limit = {"exectype": bt.Order.Limit, "price": 120.0}
    bars = [FLAT, FLAT, (100.0, 101.0, 94.0, 100.0), (100.0, 101.0, 94.0, 100.0), FLAT, (100.0, 101.0, 94.0, 100.0)]
    fills = []
    for kind in (CandleFeed, QueueFeed):
        main = FastCerebro()
        main.broker = spot_broker(Setup(taker=0.0))
        main.adddata(kind(candles=candles_of(bars)))
        script = {
            0: place("a", "buy", size=1.0, stop_loss=0.05),
            1: place("out", "sell", size=1.0, **limit),
            3: both(withdraw("out"), place("low", "buy", size=1.0, exectype=bt.Order.Limit, price=95.0)),
        }
        main.addstrategy(Scripted, script=script)
        main.run()
        fills.append([(f.bar_open_ms, f.price, f.reason) for f in main.broker.fills])
    assert fills[0] == fills[1]
    assert [price for _, price, _ in fills[0]] == [100.0, 95.0, 95.0]


def test_the_standard_observers_are_off_unless_asked_for():
    assert FastCerebro().p.stdstats is False
    main, strategy = run(FastCerebro, bt.Strategy, stdstats=True)
    assert len(strategy.getobservers()) == 3
