"""What an exchange replied: nothing, or a page of candles, in which nothing is believed before it is checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ml.candles import PRICE_COLUMNS, Candles
from ml.errors import InvalidCandles
from registry.names import timeframe_ms

__all__ = ["KLINE_PAGE", "OHLCV_PAGE", "BrokenReply", "NoAnswer", "PageLayout", "closed_until", "read_page"]


class NoAnswer(Exception):
    """The exchange did not answer, or not as it should: what was asked may have happened, and may be asked again later.

    Parameters
    ----------
    reason
        What happened, one line.
    wait_s
        Seconds that the exchange asked to wait; 0 where it did not.
    """

    def __init__(self, reason: str, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class BrokenReply(Exception):
    """A reply that is no page of candles: cut off, of another shape, or impossible."""


@dataclass(frozen=True)
class PageLayout:
    """Where the columns of a reply stand.

    Attributes
    ----------
    columns : tuple of (name, position)
        Our names and the positions in each row; the open time stands at position 0.
    width : int
        Fewest cells of a row.
    """

    columns: tuple[tuple[str, int], ...]
    width: int

    @property
    def names(self) -> tuple[str, ...]:
        """Prices and optional columns that such a page gives."""
        return tuple(name for name, _ in self.columns)


_OHLCV = (*((name, place) for place, name in enumerate(PRICE_COLUMNS, 1)), ("volume", 5))
OHLCV_PAGE = PageLayout(_OHLCV, 6)
KLINE_PAGE = PageLayout(
    (*_OHLCV, ("quote_volume", 7), ("trades", 8), ("taker_buy_base", 9), ("taker_buy_quote", 10)), 11
)


def read_page(reply: Any, layout: PageLayout, timeframe: str, since_ms: int, end_ms: int) -> Candles:
    """Return the candles of a reply that open in ``[since_ms, end_ms)``; others are left out.

    Parameters
    ----------
    reply
        What the client returned, anything.
    layout
        Where the columns stand.
    timeframe
        Length of a candle.
    since_ms, end_ms
        What was asked, milliseconds UTC.

    Raises
    ------
    BrokenReply
        When it is not a list of rows of numbers in order of time, or holds a candle that no market makes.
    """
    if not isinstance(reply, list):
        raise BrokenReply(f"expected a list of candles, got {_shown(reply)}")
    times: list[int] = []
    values: list[list[float]] = []
    for row in reply:
        if not isinstance(row, (list, tuple)) or len(row) < layout.width:
            raise BrokenReply(f"expected rows of {layout.width} cells, got {_shown(row)}")
        time = row[0]
        if isinstance(time, bool) or not isinstance(time, int) or abs(time) < 10_000_000_000:
            raise BrokenReply(f"expected an open time in milliseconds, got {_shown(time)}")
        if times and time <= times[-1]:
            raise BrokenReply(f"its candles are not in order of time: {time} after {times[-1]}")
        times.append(time)
        values.append([_number(row[place]) for _, place in layout.columns])
    kept = [place for place, time in enumerate(times) if since_ms <= time < end_ms]
    columns: dict[str, Any] = {
        name: [values[place][column] for place in kept] for column, name in enumerate(layout.names)
    }
    try:
        return Candles.from_columns(timeframe, {"open_ms": [times[place] for place in kept], **columns})
    except InvalidCandles as error:
        raise BrokenReply(str(error)) from error


def closed_until(now_ms: int, timeframe: str) -> int:
    """Return the time before which every candle on the grid is closed at ``now_ms``."""
    step = timeframe_ms(timeframe)
    origin = 345_600_000 if step % 604_800_000 == 0 else 0
    return (now_ms - origin) // step * step + origin


def _number(cell: Any) -> float:
    try:
        number = float(cell)
    except (TypeError, ValueError):
        raise BrokenReply(f"expected a number, got {_shown(cell)}") from None
    if not math.isfinite(number):
        raise BrokenReply(f"expected a finite number, got {_shown(cell)}")
    return number


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
