"""Downloading a series page by page: resumes where the store ends, and keeps what was fetched whatever happens.

Only candles that are closed by the exchange's clock are taken. What the exchange was asked is remembered with the candles,
so that a candle missing there is known to be missing in the market.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bot.errors import DataError, ExchangeError, UsageError
from bot.market.merging import join_intervals, subtract_intervals
from bot.market.pages import BrokenReply, NoAnswer, closed_until, read_page
from bot.market.series_file import read_header
from ml.candles import Candles, format_ms
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.market.pages import PageLayout
    from bot.market.series_file import MarketTerms, SeriesHeader
    from bot.market.store import CandleStore

__all__ = ["CandleSource", "Download", "DownloadReport"]

_FLUSH_PAGES = 50
_ATTEMPTS = 6
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0


class CandleSource(Protocol):
    """What a download needs of an exchange; `bot.market.exchanges.ExchangeSource` is one."""

    exchange: str
    symbol: str
    timeframe: str
    layout: PageLayout
    page_bars: int

    @property
    def jumps_gaps(self) -> bool:
        """Whether a reply may begin long after the time that was asked because nothing traded between."""
        ...

    def open(self) -> None:
        """Load markets and find the symbol."""
        ...

    def now_ms(self) -> int:
        """Return the exchange's time."""
        ...

    def page(self, since_ms: int, end_ms: int) -> Any:
        """Return one raw reply."""
        ...

    def terms(self) -> MarketTerms:
        """Return the symbol's rules and fees."""
        ...


@dataclass(frozen=True)
class DownloadReport:
    """What a download did.

    Attributes
    ----------
    fetched, added, unchanged : int
        Bars received; new ones; ones that were stored with the same values.
    revised : tuple of int
        Open times of the bars whose stored values differed; the newer won.
    requests : int
        Pages that were asked for.
    until_ms : int
        Everything before this time is closed and was asked for.
    header : SeriesHeader or None
        The series as it is stored now; None where nothing is.
    """

    fetched: int
    added: int
    unchanged: int
    revised: tuple[int, ...]
    requests: int
    until_ms: int
    header: SeriesHeader | None


class Download:
    """One download; `run` does it, and `report` tells how far it came, also after an error or an interrupt.

    Parameters
    ----------
    source
        The exchange's side.
    store
        Where candles go.
    sleep
        Waits between attempts; seconds.
    """

    def __init__(self, source: CandleSource, store: CandleStore, sleep: Callable[[float], None] = time.sleep) -> None:
        self._source = source
        self._store = store
        self._sleep = sleep
        self._step = timeframe_ms(source.timeframe)
        self._pages: list[Candles] = []
        self._asked: list[tuple[int, int]] = []
        self._terms: MarketTerms | None = None
        self._fetched = self._added = self._unchanged = self._requests = 0
        self._until_ms = 0
        self._revised: list[int] = []
        self._header: SeriesHeader | None = None

    @property
    def report(self) -> DownloadReport:
        """What was done so far and is in the store."""
        return DownloadReport(
            self._fetched,
            self._added,
            self._unchanged,
            tuple(sorted(self._revised)),
            self._requests,
            self._until_ms,
            self._header,
        )

    @property
    def kept(self) -> str:
        """What an interrupted download leaves, for a message; empty where it is nothing."""
        if not self._fetched or self._header is None:
            return ""
        last = format_ms(self._header.last_ms)
        return f"; {self._fetched} bars up to {last} are kept, the same command goes on from there"

    def run(
        self, start_ms: int, end_ms: int | None, update: Callable[[float, str], None], *, refresh: bool = False
    ) -> DownloadReport:
        """Fetch the candles that open in ``[start_ms, end_ms)`` and are closed; what is stored is not asked again.

        Parameters
        ----------
        start_ms, end_ms
            Milliseconds UTC; None for the present.
        update
            Called with the done fraction and a text.
        refresh
            Ask again for what is stored, to find revised candles.

        Raises
        ------
        UsageError
            When start is not before end or lies in the future, or the exchange has no such symbol or timeframe.
        DataError
            When the stored series has other columns, or is damaged.
        ExchangeError
            When the exchange refuses, or does not answer after several attempts. What was fetched is kept.
        """
        if end_ms is not None and end_ms <= start_ms:
            raise UsageError(f"start {format_ms(start_ms)} is not before end {format_ms(end_ms)}")
        source = self._source
        self._insist(source.open)
        known = self._stored_intervals()
        self._terms = source.terms()
        closed = closed_until(self._insist(source.now_ms), source.timeframe)
        first = closed_until(start_ms + self._step - 1, source.timeframe)
        last = closed if end_ms is None else min(closed_until(end_ms + self._step - 1, source.timeframe), closed)
        if first >= last:
            raise UsageError(
                f"no candle of {source.timeframe} has closed between {format_ms(start_ms)} and {format_ms(last)}, "
                f"the last that {source.exchange} has closed: choose an earlier --start"
            )
        self._until_ms = last
        parts = subtract_intervals(first, last, () if refresh else known)
        total, done = max(sum(end - start for start, end in parts), 1), 0
        try:
            for start, end in parts:
                cursor = start
                while cursor < end:
                    reached = self._take_page(cursor, end)
                    done += reached - cursor
                    cursor = reached
                    update(done / total, f"{source.symbol} {format_ms(cursor)}")
                    if len(self._pages) >= _FLUSH_PAGES:
                        self._keep()
        except (ExchangeError, DataError) as error:
            self._keep()
            raise type(error)(f"{error}{self.kept}") from error
        finally:
            self._keep()
        return self.report

    def _take_page(self, cursor: int, end: int) -> int:
        """Fetch one page and return the time up to which everything is known now."""
        source = self._source
        page = self._insist(lambda: self._one_page(cursor, end))
        self._requests += 1
        span = source.page_bars * self._step
        if len(page) == 0:
            # Nothing until the end where the exchange looks ahead, else nothing within this page.
            reached = end if source.jumps_gaps else min(cursor + span, end)
            self._asked.append((cursor, reached))
            return reached
        first = int(page.open_ms[0])
        reached = min(closed_until(int(page.open_ms[-1]), source.timeframe) + self._step, end)
        if first >= cursor + span and not source.jumps_gaps:
            # Perhaps the exchange keeps no more history than this: do not call the time before a gap of the market.
            self._asked.append((closed_until(first, source.timeframe), reached))
        else:
            self._asked.append((cursor, reached))
        self._pages.append(page)
        self._fetched += len(page)
        return reached

    def _one_page(self, cursor: int, end: int) -> Candles:
        source = self._source
        return read_page(source.page(cursor, end), source.layout, source.timeframe, cursor, end)

    def _insist(self, request: Callable[[], Any]) -> Any:
        """Repeat a request that failed for a passing reason, each time after a longer wait."""
        wait, attempt = _FIRST_WAIT_S, 0
        while True:
            attempt += 1
            try:
                return request()
            except (NoAnswer, BrokenReply) as failure:
                if attempt == _ATTEMPTS:
                    what = "replied with rubbish" if isinstance(failure, BrokenReply) else "did not answer"
                    raise ExchangeError(f"{self._source.exchange} {what} ({attempt} attempts): {failure}") from failure
                asked = getattr(failure, "wait_s", 0.0)
                self._sleep(min(max(wait, asked), _LONGEST_WAIT_S))
                wait *= 2.0

    def _stored_intervals(self) -> tuple[tuple[int, int], ...]:
        """Return what was asked before; refuse early what could not be merged later."""
        source = self._source
        path = self._store.path(source.symbol, source.timeframe, source.exchange)
        if not path.exists():
            return ()
        self._header = read_header(path)
        if set(self._header.columns) != set(source.layout.names):
            raise DataError(
                f"{path} has the columns {', '.join(self._header.columns)}, but {source.exchange} gives "
                f"{', '.join(source.layout.names)}: delete the file, or keep other candles under another --exchange name"
            )
        return self._header.asked

    def _keep(self) -> None:
        """Merge the pages so far into the store."""
        if not self._asked:
            return
        source, pages, asked = self._source, self._pages, join_intervals(self._asked)
        if pages or self._header is not None:
            columns = {
                name: np.concatenate([page.columns[name] for page in pages]) if pages else np.zeros(0)
                for name in source.layout.names
            }
            columns["open_ms"] = np.concatenate([page.open_ms for page in pages]) if pages else np.zeros(0, np.int64)
            candles = Candles.from_columns(source.timeframe, columns, asked)
            done = self._store.merge(candles, source.symbol, source.exchange, self._terms)
            self._added += done.added
            self._unchanged += done.unchanged
            self._revised += done.revised
            self._header = done.header
        self._pages, self._asked = [], []
