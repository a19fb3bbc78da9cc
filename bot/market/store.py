"""The candle store: one Parquet file an exchange, symbol and timeframe, replaced atomically."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bot.errors import DataError, SeriesNotFound, StorageError, UsageError
from bot.market.merging import merge_candles
from registry.errors import suggestion
from registry.names import normalise_symbol, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    from bot.broker.rules import ExchangeRules
    from bot.market.series_file import MarketTerms, SeriesHeader
    from ml.candles import Candles

__all__ = ["CandleStore", "ListedSeries", "MergeReport", "StoredSeries", "normalise_exchange"]

_EXCHANGE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def normalise_exchange(text: str) -> str:
    """Return the canonical name of a source of candles: lower case, such as binance, local or synth.

    Raises
    ------
    UsageError
        When it is not 1 to 32 letters, digits, ``_`` or ``-``.
    """
    name = text.strip().lower()
    if not _EXCHANGE.fullmatch(name):
        raise UsageError(f"{text!r} is not an exchange name: expected letters and digits such as binance or local")
    return name


@dataclass(frozen=True)
class StoredSeries:
    """A series as the store holds it: candles, where they came from, and how the symbol trades there."""

    candles: Candles
    symbol: str
    exchange: str
    digest: str
    rules: ExchangeRules | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    origin: str | None = None

    @property
    def timeframe(self) -> str:
        """Length of a candle."""
        return self.candles.timeframe


@dataclass(frozen=True)
class ListedSeries:
    """One line of a listing; ``header`` is None where the file is damaged, and ``problem`` says why."""

    symbol: str
    exchange: str
    timeframe: str
    path: Path
    header: SeriesHeader | None = None
    problem: str | None = None


@dataclass(frozen=True)
class MergeReport:
    """What a write did.

    Attributes
    ----------
    added, unchanged : int
        New bars, and bars that were stored with the same values.
    revised : tuple of int
        Open times of the bars whose stored values differed; the newer values won.
    header : SeriesHeader
        The series as it is stored now.
    """

    added: int
    unchanged: int
    header: SeriesHeader
    revised: tuple[int, ...] = field(default=())


class CandleStore:
    """Series below one folder, ``EXCHANGE/SYMBOL_TIMEFRAME.parquet``.

    Parameters
    ----------
    root
        The folder; created at the first write.
    lock_timeout
        Seconds to wait for another writer of the same series.
    """

    def __init__(self, root: Path, lock_timeout: float = 10.0) -> None:
        self.root = root
        self._lock_timeout = lock_timeout

    def path(self, symbol: str, timeframe: str, exchange: str) -> Path:
        """Return where a series is stored, or would be."""
        timeframe_ms(timeframe)
        return self.root / normalise_exchange(exchange) / f"{normalise_symbol(symbol)}_{timeframe}.parquet"

    def find(self, symbol: str, timeframe: str, exchange: str | None = None) -> Path:
        """Return the file of a series.

        Raises
        ------
        SeriesNotFound
            When there is none; the message lists what is there and how to get it.
        UsageError
            When several exchanges hold it and none was named.
        """
        if exchange is not None:
            path = self.path(symbol, timeframe, exchange)
            if not path.is_file():
                raise SeriesNotFound(self._not_found(symbol, timeframe, normalise_exchange(exchange)))
            return path
        name = self.path(symbol, timeframe, "any").name
        found = [path for path in self._files() if path.name == name]
        if not found:
            raise SeriesNotFound(self._not_found(symbol, timeframe, None))
        if len(found) > 1:
            raise UsageError(
                f"{normalise_symbol(symbol)} {timeframe} is stored from {_listed([p.parent.name for p in found])}: "
                f"choose one with --exchange (data.exchange in a config)"
            )
        return found[0]

    def read(self, symbol: str, timeframe: str, exchange: str | None = None) -> StoredSeries:
        """Return a series, checked against its digest.

        Parameters
        ----------
        symbol
            Any accepted spelling.
        timeframe
            Length of a candle.
        exchange
            Source; None for the only one that holds the series.

        Raises
        ------
        SeriesNotFound, UsageError
            As `find`.
        DataError
            When the file is damaged.
        StorageError
            When it cannot be opened.
        """
        from bot.market.series_file import read_series

        header, candles = read_series(self.find(symbol, timeframe, exchange))
        return StoredSeries(
            candles=candles,
            symbol=header.symbol,
            exchange=header.exchange,
            digest=header.digest,
            rules=header.rules,
            maker_fee=header.maker_fee,
            taker_fee=header.taker_fee,
            origin=header.origin,
        )

    def merge(
        self,
        candles: Candles,
        symbol: str,
        exchange: str,
        terms: MarketTerms | None = None,
    ) -> MergeReport:
        """Merge candles into a series, or begin it; the newer values win, and the report names revised bars.

        Terms that are None leave those that are stored. The file is not touched when nothing changes.

        Raises
        ------
        DataError
            When the stored file is damaged, or the optional columns of the two sides do not fit.
        StorageError
            When it cannot be written or another process is writing it; what was stored stays.
        """
        from bot.market.series_file import MarketTerms, SeriesHeader, read_series, series_lock, write_series

        path = self.path(symbol, candles.timeframe, exchange)
        with series_lock(path, self._lock_timeout):
            if not path.exists():
                header = SeriesHeader.of(candles, normalise_symbol(symbol), normalise_exchange(exchange))
                header = header if terms is None else header.with_terms(terms)
                write_series(path, candles, header)
                return MergeReport(len(candles), 0, header)
            before, old = read_series(path)
            merged = merge_candles(old, candles)
            header = SeriesHeader.of(merged.candles, before.symbol, before.exchange)
            known = MarketTerms(before.rules, before.maker_fee, before.taker_fee, before.origin)
            header = header.with_terms(known)
            header = header if terms is None else header.with_terms(terms)
            if header != before:
                write_series(path, merged.candles, header)
            return MergeReport(merged.added, merged.unchanged, header, merged.revised)

    def write(
        self,
        candles: Candles,
        symbol: str,
        exchange: str,
        terms: MarketTerms | None = None,
    ) -> MergeReport:
        """Replace a series whole, whatever was stored before, even a damaged file.

        Raises
        ------
        StorageError
            When it cannot be written or another process is writing it; what was stored stays.
        """
        from bot.market.series_file import SeriesHeader, series_lock, write_series

        path = self.path(symbol, candles.timeframe, exchange)
        header = SeriesHeader.of(candles, normalise_symbol(symbol), normalise_exchange(exchange))
        header = header if terms is None else header.with_terms(terms)
        with series_lock(path, self._lock_timeout):
            write_series(path, candles, header)
        return MergeReport(len(candles), 0, header)

    def list(self) -> Sequence[ListedSeries]:
        """Return every series, by exchange, symbol and length of a candle; damaged files are named, not hidden."""
        from bot.market.series_file import read_header

        listed = []
        for path in self._files():
            symbol, _, timeframe = path.stem.rpartition("_")
            header, problem = None, None
            try:
                header = read_header(path)
            except (DataError, StorageError) as error:
                problem = str(error)
            listed.append(ListedSeries(symbol, path.parent.name, timeframe, path, header, problem))
        return sorted(listed, key=lambda series: (series.exchange, series.symbol, timeframe_ms(series.timeframe)))

    def _files(self) -> tuple[Path, ...]:
        found = self.root.glob("*/*.parquet")
        return tuple(sorted(path for path in found if _is_series(path)))

    def _not_found(self, symbol: str, timeframe: str, exchange: str | None) -> str:
        wanted = normalise_symbol(symbol)
        have = [(*_split(path), path.parent.name) for path in self._files()]
        place = f" from {exchange}" if exchange else ""
        text = f"no candles of {wanted} {timeframe}{place} under {self.root}"
        same = [f"{frame} from {source}" for name, frame, source in have if name == wanted]
        names = {name for name, _, _ in have}
        if same:
            text += f"; {wanted} is there in {_listed(same)}"
        elif names:
            text += suggestion(wanted, names) or f"; there are {_listed(sorted(names))}"
        if exchange == "synth" or wanted == "SYNTH":
            command = f"bot data synth --symbol {wanted} --timeframe {timeframe}"
        else:
            source = exchange if exchange and exchange != "local" else "binance"
            command = (
                f"bot data download {wanted} --exchange {source} --timeframe {timeframe} --start 2023-01-01` or "
                f"`bot data import FILE --symbol {wanted} --timeframe {timeframe}"
            )
        return f"{text}{'' if text.endswith('?') else '.'} Get them with `{command}`"


def _split(path: Path) -> tuple[str, str]:
    symbol, _, timeframe = path.stem.rpartition("_")
    return symbol, timeframe


def _is_series(path: Path) -> bool:
    """Return whether a file name is one of ours: SYMBOL_TIMEFRAME."""
    return re.fullmatch(r"[A-Z0-9.]+_[1-9][0-9]{0,2}[smhdw]", path.stem) is not None


def _listed(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
