"""What may be asked of the exchange: markets, prices, orders, trades and balances."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.broker.fees import FeeSchedule
    from bot.exchange.accounts import Account
    from bot.exchange.books import Books
    from bot.exchange.market import Market, MarketStatus
    from bot.exchange.orders import Order, OrderList, Trade
    from bot.exchange.register import Register
    from bot.exchange.tape import Tape

__all__ = ["Inquiries"]


class Inquiries:
    """The side of the exchange that only tells.

    Attributes
    ----------
    account : Account
    register : Register
    fees : FeeSchedule
        What each trade is charged.
    """

    def __init__(self, books: Books, account: Account, register: Register, fees: FeeSchedule) -> None:
        self._books = books
        self.account = account
        self.register = register
        self.fees = fees

    @property
    def now_ms(self) -> int:
        """Market time, milliseconds UTC."""
        return self._books.now_ms

    def next_boundary_ms(self) -> int | None:
        """Return when the next candle of any market begins, or the last one closes; None when all have ended."""
        return self._books.next_boundary_ms()

    @property
    def symbols(self) -> list[str]:
        """Symbols that exist, those that do not trade now included."""
        return [book.market.symbol for book in self._books]

    def market(self, symbol: str) -> Market:
        """Return a market; -1121 for an unknown symbol."""
        return self._books[symbol].market

    def tape(self, symbol: str) -> Tape:
        """Return the candles of a market; -1121 for an unknown symbol."""
        return self._books[symbol].tape

    def status(self, symbol: str) -> MarketStatus:
        """Return whether a market trades; -1121 for an unknown symbol."""
        return self._books[symbol].status

    def last_price(self, symbol: str) -> Decimal:
        """Return the last price of a market; -1121 for an unknown symbol, -2010 before its first candle."""
        return Decimal(repr(self._books[symbol].tape.price(self._books.now_ms)))

    def average_price(self, symbol: str) -> Decimal:
        """Return the average price of the last minutes, which is the close of the newest closed candle.

        The rule NOTIONAL judges a market order by it, as a backtest does that decides at a close.
        """
        return Decimal(repr(self._books[symbol].tape.closed_price(self._books.now_ms)))

    def order(self, symbol: str, *, order_id: int | None = None, client_id: str | None = None) -> Order:
        """Return an order by its id, or the newest with a client id; -2013 when there is none."""
        self._books[symbol]
        return self.register.order(symbol, order_id, client_id)

    def open_orders(self, symbol: str | None = None) -> list[Order]:
        """Return the open orders of a symbol, or of all, oldest first."""
        if symbol is not None:
            self._books[symbol]
        return self.register.open_orders(symbol)

    def orders(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> list[Order]:
        """Return orders of a symbol, oldest first: those from an id or a time on, else the newest."""
        self._books[symbol]
        return self.register.orders(symbol, order_id, start_ms, end_ms, limit)

    def order_list(self, *, list_id: int | None = None, client_id: str | None = None) -> OrderList:
        """Return a pair by its id, or the newest with a client id; -2013 when there is none."""
        return self.register.order_list(list_id, client_id)

    def trades(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
        from_id: int | None = None,
        limit: int = 500,
    ) -> list[Trade]:
        """Return executions of a symbol, oldest first: those from an id or a time on, else the newest."""
        self._books[symbol]
        return self.register.trades(symbol, order_id, start_ms, end_ms, from_id, limit)

    def balances(self) -> dict[str, tuple[Decimal, Decimal]]:
        """Return free and locked by asset."""
        return self.account.balances()
