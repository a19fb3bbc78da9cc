"""A live feed that knew some candles when it started, and delivers them first."""

from __future__ import annotations

from typing import Any, ClassVar

from trading_runs import QueueFeed

from ml.candles import Candles


class KnownFeed(QueueFeed):
    """Deliver ``candles`` one by one, sometimes with a wait; ``history`` is what was known of them at the start.

    What was asked of the source grows with the bars, as it does live.
    """

    params: ClassVar[Any] = (("history", None),)

    def __init__(self):
        super().__init__()
        self.history: Candles | None = self.p.history

    @property
    def asked(self):
        """Return the intervals up to the close of the newest bar."""
        candles = self.candles
        end = int(candles.open_ms[max(0, self._row - 1)]) + candles.step_ms
        return tuple((start, min(stop, end)) for start, stop in self._whole if start < end)

    @asked.setter
    def asked(self, given):
        self._whole = given
