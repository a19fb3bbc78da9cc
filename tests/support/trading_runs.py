"""Run a strategy on the spot broker over a handful of bars."""

from __future__ import annotations

import backtrader as bt
import numpy as np
import pandas as pd
from scripted_engine import Edges, ScriptedEngine
from spot_oracle import HOUR_MS, Setup

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.broker.spot import SpotBroker
from ml.candles import Candles
from strategies.ml_basic import MLBasic

START_MS = 1_704_067_200_000  # 2024-01-01


def candles_of(bars, timeframe: str = "1h", start_ms: int = START_MS) -> Candles:
    """Return candles from rows of open, high, low, close."""
    table = np.asarray(bars, dtype=np.float64).reshape(-1, 4)
    step = {"1m": 60_000, "5m": 300_000, "1h": HOUR_MS, "1d": 24 * HOUR_MS}[timeframe]
    return Candles(
        timeframe=timeframe,
        open_ms=start_ms + step * np.arange(len(table)),
        open=table[:, 0].copy(),
        high=table[:, 1].copy(),
        low=table[:, 2].copy(),
        close=table[:, 3].copy(),
        volume=np.full(len(table), 10.0),
    )


def random_bars(count: int, seed: int, *, volatility: float = 0.01, gap: float = 0.002, start: float = 100.0):
    """Return rows of open, high, low, close of a random walk with gaps, in ticks of 0.01."""
    random = np.random.default_rng(seed)
    closes = start * np.exp(np.cumsum(random.normal(0, volatility, count)))
    opens = np.concatenate([[start], closes[:-1]]) * np.exp(random.normal(0, gap, count))
    highs = np.maximum(opens, closes) * np.exp(np.abs(random.normal(0, volatility / 2, count)))
    lows = np.minimum(opens, closes) * np.exp(-np.abs(random.normal(0, volatility / 2, count)))
    opens, closes = np.round(opens, 2), np.round(closes, 2)
    highs, lows = np.maximum(np.round(highs, 2), np.maximum(opens, closes)), np.round(lows, 2)
    return np.column_stack([opens, highs, np.minimum(lows, np.minimum(opens, closes)), closes])


def spot_broker(setup: Setup, **params) -> SpotBroker:
    """Return a broker with the rules of a setup."""
    rules = ExchangeRules.from_dict({
        "price_tick": setup.tick, "lot_step": setup.lot, "min_notional": setup.min_notional,
    })  # fmt: skip
    broker = SpotBroker(
        rules=rules, fees=FeeSchedule(setup.taker, in_kind=setup.in_kind), slippage=setup.slippage, **params
    )
    broker.setcash(setup.cash)
    return broker


class Watch(bt.Analyzer):
    """Write down cash and value at every close."""

    def start(self):
        self.cash, self.value = [], []

    def notify_cashvalue(self, cash, value):
        self.cash.append(cash)
        self.value.append(value)


def run_basic(bars, p_up, setup: Setup, *, edges: Edges | None = None, cerebro=FastCerebro, plain: bool = False, **run):
    """Run MLBasic over bars and scripted probabilities; returns the broker, the strategy and the watch."""
    candles = candles_of(bars)
    engine = ScriptedEngine(candles, np.array([np.nan if p is None else p for p in p_up]), edges=edges)
    feed = pandas_feed(candles) if plain else CandleFeed(candles=candles)
    given = {
        "models": {"prediction": engine},
        "enter": setup.enter,
        "exit": setup.exit,
        "min_edge": "none" if setup.needed_edge is None else setup.needed_edge,
    }
    return run_setup(MLBasic, candles, given, setup, cerebro=cerebro, feed=feed, **run)


def run_setup(kind, candles: Candles, given, setup: Setup, *, cerebro=FastCerebro, feed=None, **run):
    """Run a strategy with its own parameters ``given`` and the setup's; returns the broker, the strategy and the watch."""
    main = cerebro()
    main.broker = spot_broker(setup)
    main.adddata(CandleFeed(candles=candles) if feed is None else feed)
    main.addanalyzer(Watch)
    main.addstrategy(
        kind,
        **given,
        round_trip_cost=setup.round_trip_cost,
        headroom=setup.headroom,
        on_no_model=setup.on_no_model,
        trade_from_ms=int(candles.open_ms[setup.trade_from_bar]) if setup.trade_from_bar else None,
        risk={
            name: getattr(setup, name)
            for name in (
                "max_position",
                "max_daily_loss",
                "max_drawdown",
                "max_losing_streak",
                "cooldown_bars",
                "stop_loss",
                "take_profit",
            )
        },
    )
    strategy = main.run(**run)[0]
    return main.broker, strategy, strategy.analyzers.watch


def fills_of(broker, start_ms: int = START_MS, step_ms: int = HOUR_MS):
    """Return the broker's fills as the oracle writes them."""
    return [
        ((f.bar_open_ms - start_ms) // step_ms, f.side, f.size, f.price, f.fee, f.fee_asset, f.reason)
        for f in broker.fills
    ]


def pandas_feed(candles: Candles):
    """Return Backtrader's own feed of the same bars, stamped with their close."""
    frame = pd.DataFrame(
        {
            "open": candles.open,
            "high": candles.high,
            "low": candles.low,
            "close": candles.close,
            "volume": candles.volume,
        },
        index=pd.to_datetime(candles.open_ms + candles.step_ms, unit="ms"),
    )
    frame["openinterest"] = 0.0
    minutes = candles.step_ms // 60_000
    return bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=minutes)


class Scripted(bt.Strategy):
    """Do at the close of each bar what ``script`` says for its number; write down every notification."""

    params = (("script", {}),)

    def __init__(self):
        self.events, self.orders = [], {}

    def next(self):
        action = self.p.script.get(len(self.data) - 1)
        if action is not None:
            action(self)

    def notify_order(self, order):
        row = (
            len(self.data) - 1,
            self.name_of(order),
            order.getstatusname(),
            order.executed.size,
            order.executed.price,
        )
        self.events.append(row)

    def notify_trade(self, trade):
        if trade.isclosed:
            self.events.append((len(self.data) - 1, "trade", "Closed", 0.0, round(trade.pnlcomm, 9)))

    def name_of(self, order):
        """Return the name under which the script placed an order, or what the broker placed it for."""
        for name, mine in self.orders.items():
            if mine.ref == order.ref:
                return name
        return order.info.get("protective", "unnamed")

    def statuses(self, name):
        """Return the statuses of an order in turn."""
        return [row[2] for row in self.events if row[1] == name]


def run_script(bars, script, setup: Setup | None = None, *, cerebro=FastCerebro, timeframe="1h", **params):
    """Run scripted actions over bars; returns the broker and the strategy."""
    main = cerebro(stdstats=False)
    main.broker = spot_broker(setup or Setup(taker=0.0), **params)
    main.adddata(CandleFeed(candles=candles_of(bars, timeframe)))
    main.addstrategy(Scripted, script=script)
    strategy = main.run()[0]
    return main.broker, strategy


def place(name, side, **options):
    """Return an action that places an order and remembers it by name."""

    def action(strategy):
        strategy.orders[name] = getattr(strategy, side)(**options)

    return action


def withdraw(name):
    """Return an action that cancels an order."""
    return lambda strategy: strategy.cancel(strategy.orders[name])


def both(*actions):
    """Return the actions as one."""

    def action(strategy):
        for each in actions:
            each(strategy)

    return action


class QueueFeed(CandleFeed):
    """A feed that is live: bars come from a queue, and sometimes there is none yet."""

    def islive(self):
        return True

    def start(self):
        super().start()
        self._quiet = False

    def _load(self):
        self._quiet = not self._quiet
        return None if self._quiet else super()._load()


MODES = {
    "batch": {},
    "runonce off": {"runonce": False},
    "preload off": {"preload": False},
    "exactbars 1": {"exactbars": 1},
    "exactbars -1": {"exactbars": -1},
    "exactbars -2": {"exactbars": -2},
    "live": {},
}
"""The ways in which Cerebro may run an indicator; ``live`` runs over a QueueFeed."""


def indicator_lines(make, candles, mode="batch", *, cerebro=FastCerebro, feed=None):
    """Return the lines of the indicator that ``make(data)`` creates, by name, one value a bar."""

    class Recorder(bt.Strategy):
        def __init__(self):
            self.indicator = make(self.data)
            self.names = self.indicator.lines.getlinealiases()
            self.rows = []

        def next(self):
            self.rows.append([getattr(self.indicator.lines, name)[0] for name in self.names])

    main = cerebro(stdstats=False)
    kind = QueueFeed if mode == "live" else CandleFeed
    source = kind(candles=candles) if feed is None else feed  # a feed has no truth value
    main.adddata(source)
    main.addstrategy(Recorder)
    strategy = main.run(**MODES[mode])[0]
    table = np.array(strategy.rows, dtype=np.float64).reshape(-1, len(strategy.names))
    return {name: table[:, column].copy() for column, name in enumerate(strategy.names)}


def assert_same_bits(first, second):
    """Assert that two sets of lines are equal to the bit, NaN included."""
    assert first.keys() == second.keys()
    for name, line in first.items():
        assert line.tobytes() == second[name].tobytes(), name
