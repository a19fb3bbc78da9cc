"""What a running bot shows: a screen on a terminal, one line a bar and an event elsewhere, nothing beside JSON.

Trading never waits for it: ``update`` only leaves the status behind, and a thread of its own draws. A terminal that stands
still (Ctrl-S) or a pipe that nobody reads stops the drawing, not the bot.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Self, TextIO

from bot.live.screen import screen_lines
from bot.live.wording import bar_line, clean, stamp
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.live.status import LiveStatus

__all__ = ["LiveView", "log_lines"]

REFRESH_SECONDS = 0.25
_IDLE_SECONDS = 1.0
_CLOSE_SECONDS = 2.0
_MOST_LINES = 10_000
_PROGRESS_SECONDS = 5.0


class LiveView:
    """Show statuses until the block ends.

    On a terminal the screen is redrawn at most four times a second and gives the old contents back at the end; the last
    status is then printed once. Elsewhere lines are written in order: each bar, each event and each change of state,
    connection and protections. It never raises: a stream that fails ends the showing.

    Parameters
    ----------
    as_json
        Show nothing; the document comes at the end, from whoever asked for it.
    stream
        Where to; standard error by default.
    clock
        Wall clock in milliseconds UTC, to say that the bot is silent.
    """

    def __init__(
        self, *, as_json: bool = False, stream: TextIO | None = None, clock: Callable[[], int] | None = None
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock or wall_ms
        self._is_silent = as_json
        self._status: LiveStatus | None = None
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._logged: LiveStatus | None = None
        self._progress_at = 0.0
        self._changed = threading.Event()
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_terminal = False

    def __enter__(self) -> Self:
        if not self._is_silent:
            self._is_terminal = _is_terminal(self._stream)
            work = self._draw if self._is_terminal else self._write
            self._thread = threading.Thread(target=work, name="live-view", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._ends.set()
            self._changed.set()
            self._thread.join(_CLOSE_SECONDS)

    def update(self, status: LiveStatus) -> None:
        """Show this status; returns at once."""
        if self._thread is None:
            return
        if not self._is_terminal:
            now = time.monotonic()
            if status.state == "replaying" and self._logged is not None and self._logged.state == "replaying":
                if now - self._progress_at < _PROGRESS_SECONDS:  # history goes by fast: a word now and then
                    return
                self._lines.append(_progress_line(status))
            else:
                self._lines.extend(log_lines(self._logged, status))
            self._logged, self._progress_at = status, now
        self._status = status
        self._changed.set()

    def _write(self) -> None:
        """Write the lines that wait, until the end."""
        try:
            while True:
                self._changed.wait()
                self._changed.clear()
                ends = self._ends.is_set()  # asked before the lines are taken, so that none is left behind
                while self._lines:
                    self._stream.write(f"{self._lines.popleft()}\n")
                self._stream.flush()
                if ends:
                    return
        except (OSError, ValueError):  # nobody reads any more
            self._lines.clear()

    def _draw(self) -> None:
        """Redraw the screen at each change, and every second, until the end."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream)
        try:
            with Live(
                console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            ) as live:
                while not self._ends.is_set():
                    self._changed.wait(_IDLE_SECONDS)
                    self._changed.clear()
                    if self._status is not None:
                        live.update(self._picture(self._status, console.width, console.height), refresh=True)
                    self._ends.wait(REFRESH_SECONDS)
            if self._status is not None:  # the screen is gone with what stood on it
                console.print(self._picture(self._status, console.width, 1000))
        except (OSError, ValueError):
            pass

    def _picture(self, status: LiveStatus, width: int, height: int) -> Any:
        from rich.console import Group
        from rich.text import Text

        lines = screen_lines(status, width, height, self._clock())
        return Group(*(Text.assemble(*line, no_wrap=True, overflow="ellipsis") for line in lines))


def log_lines(before: LiveStatus | None, status: LiveStatus) -> list[str]:
    """Return what is new in a status, one line a thing: changes first, then events, then bars.

    Parameters
    ----------
    before
        The status before it; None for the first.
    status
        The new one.
    """
    at = stamp(status.heartbeat_ms)
    lines = []
    if before is None or before.state != status.state:
        lines.append(f"{at} {status.bot} ({status.mode}, {status.exchange}, {status.timeframe}): {status.state}")
    if before is None or before.connection != status.connection:
        lines.append(f"{at} connection: {clean(status.connection)}")
    old = () if before is None else before.protections
    lines += [f"{at} no new entries: {clean(each)}" for each in status.protections if each not in old]
    lines += [f"{at} over: {clean(each)}" for each in old if each not in status.protections]
    lines += [f"{stamp(when)} {clean(text)}" for when, text in _new_events(before, status)]
    known = {} if before is None else {each.symbol: each.open_ms for each in before.symbols}
    return lines + [
        bar_line(status, each)
        for each in status.symbols
        if each.open_ms is not None and each.open_ms != known.get(each.symbol)
    ]


def _new_events(before: LiveStatus | None, status: LiveStatus) -> tuple[tuple[int, str], ...]:
    """Return the events that the status before did not have: both hold the last few of one growing list."""
    if before is None:
        return status.events
    for shared in range(min(len(before.events), len(status.events)), 0, -1):
        if before.events[-shared:] == status.events[:shared]:
            return status.events[shared:]
    return status.events


def _progress_line(status: LiveStatus) -> str:
    where = "" if status.market_ms is None else f", at {stamp(status.market_ms)}"
    return f"{stamp(status.heartbeat_ms)} replaying: {status.bars:,} bars{where}"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
    except ValueError:  # closed
        return False
