"""Orders of a backtest, sent to the local exchange as a careful client would: what one fills, the other must."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import backtrader as bt
import numpy as np
from trading_runs import spot_broker

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.broker.fees import FeeSchedule
from bot.broker.lots import floor_size, refusal, round_price
from bot.broker.protection import exit_prices
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.orders import Leg, OrderRequest, PairRequest
from bot.exchange.refusals import Refusal
from bot.exchange.tape import Tape

SYMBOL = "BTCUSDT"
KINDS = {
    bt.Order.Market: "MARKET",
    bt.Order.Limit: "LIMIT",
    bt.Order.Stop: "STOP_LOSS",
    bt.Order.StopLimit: "STOP_LOSS_LIMIT",
}


def exact(number: float) -> Decimal:
    return Decimal(repr(float(number)))


def exchange_of(candles, setup, *, start_ms=None, partial=(), balances=None) -> LocalExchange:
    """Return an exchange of one market under the terms of a setup."""
    market = Market(SYMBOL, "BTC", "USDT", spot_broker(setup).p.rules)
    return LocalExchange(
        {SYMBOL: (market, Tape(candles))},
        {"USDT": exact(setup.cash)} if balances is None else balances,
        fees=FeeSchedule(setup.taker, in_kind=setup.in_kind),
        slippage=setup.slippage,
        start_ms=int(candles.open_ms[0]) if start_ms is None else start_ms,
        partial=partial,
    )


@dataclass
class Script:
    """What the strategy of the backtest did, by number of the bar at whose close it did it."""

    actions: dict[int, list[tuple]] = field(default_factory=dict)

    def add(self, bar: int, *action: Any) -> None:
        self.actions.setdefault(bar, []).append(action)


class RandomTrader(bt.Strategy):
    """Place and cancel orders at random; write down those that the broker let through."""

    params = (("seed", 0), ("guarded", False), ("script", None), ("rate", 0.4), ("unit", 1.0))

    def __init__(self):
        self.random = np.random.default_rng(self.p.seed)
        self.mine = []

    def next(self):
        bar = len(self.data) - 1
        self.mine = [order for order in self.mine if order.alive()]
        if self.random.random() > self.p.rate:
            return
        if self.mine and self.random.random() < 0.25:
            order = self.mine[self.random.integers(len(self.mine))]
            if self.broker.cancel(order):
                self.p.script.add(bar, "cancel", self.broker.order_number(order))
            return
        (self.guarded if self.p.guarded else self.plain)(bar)

    def plain(self, bar):
        side = "buy" if self.random.random() < 0.55 else "sell"
        kind = [bt.Order.Market, bt.Order.Limit, bt.Order.Stop, bt.Order.StopLimit][self.random.integers(4)]
        size = self.p.unit * self.random.uniform(0.05, 0.6)
        self.send(bar, side, size, kind)

    def guarded(self, bar):
        held = self.broker.sellable(self.data)
        if not held and not any(order.isbuy() for order in self.mine):
            options = {}
            if self.random.random() < 0.8:
                options["stop_loss"] = float(self.random.choice([0.0, 0.0004, 0.005, 0.01, 0.03]))
            if self.random.random() < 0.8:
                options["take_profit"] = float(self.random.choice([0.0004, 0.005, 0.01, 0.03]))
            self.send(bar, "buy", self.p.unit * self.random.uniform(0.2, 2.0), bt.Order.Market, **options)
        elif held and self.random.random() < 0.3:
            part = float(self.random.choice([1.0, 1.0, 0.5]))
            kind = [bt.Order.Market, bt.Order.Limit][self.random.integers(2)]
            self.send(bar, "sell", held * part, kind)

    def send(self, bar, side, size, kind, **options):
        close, shift = self.data.close[0], self.random.normal(0, 0.008)
        price = plimit = None
        if kind != bt.Order.Market:
            price = close * (1 + shift)
        if kind == bt.Order.StopLimit:
            plimit = price * (1 + self.random.normal(0, 0.004))
        least = float(self.broker.p.rules.min_notional or 0)
        if price is not None and 0.9 * least < size * close < 1.1 * least:
            return  # a stop that was passed is sent as a market order, whose notional is judged by another price
        order = getattr(self, side)(size=size, price=price, plimit=plimit, exectype=kind, **options)
        if order.info.get("rejection") is None:
            self.mine.append(order)
            self.p.script.add(
                bar, "place", self.broker.order_number(order), side, abs(order.created.size), kind,
                None if price is None else order.created.price, None if plimit is None else order.created.pricelimit,
                options,
            )  # fmt: skip


def backtest(candles, setup, **params):
    """Run the random trader; returns the broker and what was done."""
    script = Script()
    main = FastCerebro(stdstats=False)
    main.broker = spot_broker(setup)
    main.adddata(CandleFeed(candles=candles))
    main.addstrategy(RandomTrader, script=script, **params)
    main.run()
    return main.broker, script


class Mirror:
    """Do on the local exchange, candle by candle, what a script says; guard entries as the backtest's broker does."""

    def __init__(self, candles, setup, script, **options):
        self.exchange = exchange_of(candles, setup, **options)
        self.candles, self.script = candles, script
        self.rules = self.exchange.market(SYMBOL).rules
        self.names: dict[int, tuple[str, int]] = {}  # exchange's order id -> reason, number in the backtest
        self.wanted = None  # prices of stop and target
        self.legs: list[int] = []
        self.open_sales: set[int] = set()
        self.refused: list[tuple[int, str]] = []

    def run(self):
        for bar in range(len(self.candles)):
            boundary = self.exchange.next_boundary_ms()
            self.exchange.advance_to(boundary)
            self.after_candle()
            if bar + 1 < len(self.candles):  # a backtest ends at the last close: nothing is filled after it
                for action in self.script.actions.get(bar, ()):
                    getattr(self, action[0])(*action[1:])
                self.after_decision()
        return self

    # --- the account

    def held(self) -> float:
        free, locked = self.exchange.balances()["BTC"]
        return floor_size(float(free + locked), self.rules)

    def after_candle(self):
        """Take note of what the candle ended."""
        self.open_sales = {number for number in self.open_sales if self.lookup(number).is_open}
        if any(not self.exchange.register.by_id(leg).is_open for leg in self.legs):
            self.legs = []
        if not self.held():
            self.wanted = None

    def after_decision(self):
        """Guard what a sale left over, unless another sale has it.

        A backtest decides at the close first, and places these at the next open with all that was decided.
        """
        if self.wanted is not None and not self.open_sales and not self.legs:
            self.rest()

    # --- orders

    def lookup(self, number):
        return self.exchange.order(SYMBOL, client_id=f"n-{number}")

    def send(self, number, side, size, kind, price, plimit):
        limit = plimit if kind == "STOP_LOSS_LIMIT" else price if kind == "LIMIT" else None
        stop = price if kind.startswith("STOP") else None
        request = OrderRequest(
            SYMBOL, side.upper(), kind, exact(size), None,
            None if limit is None else exact(limit), None if stop is None else exact(stop),
            "GTC" if limit is not None else None, f"n-{number}",
        )  # fmt: skip
        order = self.exchange.place(request)
        self.names[order.order_id] = ("entry" if side == "buy" else "exit", number)
        return order

    def place(self, number, side, size, kind, price, plimit, options):
        if side == "sell":
            self.lift()
        kind = KINDS[kind]
        try:
            order = self.send(number, side, size, kind, price, plimit)
        except Refusal as refused:
            self.refused.append((number, refused.message))
            if "trigger" not in refused.message:
                return
            # the market has passed the stop already: what would have been triggered is sent itself
            order = self.send(number, side, size, "MARKET" if plimit is None else "LIMIT", plimit, None)
        if side == "sell":
            self.open_sales.add(number)
        elif options.get("stop_loss") is not None or options.get("take_profit") is not None:
            assert order.status == "FILLED"
            fill = float(order.trades[0].price)
            self.wanted = exit_prices(fill, options.get("stop_loss"), options.get("take_profit"), self.rules)
            self.rest()

    def cancel(self, number):
        self.exchange.cancel(SYMBOL, client_id=f"n-{number}")
        self.open_sales.discard(number)

    def lift(self):
        if self.legs:
            self.exchange.cancel(SYMBOL, order_id=self.legs[0])
            self.legs = []

    def rest(self):
        """Let stop and target rest for all that is held, as one pair where both are wanted."""
        size = self.held()
        stop, target = [
            None if price is None or refusal(size, price, self.rules) else exact(price) for price in self.wanted
        ]
        quantity, last = exact(size), self.exchange.last_price(SYMBOL)
        if stop is not None and stop >= last:
            with_reason = [("stop", OrderRequest(SYMBOL, "SELL", "MARKET", quantity))]
        elif target is not None and target <= last:
            with_reason = [("target", OrderRequest(SYMBOL, "SELL", "LIMIT", quantity, None, target, None, "GTC"))]
        elif stop is not None and target is not None:
            above, below = Leg("LIMIT_MAKER", price=target), Leg("STOP_LOSS", stop_price=stop)
            pair = self.exchange.place_pair(PairRequest(SYMBOL, "SELL", quantity, above, below))
            self.names |= dict(zip(pair.order_ids, [("target", 0), ("stop", 0)], strict=True))
            self.legs = list(pair.order_ids)
            return
        elif stop is not None:
            with_reason = [("stop", OrderRequest(SYMBOL, "SELL", "STOP_LOSS", quantity, None, None, stop))]
        elif target is not None:
            with_reason = [("target", OrderRequest(SYMBOL, "SELL", "LIMIT_MAKER", quantity, None, target))]
        else:
            return
        reason, request = with_reason[0]
        order = self.exchange.place(request)
        self.names[order.order_id] = (reason, 0)
        self.legs = [order.order_id] if order.is_open else []
        if not order.is_open and not self.held():
            self.wanted = None

    # --- what came of it

    def fills(self):
        """Return the trades as ``told`` tells the fills of a backtest."""
        found = []
        for trade in self.exchange.trades(SYMBOL, limit=10**9):
            opened = int(self.candles.open_ms[self.exchange.tape(SYMBOL).begun(trade.time_ms)])
            reason, number = self.names[trade.order_id]
            asset = "base" if trade.commission_asset == "BTC" else "quote"
            found.append(
                (opened, number, trade.side.lower(), float(trade.quantity), float(trade.price),
                 float(trade.commission), asset, reason)
            )  # fmt: skip
        return sorted(found)


def told(broker):
    """Return a backtest's fills, sorted within their bars; guards carry no number."""
    return sorted(
        (f.bar_open_ms, 0 if f.reason in ("stop", "target") else f.order_ref, f.side, f.size, f.price, f.fee,
         f.fee_asset, f.reason)
        for f in broker.fills
    )  # fmt: skip


def rounded(price, rules, direction="nearest"):
    return exact(round_price(float(price), rules, direction))
