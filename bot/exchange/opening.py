"""From stored or simulated candles to a market that is open: names, rules, where time begins."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.errors import UsageError
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.tape import Tape
from ml.candles import format_ms
from registry.names import normalise_symbol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.candles import Candles

__all__ = ["Listing", "Terms", "common_span", "differences", "identity", "open_exchange", "pair_of", "quote_of"]

_OTHER_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "USD", "EUR", "BTC", "ETH", "BNB", "TRY")
_NO_RULES = ExchangeRules()


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol that is to be traded.

    Attributes
    ----------
    base, quote : str
        Its assets; the symbol on the wire is both together.
    candles : Candles
        What will happen.
    rules : ExchangeRules
        Tick, lot, smallest size and notional.
    """

    base: str
    quote: str
    candles: Candles
    rules: ExchangeRules = _NO_RULES

    @property
    def symbol(self) -> str:
        """The symbol on the wire, such as BTCUSDT."""
        return self.base + self.quote


@dataclass(frozen=True, slots=True)
class Terms:
    """How the market trades, and when it begins.

    Attributes
    ----------
    cash : Decimal
        What the account holds of the quote currency at the start.
    fees : FeeSchedule
        What a trade costs.
    slippage : float
        Fraction by which market orders fill worse.
    start_ms : int
        Market time at the start.
    shift_ms : int
        Added to the time of every candle.
    """

    cash: Decimal
    fees: FeeSchedule
    slippage: float
    start_ms: int
    shift_ms: int = 0

    def __post_init__(self) -> None:
        """Refuse what no market has."""
        if not self.cash.is_finite() or self.cash <= 0:
            raise UsageError(f"--cash is {self.cash}: expected an amount above 0")
        if not 0.0 <= self.slippage < 0.1:
            raise UsageError(f"--slippage is {self.slippage:g}: expected a fraction from 0 to 0.1, such as 0.0005")


def pair_of(text: str, quote: str) -> tuple[str, str]:
    """Return base and quote of a symbol in any accepted spelling; one asset alone is traded against ``quote``.

    Raises
    ------
    UsageError
        When it is quoted in something else.
    """
    symbol = normalise_symbol(text)
    if symbol.endswith(quote) and len(symbol) > len(quote):
        return symbol.removesuffix(quote), quote
    other = next((name for name in _OTHER_QUOTES if symbol.endswith(name) and len(symbol) > len(name) + 1), None)
    if other is not None or any(mark in text for mark in "/_-"):
        hint = f": --quote {other}" if other else ""
        raise UsageError(f"{text} is not quoted in {quote}{hint}; all symbols of one exchange share the quote currency")
    return symbol, quote


def quote_of(symbol: str) -> str:
    """Return the currency in which a symbol is quoted, as its name tells; USDT where it does not."""
    found = (name for name in _OTHER_QUOTES if symbol.endswith(name) and len(symbol) > len(name) + 1)
    return next(found, "USDT")


def common_span(listings: Sequence[Listing]) -> tuple[int, int]:
    """Return when the youngest of the series begins and the first of them ends, milliseconds UTC.

    Raises
    ------
    UsageError
        When they have no time in common, or not two candles of it.
    """
    first = max(int(listing.candles.open_ms[0]) for listing in listings)
    end = min(int(listing.candles.open_ms[-1]) + listing.candles.step_ms for listing in listings)
    if end - first < 2 * listings[0].candles.step_ms:
        names = ", ".join(listing.symbol for listing in listings)
        raise UsageError(f"the candles of {names} have no two candles of time in common: an exchange needs them")
    return first, end


def open_exchange(listings: Sequence[Listing], terms: Terms) -> LocalExchange:
    """Return the market.

    Raises
    ------
    UsageError
        When it would begin before the first candle has closed, or after the last one.
    """
    first, end = common_span(listings)
    step = listings[0].candles.step_ms
    start = terms.start_ms - terms.shift_ms
    if not first + step <= start < end:
        raise UsageError(
            f"the market cannot begin at {format_ms(start)}: expected a time from {format_ms(first + step)} to "
            f"{format_ms(end - step)}, where the candles are"
        )
    tapes = {
        listing.symbol: (
            Market(listing.symbol, listing.base, listing.quote, listing.rules),
            Tape(_moved(listing.candles, terms.shift_ms)),
        )
        for listing in listings
    }
    balances = {listings[0].quote: terms.cash} | {listing.base: Decimal(0) for listing in listings}
    return LocalExchange(tapes, balances, fees=terms.fees, slippage=terms.slippage, start_ms=terms.start_ms)


def identity(listings: Sequence[Listing], terms: Terms, *, restamped: bool) -> str:
    """Return what a saved state must have been made from, as JSON text."""
    found: dict[str, Any] = {
        "candles": {listing.symbol: listing.candles.digest for listing in listings},
        "rules": {listing.symbol: listing.rules.to_dict() for listing in listings},
        "cash": str(terms.cash),
        "commission": terms.fees.taker,
        "fees in kind": terms.fees.in_kind,
        "slippage": terms.slippage,
        "clock": "wall" if restamped else "replay",
    }
    if not restamped:
        found["start"] = format_ms(terms.start_ms)
    return json.dumps(found, sort_keys=True)


def differences(before: str, now: str) -> list[str]:
    """Return the names of what differs between two identities."""
    old, new = json.loads(before), json.loads(now)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _moved(candles: Candles, shift_ms: int) -> Candles:
    if not shift_ms:
        return candles
    asked = tuple((start + shift_ms, end + shift_ms) for start, end in candles.asked)
    return replace(candles, open_ms=candles.open_ms + shift_ms, asked=asked)
