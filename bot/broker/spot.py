"""The spot broker of a backtest: when an order is filled, where, and the stops and targets that guard a position."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, ClassVar

import backtrader as bt

from bot.broker.execution import limit_fill
from bot.broker.ledger import SpotLedger
from bot.broker.lots import floor_size, refusal, round_price
from bot.broker.protection import Exit, exit_prices, judge, path_after_fill
from bot.broker.records import Rejection

__all__ = ["SpotBroker"]

_NOISE = 1e-12
_PRICED = (bt.Order.Limit, bt.Order.Stop, bt.Order.StopLimit)


class _Guard:
    """Stop and target of one position: the prices that are wanted, and the orders that rest."""

    __slots__ = ("arrives", "high", "legs", "low", "owner", "wanted")

    def __init__(self, data: Any, owner: Any, stop_price: float | None, target_price: float | None) -> None:
        self.owner = owner
        self.wanted = (("stop", bt.Order.Stop, stop_price), ("target", bt.Order.Limit, target_price))
        self.low, self.high = data.lines.low, data.lines.high
        self.arrives = 0  # at the open of which bar orders come that were placed at the close before
        self.legs: dict[str, Any] = {}

    def price(self, reason: str) -> float | None:
        """Return the price of the order that rests for this reason, or None."""
        leg = self.legs.get(reason)
        return None if leg is None else leg.created.price

    def is_reached(self) -> bool:
        """Tell whether the current bar reaches an order that rests."""
        stop, target = self.legs.get("stop"), self.legs.get("target")
        return (stop is not None and self.low[0] <= stop.created.price) or (
            target is not None and self.high[0] >= target.created.price
        )


class SpotBroker(SpotLedger):
    """Fill orders by the bars of a feed, as Backtrader does, on a spot account.

    Market orders fill at the next open, limit and stop orders when a bar reaches them or gaps through. Market and stop
    fills are worse than that by ``slippage``, rounded to the next tick against the order; limit fills are not, and
    never worse than their limit. Slippage is not capped by the bar's range: that would make it vanish on small bars.

    A purchase whose options name ``stop_loss`` or ``take_profit`` is guarded the moment it is filled: a stop and a
    target, of which one cancels the other, for all that is held, in force from that bar on and judged worst case
    first (``bot.broker.protection``). A sale that the strategy places cancels them; when that sale ends with something
    still held they rest again.
    """

    params: ClassVar[Any] = ()

    def init(self) -> None:
        """Open empty books without guards."""
        super().init()
        self._guards: dict[Any, _Guard] = {}
        self._legs: dict[int, tuple[Any, str]] = {}
        self._matched: dict[Any, int] = {}
        self._grown: set[Any] = set()
        self._placed_at: dict[int, int] = {}

    def next(self) -> None:
        """Match open orders with the current bars and value the account."""
        if self.submitted or self._toactivate or self._cash_addition or (self.pending and not self._untouched()):
            self._match()
        if self._grown:
            self._guard_more()
        self.mark()

    def cancel(self, order: Any, bracket: bool = False) -> bool:
        """Cancel an open order, also on the bar of its submission; False when it is not open any more."""
        found = next((other for other in self._open_orders() if other.ref == order.ref), None)
        if found is None:
            return False
        guard = self._guards.pop(found.data, None) if found.ref in self._legs else None
        self._withdraw(found)
        for leg in [] if guard is None else guard.legs.values():
            self._legs.pop(leg.ref, None)
        if not bracket:
            self._bracketize(found, cancel=True)
        self._sale_ended(found)
        return True

    def _place(self, kind: Any, owner: Any, data: Any, size: float, price: Any, plimit: Any, options: Any) -> Any:
        """Round, check, and submit or refuse an order; remember at which bar."""
        order = super()._place(kind, owner, data, size, price, plimit, options)
        self._placed_at[order.ref] = len(data)
        return order

    def check_submitted(self) -> None:
        """Accept what was submitted: cash, lots and holdings were checked when it was placed."""
        while self.submitted:
            order = self.submitted.popleft()
            if self._take_children(order) is not None:
                self.submit_accept(order)

    def _match(self) -> None:
        """Run through the open orders once, in their order.

        A live loop calls the broker also when no new bar has come: a bar is matched once, and not with an order that was
        placed at its close.
        """
        while self._toactivate:
            self._toactivate.popleft().activate()
        self.check_submitted()
        while self._cash_addition:
            amount = self._cash_addition.popleft()
            self._fundshares += amount / self._fundval
            self.cash += amount
        done = {data for data, length in self._matched.items() if len(data) == length}
        pending = self.pending
        if len(pending) > 1:  # what the open fills as it arrives comes before what the bar's range reaches
            # in the order in which they were placed: a live loop comes here also between two bars
            self.pending = pending = deque(
                sorted(pending, key=lambda each: (not self._fills_on_arrival(each), each.ref))
            )
        pending.append(None)
        while (order := pending.popleft()) is not None:
            self._matched[order.data] = len(order.data)
            if order.data in done:
                pending.append(order)
            elif order.expire():
                self.notify(order)
                self._ococheck(order)
                self._bracketize(order, cancel=True)
                self._sale_ended(order)
            elif not order.active():
                pending.append(order)
            else:
                self._try_exec(order)
                if order.alive():
                    pending.append(order)
                elif order.status == bt.Order.Completed:
                    self._bracketize(order)

    def _fills_on_arrival(self, order: Any) -> bool:
        """Tell whether an order that was placed at the last close is filled by the open of the current bar."""
        if order.exectype == bt.Order.Market:
            return True
        open_ = order.data.lines.open[0]
        if (leg := self._legs.get(order.ref)) is not None:
            guard = self._guards[leg[0]]
            prices = guard.price("stop"), guard.price("target")
            return guard.arrives == len(order.data) and judge(open_, open_, open_, *prices) is not None
        price, limit, is_buy = order.created.price, order.created.pricelimit, order.isbuy()
        if self._placed_at.get(order.ref) != len(order.data) - 1 or order.exectype not in _PRICED:
            return False  # it rests since an earlier bar, or waits for the close
        if order.exectype == bt.Order.Limit:
            return bool(open_ <= price if is_buy else open_ >= price)
        passed = bool(open_ >= price if is_buy else open_ <= price)
        if order.exectype == bt.Order.StopLimit:
            return passed and bool(open_ <= limit if is_buy else open_ >= limit)
        return passed

    def _untouched(self) -> bool:
        """Tell whether only guards are open and no bar reaches them."""
        if len(self.pending) != len(self._legs):
            return False
        return not any(guard.is_reached() for guard in self._guards.values())

    def _try_exec(self, order: Any) -> None:
        """Fill an order if the current bar does, and if that bar is later than the one on which it was placed."""
        if order.data.lines.datetime[0] <= order.created.dt and not self.p.coo:
            return
        leg = self._legs.get(order.ref)
        if leg is None:
            super()._try_exec(order)
            return
        lines = order.data.lines
        guard, reason = self._guards[leg[0]], leg[1]
        verdict = judge(lines.open[0], lines.high[0], lines.low[0], guard.price("stop"), guard.price("target"))
        if verdict is not None and verdict.reason == reason:
            self._fill_leg(order, verdict)

    def _try_exec_limit(self, order: Any, popen: float, phigh: float, plow: float, plimit: float) -> None:
        """Fill a limit order at the open where that is better, else at its limit; never off the tick."""
        price = limit_fill(popen, phigh, plow, plimit, self.p.rules, is_buy=order.isbuy())
        if price is not None:
            self._execute(order, ago=0, price=price)

    def _execute(self, order: Any, ago: int, price: float, dtcoc: float | None = None) -> None:  # noqa: ARG002
        """Book a fill that the bar gives, if cash and holdings allow it; Backtrader's matching ends here."""
        remaining = order.executed.remsize
        size = remaining
        if self.p.filler is not None:
            size = math.copysign(floor_size(float(self.p.filler(order, price, ago)), self.p.rules), remaining)
        if not size:
            return
        if size > 0 and (needed := self._cost(size, price)) > self.cash * (1 + _NOISE):
            self._refuse(
                order, f"not enough cash at the fill: needs {needed:.8g}, has {self.cash:.8g}", cash_short=True
            )
        elif size < 0 and -size > self.positions[order.data].size * (1 + _NOISE):
            held = self.positions[order.data].size
            self._refuse(order, f"nothing may be sold short: asks {-size:.8g}, has {held:.8g}", cash_short=False)
        else:
            self.book(order, size, price)
            return
        self._ococheck(order)
        self._bracketize(order, cancel=True)
        self._sale_ended(order)

    def book(self, order: Any, size: float, price: float, fee: float | None = None, fee_asset: str = "quote") -> None:
        """Enter a fill and bring the guards into line with what is held."""
        super().book(order, size, price, fee, fee_asset)
        if size > 0:
            self._guard(order)
        elif not order.alive():
            self._sale_ended(order)

    def _slip_up(self, pmax: float, price: float, doslip: bool = True, lim: bool = False) -> float:  # noqa: ARG002
        """Return the price of a purchase that the bar fills at ``price``; a limit caps it."""
        if lim:
            return min(round_price(price, self.p.rules, "up"), pmax)
        return round_price(price * (1.0 + self.p.slippage), self.p.rules, "up")

    def _slip_down(self, pmin: float, price: float, doslip: bool = True, lim: bool = False) -> float:  # noqa: ARG002
        """Return the price of a sale that the bar fills at ``price``; a limit holds it up."""
        if lim:
            return max(round_price(price, self.p.rules, "down"), pmin)
        return round_price(price * (1.0 - self.p.slippage), self.p.rules, "down")

    def _reason(self, order: Any) -> str:
        leg = self._legs.get(order.ref)
        return super()._reason(order) if leg is None else leg[1]

    def _is_protective(self, order: Any) -> bool:
        return order.ref in self._legs

    def _before_submit(self, is_buy: bool, data: Any, options: Any) -> None:
        if not is_buy and options.get("parent") is None:
            self._lift(data)

    def _guard(self, entry: Any) -> None:
        """Place stop and target for what is held after a purchase, and judge the rest of its bar."""
        data = entry.data
        stop_loss, take_profit = entry.info.get("stop_loss"), entry.info.get("take_profit")
        if stop_loss is None and take_profit is None:
            self._grown.add(data)
            return
        self._lift(data)
        prices = exit_prices(_price_paid(entry), stop_loss, take_profit, self.p.rules)
        self._guards[data] = guard = _Guard(data, entry.owner, *prices)
        if self._promised(data, None):
            return  # what an open sale locks cannot be guarded; when that ends, the guard rests
        self._rest(data, guard)
        self._judge_entry_bar(entry, guard)

    def _guard_more(self) -> None:
        """Let guards rest anew for what purchases without stop and target of their own have added, from the next open on."""
        for data in self._grown:
            guard = self._guards.get(data)
            if guard is not None and guard.legs:
                self._lift(data)
                guard.arrives = len(data) + 1
                self._rest(data, guard)
        self._grown.clear()

    def _judge_entry_bar(self, entry: Any, guard: _Guard) -> None:
        """Fill a guard that what is left of the entry's own bar reaches."""
        lines = entry.data.lines
        bar = (lines.open[0], lines.high[0], lines.low[0], lines.close[0])
        path = path_after_fill(*bar, _price_paid(entry), at_open=_filled_at_open(entry, bar[0]))
        verdict = judge(*path, guard.price("stop"), guard.price("target"))
        if verdict is None:
            return
        leg = guard.legs[verdict.reason]
        self.pending.remove(leg)
        self._fill_leg(leg, verdict)
        if leg.alive():  # a filler fills it in parts: the rest waits for the next bar
            self.pending.append(leg)
        else:
            self._bracketize(leg)

    def _fill_leg(self, leg: Any, verdict: Exit) -> None:
        """Fill a stop with slippage, or a target at its limit or better."""
        if verdict.reason == "stop":
            price = self._slip_down(0.0, verdict.price)
        else:
            price = self._slip_down(leg.created.price, verdict.price, lim=True)
        self._execute(leg, ago=0, price=price)

    def _rest(self, data: Any, guard: _Guard) -> None:
        """Place the orders of a guard for all that is held."""
        size = self.sellable(data)
        first = None
        for reason, exectype, price in guard.wanted:
            if price is None:
                continue
            why = refusal(size, price, self.p.rules)
            if why:
                self.rejections.append(Rejection(self.bar_open_ms(data), 0, "sell", size, f"{reason}: {why}"))
                continue
            leg = bt.SellOrder(owner=guard.owner, data=data, size=size, price=price, exectype=exectype)
            leg.addinfo(protective=reason)
            self._ocoize(leg, first)
            first = first or leg
            guard.legs[reason] = leg
            self._legs[leg.ref] = (data, reason)
            self.order_number(leg)
            self.submit(leg, check=False)

    def _lift(self, data: Any) -> None:
        """Cancel the orders of a guard; its prices stay known."""
        guard = self._guards.get(data)
        if guard is None:
            return
        for leg in list(guard.legs.values()):
            if leg.alive():
                self._withdraw(leg)
                self._bracketize(leg, cancel=True)
            self._legs.pop(leg.ref, None)
        guard.legs.clear()

    def _withdraw(self, order: Any) -> None:
        """Take an open order out of the queues and cancel it with those that stand or fall with it."""
        queue = self.submitted if order in self.submitted else self.pending
        queue.remove(order)
        order.cancel()
        self.notify(order)
        self._ococheck(order)

    def _sale_ended(self, order: Any) -> None:
        """After a sale is filled, cancelled or refused: guard what is still held, forget the guard of what is not."""
        if order.isbuy():
            return
        data = order.data
        guard = self._guards.get(data)
        if guard is None:
            return
        if not self.positions[data].size:
            self._lift(data)
            del self._guards[data]
        elif order.ref in self._legs or not guard.legs:
            self._lift(data)
            if not self._promised(data, None):
                guard.arrives = len(data) + 1
                self._rest(data, guard)


def _price_paid(order: Any) -> float:
    """Return the price of an order's fills; of one fill exactly its own, which an average may miss by a rounding."""
    bits = order.executed.exbits
    return float(bits[0].price if len(bits) == 1 else order.executed.price)


def _filled_at_open(order: Any, open_: float) -> bool:
    """Tell whether a purchase was filled at the open of its bar, not inside it."""
    if order.exectype == bt.Order.Market:
        return True
    price: float = order.created.price
    if order.exectype == bt.Order.Limit:
        return open_ <= price
    return order.exectype == bt.Order.Stop and open_ >= price
