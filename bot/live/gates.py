"""What forbids a live bot to open a position, beside the strategy's own limits."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.live.kill_switch import KillSwitch
    from bot.live.orders import Ticket

__all__ = ["Gates"]

_HOUR_MS = 3_600_000


class Gates:
    """Asked before each order; a sale is never forbidden.

    Parameters
    ----------
    kill_switch
        The file that stops entries.
    step_ms
        Length of a candle.
    max_data_age
        How old a candle may be when a position is opened on it, in candles; None where candles do not follow the wall clock.
    max_errors
        So many errors within an hour pause the bot.
    now_ms
        This computer's clock, milliseconds UTC.
    """

    def __init__(
        self,
        kill_switch: KillSwitch,
        *,
        step_ms: int,
        max_data_age: float | None,
        max_errors: int,
        now_ms: Callable[[], int],
    ) -> None:
        self._kill_switch, self._step_ms = kill_switch, step_ms
        self._max_data_age, self._max_errors, self._now_ms = max_data_age, max_errors, now_ms
        self._lock = threading.Lock()
        self._paused = ""
        self._unexplained: dict[str, str] = {}
        self._errors: deque[int] = deque()
        self.error_count = 0

    @property
    def paused(self) -> str:
        """Why the bot is paused; empty when it is not."""
        return self._paused

    def pause(self, reason: str) -> None:
        """Forbid entries until ``resume``."""
        self._paused = reason

    def resume(self) -> None:
        """Allow entries again; errors are counted anew."""
        with self._lock:
            self._paused = ""
            self._errors.clear()

    def explain(self, what: str, problem: str) -> bool:
        """Forbid entries while something about the account is unexplained; an empty ``problem`` says that it is explained.

        Tell whether that is news.
        """
        with self._lock:
            before = self._unexplained.pop(what, "")
            if problem:
                self._unexplained[what] = problem
            return before != problem

    def error(self) -> bool:
        """Count an error; tell whether there are now so many that the bot pauses."""
        with self._lock:
            now = self._now_ms()
            self.error_count += 1
            self._errors.append(now)
            while self._errors[0] < now - _HOUR_MS:
                self._errors.popleft()
            if len(self._errors) < self._max_errors or self._paused:
                return False
            self._paused = f"{len(self._errors)} errors within an hour"
            return True

    def protections(self) -> tuple[str, ...]:
        """Return what forbids entries now, in words."""
        found = []
        kill = self._kill_switch.read()
        if kill.is_on:
            found.append(f"kill switch ({kill.reason})")
        if self._paused:
            found.append(f"paused: {self._paused}")
        with self._lock:
            found += self._unexplained.values()
        return tuple(found)

    def forbids(self, ticket: Ticket) -> str:
        """Return why an order may not be sent now; empty when it may."""
        if ticket.side == "sell":
            return ""
        found = self.protections()
        if found:
            return f"no entries: {found[0]}"
        if self._max_data_age is not None:
            age = self._now_ms() - ticket.bar_ms - self._step_ms
            if age > self._max_data_age * self._step_ms:
                return f"stale data: the candle of {format_ms(ticket.bar_ms)} closed {age / 1000:.0f} s ago"
        return ""
