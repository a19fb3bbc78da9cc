"""Clocks of the local exchange: the wall, which signatures go by, and the market, which candles and fills go by.

The two are apart on purpose. A replayed market lies years back or runs sixty times too fast; were requests judged by it,
every signed one would fall out of its ``recvWindow``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Accelerated", "Clock", "Lockstep", "Wall"]

_FASTEST = 1_000_000.0


class Clock:
    """What every clock of the exchange has: the wall time that it tells, and a name.

    Parameters
    ----------
    wall : callable
        Seconds since 1970, such as ``time.time``.

    Attributes
    ----------
    skew_ms : int
        Added to the wall time that the exchange tells and judges by: a client whose clock is wrong meets the same.
    """

    name = ""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.skew_ms = 0

    def wall_ms(self) -> int:
        """Return the wall time that the exchange tells, milliseconds UTC."""
        return int(self._wall() * 1000.0) + self.skew_ms

    def market_ms(self) -> int | None:
        """Return where the market should be now, or None when it moves only when it is told to."""
        return None

    def set_market(self, market_ms: int) -> None:
        """Let the market go on from this time, as of now."""

    def seconds_until(self, _market_ms: int) -> float | None:
        """Return the seconds of wall time until the market gets there; None when nothing but an order takes it there."""
        return None


class Lockstep(Clock):
    """The market stands still until a client has had every closed candle and asks for more.

    Every client program then meets every candle, whatever its speed: a replay is deterministic.
    """

    name = "lockstep"


class Accelerated(Clock):
    """The market runs ``speed`` times as fast as the wall.

    Parameters
    ----------
    speed : float
        Market seconds for each second of the wall, above 0.
    wall : callable
        Seconds since 1970.
    """

    name = "accelerated"

    def __init__(self, speed: float = 60.0, wall: Callable[[], float] = time.time) -> None:
        super().__init__(wall)
        if not 0.0 < speed <= _FASTEST:
            raise UsageError(f"a speed of {speed:g}: expected a number above 0 and up to {_FASTEST:g}")
        self.speed = speed
        self._wall_anchor = wall()
        self._market_anchor = 0

    def market_ms(self) -> int | None:
        """Return the market time that belongs to this moment."""
        return self._market_anchor + int((self._wall() - self._wall_anchor) * 1000.0 * self.speed)

    def set_market(self, market_ms: int) -> None:
        """Let the market go on from this time, as of now."""
        self._wall_anchor = self._wall()
        self._market_anchor = market_ms

    def seconds_until(self, market_ms: int) -> float | None:
        """Return the seconds of wall time until the market gets there."""
        return (market_ms - self._market_anchor) / 1000.0 / self.speed - (self._wall() - self._wall_anchor)


class Wall(Clock):
    """The market's time is the wall's; candles of the past are moved so that they go on from now."""

    name = "wall"

    def market_ms(self) -> int | None:
        """Return the wall time."""
        return self.wall_ms() - self.skew_ms

    def seconds_until(self, market_ms: int) -> float | None:
        """Return the seconds of wall time until the market gets there."""
        return market_ms / 1000.0 - self._wall()
