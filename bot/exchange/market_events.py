"""Events of the market streams, in the words of the real exchange: candles, tickers, trades."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bot.exchange.refusals import Refusal
from registry.errors import RegistryError
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from bot.exchange.market_data import MarketData
    from bot.exchange.matching import LocalExchange
    from bot.exchange.orders import CandleEvent

__all__ = ["MarketEvents"]

_NAME = re.compile(
    r"([a-z0-9]+)@(kline_(?P<interval>\w+)|ticker|miniTicker|bookTicker|trade|aggTrade|depth(?P<levels>5|10|20)?(?:@1000ms|@100ms)?)"
)


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

    def document(self, name: str, event: CandleEvent) -> dict[str, Any] | None:
        """Return what a stream of this name sends when a candle begins or closes; None for nothing."""
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
