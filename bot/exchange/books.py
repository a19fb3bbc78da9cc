"""The markets of the exchange and the time that they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.errors import BrokerError
from bot.exchange.refusals import invalid_symbol, market_closed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bot.exchange.market import Market, MarketStatus
    from bot.exchange.tape import Tape

__all__ = ["Book", "Books"]


@dataclass(slots=True)
class Book:
    """One market, and where its tape stands.

    Attributes
    ----------
    position : int
        The last candle that began; -1 before the first.
    is_forming : bool
        Whether that candle has not closed yet.
    """

    market: Market
    tape: Tape
    status: MarketStatus
    position: int = -1
    is_forming: bool = False

    def stand_at(self, now_ms: int) -> None:
        """Find the place of a market time on the tape."""
        self.position = self.tape.begun(now_ms)
        self.is_forming = self.position >= 0 and now_ms < self.tape.close_ms(self.position)

    def next_event_ms(self) -> int | None:
        """Return when the forming candle closes, or else when the next begins; None at the end."""
        if self.is_forming:
            return self.tape.close_ms(self.position)
        return self.tape.open_ms(self.position + 1) if self.position + 1 < len(self.tape) else None


class Books:
    """The markets by symbol, and market time.

    Attributes
    ----------
    now_ms : int
        Market time, milliseconds UTC.
    """

    def __init__(self, tapes: Mapping[str, tuple[Market, Tape]], start_ms: int) -> None:
        self.now_ms = start_ms
        self._books: dict[str, Book] = {}
        for symbol, (market, tape) in tapes.items():
            if market.symbol != symbol:
                raise BrokerError(f"the market under {symbol!r} is {market.symbol!r}: expected the same symbol")
            self._books[symbol] = Book(market, tape, "TRADING")
        self.stand_at(start_ms)

    def __iter__(self) -> Iterator[Book]:
        """Go through the books."""
        return iter(list(self._books.values()))

    def __getitem__(self, symbol: str) -> Book:
        """Return a book; Refusal -1121 for an unknown symbol."""
        book = self._books.get(symbol)
        if book is None:
            raise invalid_symbol()
        return book

    def trading(self, symbol: str) -> Book:
        """Return a book that trades now; Refusal -2010 'Market is closed.' when it does not."""
        book = self[symbol]
        if book.status != "TRADING":
            raise market_closed()
        return book

    def remove(self, symbol: str) -> None:
        """Take a market away for good."""
        del self._books[symbol]

    def stand_at(self, now_ms: int) -> None:
        """Stand at a market time; what lies between is passed over."""
        self.now_ms = now_ms
        for book in self._books.values():
            book.stand_at(now_ms)

    def next_boundary_ms(self) -> int | None:
        """Return when the next candle of any market begins, or the last one closes; None when all have ended."""
        found = [book.tape.boundary_after(self.now_ms) for book in self._books.values()]
        return min((moment for moment in found if moment is not None), default=None)

    def run_to(self, ms: int) -> Iterator[tuple[Book, bool]]:
        """Let time come to ``ms``; give each book whose candle closes (True) or begins (False), in order of time.

        At the same moment candles close before others begin.
        """
        while True:
            moments = [moment for book in self if (moment := book.next_event_ms()) is not None]
            moment = min(moments, default=None)
            if moment is None or moment > ms:
                break
            self.now_ms = moment
            for book in self:
                if book.is_forming and book.next_event_ms() == moment:
                    book.is_forming = False
                    yield book, True
            for book in self:
                if not book.is_forming and book.next_event_ms() == moment:
                    book.position += 1
                    book.is_forming = True
                    yield book, False
        self.now_ms = max(self.now_ms, ms)
