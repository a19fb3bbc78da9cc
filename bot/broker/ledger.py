"""The books of a spot account: what may be ordered, and what a fill does to cash and holdings.

Nothing here decides whether an order is filled, or where: a backtest asks the bar, live trading asks the exchange, and
both call ``book``.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, ClassVar

import backtrader as bt

from bot.broker.fees import FeeSchedule
from bot.broker.lots import count, dust_limit, floor_size, refusal, round_price
from bot.broker.records import Fill, Rejection
from bot.broker.rules import ExchangeRules
from bot.errors import BrokerError
from indicators.lines import bar_step_ms, open_ms

__all__ = ["SpotCommission", "SpotLedger"]

_ORDER_OPTIONS = ("valid", "tradeid", "trailamount", "trailpercent", "parent", "transmit", "histnotify")
_SLIPPING = (bt.Order.Market, bt.Order.Stop, bt.Order.StopTrail)
_NOISE = 1e-12  # relative: what sums of floats leave behind


class SpotCommission(bt.CommInfoBase):
    """A fraction of the notional, and sizes in fractions of a coin: Backtrader's own cash buys whole units only."""

    params: ClassVar[Any] = (("stocklike", True), ("commtype", bt.CommInfoBase.COMM_PERC), ("percabs", True))

    def getsize(self, price: float, cash: float) -> float:
        """Return how many units the cash buys, before rounding to lots; ``order_target_percent`` asks this."""
        return cash / price


class SpotLedger(bt.brokers.BackBroker):
    """Backtrader's broker with the books of a spot account: long only, no credit, fees, lots, ticks and notionals.

    An order that an exchange would refuse gets the status Rejected (Margin for want of cash), its reason in
    ``order.info.rejection``, and a row in ``rejections``; it never raises.

    Params
    ------
    rules : ExchangeRules
        Tick, lot, smallest size and notional.
    fees : FeeSchedule
        What a fill is charged.
    slippage : float
        Fraction by which market and stop orders fill worse than the price that triggers them.
    trade_from_ms : int or None
        Open time of the first bar on which an order may be placed; None for any.

    Attributes
    ----------
    fills : list of Fill
    rejections : list of Rejection
    dust : dict
        What is left of a closed position below one lot, by data feed: owned and valued, but not a position.
    """

    params: ClassVar[Any] = (
        ("rules", ExchangeRules()),
        ("fees", FeeSchedule()),
        ("slippage", 0.0),
        ("trade_from_ms", None),
    )

    cash: float
    pending: deque[Any]

    def init(self) -> None:
        """Open empty books; Backtrader calls this at construction and again at the start of each run."""
        super().init()
        if not 0 <= self.p.slippage < 0.1:
            raise BrokerError(f"the slippage is {self.p.slippage}: expected a fraction from 0 to 0.1, such as 0.0005")
        self.setcommission(commission=self.p.fees.taker)
        self.fills: list[Fill] = []
        self.rejections: list[Rejection] = []
        self.dust: dict[Any, float] = {}
        self._numbers: dict[int, int] = {}
        self._steps: dict[Any, int] = {}
        self._closes: dict[Any, Any] = {}

    def setcommission(self, commission: float = 0.0, **options: Any) -> None:
        """Charge this fraction of every fill; other schemes of Backtrader are not those of a spot account."""
        wrong = sorted(set(options) - {"percabs", "stocklike"})
        if wrong:
            raise BrokerError(f"a spot account charges a fraction of the notional; it has no {', '.join(wrong)}")
        self.p.fees = FeeSchedule(float(commission), in_kind=self.p.fees.in_kind)
        self.addcommissioninfo(SpotCommission(commission=commission))

    def buy(self, owner: Any, data: Any, size: float, price: Any = None, plimit: Any = None, **options: Any) -> Any:
        """Place a purchase; the size is rounded down to lots and the prices to ticks.

        ``stop_loss`` and ``take_profit`` (fractions) among the options ask for protective orders once it is filled.
        """
        return self._place(bt.BuyOrder, owner, data, size, price, plimit, options)

    def sell(self, owner: Any, data: Any, size: float, price: Any = None, plimit: Any = None, **options: Any) -> Any:
        """Place a sale of what is held; the size is rounded down to lots and the prices to ticks."""
        return self._place(bt.SellOrder, owner, data, size, price, plimit, options)

    def sellable(self, data: Any) -> float:
        """Return how much of the position whole lots can sell, in the base currency."""
        return floor_size(self.positions[data].size, self.p.rules)

    def order_number(self, order: Any) -> int:
        """Return the number of an order within the run, from 1; Backtrader's own ``ref`` counts through the process."""
        return self._numbers.setdefault(order.ref, len(self._numbers) + 1)

    def bar_open_ms(self, data: Any) -> int:
        """Return the open time of a feed's current bar, milliseconds UTC."""
        step = self._steps.get(data)
        if step is None:
            step = self._steps[data] = bar_step_ms(data)
        return open_ms(data, step)

    def book(self, order: Any, size: float, price: float, fee: float | None = None, fee_asset: str = "quote") -> None:
        """Enter a fill: cash, position, the order's own record, ``fills`` and the notification.

        Parameters
        ----------
        order : backtrader.Order
            What was filled, wholly or in part.
        size : float
            Signed size of this fill, base currency; negative for a sale.
        price : float
            Quote currency per unit.
        fee, fee_asset : float and str, optional
            As the exchange charged them; by default as ``fees`` says.
        """
        data, is_buy, amount = order.data, size > 0, abs(size)
        position = self.positions[data]
        held, basis = position.size, position.price
        if fee is None:
            fee, fee_asset = self.p.fees.charge(amount, price, is_buy=is_buy)
        base_fee, quote_fee = fee * (fee_asset == "base"), fee * (fee_asset == "quote")
        commission = quote_fee + base_fee * price
        lot = float(self.p.rules.lot_step or 0)
        if is_buy:
            cost = amount * price + quote_fee
            self.cash = 0.0 if self.cash <= cost <= self.cash * (1 + _NOISE) else self.cash - cost
            change = count(amount - base_fee + self.dust.pop(data, 0.0), lot)
            bits = (0.0, 0.0, 0.0, change, change * price, commission)
            profit = 0.0
        else:
            self.cash += amount * price - quote_fee
            change = -amount
            rest = count(held - amount, lot)
            if rest < dust_limit(held, lot):
                change = -held
                if rest > held * _NOISE:
                    self.dust[data] = rest
            bits = (change, held * basis if change == -held else amount * basis, commission, 0.0, 0.0, 0.0)
            profit = amount * (price - basis)
        position.update(change, price, data.datetime.datetime())
        position.size = count(position.size, lot)
        self._closes.setdefault(data, data.lines.close)
        order.execute(data.datetime[0], size, price, *bits, None, profit, position.size, position.price)
        if abs(order.executed.remsize) <= abs(order.created.size) * _NOISE:
            order.executed.remsize = 0.0
            order.completed()
        order.addcomminfo(self.getcommissioninfo(data))
        self.fills.append(
            Fill(
                self.bar_open_ms(data),
                self.order_number(order),
                "buy" if is_buy else "sell",
                amount,
                price,
                fee,
                fee_asset,
                self._reason(order),
                slipped=order.exectype in _SLIPPING,
            )
        )
        self.notify(order)
        self._ococheck(order)

    def mark(self) -> None:
        """Value the account at the closes of the current bars."""
        held = unrealised = 0.0
        for data, close in self._closes.items():
            position = self.positions[data]
            size = position.size
            if size:
                price = close[0]
                held += size * price
                unrealised += size * (price - position.price)
            if data in self.dust:
                held += self.dust[data] * close[0]
        self._value = self._valuelever = self.cash + held
        self._valuemkt = self._valuemktlever = held
        self._leverage = 1.0 if held else 0.0
        self._unrealized = unrealised
        if self._fundshares:
            self._fundval = self._value / self._fundshares

    def add_order_history(self, orders: Any, notify: bool = True) -> None:  # noqa: ARG002 - Backtrader's signature
        """Refuse: fills of this account come from orders."""
        raise BrokerError("a spot account takes no order history")

    def set_fund_history(self, fund: Any) -> None:  # noqa: ARG002 - Backtrader's signature
        """Refuse: this account is valued at its closes."""
        raise BrokerError("a spot account takes no fund history")

    def _reason(self, order: Any) -> str:
        """Return why the order was placed."""
        return "entry" if order.isbuy() else "exit"

    def _place(self, kind: Any, owner: Any, data: Any, size: float, price: Any, plimit: Any, options: Any) -> Any:
        """Round, check, and submit or refuse an order."""
        rules: ExchangeRules = self.p.rules
        is_buy = kind is bt.BuyOrder
        numbers = [number for number in (size, price, plimit) if number is not None]
        if not all(math.isfinite(number) and number > 0 for number in numbers):
            reason, cash_short = f"size {size} or price {price} is not a finite positive number", False
            return self._refuse_new(kind, owner, data, 0.0, None, None, options, reason, cash_short=cash_short)
        lots = floor_size(size, rules)
        price = None if price is None else round_price(price, rules)
        plimit = None if plimit is None else round_price(plimit, rules)
        reason, cash_short = self._refusal(is_buy, data, lots, price, plimit, options)
        if reason:
            return self._refuse_new(kind, owner, data, size, price, plimit, options, reason, cash_short=cash_short)
        self._before_submit(is_buy, data, options)
        place = super().buy if is_buy else super().sell
        order = place(owner, data, lots, price=price, plimit=plimit, **options)
        self.order_number(order)
        return order

    def _refusal(self, is_buy: bool, data: Any, lots: float, price: Any, plimit: Any, options: Any) -> tuple[str, bool]:
        """Return why an order is refused (empty when it is not) and whether it is for want of cash."""
        if self._is_early(data):
            return "nothing trades before the first bar of the data's start", False
        reference = plimit or price or data.lines.close[0]
        reason = refusal(lots, reference, self.p.rules)
        if reason or options.get("parent") is not None:
            return reason, False
        if is_buy:
            worst = reference if options.get("exectype") == bt.Order.Limit else self._slip_up(math.inf, reference)
            needed, there = self._cost(lots, worst), self.cash - self._reserved()
            short = f"not enough cash: needs {needed:.8g}, has {there:.8g}"
            return (short, True) if needed > there * (1 + _NOISE) else ("", False)
        there = self.positions[data].size - self._promised(data, options.get("oco"))
        if lots > there * (1 + _NOISE):
            return f"nothing may be sold short: asks {lots:.8g}, has {max(there, 0.0):.8g}", False
        return "", False

    def _is_early(self, data: Any) -> bool:
        """Tell whether the current bar of a feed comes before the first that may trade."""
        return self.p.trade_from_ms is not None and self.bar_open_ms(data) < self.p.trade_from_ms

    def _cost(self, size: float, price: float) -> float:
        """Return the cash that a purchase takes."""
        fee, asset = self.p.fees.charge(size, price, is_buy=True)
        return size * price + (fee if asset == "quote" else 0.0)

    def _open_orders(self) -> list[Any]:
        return [order for order in (*self.submitted, *self.pending) if order is not None]

    def _reserved(self) -> float:
        """Return the cash that open purchases lock."""
        return sum(
            self._cost(order.executed.remsize, order.created.price) for order in self._open_orders() if order.isbuy()
        )

    def _promised(self, data: Any, oco: Any) -> float:
        """Return what open sales lock; orders that cancel one another lock it once."""
        groups: dict[int, float] = {}
        own = None if oco is None else self._ocos.get(oco.ref)
        for order in self._open_orders():
            if order.data is data and not order.isbuy() and order.parent is None and not self._is_protective(order):
                group = self._ocos[order.ref]
                groups[group] = max(groups.get(group, 0.0), -order.executed.remsize)
        return sum(size for group, size in groups.items() if group != own)

    def _is_protective(self, order: Any) -> bool:  # noqa: ARG002 - there are none here
        """Tell whether the broker itself placed this order; those give way to a sale."""
        return False

    def _before_submit(self, is_buy: bool, data: Any, options: Any) -> None:
        """Make room for an order that is about to be submitted."""

    def _refuse_new(
        self,
        kind: Any,
        owner: Any,
        data: Any,
        size: float,
        price: Any,
        plimit: Any,
        options: Any,
        reason: str,
        *,
        cash_short: bool,
    ) -> Any:
        """Return an order that was refused before it was submitted."""
        chosen = {name: options[name] for name in _ORDER_OPTIONS if name in options}
        order = kind(
            owner=owner,
            data=data,
            size=size,
            price=price,
            pricelimit=plimit,
            exectype=options.get("exectype"),
            **chosen,
        )
        known = {*_ORDER_OPTIONS, "exectype", "oco", "_checksubmit"}
        order.addinfo(**{name: value for name, value in options.items() if name not in known})
        self._ocoize(order, options.get("oco"))
        self.orders.append(order)
        self._refuse(order, reason, cash_short=cash_short)
        return order

    def _refuse(self, order: Any, reason: str, *, cash_short: bool) -> None:
        """Give an order its final status, keep the reason and tell the strategy.

        What is refused because it came too early is not kept, and has no number: how much of that there is depends on how
        much history was fed.
        """
        order.addinfo(rejection=reason)
        if cash_short:
            order.margin()
        else:
            order.reject(self)
        if not self._is_early(order.data):
            self.rejections.append(
                Rejection(
                    self.bar_open_ms(order.data),
                    self.order_number(order),
                    "buy" if order.isbuy() else "sell",
                    abs(order.created.size),
                    reason,
                )
            )
        self.notify(order)
