"""The candles of one market as an exchange shows them while they happen.

During a candle only its open is known: its price is the open from the first instant on, and high, low, close and volume
come to be known when it closes. Nothing here tells more than that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.errors import DataError
from bot.exchange.refusals import invalid_interval, market_closed
from registry.errors import InvalidName
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from ml.candles import Candles

__all__ = ["MAX_ROWS", "Tape", "number_text"]

MAX_ROWS = 1000

_WEEK_MS = 604_800_000
_MONDAY_MS = 345_600_000  # weeks are counted from Mondays
_SUMS = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")

Bar = tuple[float, float, float, float]


def number_text(value: float) -> str:
    """Return the shortest text that reads back as this number, without an exponent."""
    text = repr(value)
    return format(Decimal(text), "f") if "e" in text else text


class Tape:
    """The candles of one market.

    Parameters
    ----------
    candles : Candles
        At least one; gaps stay gaps.

    Attributes
    ----------
    timeframe : str
        Of the candles that it was given.
    step_ms : int
        Length of a candle, milliseconds.
    first_ms, end_ms : int
        Open of the first candle and close of the last, milliseconds UTC.

    Raises
    ------
    DataError
        When there are no candles.
    """

    def __init__(self, candles: Candles) -> None:
        if not len(candles):
            raise DataError("an exchange needs at least one candle for each of its markets")
        self.timeframe = candles.timeframe
        self.step_ms = candles.step_ms
        self._opens: list[int] = candles.open_ms.tolist()
        self._bars: list[Bar] = list(
            zip(
                candles.open.tolist(),
                candles.high.tolist(),
                candles.low.tolist(),
                candles.close.tolist(),
                strict=True,
            )
        )
        columns = [getattr(candles, name) for name in _SUMS]
        self._sums: list[list[float] | None] = [None if column is None else column.tolist() for column in columns]
        self.first_ms = self._opens[0]
        self.end_ms = self._opens[-1] + self.step_ms

    def __len__(self) -> int:
        """Return the number of candles."""
        return len(self._opens)

    def begun(self, now_ms: int) -> int:
        """Return the position of the last candle that began; -1 before the first."""
        return bisect_right(self._opens, now_ms) - 1

    def open_ms(self, position: int) -> int:
        """Return when the candle at a position began."""
        return self._opens[position]

    def close_ms(self, position: int) -> int:
        """Return when the candle at a position closed: at its end, or when the next began if that was earlier."""
        end = self._opens[position] + self.step_ms
        return min(end, self._opens[position + 1]) if position + 1 < len(self._opens) else end

    def bar(self, position: int) -> Bar:
        """Return open, high, low and close of the candle at a position."""
        return self._bars[position]

    def candle(self, open_ms: int) -> Bar:
        """Return open, high, low and close of the candle that began at ``open_ms``.

        Raises
        ------
        LookupError
            When there is none.
        """
        position = bisect_left(self._opens, open_ms)
        if position == len(self._opens) or self._opens[position] != open_ms:
            raise LookupError(f"no candle of {self.timeframe} opens at {open_ms}")
        return self._bars[position]

    def price(self, now_ms: int) -> float:
        """Return the last price: the open of the candle that is forming, else the close of the last one.

        Raises
        ------
        Refusal
            'Market is closed.' before the first candle.
        """
        position = self.begun(now_ms)
        if position < 0:
            raise market_closed()
        bar = self._bars[position]
        return bar[0] if now_ms < self.close_ms(position) else bar[3]

    def closed_price(self, now_ms: int) -> float:
        """Return the close of the newest closed candle: what was paid in the minutes before now.

        Before the first close it is the open of the first candle.

        Raises
        ------
        Refusal
            'Market is closed.' before the first candle.
        """
        position = self.begun(now_ms)
        if position < 0:
            raise market_closed()
        if now_ms >= self.close_ms(position):
            return self._bars[position][3]
        return self._bars[position - 1][3] if position else self._bars[0][0]

    def newest_closed_ms(self, now_ms: int) -> int | None:
        """Return the open time of the newest candle that has closed, or None."""
        position = self.begun(now_ms)
        if position >= 0 and now_ms < self.close_ms(position):
            position -= 1
        return self._opens[position] if position >= 0 else None

    def traded(self, first: int, last: int) -> tuple[Decimal, Decimal]:
        """Return what was traded in the candles ``first`` to ``last``, in base and in quote currency; 0 where unknown."""
        volume, quote = (
            Decimal(0)
            if column is None
            else sum((Decimal(repr(value)) for value in column[first : last + 1]), Decimal(0))
            for column in self._sums[:2]
        )
        return volume, quote

    def boundary_after(self, now_ms: int) -> int | None:
        """Return when the next candle begins; after the last one, when that closes; None at the end."""
        position = self.begun(now_ms) + 1
        if position < len(self._opens):
            return self._opens[position]
        return self.end_ms if now_ms < self.end_ms else None

    def rows(
        self,
        now_ms: int,
        interval: str,
        start_ms: int | None = None,
        end_ms: int | None = None,
        limit: int = 500,
    ) -> list[list[Any]]:
        """Return candles as the klines of the wire, the forming one last.

        Parameters
        ----------
        now_ms : int
            Market time; nothing later is shown.
        interval : str
            The timeframe of the candles or a whole multiple of it; multiples are put together from them.
        start_ms, end_ms : int, optional
            First and last open time, both included. Without a start the newest rows are returned.
        limit : int
            At most so many rows, and at most 1000.

        Returns
        -------
        list of lists of 12
            Open time, open, high, low, close, volume, close time, quote volume, trades, taker's base and quote volume,
            and '0'. Numbers are texts that read back exactly; a column that the candles lack is '0'.

        Raises
        ------
        Refusal
            -1120 for an interval that these candles cannot give.
        """
        length = self._length(interval)
        limit = max(1, min(limit, MAX_ROWS))
        newest = self.begun(now_ms)
        if newest < 0:
            return []
        origin = _MONDAY_MS if length % _WEEK_MS == 0 else 0
        if length == self.step_ms:
            first = 0 if start_ms is None else bisect_left(self._opens, start_ms)
            last = newest if end_ms is None else min(newest, bisect_right(self._opens, end_ms) - 1)
            first, last = _cut(first, last, limit, newest_rows=start_ms is None)
            return [self._row(k, k, self._opens[k], length, now_ms) for k in range(first, last + 1)]
        low = self._opens[0] if start_ms is None else max(start_ms, self._opens[0] - length)
        high = self._opens[newest] if end_ms is None else min(end_ms, self._opens[newest])
        # an interval opens on its grid: from the first at or after `low` (with no start: that holds the first candle)
        begin = (low - origin) // length if start_ms is None else -((origin - low) // length)
        finish = (high - origin) // length
        return self._groups(begin, finish, length, origin, now_ms, limit, newest_rows=start_ms is None)

    def _groups(
        self, begin: int, finish: int, length: int, origin: int, now_ms: int, limit: int, *, newest_rows: bool
    ) -> list[list[Any]]:
        """Return rows of longer intervals, numbers ``begin`` to ``finish``, passing over those without a candle."""
        rows: list[list[Any]] = []
        newest = self.begun(now_ms)
        number = finish if newest_rows else begin
        while begin <= number <= finish and len(rows) < limit:
            opens = origin + number * length
            first = bisect_left(self._opens, opens)
            last = min(bisect_left(self._opens, opens + length) - 1, newest)
            if first <= last:
                rows.append(self._row(first, last, opens, length, now_ms))
                number += -1 if newest_rows else 1
            elif newest_rows:
                number = begin - 1 if first == 0 else (self._opens[first - 1] - origin) // length
            else:
                number = finish + 1 if first > newest else (self._opens[first] - origin) // length
        return rows[::-1] if newest_rows else rows

    def _row(self, first: int, last: int, opens: int, length: int, now_ms: int) -> list[Any]:
        """Return one row of the candles ``first`` to ``last``, of which the last may be forming."""
        is_forming = now_ms < self.close_ms(last)
        begun = self._bars[last][0]
        bars = self._bars[first : last + (not is_forming)]
        if is_forming:
            bars = [*bars, (begun, begun, begun, begun)]
        counted = last + (not is_forming)
        sums: list[str] = []
        for column in self._sums:
            if column is None or counted == first:
                sums.append("0")
            else:
                sums.append(number_text(column[first] if counted - first == 1 else _sum(column[first:counted])))
        return [
            opens,
            number_text(bars[0][0]),
            number_text(max(bar[1] for bar in bars)),
            number_text(min(bar[2] for bar in bars)),
            number_text(bars[-1][3]),
            sums[0],
            opens + length - 1,
            sums[1],
            int(float(sums[2])),
            sums[3],
            sums[4],
            "0",
        ]

    def _length(self, interval: str) -> int:
        try:
            length = timeframe_ms(interval)
        except InvalidName:
            raise invalid_interval() from None
        if length % self.step_ms:
            raise invalid_interval()
        return length


def _cut(first: int, last: int, limit: int, *, newest_rows: bool) -> tuple[int, int]:
    """Return the first and last position of at most ``limit`` rows."""
    if newest_rows:
        return max(first, last - limit + 1), last
    return first, min(last, first + limit - 1)


def _sum(values: list[float]) -> float:
    """Return the sum of numbers as they print: 0.1 and 0.2 are 0.3, as an exchange adds them."""
    return float(sum(Decimal(repr(value)) for value in values))
