"""A strategy that trades as often and in as many ways as a spot account allows; for proofs that two runs are the same.

What it does at a close follows from the digits of that close alone, so it trades without a model and on any candles. Named in
a config as ``restless_strategy:Restless``.
"""

from __future__ import annotations

import zlib

import backtrader as bt


class Restless(bt.Strategy):
    """Buy and sell by market, limit, stop and stop-limit orders, guarded or not; cancel, add, sell part, and come back.

    Params:
      - ``share``: fraction of the cash that one purchase spends; near 1 some are refused at the next open
      - ``reach``: distance of limits and stops from the close, as a fraction
      - ``stop_loss``, ``take_profit``: distances of the guards, fractions
      - ``patience``: after how many bars an order that rests is cancelled
      - ``restless``: of 16 closes, at how many something is done
      - ``fails_at``: number of the bar at which it raises; 0 for never
    """

    params = (
        ("trade_from_ms", None),
        ("share", 0.45),
        ("reach", 0.002),
        ("stop_loss", 0.006),
        ("take_profit", 0.009),
        ("patience", 3),
        ("restless", 8),
        ("fails_at", 0),
    )

    def __init__(self) -> None:
        self.waiting: list[tuple[bt.Order, int]] = []
        self.bars = 0
        self.guards: set[int] = set()

    def notify_order(self, order: bt.Order) -> None:
        if order.info.get("protective") and order.alive():
            self.guards.add(order.ref)
        elif not order.alive():
            self.guards.discard(order.ref)
        if not order.alive():
            self.waiting = [(other, bar) for other, bar in self.waiting if other.ref != order.ref]

    def next(self) -> None:
        self.bars += 1
        if self.bars == self.p.fails_at:
            raise RuntimeError("it was told to fail")
        now = len(self)
        for order, bar in list(self.waiting):
            if now - bar >= self.p.patience:
                self.cancel(order)
        close = self.data.close[0]
        dice = zlib.crc32(repr(close).encode())
        act, kind, guard = dice % 16, dice // 16 % 8, dice // 128 % 4
        if act >= self.p.restless or len(self.waiting) > 2:
            return
        if self.getposition().size and dice // 512 % 2:
            self._sell(close, kind)
        else:
            self._buy(close, kind, guard)

    def _buy(self, close: float, kind: int, guard: int) -> None:
        if self.guards or kind > 3:  # a guarded position grows by guarded orders at the market only
            kind, guard = 4, guard % 3
            if any(order.isbuy() for order, _ in self.waiting):
                return
        else:
            guard = 3
        size = self.p.share * self.broker.getcash() / close
        guards = {
            "stop_loss": self.p.stop_loss if guard != 2 else None,
            "take_profit": self.p.take_profit if guard != 1 else None,
        }
        below, above = close * (1 - self.p.reach), close * (1 + self.p.reach)
        ways = {
            0: {"exectype": bt.Order.Limit, "price": below},
            1: {"exectype": bt.Order.Stop, "price": above},
            2: {"exectype": bt.Order.StopLimit, "price": above, "plimit": close * (1 + 1.5 * self.p.reach)},
            3: {"exectype": bt.Order.Limit, "price": above},  # filled at once
        }
        self._keep(self.buy(size=size, **ways.get(kind, {}), **(guards if guard != 3 else {})))

    def _sell(self, close: float, kind: int) -> None:
        held = self.broker.sellable(self.data)
        size = held if kind % 2 else held / 2
        below, above = close * (1 - self.p.reach), close * (1 + self.p.reach)
        ways = {
            0: {"exectype": bt.Order.Limit, "price": above},
            1: {"exectype": bt.Order.Stop, "price": below},
            2: {"exectype": bt.Order.StopLimit, "price": below, "plimit": close * (1 - 1.5 * self.p.reach)},
        }
        self._keep(self.sell(size=size, **ways.get(kind, {})))

    def _keep(self, order: bt.Order | None) -> None:
        if order is not None and order.alive():
            self.waiting.append((order, len(self)))


class Untold(Restless):
    """The same, but two runs of it differ: for proofs that a difference is found."""

    runs = 0

    def start(self) -> None:
        type(self).runs += 1
        if type(self).runs > 1:
            self.p.reach = 2 * self.p.reach
