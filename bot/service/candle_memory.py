"""Stored candles, kept in memory until their file changes: all of a series where they fit, else its newest."""

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

__all__ = ["CandleMemory"]

_NEWEST_BARS = 4_096
_MOST_SERIES = 16
_MOST_BYTES = 64 << 20  # a million candles: two years of minutes


@dataclass(frozen=True, eq=False)
class _Kept:
    """One series; ``whole`` is None where it does not fit."""

    identity: Identity
    newest: StoredSeries
    whole: StoredSeries | None

    @property
    def bytes(self) -> int:
        candles = (self.whole or self.newest).candles
        return candles.open_ms.nbytes + sum(column.nbytes for column in candles.columns.values())

    def answer(self, bars: int | None) -> StoredSeries | None:
        """Return what holds so many of the newest candles, all for None; None where it is not here."""
        return self.newest if bars is not None and bars <= len(self.newest.candles) else self.whole


class CandleMemory:
    """Reads series of the store; may be used by many threads.

    Parameters
    ----------
    store
        The candles of a home.
    most_series, most_bytes
        What is kept; the least recently used go. Of a series that is larger the newest 4,096 candles are kept.
    """

    def __init__(self, store: CandleStore, most_series: int = _MOST_SERIES, most_bytes: int = _MOST_BYTES) -> None:
        self._store = store
        self._most_series = most_series
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()
        self._reading = SingleFlight()

    def read(self, symbol: str, timeframe: str, exchange: str | None, bars: int | None = None) -> StoredSeries:
        """Return at least the newest ``bars`` candles of a series, all of them for None; ``digest`` is of the whole series.

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
        return found

    def _known(self, path: Path, identity: Identity, bars: int | None) -> StoredSeries | None:
        with self._guard:
            kept = self._kept.get(path)
            if kept is None or kept.identity != identity:
                return None
            self._kept.move_to_end(path)
            return kept.answer(bars)

    def _read(self, path: Path, identity: Identity, bars: int | None) -> StoredSeries:
        symbol, _, timeframe = path.stem.rpartition("_")
        whole = self._store.read(symbol, timeframe, path.parent.name)
        kept = _Kept(identity, _newest(whole, max(bars or 0, _NEWEST_BARS)), whole)
        if kept.bytes > self._most_bytes:
            kept = replace(kept, whole=None)
        with self._guard:
            self._kept[path] = kept
            self._kept.move_to_end(path)
            while len(self._kept) > 1 and (
                len(self._kept) > self._most_series
                or sum(each.bytes for each in self._kept.values()) > self._most_bytes
            ):
                self._kept.popitem(last=False)
        return kept.answer(bars) or whole


def _newest(series: StoredSeries, bars: int) -> StoredSeries:
    """Return the last candles in arrays of their own: a view would hold the whole series in memory."""
    candles = series.candles
    part = candles.slice(max(len(candles) - bars, 0), len(candles))
    columns = {name: column.copy() for name, column in part.columns.items()}
    own = Candles.from_columns(part.timeframe, {"open_ms": part.open_ms.copy(), **columns}, part.asked)
    return replace(series, candles=own)
