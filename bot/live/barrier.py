"""The barrier: which bar may be released next, of which symbols, and what must be asked before.

A bar is released to all symbols at once: one that is behind is waited for, one that has no candle for long, or has vanished
from the exchange, is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.arrivals import Arrivals, BrokenCandles
from bot.live.inquiry import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.live.gateway import Gateway
    from bot.live.orders import Ticket
    from ml.candles import Candles

__all__ = ["Barrier"]

_FRESH_S = 5.0  # a bar that was released longer ago may not be the newest any more
_SILENCE_S = 30.0  # until a symbol that the exchange does not know is asked for again
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0


class Barrier:
    """The candles of all symbols between the exchange and the strategies; used from the store's thread, but for ``drop``.

    Parameters
    ----------
    gateway
        Where candles are asked for.
    timeframe
        Length of a candle.
    gap_s
        How long a missing candle is asked for before its absence counts as a fact of the market.
    note
        Called with a kind, a symbol and words for a person.
    monotonic
        Seconds that only grow.
    """

    def __init__(
        self,
        gateway: Gateway,
        timeframe: str,
        *,
        gap_s: float,
        note: Callable[[str, str, str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._gateway, self._timeframe, self._gap_s = gateway, timeframe, gap_s
        self._note, self._monotonic = note, monotonic
        self._arrivals: dict[str, Arrivals] = {}
        self._columns: dict[str, tuple[str, ...]] = {}
        self._silent_until: dict[str, float] = {}
        self._released: dict[str, tuple[int, float]] = {}

    def add(self, symbol: str, candles: Candles) -> None:
        """Take a symbol in, with the candles that it has already."""
        newest = int(candles.open_ms[-1]) if len(candles) else None
        last = None if newest is None else tuple(float(column[-1]) for column in candles.columns.values())
        self._columns[symbol] = tuple(candles.columns)
        self._arrivals[symbol] = Arrivals(self._timeframe, newest, last, gap_s=self._gap_s)
        if newest is not None:
            self._released[symbol] = (newest, float("-inf"))

    def drop(self, symbol: str) -> None:
        """Wait no longer for a symbol."""
        self._arrivals.pop(symbol, None)

    def columns(self, symbol: str) -> Sequence[str]:
        """Return the names of a bar's values."""
        return self._columns[symbol]

    def released_ms(self, symbol: str) -> int:
        """Return the open time of the newest bar that was released, milliseconds UTC; 0 before the first."""
        return self._released.get(symbol, (0, 0.0))[0]

    def ask(self) -> tuple[bool, NoAnswer | BrokenCandles | Refused | None]:
        """Ask for the candles that are needed; tell whether the exchange gave any, and the last thing that went wrong."""
        has_answered = False
        failed: NoAnswer | BrokenCandles | Refused | None = None
        for symbol, arrivals in self._all():
            if not arrivals.needs_more or self._is_silent(symbol):
                continue
            try:
                candles = self._gateway.candles(symbol, self._timeframe, since_ms=arrivals.since_ms)
                for text in arrivals.take(candles, self._columns[symbol], self._monotonic()):
                    self._note("data", symbol, text)
                self._silent_until.pop(symbol, None)
                has_answered = True
            except AccessDenied:
                raise
            except (NoAnswer, BrokenCandles) as error:
                failed = error
            except Refused as error:
                if error.wait_s is None:
                    self.silence(symbol, error)
                else:
                    failed = error
        return has_answered, failed

    def silence(self, symbol: str, error: Refused) -> None:
        """Leave a symbol alone that the exchange does not know any more; the others go on."""
        if symbol not in self._silent_until:
            self._note("errors", symbol, f"{symbol}: the exchange does not have it any more: {error}")
        self._silent_until[symbol] = self._monotonic() + _SILENCE_S

    def next_bar(self) -> dict[str, Arrivals]:
        """Return the symbols whose next bar is released now: the earliest that all have, or certainly lack; or none."""
        now = self._monotonic()
        asked = {symbol: arrivals for symbol, arrivals in self._all() if symbol not in self._silent_until}
        having = {symbol: arrivals for symbol, arrivals in asked.items() if arrivals.has_bar}
        if not having:
            return {}
        open_ms = min(arrivals.next_open_ms for arrivals in having.values())
        behind = [each for each in asked.values() if not each.has_bar and not each.is_past(open_ms)]
        patience = [each.gave_up(now) for each in behind]  # a list: the clock of each one runs
        if not all(patience):
            return {}
        return {symbol: arrivals for symbol, arrivals in having.items() if arrivals.next_open_ms == open_ms}

    def release(self, symbol: str, arrivals: Arrivals, side: float | None) -> tuple[float, ...]:
        """Return the values of the next bar of a symbol that ``next_bar`` gave; it is released thereby."""
        self._released[symbol] = (arrivals.next_open_ms, self._monotonic())
        return arrivals.pop(side)

    @property
    def is_empty(self) -> bool:
        """Whether no closed candle waits."""
        return not any(arrivals.has_bar for _, arrivals in self._all())

    def due_ms(self) -> int | None:
        """Return when the next candle closes; None when no symbol is expected to have one."""
        now = self._monotonic()
        due = [
            arrivals.due_ms
            for symbol, arrivals in self._all()
            if symbol not in self._silent_until and not arrivals.is_given_up(now)
        ]
        return min(due, default=None)

    def is_newest(self, ticket: Ticket, pause: Callable[[float], bool]) -> bool:
        """Tell whether no bar after the one of a decision has closed; asks where that is not certain.

        Raises
        ------
        Stopped
            When ``pause`` says that there is no time left.
        """
        open_ms, at = self._released.get(ticket.symbol, (ticket.bar_ms, float("-inf")))
        arrivals = self._arrivals.get(ticket.symbol)  # None once the strategy has ended
        if open_ms > ticket.bar_ms or (arrivals is not None and arrivals.has_bar):
            return False
        if self._monotonic() - at <= _FRESH_S:
            return True
        seconds = _FIRST_PAUSE_S
        while True:
            wait = 0.0
            try:
                newest = self._gateway.candles(ticket.symbol, self._timeframe, limit=2)
                if len(newest) >= 2 and not newest.off_grid.any():
                    self._released[ticket.symbol] = (open_ms, self._monotonic())
                    return int(newest.open_ms[-2]) <= ticket.bar_ms
            except AccessDenied:
                raise
            except NoAnswer as error:
                wait = error.wait_s
            except Refused as error:
                if error.wait_s is None:  # no such symbol any more: the order will be refused, too
                    return True
                wait = error.wait_s
            if pause(max(seconds, wait)):
                raise Stopped
            seconds = min(2 * seconds, _LONGEST_PAUSE_S)

    def _all(self) -> list[tuple[str, Arrivals]]:
        """Return every symbol as of now: a strategy that ends drops its own, from its thread."""
        return list(self._arrivals.items())

    def _is_silent(self, symbol: str) -> bool:
        return self._monotonic() < self._silent_until.get(symbol, 0.0)
