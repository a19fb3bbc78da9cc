"""Closed candles of one symbol as they arrive: never the forming one, never past a gap that is not certain."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ml.candles import format_ms
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.candles import Candles

__all__ = ["Arrivals", "BrokenCandles"]

_PAGE = 1000  # candles that an exchange gives at once


class BrokenCandles(Exception):
    """A reply with candles that no exchange should send: it is asked again."""

    wait_s = 0.0


class Arrivals:
    """The candles of one symbol between the exchange's reply and their release.

    Parameters
    ----------
    timeframe
        Length of a candle.
    newest_ms
        Open time of the newest candle that the feed has, milliseconds UTC; None when it has none.
    values
        Its values, to notice when the exchange revises it.
    gap_s
        How long a missing candle is asked for again before its absence counts as a fact of the market.
    """

    def __init__(self, timeframe: str, newest_ms: int | None, values: Sequence[float] | None, *, gap_s: float) -> None:
        self.step_ms = timeframe_ms(timeframe)
        self._newest_ms, self._values = newest_ms, None if values is None else tuple(values)
        self._gap_s = gap_s
        self._gap_since: tuple[int, float] | None = None
        self._waits_since: float | None = None
        self._waiting: deque[tuple[int, tuple[float, ...]]] = deque()
        self._is_page_full = False
        self._revised_ms = -1

    @property
    def has_bar(self) -> bool:
        """Whether a closed candle waits to be released."""
        return bool(self._waiting)

    @property
    def has_newer(self) -> bool:
        """Whether a closed candle waits behind the next one."""
        return len(self._waiting) > 1 or self._is_page_full

    @property
    def needs_more(self) -> bool:
        """Whether the exchange must be asked before the next candle is released."""
        return not self._waiting or (len(self._waiting) == 1 and self._is_page_full)

    @property
    def next_open_ms(self) -> int:
        """Open time of the next candle to be released."""
        return self._waiting[0][0]

    @property
    def since_ms(self) -> int | None:
        """From when on to ask: the newest candle comes again, so that a revision is noticed."""
        return self._waiting[-1][0] if self._waiting else self._newest_ms

    @property
    def due_ms(self) -> int:
        """When the next candle closes."""
        return 0 if self._newest_ms is None else self._newest_ms + 2 * self.step_ms

    def is_past(self, open_ms: int) -> bool:
        """Tell whether the candle of this open time was released before, or can never come any more."""
        return self._newest_ms is not None and self._newest_ms >= open_ms

    def gave_up(self, now_s: float) -> bool:
        """Tell whether others need not wait any longer for this symbol's next candle; they wait from the first call on."""
        if self._waits_since is None:
            self._waits_since = now_s
        return self.is_given_up(now_s)

    def is_given_up(self, now_s: float) -> bool:
        """Tell whether others have waited in vain for this symbol."""
        return self._waits_since is not None and now_s - self._waits_since >= self._gap_s

    def take(self, candles: Candles, columns: Sequence[str], now_s: float) -> list[str]:
        """Take a reply whose last candle is the one that is forming; returns what a person should know.

        Parameters
        ----------
        candles
            From ``since_ms`` on.
        columns
            Those that the feed has.
        now_s
            Seconds of a clock that only grows.

        Raises
        ------
        BrokenCandles
            When a candle is off the grid, or one is missing and that is not certain yet.
        """
        notes: list[str] = []
        known = candles.columns
        table = [known[name].tolist() if name in known else None for name in columns]
        times = candles.open_ms.tolist()
        self._is_page_full = len(times) >= _PAGE
        if candles.off_grid.any():
            raise BrokenCandles(f"a candle opens off the grid of {candles.timeframe}")
        for place, open_ms in enumerate(times[:-1]):
            values = tuple(float("nan") if column is None else column[place] for column in table)
            newest = self._waiting[-1][0] if self._waiting else self._newest_ms
            if newest is not None and open_ms <= newest:
                notes += self._compare(open_ms, values)
                continue
            if newest is not None and open_ms != newest + self.step_ms:
                notes += self._pass_gap(newest + self.step_ms, open_ms, now_s)
            self._waiting.append((open_ms, values))
            self._gap_since = self._waits_since = None
        return notes

    def pop(self, side: float | None = None) -> tuple[float, ...]:
        """Return the values of the next candle, which is thereby released; ``side`` is its last column where there is one."""
        open_ms, values = self._waiting.popleft()
        if side is not None:
            values = (*values[:-1], side)
        self._newest_ms, self._values = open_ms, values
        return values

    def _compare(self, open_ms: int, values: tuple[float, ...]) -> list[str]:
        """Return a note where the exchange now shows other values than those that were released."""
        if open_ms != self._newest_ms or self._values is None or open_ms == self._revised_ms:
            return []
        pairs = zip(self._values, values, strict=True)
        if all(old == new or new != new or old != old for old, new in pairs):  # noqa: PLR0124 - NaN is not equal to itself
            return []
        self._revised_ms = open_ms
        when = format_ms(open_ms)
        return [f"the exchange revised the candle of {when} after it was used: {self._values} became {values}"]

    def _pass_gap(self, missing_ms: int, found_ms: int, now_s: float) -> list[str]:
        """Raise until a missing candle has been asked for long enough; then return a note."""
        if self._gap_since is None or self._gap_since[0] != missing_ms:
            self._gap_since = (missing_ms, now_s)
            raise BrokenCandles(f"the candle of {format_ms(missing_ms)} is missing before {format_ms(found_ms)}")
        if now_s - self._gap_since[1] < self._gap_s:
            raise BrokenCandles(f"the candle of {format_ms(missing_ms)} is missing before {format_ms(found_ms)}")
        count = (found_ms - missing_ms) // self.step_ms
        return [f"the exchange has no candle for {count} bars from {format_ms(missing_ms)} on; the bot goes on without"]
