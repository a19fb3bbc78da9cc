"""The local exchange itself: what is ordered meets the candles, and the account changes hands.

Market time moves only by ``advance_to``, candle by candle over all markets in order of time, so that nothing depends on
how often anybody asks. A market order fills at once, at the open of the candle that is forming. What rests meets a
candle when that closes, with its whole range, by the rules that the backtest uses; of a pair the worst case comes first.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal, cast

from bot.broker.execution import limit_price
from bot.exchange.accounts import Account, add, multiply
from bot.exchange.admission import (
    check_count,
    check_filters,
    check_order_form,
    check_order_price,
    check_pair_form,
    check_pair_prices,
    is_marketable,
)
from bot.exchange.books import Books
from bot.exchange.inquiries import Inquiries
from bot.exchange.orders import (
    BalanceEvent,
    CandleEvent,
    Event,
    ExecutionType,
    Leg,
    ListEvent,
    Order,
    OrderEvent,
    OrderList,
    OrderRequest,
    PairRequest,
    Trade,
)
from bot.exchange.register import Register
from bot.exchange.resting import meet, reached_leg
from bot.exchange.settlement import Settlement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bot.broker.fees import FeeSchedule
    from bot.exchange.books import Book
    from bot.exchange.market import Market, MarketStatus
    from bot.exchange.orders import Kind, Side, TimeInForce
    from bot.exchange.tape import Bar, Tape

__all__ = ["LocalExchange"]

_ZERO = Decimal(0)


class LocalExchange(Inquiries):
    """A spot exchange of one account over the candles of several markets.

    Parameters
    ----------
    tapes : mapping of str to (Market, Tape)
        By symbol.
    balances : mapping of str to Decimal
        What the account holds at the start, by asset.
    fees : FeeSchedule
        What each trade is charged.
    slippage : float
        Fraction by which market and stop orders fill worse than the price that triggers them, in [0, 0.1).
    start_ms : int
        Market time at the start, milliseconds UTC.
    partial : sequence of float
        Fractions of an order that are traded one by one before its rest. What is filled on arrival or by its trigger
        trades all of them at once; a limit order that rests trades the first at the first candle that reaches it, and
        the rest at the next.

    Attributes
    ----------
    listeners : list of callables
        Each is told of every ``Event`` as it happens. A listener may read the exchange, not change it.
    """

    def __init__(
        self,
        tapes: Mapping[str, tuple[Market, Tape]],
        balances: Mapping[str, Decimal],
        *,
        fees: FeeSchedule,
        slippage: float = 0.0,
        start_ms: int,
        partial: Sequence[float] = (),
    ) -> None:
        super().__init__(Books(tapes, start_ms), Account(balances), Register(), fees)
        self.listeners: list[Callable[[Event], None]] = []
        self._settlement = Settlement(self.account, fees, slippage, partial)
        for market, _ in tapes.values():
            self.account.open_asset(market.base)
            self.account.open_asset(market.quote)

    # --- the markets

    def set_status(self, symbol: str, status: MarketStatus) -> None:
        """Halt a market, or let it trade again; what rests is not matched meanwhile, and may be cancelled."""
        self._books[symbol].status = status

    def delist(self, symbol: str) -> None:
        """Cancel the open orders of a market and take it away for good."""
        self._books[symbol]
        self.cancel_all(symbol)
        self._books.remove(symbol)

    # --- time

    def advance_to(self, ms: int) -> None:
        """Let market time come to ``ms``, candle by candle; a time that has passed changes nothing.

        What a candle fills as it closes happened a millisecond before.
        """
        for book, closed in self._books.run_to(ms):
            if closed and book.status == "TRADING":
                self._match(book, self.now_ms - 1)
            opened_ms = book.tape.open_ms(book.position)
            self._tell(CandleEvent(book.market.symbol, opened_ms, closed, self.now_ms))

    # --- orders

    def check(self, request: OrderRequest) -> None:
        """Refuse what ``place`` would refuse for another reason than the balance; nothing is placed."""
        self._admit(request)

    def place(self, request: OrderRequest) -> Order:
        """Place an order, and fill it at once if the price is there.

        Raises
        ------
        Refusal
            As the exchange answers; then nothing was changed.
        """
        book, quantity = self._admit(request)
        market = book.market
        last = self.last_price(request.symbol)
        leg = Leg(request.kind, request.price, request.stop_price, request.time_in_force, request.client_id)
        order = self._new_order(request.symbol, request.side, quantity, leg, self.register.next_ids()[0])
        order.quote_quantity = request.quote_quantity or _ZERO
        pieces = self._settlement.pieces(market, quantity)
        price: Decimal | None = None
        if order.kind == "MARKET":
            price = self._settlement.slipped(market, last, is_buy=order.is_buy)
            if order.is_buy:
                self.account.require(market.quote, self._settlement.cost(pieces, price))
            else:
                self.account.require(market.base, quantity)
        else:
            self._settlement.lock(market, order)
            if order.kind == "LIMIT" and is_marketable(order.price, last, is_buy=order.is_buy):
                found = limit_price(float(last), float(order.price), market.rules, is_buy=order.is_buy)
                price = Decimal(repr(found))
        self.register.add(order)
        self._tell_order(order, "NEW", self.now_ms)
        if price is not None:
            self._fill(book, order, pieces, price, self.now_ms, is_maker=False)
        elif order.time_in_force != "GTC" and order.is_working:
            self._end(book, order, "EXPIRED", self.now_ms)
        else:
            self._tell_balances(market, self.now_ms)
        return order

    def place_pair(self, request: PairRequest) -> OrderList:
        """Place two orders of which one cancels the other; they lock their quantity once.

        Raises
        ------
        Refusal
            As the exchange answers; then nothing was changed.
        """
        book = self._books.trading(request.symbol)
        market, legs = book.market, (request.above, request.below)
        check_pair_form(request)
        quantity = request.quantity or _ZERO
        for leg in legs:
            check_filters(market, leg.kind, quantity, leg, self.average_price(request.symbol))
        check_count(self.register.open_orders(request.symbol), [leg.kind for leg in legs])
        self.register.require_unused_list(request.symbol, request.list_client_id)
        self.register.require_unused(request.symbol, [leg.client_id for leg in legs])
        check_pair_prices(request, self.last_price(request.symbol))
        order_id, list_id, _ = self.register.next_ids()
        above, below = (
            self._new_order(request.symbol, request.side, quantity, leg, order_id + number, list_id)
            for number, leg in enumerate(legs)
        )
        self._settlement.lock(market, above, below)
        pair = OrderList(
            list_id=list_id,
            client_id=request.list_client_id or f"local-list-{list_id}",
            symbol=request.symbol,
            order_ids=(above.order_id, below.order_id),
            status="EXECUTING",
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )
        self.register.add_list(pair)
        for order in (above, below):
            self.register.add(order)
        self._tell(ListEvent(pair, self._books.now_ms))
        for order in (above, below):
            self._tell_order(order, "NEW", self.now_ms)
        self._tell_balances(market, self.now_ms)
        return pair

    def cancel(self, symbol: str, *, order_id: int | None = None, client_id: str | None = None) -> Order:
        """Cancel an open order, and with it the other one of its pair; -2011 when it is not open."""
        book = self._books[symbol]
        order = self.register.open_order(symbol, order_id, client_id)
        if order.list_id < 0:
            self._end(book, order, "CANCELED", self.now_ms)
        else:
            self._cancel_pair(book, self.register.list_by_id(order.list_id))
        return order

    def cancel_list(self, symbol: str, list_id: int | None = None, client_id: str | None = None) -> OrderList:
        """Cancel both orders of a pair; -2011 when none of them is open."""
        book = self._books[symbol]
        pair = self.register.open_order_list(symbol, list_id, client_id)
        self._cancel_pair(book, pair)
        return pair

    def cancel_all(self, symbol: str) -> list[Order]:
        """Cancel every open order of a symbol and return them, oldest first; none is no error here."""
        self._books[symbol]
        orders = self.register.open_orders(symbol)
        for order in orders:
            if order.is_open:
                self.cancel(symbol, order_id=order.order_id)
        return orders

    # --- inside

    def resume(self, now_ms: int, statuses: Mapping[str, MarketStatus]) -> None:
        """Stand at a market time without matching; markets that ``statuses`` does not name are gone."""
        for symbol in self.symbols:
            if symbol in statuses:
                self._books[symbol].status = statuses[symbol]
            else:
                self._books.remove(symbol)
        self._books.stand_at(now_ms)

    def _admit(self, request: OrderRequest) -> tuple[Book, Decimal]:
        """Check a request; return its book and its quantity."""
        book = self._books.trading(request.symbol)
        check_order_form(request)
        market, last = book.market, self.last_price(request.symbol)
        quantity = request.quantity
        if quantity is None:
            price = self._settlement.slipped(market, last, is_buy=request.side == "BUY")
            quantity = (request.quote_quantity or _ZERO) // multiply(price, market.lot) * market.lot
        check_filters(market, request.kind, quantity, request, self.average_price(request.symbol))
        if request.kind != "MARKET":
            check_count(self.register.open_orders(request.symbol), [request.kind])
        self.register.require_unused(request.symbol, [request.client_id])
        check_order_price(request, last)
        return book, quantity

    def _new_order(
        self, symbol: str, side: str, quantity: Decimal, leg: Leg, order_id: int, list_id: int = -1
    ) -> Order:
        is_working = leg.stop_price is None
        return Order(
            symbol=symbol,
            order_id=order_id,
            client_id=leg.client_id or f"local-{order_id}",
            list_id=list_id,
            side=cast("Side", side),
            kind=cast("Kind", leg.kind),
            quantity=quantity,
            price=leg.price or _ZERO,
            stop_price=leg.stop_price or _ZERO,
            time_in_force=cast("TimeInForce", leg.time_in_force or "GTC"),
            status="NEW",
            is_working=is_working,
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
            working_ms=self.now_ms if is_working else -1,
        )

    def _match(self, book: Book, time_ms: int) -> None:
        """Let the candle that closes meet what rests, in the order in which it was placed."""
        bar = book.tape.bar(book.position)
        met: set[int] = set()  # lists whose turn has come: once a candle, whichever of the two is older
        for order in self.register.open_orders(book.market.symbol):
            if not order.is_open or order.list_id in met:
                continue
            winner: Order | None = order
            others = self._open_others(order)
            if others:
                met.add(order.list_id)
                winner = reached_leg(order, others[0], bar)
            if winner is None:
                continue
            for loser in (order, *others):
                if loser is not winner:
                    self._expire_leg(loser, time_ms)
            self._meet(book, winner, bar, time_ms)

    def _meet(self, book: Book, order: Order, bar: Bar, time_ms: int) -> None:
        """Trigger and fill an order as far as a candle does."""
        market = book.market
        found = meet(order, bar, market.rules, self._settlement.slippage)
        if not found.triggered:
            return
        if not order.is_working:
            order.is_working, order.working_ms, order.updated_ms = True, time_ms, time_ms
        may_rest = found.is_maker and order.time_in_force == "GTC"
        if found.price is None:
            if not may_rest:
                self._end(book, order, "EXPIRED", time_ms)
            return
        price = Decimal(repr(found.price))
        if may_rest:
            pieces = self._settlement.resting_pieces(market, order)[:1]
        else:
            pieces = self._settlement.pieces(market, order.remaining)
        if self._settlement.can_pay(order, pieces, price, market):
            self._fill(book, order, pieces, price, time_ms, is_maker=may_rest)
        else:  # a purchase by a stop that the market gapped through
            self._end(book, order, "EXPIRED", time_ms)

    def _fill(
        self, book: Book, order: Order, pieces: Sequence[Decimal], price: Decimal, time_ms: int, *, is_maker: bool
    ) -> None:
        """Enter the trades of a fill."""
        market = book.market
        trades = self._settlement.settle(
            market, order, pieces, price, first_id=self.register.next_ids()[2], time_ms=time_ms, is_maker=is_maker
        )
        for trade in trades:
            order.executed = add(order.executed, trade.quantity)
            order.quote_executed = add(order.quote_executed, trade.quote_quantity)
            order.updated_ms = time_ms
            order.status = "PARTIALLY_FILLED" if order.remaining else "FILLED"
            self.register.add_trade(order, trade)
            if not order.is_open:
                self.register.close(order)
            self._tell_order(order, "TRADE", time_ms, trade)
        if order.is_open:
            self._settlement.lock(market, order)
        self._close_pair(order, time_ms)
        self._tell_balances(market, time_ms)

    def _expire_leg(self, order: Order, time_ms: int) -> None:
        """End the other one of a pair; what the pair has locked stays locked for the one that fills."""
        order.status, order.updated_ms = "EXPIRED", time_ms
        self.register.close(order)
        self._tell_order(order, "EXPIRED", time_ms)

    def _end(self, book: Book, order: Order, status: Literal["CANCELED", "EXPIRED"], time_ms: int) -> None:
        """End an order that is not filled, or not wholly, and free what it has locked."""
        order.status, order.updated_ms = status, time_ms
        self.register.close(order)
        self._settlement.unlock(order)
        self._tell_order(order, status, time_ms)
        self._close_pair(order, time_ms)
        self._tell_balances(book.market, time_ms)

    def _cancel_pair(self, book: Book, pair: OrderList) -> None:
        for order_id in pair.order_ids:
            order = self.register.by_id(order_id)
            if order.is_open:
                self._end(book, order, "CANCELED", self.now_ms)

    def _open_others(self, order: Order) -> list[Order]:
        """Return the other one of the pair, if it is open."""
        if order.list_id < 0:
            return []
        both = [self.register.by_id(number) for number in self.register.list_by_id(order.list_id).order_ids]
        return [other for other in both if other is not order and other.is_open]

    def _close_pair(self, order: Order, time_ms: int) -> None:
        """Note that a pair is done when its last order is."""
        if order.list_id < 0 or order.is_open or self._open_others(order):
            return
        pair = self.register.list_by_id(order.list_id)
        pair.status, pair.updated_ms = "ALL_DONE", time_ms
        self.register.close_list(pair)
        self._tell(ListEvent(pair, time_ms))

    def _tell_order(self, order: Order, kind: ExecutionType, time_ms: int, trade: Trade | None = None) -> None:
        self._tell(OrderEvent(order, kind, trade, time_ms))

    def _tell_balances(self, market: Market, time_ms: int) -> None:
        if self.listeners:
            self._tell(BalanceEvent(self._settlement.balances(market), time_ms))

    def _tell(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)
