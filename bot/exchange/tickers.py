"""Statistics of a span of time: the last 24 hours, a window that rolls, or a day of trading."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.exchange.documents import amount
from bot.exchange.market_trades import first_id
from bot.exchange.refusals import invalid_value

if TYPE_CHECKING:
    from bot.exchange.matching import LocalExchange
    from bot.exchange.parameters import Parameters

__all__ = ["DAY_MS", "day_of", "is_mini", "mini", "span", "window_start"]

DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_ZONE = re.compile(r"([+-]?)([0-9]{1,2})(?::([0-9]{2}))?")
_WINDOW = re.compile(r"([1-9][0-9]?)([mhd])")
_LENGTHS = {"m": (_MINUTE_MS, 59), "h": (60 * _MINUTE_MS, 23), "d": (DAY_MS, 7)}  # unit: (length, most of it)
_ONLY_FULL = ("priceChange", "priceChangePercent", "weightedAvgPrice")


def day_of(now_ms: int, zone: str | None) -> int:
    """Return when the day of trading began, in a zone such as ``0``, ``-1`` or ``5:45``; -1130 for another."""
    found = _ZONE.fullmatch(zone or "0")
    if found is None:
        raise invalid_value("timeZone")
    minutes = int(found.group(2)) * 60 + int(found.group(3) or 0)
    shift = (-minutes if found.group(1) == "-" else minutes) * _MINUTE_MS
    return (now_ms + shift) // DAY_MS * DAY_MS - shift


def window_start(now_ms: int, window: str | None) -> int:
    """Return the open time of a window that ends now: its length ago, on the minute before; -1130 for an unknown length.

    Parameters
    ----------
    now_ms : int
        Market time.
    window : str or None
        ``1m`` to ``59m``, ``1h`` to ``23h``, ``1d`` to ``7d``; a day by default.
    """
    found = _WINDOW.fullmatch(window or "1d")
    length, most = _LENGTHS[found.group(2)] if found else (0, 0)
    if found is None or int(found.group(1)) > most:
        raise invalid_value("windowSize")
    return (now_ms - int(found.group(1)) * length) // _MINUTE_MS * _MINUTE_MS


def is_mini(parameters: Parameters) -> bool:
    """Tell whether a request wants the short form; -1130 when ``type`` is neither FULL nor MINI."""
    form = parameters.text("type") or "FULL"
    if form not in ("FULL", "MINI"):
        raise invalid_value("type")
    return form == "MINI"


def mini(document: dict[str, Any]) -> dict[str, Any]:
    """Return the short form of a span's statistics."""
    return {name: value for name, value in document.items() if name not in _ONLY_FULL}


def span(exchange: LocalExchange, symbol: str, since_ms: int, until_ms: int | None = None) -> dict[str, Any]:
    """Return the statistics of what was traded since a time.

    Parameters
    ----------
    exchange : LocalExchange
        The market.
    symbol : str
        Such as ``BTCUSDT``.
    since_ms : int
        Candles that opened then or later count, and only when they have closed.
    until_ms : int, optional
        What is shown as the close of the span; the market time by default.
    """
    now = exchange.now_ms
    tape = exchange.tape(symbol)
    last = exchange.last_price(symbol)
    low, high = max(0, tape.begun(since_ms - 1) + 1), tape.begun(now)
    if high >= 0 and now < tape.close_ms(high):
        high -= 1
    bars = [tape.bar(position) for position in range(low, high + 1)]
    first = Decimal(repr(bars[0][0])) if bars else last
    volume, quote = tape.traded(low, high)
    change = last - first
    return {
        "symbol": symbol,
        "priceChange": amount(change),
        "priceChangePercent": format(change / first * 100, ".3f"),
        "weightedAvgPrice": format(quote / volume, ".8f") if volume and quote else amount(last),
        "openPrice": amount(first),
        "highPrice": amount(max((Decimal(repr(bar[1])) for bar in bars), default=last)),
        "lowPrice": amount(min((Decimal(repr(bar[2])) for bar in bars), default=last)),
        "lastPrice": amount(last),
        "volume": amount(volume),
        "quoteVolume": amount(quote),
        "openTime": since_ms,
        "closeTime": now if until_ms is None else until_ms,
        "firstId": first_id(low),
        "lastId": first_id(max(low, high)),
        "count": len(bars),
    }
