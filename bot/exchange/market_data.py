"""Public endpoints: time, symbols, candles, prices. A local market has one price; its book is drawn one tick around it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.exchange.documents import amount
from bot.exchange.market_trades import market_trades
from bot.exchange.refusals import invalid_symbol, unsupported_combination, which_order
from bot.exchange.tickers import DAY_MS, day_of, is_mini, mini, span, window_start

if TYPE_CHECKING:
    from bot.exchange.desk import Desk
    from bot.exchange.limits import RateLimits
    from bot.exchange.market_trades import MarketTrade
    from bot.exchange.parameters import Parameters

__all__ = ["MarketData"]

_DEPTH = "10.00000000"  # shown at each price: the local market fills any size
_MOST_LEVELS = 5_000
_SHOWN_LEVELS = 20


class MarketData:
    """Answers what needs no signature.

    Parameters
    ----------
    desk : Desk
        Moves the market.
    limits : RateLimits
        Listed by ``exchangeInfo``.
    """

    def __init__(self, desk: Desk, limits: RateLimits) -> None:
        self._desk = desk
        self._exchange = desk.exchange
        self._limits = limits

    def ping(self, _parameters: Parameters) -> dict[str, Any]:
        """Answer that the exchange is there."""
        return {}

    def time(self, _parameters: Parameters) -> dict[str, Any]:
        """Tell the wall time, which signatures are judged by."""
        return {"serverTime": self._desk.clock.wall_ms()}

    def exchange_info(self, parameters: Parameters) -> dict[str, Any]:
        """List the symbols and their rules."""
        names = self._names(parameters)
        return {
            "timezone": "UTC",
            "serverTime": self._desk.clock.wall_ms(),
            "rateLimits": self._limits.rules(),
            "exchangeFilters": [],
            "symbols": [self._exchange.market(name).info(self._exchange.status(name)) for name in names],
        }

    def klines(self, parameters: Parameters) -> list[list[Any]]:
        """List candles, the forming one last; in lockstep this request moves the market."""
        symbol = parameters.required("symbol")
        interval = parameters.required("interval")
        start, end = parameters.integer("startTime"), parameters.integer("endTime")
        limit = parameters.limit(500, 1000)
        tape = self._exchange.tape(symbol)
        newest = tape.newest_closed_ms(self._exchange.now_ms)
        if interval != tape.timeframe and start is not None:
            newest = _newest_closed(tape.rows(self._exchange.now_ms, interval, limit=2), self._exchange.now_ms)
        self._desk.follow(symbol, start, newest)
        return tape.rows(self._exchange.now_ms, interval, start, end, limit)

    def depth(self, parameters: Parameters) -> dict[str, Any]:
        """Draw a book: bids from a tick below the price, asks from a tick above."""
        symbol = parameters.required("symbol")
        return self.book(symbol, parameters.limit(100, _MOST_LEVELS))

    def trades(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List one trade a candle, at its close, and one at the open of the forming candle."""
        symbol = parameters.required("symbol")
        found = self._trades(symbol, limit=parameters.limit(500, 1000))
        return [_trade_document(trade) for trade in found]

    def older_trades(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List the same trades, from a number on."""
        symbol = parameters.required("symbol")
        found = self._trades(symbol, from_id=parameters.integer("fromId"), limit=parameters.limit(500, 1000))
        return [_trade_document(trade) for trade in found]

    def aggregated_trades(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List the same trades in the form of aggregates, from a number on or of a span of time."""
        symbol = parameters.required("symbol")
        from_id = parameters.integer("fromId")
        start, end = parameters.integer("startTime"), parameters.integer("endTime")
        if from_id is not None and (start is not None or end is not None):
            raise unsupported_combination()
        found = self._trades(symbol, from_id=from_id, start_ms=start, end_ms=end, limit=parameters.limit(500, 1000))
        return [
            {
                "a": trade.trade_id,
                "p": trade.price,
                "q": trade.quantity,
                "f": trade.trade_id,
                "l": trade.trade_id,
                "T": trade.time_ms,
                "m": False,
                "M": True,
            }
            for trade in found
        ]

    def average_price(self, parameters: Parameters) -> dict[str, Any]:
        """Tell the price that orders are measured by."""
        symbol = parameters.required("symbol")
        return {"mins": 5, "price": amount(self._exchange.average_price(symbol)), "closeTime": self._exchange.now_ms}

    def price(self, parameters: Parameters) -> Any:
        """Tell the last price of a symbol or of all."""
        return self._each(parameters, lambda name: {"symbol": name, "price": amount(self._exchange.last_price(name))})

    def book_ticker(self, parameters: Parameters) -> Any:
        """Tell best bid and ask of a symbol or of all."""
        return self._each(parameters, self.best)

    def day_ticker(self, parameters: Parameters) -> Any:
        """Tell the last 24 hours of a symbol or of all."""
        if is_mini(parameters):
            return self._each(parameters, lambda name: mini(span(self._exchange, name, self._exchange.now_ms - DAY_MS)))
        return self._each(parameters, self.day)

    def trading_day(self, parameters: Parameters) -> Any:
        """Tell what was traded since the day began."""
        since = day_of(self._exchange.now_ms, parameters.text("timeZone"))
        return self._spans(parameters, since, since + DAY_MS - 1)

    def window_ticker(self, parameters: Parameters) -> Any:
        """Tell what was traded in a window that ends now."""
        return self._spans(parameters, window_start(self._exchange.now_ms, parameters.text("windowSize")))

    def best(self, symbol: str) -> dict[str, Any]:
        """Return best bid and ask of a symbol."""
        price, tick = self._exchange.last_price(symbol), self._exchange.market(symbol).tick
        bid = price - tick if price > tick else price
        return {
            "symbol": symbol,
            "bidPrice": amount(bid),
            "bidQty": _DEPTH,
            "askPrice": amount(price + tick),
            "askQty": _DEPTH,
        }

    def book(self, symbol: str, levels: int) -> dict[str, Any]:
        """Return the book of a symbol; its id is the time since which the price stands."""
        tape = self._exchange.tape(symbol)
        price, tick = self._exchange.last_price(symbol), self._exchange.market(symbol).tick
        return {
            "lastUpdateId": tape.open_ms(tape.begun(self._exchange.now_ms)),
            "bids": [[price_text, _DEPTH] for price_text in _levels(price, -tick, levels)],
            "asks": [[price_text, _DEPTH] for price_text in _levels(price, tick, levels)],
        }

    def book_change(self, symbol: str) -> dict[str, Any]:
        """Return how the book changed when the forming candle began: old levels go, new ones come."""
        tape, tick = self._exchange.tape(symbol), self._exchange.market(symbol).tick
        position = tape.begun(self._exchange.now_ms)
        before = max(0, position - 1)
        opens = [Decimal(repr(tape.bar(number)[0])) for number in (before, position)]
        sides = []
        for step in (-tick, tick):
            gone, come = (_levels(price, step, _SHOWN_LEVELS) for price in opens)
            sides.append(
                [[text, "0.00000000"] for text in gone if text not in come] + [[text, _DEPTH] for text in come]
            )
        return {
            "e": "depthUpdate",
            "E": self._exchange.now_ms,
            "s": symbol,
            "U": tape.open_ms(before) + 1,
            "u": tape.open_ms(position),
            "b": sides[0],
            "a": sides[1],
        }

    def day(self, symbol: str) -> dict[str, Any]:
        """Return the last 24 hours of a symbol."""
        found = span(self._exchange, symbol, self._exchange.now_ms - DAY_MS)
        tape = self._exchange.tape(symbol)
        before = tape.begun(found["openTime"] - 1)
        best = self.best(symbol)
        return found | {
            "prevClosePrice": found["openPrice"] if before < 0 else amount(Decimal(repr(tape.bar(before)[3]))),
            "lastQty": "0.00000000",
            "bidPrice": best["bidPrice"],
            "bidQty": best["bidQty"],
            "askPrice": best["askPrice"],
            "askQty": best["askQty"],
        }

    def newest_trade(self, symbol: str) -> dict[str, Any]:
        """Return the newest trade of a symbol."""
        return _trade_document(self._trades(symbol, limit=1)[-1])

    def _trades(self, symbol: str, **wanted: Any) -> list[MarketTrade]:
        return market_trades(self._exchange.tape(symbol), self._exchange.now_ms, **wanted)

    def _spans(self, parameters: Parameters, since_ms: int, until_ms: int | None = None) -> Any:
        """Tell what was traded in a span of time, of the symbols that a request must name."""
        if parameters.symbols() is None:
            raise which_order("symbol", "symbols")
        shorten = is_mini(parameters)

        def describe(name: str) -> dict[str, Any]:
            found = span(self._exchange, name, since_ms, until_ms)
            return mini(found) if shorten else found

        return self._each(parameters, describe)

    def _each(self, parameters: Parameters, describe: Any) -> Any:
        if parameters.text("symbol") is not None:
            return describe(self._names(parameters)[0])
        return [describe(name) for name in self._names(parameters)]

    def _names(self, parameters: Parameters) -> list[str]:
        known = self._exchange.symbols
        wanted = parameters.symbols()
        if wanted is None:
            return known
        if any(name not in known for name in wanted):
            raise invalid_symbol()
        return wanted


def _trade_document(trade: MarketTrade) -> dict[str, Any]:
    return {
        "id": trade.trade_id,
        "price": trade.price,
        "qty": trade.quantity,
        "quoteQty": trade.quote_quantity,
        "time": trade.time_ms,
        "isBuyerMaker": False,
        "isBestMatch": True,
    }


def _levels(price: Decimal, step: Decimal, levels: int) -> list[str]:
    found = (price + step * k for k in range(1, min(levels, _SHOWN_LEVELS) + 1))
    return [amount(level) for level in found if level > 0]


def _newest_closed(rows: list[list[Any]], now_ms: int) -> int | None:
    for row in reversed(rows):
        if row[6] < now_ms:
            return int(row[0])
    return None
