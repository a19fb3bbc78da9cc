"""What every live broker shares: the books of the backtest, gates before each order, and executions that came another way."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt

from bot.broker.ledger import SpotLedger
from bot.broker.spot import SpotBroker
from bot.errors import BotError
from bot.live.orders import Guard, Ticket, client_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.live.facts import BarFacts
    from bot.live.orders import Execution
    from bot.live.store import CCXTStore

__all__ = ["LiveBroker", "ReplayDiffers", "difference"]

_KINDS = {
    None: "market",
    bt.Order.Market: "market",
    bt.Order.Limit: "limit",
    bt.Order.Stop: "stop",
    bt.Order.StopLimit: "stop_limit",
}
_UNKNOWN_OPTIONS = ("valid", "parent", "oco", "trailamount", "trailpercent")


class ReplayDiffers(BotError):
    """A restart comes to another decision than the journal has: code, config, model or data changed meanwhile."""

    exit_code = 3


class LiveBroker(SpotBroker):
    """The books of a live account.

    Params
    ------
    store : CCXTStore
        What sends orders and knows the journal.
    tag : str
        What the client ids of the run begin with.

    Those of ``SpotBroker`` hold too: an order that they refuse is never sent.

    Attributes
    ----------
    wanted : set of str
        Client ids of the orders that the strategy placed in this life of the bot.
    """

    params: ClassVar[Any] = (("store", None), ("tag", ""))

    def init(self) -> None:
        """Open empty books."""
        super().init()
        self._store: CCXTStore = self.p.store
        self._by_id: dict[str, Any] = {}
        self._in_bar: dict[Any, tuple[int, int]] = {}
        self._admitted: list[Ticket] = []
        self._booked: dict[Any, int] = {}
        self._taken: set[str] = set()
        self.wanted: set[str] = set()

    def next(self) -> None:
        """Book what the exchange did in the bars that are new, and value the account."""
        fresh = [data for data in self.cerebro.datas if len(data) and self._booked.get(data) != len(data)]
        if fresh:
            self.check_submitted()  # a live loop has done so between two bars, a replay has not
        for data in fresh:
            self._booked[data] = len(data)
            self._taken.clear()
            self._book_strays(data, data.facts, before_orders=True)
        super().next()
        for data in fresh:
            if self._book_strays(data, data.facts, before_orders=False):
                self.mark()

    def _refusal(self, is_buy: bool, data: Any, lots: float, price: Any, plimit: Any, options: Any) -> tuple[str, bool]:
        """Return why an order is refused, by the rules of the backtest or because now is no time to trade."""
        reason, cash_short = super()._refusal(is_buy, data, lots, price, plimit, options)
        if reason:
            return reason, cash_short
        kind = _KINDS.get(options.get("exectype"))
        unknown = next((name for name in _UNKNOWN_OPTIONS if options.get(name) is not None), None)
        if kind is None or unknown is not None:
            what = unknown or bt.Order.ExecTypes[options["exectype"]]
            return f"live trading knows market, limit, stop and stop-limit orders; not {what}", False
        ticket = self._new_ticket(is_buy, data, lots, kind, price, plimit, options)
        return self._admit(data, ticket), False

    def _new_ticket(
        self, is_buy: bool, data: Any, lots: float, kind: str, price: Any, plimit: Any, options: Any
    ) -> Ticket:
        symbol, bar_ms, number = self._next_number(data)
        role = "entry" if is_buy else "exit"
        guard = None
        stop_loss, take_profit = options.get("stop_loss"), options.get("take_profit")
        if is_buy and (stop_loss is not None or take_profit is not None):
            guard = Guard(stop_loss, take_profit, self.positions[data].size + self.dust.get(data, 0.0))
        trigger, limit = (price, plimit) if kind == "stop_limit" else (price, price)
        return Ticket(
            client_id=client_id(self.p.tag, symbol, bar_ms, number, role),
            symbol=symbol,
            bar_ms=bar_ms,
            side="buy" if is_buy else "sell",
            kind=kind,  # type: ignore[arg-type]  # one of our words
            role=role,  # type: ignore[arg-type]
            size=Decimal(repr(lots)),
            price=Decimal(repr(limit)) if kind in {"limit", "stop_limit"} else None,
            stop_price=Decimal(repr(trigger)) if kind in {"stop", "stop_limit"} else None,
            guard=guard,
        )

    def _next_number(self, data: Any) -> tuple[str, int, int]:
        """Return symbol and open time of the current bar, and the number of the next order in it."""
        bar_ms = self.bar_open_ms(data)
        known_bar, count = self._in_bar.get(data, (bar_ms, 0))
        number = count if known_bar == bar_ms else 0
        self._in_bar[data] = (bar_ms, number + 1)
        return str(data.p.symbol), bar_ms, number

    def _admit(self, data: Any, ticket: Ticket) -> str:
        """Return why an order that the books allow may not be placed; empty when it may, or was."""
        raise NotImplementedError

    def _book_trades(self, order: Any, trades: Sequence[Execution]) -> None:
        """Enter an order's executions; guards are brought into line once, after the last."""
        sign = 1.0 if order.isbuy() else -1.0
        for number, trade in enumerate(trades, 1):
            amounts = (sign * float(trade.size), float(trade.price), float(trade.fee), self._asset(order.data, trade))
            if number == len(trades):
                self.book(order, *amounts)
            else:
                SpotLedger.book(self, order, *amounts)

    def _asset(self, data: Any, trade: Execution) -> str:
        market = self._store.market(str(data.p.symbol))
        return {market.base: "base", market.quote: "quote"}.get(trade.fee_asset, trade.fee_asset)

    def _book_strays(self, data: Any, facts: BarFacts, *, before_orders: bool) -> bool:
        """Enter executions of orders that the books do not hold open: placed by the operator, or cancelled too late.

        The first pass leaves out the guards of purchases that are about to be booked. Tell whether there were any.
        """
        found = False
        coming = {leg.client_id for legs in facts.guards.values() for leg in legs} if before_orders else set()
        for own_id, trades in facts.executions.items():
            if own_id in self._taken or own_id in coming:
                continue
            order = self._by_id.get(own_id)
            if order is not None and order.alive() and before_orders:
                continue
            self._taken.add(own_id)
            self._book_trades(self._stray(data, own_id, trades), trades)
            found = True
        return found

    def _stray(self, data: Any, own_id: str, trades: Sequence[Execution]) -> Any:
        """Return an order of the books that carries executions which no open order of the books has."""
        row = self._store.journal.order(own_id)
        side, role = ("sell", "exit") if row is None else (row.ticket.side, row.ticket.role)
        kind = bt.BuyOrder if side == "buy" else bt.SellOrder
        size = float(sum((trade.size for trade in trades), Decimal(0)))
        owner = self.cerebro.runningstrats[0]
        order = kind(owner=owner, data=data, size=size, exectype=bt.Order.Market)
        order.addinfo(stray=role)
        self._ocoize(order, None)
        self.orders.append(order)
        self.order_number(order)
        order.addcomminfo(self.getcommissioninfo(data))
        order.submit(self)
        order.accept(self)
        self.notify(order)
        return order

    def _reason(self, order: Any) -> str:
        return str(order.info.get("stray") or super()._reason(order))


def difference(wanted: Ticket, known: Ticket | None) -> str:
    """Return what a replay decided, and what the journal has instead."""
    found = "nothing" if known is None else _words(known)
    return (
        f"the replay comes to another decision than the journal at order {wanted.client_id}: it wants {_words(wanted)}, the "
        f"journal has {found}. Code, config, model or candles have changed since; nothing is sent. Put them back, or close "
        "the position and begin a new run: bot live CONFIG --new-run"
    )


def _words(ticket: Ticket) -> str:
    price = ticket.price or ticket.stop_price
    return f"{ticket.side} {ticket.size} {ticket.symbol} {ticket.kind}" + (f" at {price}" if price is not None else "")
