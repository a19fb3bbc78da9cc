"""A live data feed: first the bars that are known, then each closed candle as the store releases it."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from bot.backtest.feed import CandleFeed
from bot.live.facts import NOTHING, BarFacts
from indicators.lines import close_numbers
from ml.candles import PRICE_COLUMNS, Candles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bot.live.store import CCXTStore

__all__ = ["Bar", "CCXTFeed", "Notice"]


class Bar(NamedTuple):
    """A closed candle with what the ledger books in it.

    Attributes
    ----------
    open_ms : int
        Milliseconds UTC.
    values : tuple of float
        In the order of the feed's columns.
    is_late : bool
        Whether a newer closed candle is known: no order may rest on this one.
    facts : BarFacts
        Executions and endings of orders.
    """

    open_ms: int
    values: tuple[float, ...]
    is_late: bool = False
    facts: BarFacts = NOTHING


class Notice(NamedTuple):
    """A change of the feed's state, as Backtrader numbers them, or its end."""

    status: int | None
    text: str = ""


class CCXTFeed(CandleFeed):
    """Closed candles of one symbol at an exchange; a bar's ``datetime`` is its close.

    It delivers its history, then waits for the store without blocking Cerebro for longer than ``qcheck``. That the strategy
    is done with a bar is told to the store when the next one is asked for: only then does the store go on.

    Params
    ------
    candles : Candles
        What is known when it starts: those that warm the features, and those of an earlier life of the bot.
    store : CCXTStore
        Where new candles come from.
    symbol : str
        Canonical spelling.
    late : sequence of bool
        For the last bars of ``candles``: whether a newer one was known when they were delivered.
    facts : mapping of BarFacts
        What the ledger books in bars of the history, by open time.

    Attributes
    ----------
    history : Candles
        The candles that are delivered first.
    facts : BarFacts
        What the ledger books in the current bar.
    is_late : bool
        Whether the current bar was late.
    is_replaying : bool
        Whether the current bar is one of the history, and not its last.
    """

    params: ClassVar[Any] = (
        ("store", None),
        ("symbol", None),
        ("late", ()),
        ("facts", {}),
        ("qcheck", 0.25),
    )

    def __init__(self) -> None:
        super().__init__()
        self.history: Candles = self.candles
        self.facts: BarFacts = NOTHING
        self.is_late = False
        self.is_replaying = True
        self._store: CCXTStore = self.p.store
        self._known: Mapping[int, BarFacts] = self.p.facts
        self._late: Sequence[bool] = self.p.late
        self._arrivals: queue.SimpleQueue[Bar | Notice] = queue.SimpleQueue()
        self._places = [getattr(self.lines, name) for name in (*PRICE_COLUMNS, *self.extra_columns)]
        self._newest_close_ms = 0
        self._is_idle = False
        self._is_over = False

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns of the feed beside the prices."""
        return tuple(name for name in self.candles.columns if name not in PRICE_COLUMNS)

    @property
    def asked(self) -> tuple[tuple[int, int], ...]:
        """The intervals that were asked of the source; the last ends with the newest bar."""
        known = self.history.asked
        if not known or not self._newest_close_ms:
            return known
        return (*known[:-1], (known[-1][0], max(known[-1][1], self._newest_close_ms)))

    @asked.setter
    def asked(self, value: tuple[tuple[int, int], ...]) -> None:
        """Take no notice: what was asked follows from the history and the bars."""

    def islive(self) -> bool:
        """Tell Cerebro to go bar by bar."""
        return True

    def haslivedata(self) -> bool:
        """Tell whether a bar or a notice waits."""
        return not self._arrivals.empty()

    def start(self) -> None:
        """Begin with the history."""
        super().start()
        if len(self.history):
            self.put_notification(self.DELAYED)

    def deliver(self, arrival: Bar | Notice) -> None:
        """Take what the store has; called from its thread."""
        self._arrivals.put(arrival)

    def _load(self) -> bool | None:
        """Put the next bar on the lines; None when there is none yet, False at the end."""
        row = self._row
        if row < len(self._times):
            return self._load_history(row)
        if self._is_over:
            return False
        if not self._is_idle and self._arrivals.empty():
            self._is_idle = True
            self._store.ready(self.p.symbol)
        try:
            arrival = self._arrivals.get(timeout=self._qcheck) if self._qcheck else self._arrivals.get_nowait()
        except queue.Empty:
            return None
        if isinstance(arrival, Notice):
            if arrival.status is None:
                self._is_over = True
                return False
            self.put_notification(arrival.status, arrival.text)
            return None
        self._is_idle = False
        self.facts, self.is_late, self.is_replaying = arrival.facts, arrival.is_late, False
        step = self.candles.step_ms
        self._newest_close_ms = arrival.open_ms + step
        self.lines.datetime[0] = float(close_numbers(np.array([arrival.open_ms], dtype=np.int64), step)[0])
        self.lines.openinterest[0] = 0.0
        for line, value in zip(self._places, arrival.values, strict=True):
            line[0] = value
        return True

    def _load_history(self, row: int) -> bool:
        """Put a bar of the history on the lines."""
        super()._load()
        count = len(self._times)
        open_ms = int(self.candles.open_ms[row])
        self.facts = self._known.get(open_ms, NOTHING)
        place = row - (count - len(self._late))
        self.is_late = place >= 0 and self._late[place]
        self.is_replaying = row < count - 1
        return True
