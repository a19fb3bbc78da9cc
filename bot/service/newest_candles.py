"""The newest candles of stored series, kept in memory until their file changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bot.errors import SeriesNotFound
from bot.service.single_flight import SingleFlight
from ml.candles import Candles

if TYPE_CHECKING:
    from pathlib import Path

    from bot.market.store import CandleStore, StoredSeries

    Identity = tuple[int, int, int]

__all__ = ["NewestCandles"]

_KEPT_BARS = 4_096
_KEPT_SERIES = 16


@dataclass(frozen=True, eq=False)
class _Kept:
    identity: Identity
    is_whole: bool
    series: StoredSeries


class NewestCandles:
    """Reads series of the store; may be used by many threads.

    Parameters
    ----------
    store
        The candles of a home.
    most
        Series that are kept, the least recently used go.
    """

    def __init__(self, store: CandleStore, most: int = _KEPT_SERIES) -> None:
        self._store = store
        self._most = most
        self._guard = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        self._reading = SingleFlight()

    def read(self, symbol: str, timeframe: str, exchange: str | None, bars: int) -> StoredSeries:
        """Return at least the newest ``bars`` candles of a series, or all there are; ``digest`` is that of the whole series.

        Raises
        ------
        SeriesNotFound, UsageError, DataError, StorageError
            See ``CandleStore.read``.
        """
        path = self._store.find(symbol, timeframe, exchange)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise SeriesNotFound(f"{path} was deleted just now") from None
        identity = (status.st_mtime_ns, status.st_size, status.st_ino)
        found = self._known(path, identity, bars)
        if found is None:
            name = (path, identity, bars)
            found = self._reading.run(
                name, lambda: self._known(path, identity, bars) or self._read(path, identity, bars)
            )
        return found.series

    def _known(self, path: Path, identity: Identity, bars: int) -> _Kept | None:
        with self._guard:
            kept = self._kept.get(path)
            if kept is None or kept.identity != identity or not (kept.is_whole or len(kept.series.candles) >= bars):
                return None
            self._kept.move_to_end(path)
            return kept

    def _read(self, path: Path, identity: Identity, bars: int) -> _Kept:
        symbol, _, timeframe = path.stem.rpartition("_")
        series = self._store.read(symbol, timeframe, path.parent.name)
        count = len(series.candles)
        wanted = max(bars, _KEPT_BARS)
        if count > wanted:
            series = replace(series, candles=_tail(series.candles, wanted))
        kept = _Kept(identity, count <= wanted, series)
        with self._guard:
            self._kept[path] = kept
            self._kept.move_to_end(path)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return kept


def _tail(candles: Candles, bars: int) -> Candles:
    """Return the last candles in arrays of their own: a view would hold the whole series in memory."""
    part = candles.slice(len(candles) - bars, len(candles))
    columns = {name: column.copy() for name, column in part.columns.items()}
    return Candles.from_columns(part.timeframe, {"open_ms": part.open_ms.copy(), **columns}, part.asked)
