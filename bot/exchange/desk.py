"""The desk: the one way by which requests and clocks reach the market, so that nothing is taken and not remembered.

Every mutation is done, written to the state file in a transaction of its own, and only then answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.exchange.clocks import Clock, Lockstep

if TYPE_CHECKING:
    from bot.exchange.market import MarketStatus
    from bot.exchange.matching import LocalExchange
    from bot.exchange.orders import Order, OrderList, OrderRequest, PairRequest
    from bot.exchange.persistence import StateFile

__all__ = ["Desk", "Pace"]

_PATIENCE = 200  # requests of one follower that the others may leave unanswered before they count as gone


class Pace:
    """In lockstep, says when the market may move: when every follower has had everything that there is.

    A symbol is followed from its first klines request on. A request that starts at or after the newest closed candle says "I
    have it all"; the first one at a market time never does, as its client cannot know yet that nothing is missing.
    """

    def __init__(self) -> None:
        self._followed: dict[str, int] = {}  # symbol -> requests of others since its own last one
        self._answered: set[str] = set()
        self._content: set[str] = set()

    def may_move(self, symbol: str, *, has_all: bool) -> bool:
        """Take note of a klines request and return whether the market moves before it is answered."""
        for other in list(self._followed):
            self._followed[other] += 1
            if self._followed[other] > _PATIENCE:
                del self._followed[other]
        self._followed[symbol] = 0
        if has_all and symbol in self._answered:
            self._content.add(symbol)
        self._answered.add(symbol)
        return self._content >= self._followed.keys()

    def moved(self) -> None:
        """Forget who had everything: there is something new."""
        self._answered.clear()
        self._content.clear()


class Desk:
    """The market with its clock and its memory.

    Parameters
    ----------
    exchange : LocalExchange
        The market.
    clock : Clock
        Moves it.
    state : StateFile or None
        Remembers what happened; None for a market that is forgotten.
    """

    def __init__(self, exchange: LocalExchange, clock: Clock, state: StateFile | None = None) -> None:
        self.exchange = exchange
        self.clock = clock
        self._state = state
        self._pace = Pace()
        clock.set_market(exchange.now_ms)

    def sync(self) -> None:
        """Move the market to where its clock says that it is."""
        target = self.clock.market_ms()
        if target is not None:
            self._move(target)

    def advance_to(self, market_ms: int) -> None:
        """Move the market to a time; its clock goes on from there. A time of the past changes nothing."""
        self._move(market_ms)
        self.clock.set_market(self.exchange.now_ms)

    def advance(self, candles: int) -> None:
        """Move the market by so many boundaries of candles, or to the end."""
        for _ in range(candles):
            boundary = self.exchange.next_boundary_ms()
            if boundary is None:
                break
            self._move(boundary)
        self.clock.set_market(self.exchange.now_ms)

    def follow(self, symbol: str, start_ms: int | None, newest_closed_ms: int | None) -> None:
        """Take note of a klines request; in lockstep the market moves when all followers have had everything.

        Parameters
        ----------
        symbol : str
            Of the request.
        start_ms : int or None
            Where it starts.
        newest_closed_ms : int or None
            Open time of the newest closed candle of its interval.
        """
        if not isinstance(self.clock, Lockstep) or start_ms is None:
            return
        has_all = newest_closed_ms is None or start_ms >= newest_closed_ms
        if self._pace.may_move(symbol, has_all=has_all):
            boundary = self.exchange.next_boundary_ms()
            if boundary is not None:
                self._move(boundary)
                self._pace.may_move(symbol, has_all=False)  # its answer shows the new time

    def place(self, request: OrderRequest) -> Order:
        """Place an order; raises Refusal."""
        order = self.exchange.place(request)
        self._remember("place", request)
        return order

    def place_pair(self, request: PairRequest) -> OrderList:
        """Place a pair of orders; raises Refusal."""
        pair = self.exchange.place_pair(request)
        self._remember("place_pair", request)
        return pair

    def cancel(self, symbol: str, order_id: int | None, client_id: str | None) -> Order:
        """Cancel an order; raises Refusal."""
        order = self.exchange.cancel(symbol, order_id=order_id, client_id=client_id)
        self._remember("cancel", {"symbol": symbol, "order_id": order_id, "client_id": client_id})
        return order

    def cancel_list(self, symbol: str, list_id: int | None, client_id: str | None) -> OrderList:
        """Cancel a pair; raises Refusal."""
        pair = self.exchange.cancel_list(symbol, list_id=list_id, client_id=client_id)
        self._remember("cancel_list", {"symbol": symbol, "list_id": list_id, "client_id": client_id})
        return pair

    def cancel_all(self, symbol: str) -> list[Order]:
        """Cancel every open order of a symbol; raises Refusal."""
        orders = self.exchange.cancel_all(symbol)
        self._remember("cancel_all", {"symbol": symbol})
        return orders

    def set_status(self, symbol: str, status: MarketStatus) -> None:
        """Open, halt or close the trading of a symbol."""
        self.exchange.set_status(symbol, status)
        self._remember("set_status", {"symbol": symbol, "status": status})

    def delist(self, symbol: str) -> None:
        """Let a symbol vanish."""
        self.exchange.delist(symbol)
        self._remember("delist", {"symbol": symbol})

    def _move(self, market_ms: int) -> None:
        boundary = self.exchange.next_boundary_ms()
        if market_ms <= self.exchange.now_ms:
            return
        self.exchange.advance_to(market_ms)
        if boundary is not None and market_ms >= boundary:
            self._pace.moved()
            self._remember("advance", {})

    def _remember(self, kind: str, body: object) -> None:
        if self._state is not None:
            self._state.append(self.exchange, kind, body)
