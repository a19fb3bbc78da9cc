"""Events of the market streams, in the words of the real exchange: candles, tickers, trades."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bot.exchange.documents import amount
from bot.exchange.orders import CandleEvent
from bot.exchange.refusals import Refusal
from bot.exchange.tickers import span
from registry.errors import RegistryError
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from bot.exchange.market_data import MarketData
    from bot.exchange.matching import LocalExchange

__all__ = ["MarketEvents"]

_NAME = re.compile(
    r"([a-z0-9]+)@(kline_(?P<interval>\w+)|ticker(?:_(?P<window>1h|4h|1d))?|miniTicker|bookTicker|avgPrice"
    r"|trade|aggTrade|depth(?P<levels>5|10|20)?(?:@1000ms|@100ms)?)"
)
_CHANGES = {"trade", "aggTrade", "depth", "depth@1000ms", "depth@100ms"}
_OF_ALL = re.compile(r"!(?:(?P<mini>miniTicker)|ticker)@arr(?:@[13]000ms)?")


class MarketEvents:
    """Writes what market streams send.

    Parameters
    ----------
    exchange : LocalExchange
        The market.
    market : MarketData
        Its prices.
    """

    def __init__(self, exchange: LocalExchange, market: MarketData) -> None:
        self._exchange = exchange
        self._market = market

    def current(self, name: str) -> Any:
        """Return what a stream of a state (candle, ticker, best price, book) sends now; None for a stream of changes."""
        found = _NAME.fullmatch(name)
        symbol = "" if found is None else found.group(1).upper()
        if found is None or symbol not in self._exchange.symbols or found.group(2) in _CHANGES:
            return None
        now, tape = self._exchange.now_ms, self._exchange.tape(symbol)
        position = tape.begun(now)
        if position < 0 or now >= tape.close_ms(position):
            return None
        return self.document(name, CandleEvent(symbol, tape.open_ms(position), closed=False, time_ms=now))

    def document(self, name: str, event: CandleEvent) -> Any:
        """Return what a stream of this name sends when a candle begins or closes; None for nothing."""
        every = _OF_ALL.fullmatch(name)
        if every is not None and not event.closed:
            return [_ticker(self._market.day(event.symbol), event.time_ms, mini=every.group("mini") is not None)]
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        symbol, kind = event.symbol, found.group(2)
        if found.group("interval"):
            return self._kline(symbol, found.group("interval"), event)
        if event.closed:  # a new price comes with the next open
            return None
        if kind == "bookTicker":
            best = self._market.best(symbol)
            return {
                "u": event.time_ms,
                "s": symbol,
                "b": best["bidPrice"],
                "B": best["bidQty"],
                "a": best["askPrice"],
                "A": best["askQty"],
            }
        if kind == "avgPrice":
            average = amount(self._exchange.average_price(symbol))
            return {"e": "avgPrice", "E": event.time_ms, "s": symbol, "i": "5m", "w": average, "T": event.time_ms}
        if found.group("window"):
            window = found.group("window")
            found_span = span(self._exchange, symbol, event.time_ms - timeframe_ms(window))
            return _window(found_span, event.time_ms, window)
        if kind in {"ticker", "miniTicker"}:
            return _ticker(self._market.day(symbol), event.time_ms, mini=kind == "miniTicker")
        if kind.startswith("depth"):
            levels = found.group("levels")
            return self._market.book(symbol, int(levels)) if levels else self._market.book_change(symbol)
        if kind in {"trade", "aggTrade"}:
            return _trade(kind, self._market.newest_trade(symbol), symbol, event.time_ms)
        return None

    def _kline(self, symbol: str, interval: str, event: CandleEvent) -> dict[str, Any] | None:
        tape = self._exchange.tape(symbol)
        now = event.time_ms
        if event.closed:
            now = max(now, tape.close_ms(tape.begun(event.open_ms)))
        try:
            length = timeframe_ms(interval)
            rows = tape.rows(now, interval, limit=2)
        except (RegistryError, Refusal):
            return None
        rows = [row for row in rows if row[0] <= event.open_ms < row[0] + length]
        if not rows:
            return None
        opens, o, h, l, c, v, closes, q, n, tb, tq, _ = rows[-1]
        return {
            "e": "kline",
            "E": event.time_ms,
            "s": symbol,
            "k": {
                "t": opens,
                "T": closes,
                "s": symbol,
                "i": interval,
                "f": -1,
                "L": -1,
                "o": o,
                "c": c,
                "h": h,
                "l": l,
                "v": v,
                "n": n,
                "x": event.closed and closes < now,
                "q": q,
                "V": tb,
                "Q": tq,
                "B": "0",
            },
        }


def _window(found: dict[str, Any], now_ms: int, window: str) -> dict[str, Any]:
    return {
        "e": f"{window}Ticker",
        "E": now_ms,
        "s": found["symbol"],
        "p": found["priceChange"],
        "P": found["priceChangePercent"],
        "w": found["weightedAvgPrice"],
        "o": found["openPrice"],
        "h": found["highPrice"],
        "l": found["lowPrice"],
        "c": found["lastPrice"],
        "v": found["volume"],
        "q": found["quoteVolume"],
        "O": found["openTime"],
        "C": found["closeTime"],
        "F": found["firstId"],
        "L": found["lastId"],
        "n": found["count"],
    }


def _ticker(day: dict[str, Any], now_ms: int, *, mini: bool) -> dict[str, Any]:
    found = {
        "e": "24hrMiniTicker" if mini else "24hrTicker",
        "E": now_ms,
        "s": day["symbol"],
        "c": day["lastPrice"],
        "o": day["openPrice"],
        "h": day["highPrice"],
        "l": day["lowPrice"],
        "v": day["volume"],
        "q": day["quoteVolume"],
    }
    if mini:
        return found
    return found | {
        "p": day["priceChange"],
        "P": day["priceChangePercent"],
        "w": day["weightedAvgPrice"],
        "x": day["prevClosePrice"],
        "Q": day["lastQty"],
        "b": day["bidPrice"],
        "B": day["bidQty"],
        "a": day["askPrice"],
        "A": day["askQty"],
        "O": day["openTime"],
        "C": day["closeTime"],
        "F": day["firstId"],
        "L": day["lastId"],
        "n": day["count"],
    }


def _trade(kind: str, trade: dict[str, Any], symbol: str, now_ms: int) -> dict[str, Any]:
    found = {
        "e": kind,
        "E": now_ms,
        "s": symbol,
        "p": trade["price"],
        "q": trade["qty"],
        "T": now_ms,
        "m": False,
        "M": True,
    }
    if kind == "trade":
        return found | {"t": trade["id"]}
    return found | {"a": trade["id"], "f": trade["id"], "l": trade["id"]}
