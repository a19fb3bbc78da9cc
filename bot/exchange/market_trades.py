"""The public trades of a market: what its candles tell of them, one for each, with numbers that stay.

A candle that has closed is one trade at its close, with its whole volume; the one that is forming is a trade of nothing at
its open, which is all that is known of it. The two have different numbers, so that a client who goes on from the last number
that it has seen misses nothing and has nothing twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bot.exchange.tape import Tape

__all__ = ["MarketTrade", "first_id", "market_trades"]


class MarketTrade(NamedTuple):
    """A trade as the market shows it.

    Attributes
    ----------
    trade_id : int
        Ascends with time; the trade of a candle at position p has 2p + 1, that of its open 2p.
    time_ms : int
        Market time, milliseconds UTC.
    price, quantity, quote_quantity : str
        Quote currency per unit, base currency, and quote currency.
    """

    trade_id: int
    time_ms: int
    price: str
    quantity: str
    quote_quantity: str


def first_id(position: int) -> int:
    """Return the number of the trade at the close of a candle."""
    return 2 * position + 1


def market_trades(
    tape: Tape,
    now_ms: int,
    *,
    from_id: int | None = None,
    start_ms: int | None = None,
    end_ms: int | None = None,
    limit: int = 500,
) -> list[MarketTrade]:
    """Return trades, the oldest first: those from a number or a time on, else the newest.

    Parameters
    ----------
    tape : Tape
        The candles.
    now_ms : int
        Market time; nothing later is shown.
    from_id : int, optional
        The first number.
    start_ms, end_ms : int, optional
        First and last time, both included.
    limit : int
        At most so many, and at most 1000.
    """
    newest = tape.begun(now_ms)
    forming = newest if newest >= 0 and now_ms < tape.close_ms(newest) else -1

    def number(position: int) -> int:
        return 2 * position if position == forming else first_id(position)

    def time(position: int) -> int:
        return tape.open_ms(position) if position == forming else tape.close_ms(position) - 1

    first, last = 0, newest
    if from_id is not None:
        first = from_id // 2
        while first <= last and number(first) < from_id:
            first += 1
    if start_ms is not None:
        first = max(first, tape.begun(start_ms))
        while first <= last and time(first) < start_ms:
            first += 1
    if end_ms is not None:
        last = min(last, tape.begun(end_ms))
        while last >= first and time(last) > end_ms:
            last -= 1
    if from_id is None and start_ms is None:
        first = max(first, last - limit + 1)
    if last < first:
        return []
    rows = tape.rows(now_ms, tape.timeframe, tape.open_ms(first), tape.open_ms(last), limit)
    return [
        MarketTrade(number(position), time(position), row[4], row[5], row[7])
        for position, row in enumerate(rows, start=first)
    ]
