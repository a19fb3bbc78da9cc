"""One stored series: a Parquet file whose metadata says what it is, what was asked and how the symbol trades.

Everything about a series is in its one file, so that a rename replaces all of it or nothing. The digest of the candles
is checked at every read, and pages carry checksums: a changed byte is found, not traded on.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bot.broker.rules import ExchangeRules
from bot.errors import BotError, DataError, StorageError
from ml.candles import Candles
from ml.errors import InvalidCandles
from registry.durable import TEMPORARY, make_folders, sync_folder
from registry.locks import acquire, release

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "MarketTerms",
    "SeriesHeader",
    "read_columns",
    "read_header",
    "read_series",
    "replace_file",
    "series_lock",
    "write_series",
]

_KEY = b"candles"
_CHECK = b"candles_sha256"
_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class MarketTerms:
    """How a symbol trades where its candles come from, as far as the source says; all of it may be unknown.

    Attributes
    ----------
    rules : ExchangeRules or None
        Tick, lot, smallest size and notional.
    maker_fee, taker_fee : Decimal or None
        Fractions of the notional.
    origin : str or None
        Where the candles came from, for people: a file's name, an exchange, the built-in market and its edge.
    """

    rules: ExchangeRules | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    origin: str | None = None


@dataclass(frozen=True)
class SeriesHeader:
    """What a series file says about itself.

    Attributes
    ----------
    symbol, exchange, timeframe : str
        Canonical names.
    bars, first_ms, last_ms : int
        Number of candles, open times of the first and the last (0 and 0 where there are none).
    columns : tuple of str
        Prices and the optional columns that are there.
    asked : tuple of (start_ms, end_ms)
        Half-open intervals that the source was asked for.
    digest : str
        `Candles.digest` of the content.
    rules : ExchangeRules or None
        Tick, lot, smallest size and notional; None where the source did not say.
    maker_fee, taker_fee : Decimal or None
        Fractions of the notional.
    origin : str or None
        Where the newest candles came from, for people: a file's name, an exchange, the built-in market and its edge.
    """

    symbol: str
    exchange: str
    timeframe: str
    bars: int
    first_ms: int
    last_ms: int
    columns: tuple[str, ...]
    asked: tuple[tuple[int, int], ...]
    digest: str
    rules: ExchangeRules | None = None
    maker_fee: Decimal | None = None
    taker_fee: Decimal | None = None
    origin: str | None = None

    @classmethod
    def of(cls, candles: Candles, symbol: str, exchange: str) -> SeriesHeader:
        """Describe candles that come without rules and fees."""
        return cls(
            symbol=symbol,
            exchange=exchange,
            timeframe=candles.timeframe,
            bars=len(candles),
            first_ms=int(candles.open_ms[0]) if len(candles) else 0,
            last_ms=int(candles.open_ms[-1]) if len(candles) else 0,
            columns=tuple(candles.columns),
            asked=candles.asked,
            digest=candles.digest,
        )

    def with_terms(self, terms: MarketTerms) -> SeriesHeader:
        """Return a copy with these rules, fees and origin; what is None there stays as it is here."""
        found = {field.name: getattr(terms, field.name) for field in fields(terms)}
        return replace(self, **{name: value for name, value in found.items() if value is not None})

    def to_json(self) -> bytes:
        """Return the bytes that the file's metadata holds."""
        fees = {"maker_fee": self.maker_fee, "taker_fee": self.taker_fee}
        document = {
            "schema_version": _SCHEMA_VERSION,
            "symbol": self.symbol,
            "exchange": self.exchange,
            "timeframe": self.timeframe,
            "bars": self.bars,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "columns": list(self.columns),
            "asked": [list(interval) for interval in self.asked],
            "digest": self.digest,
            "rules": None if self.rules is None else self.rules.to_dict(),
            "origin": self.origin,
            **{name: None if fee is None else format(fee, "f") for name, fee in fees.items()},
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> SeriesHeader:
        """Read what `to_json` wrote; raises ValueError, KeyError, TypeError or BotError for anything else."""
        document = json.loads(data)
        version = document.pop("schema_version")
        if version != _SCHEMA_VERSION:
            raise DataError(f"it has format {version}, this program reads format {_SCHEMA_VERSION}")
        document["columns"] = tuple(document["columns"])
        document["asked"] = tuple((int(start), int(end)) for start, end in document["asked"])
        document["rules"] = None if document["rules"] is None else ExchangeRules.from_dict(document["rules"])
        for fee in ("maker_fee", "taker_fee"):
            document[fee] = None if document[fee] is None else Decimal(document[fee])
        return cls(**document)


def read_header(path: Path) -> SeriesHeader:
    """Return what a series file says about itself, reading only its footer.

    Raises
    ------
    DataError
        When the file is damaged or not ours.
    StorageError
        When it cannot be opened.
    """
    with _reading(path), path.open("rb") as file:
        return _header(path, pq.read_schema(file).metadata)


def read_columns(path: Path) -> tuple[SeriesHeader, dict[str, Any]]:
    """Return the header and the raw columns as arrays, without judging the values.

    Raises
    ------
    DataError
        When the file is damaged or not ours.
    StorageError
        When it cannot be opened.
    """
    with _reading(path), path.open("rb") as file:
        # read_table would load pandas. No worker threads: one that still holds the file while Python ends aborts the process
        table = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True).read(use_threads=False)
        header = _header(path, table.schema.metadata)
        columns = {name: _array(table.column(name)) for name in table.column_names}
    if tuple(name for name in columns if name != "open_ms") != header.columns or "open_ms" not in columns:
        raise _damaged(path, f"its columns are {', '.join(columns)}")
    return header, columns


def read_series(path: Path) -> tuple[SeriesHeader, Candles]:
    """Return a series, checked against its digest.

    Raises
    ------
    DataError
        When the file is damaged, changed, or not ours.
    StorageError
        When it cannot be opened.
    """
    header, columns = read_columns(path)
    try:
        candles = Candles.from_columns(header.timeframe, columns, header.asked)
    except (InvalidCandles, ValueError) as error:
        raise _damaged(path, error) from error
    if candles.digest != header.digest:
        raise _damaged(path, "its content does not have the digest that was stored with it")
    return header, candles


def write_series(path: Path, candles: Candles, header: SeriesHeader) -> None:
    """Replace a series file in one step: after a crash there is the old file or the new one, whole.

    Raises
    ------
    StorageError
        When the disk is full or the folder cannot be written; the old file stays.
    """
    arrays = {"open_ms": candles.open_ms, **candles.columns}
    document = header.to_json()
    schema = pa.schema(
        [pa.field(name, pa.int64() if name == "open_ms" else pa.float64(), nullable=False) for name in arrays],
        metadata={_KEY: document, _CHECK: hashlib.sha256(document).hexdigest().encode()},
    )
    replace_file(path, pa.table([pa.array(array) for array in arrays.values()], schema=schema))


def replace_file(path: Path, table: pa.Table) -> None:
    """Write a table as a Parquet file in one step: after a crash there is the old file or the new one, whole.

    Raises
    ------
    StorageError
        When the disk is full or the folder cannot be written; the old file stays.
    """
    fresh = path.with_name(f"{TEMPORARY}{path.stem}-{uuid4().hex}")
    try:
        make_folders(path.parent)
        with fresh.open("xb") as file:
            # prices repeat too seldom for a dictionary: without one, files are smaller, and read and written in half the time
            pq.write_table(table, file, compression="lz4", use_dictionary=False, write_page_checksum=True)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror or error}; what was stored before stays") from error
    except BaseException:  # an interrupt too leaves nothing behind
        fresh.unlink(missing_ok=True)
        raise


@contextmanager
def series_lock(path: Path, seconds: float) -> Iterator[None]:
    """Hold the only right to write one series for the length of the block; it ends with the process.

    What a killed writer has left behind is removed first.

    Parameters
    ----------
    path
        The file of the series; its folder is made where it is missing.
    seconds
        How long to wait for another process that writes it.

    Raises
    ------
    StorageError
        When another process is writing, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = acquire(path.with_name(f".{path.stem}.lock"), seconds)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
    if descriptor is None:
        raise StorageError(f"{path}: another process is writing this series (waited {seconds:g} s): try again")
    try:
        _remove_leftovers(path)
        yield
    finally:
        release(descriptor)


def _remove_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f"{TEMPORARY}{path.stem}-*"):
        leftover.unlink(missing_ok=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, ValueError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno is None:  # so pyarrow reports a failed decompression or checksum
            raise _damaged(path, error) from error
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def _header(path: Path, metadata: dict[bytes, bytes] | None) -> SeriesHeader:
    data = (metadata or {}).get(_KEY)
    if data is None:
        raise DataError(f"{path} is a Parquet file, but not a series of this store: use `bot data import` for it")
    if metadata is None or metadata.get(_CHECK) != hashlib.sha256(data).hexdigest().encode():
        raise _damaged(path, "its description was changed")
    try:
        header = SeriesHeader.from_json(data)
    except (ValueError, KeyError, TypeError, ArithmeticError, BotError) as error:
        raise _damaged(path, error) from error
    if path != path.parent.parent / header.exchange / f"{header.symbol}_{header.timeframe}.parquet":
        raise DataError(
            f"{path} holds {header.symbol} {header.timeframe} from {header.exchange}: it was moved or renamed; "
            "give it back its name, or delete it"
        )
    return header


def _array(column: pa.ChunkedArray) -> Any:
    if column.null_count or not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return column.to_numpy()
    return np.from_dlpack(column.combine_chunks())  # without a copy, and without pandas, which to_numpy would load


def _damaged(path: Path, reason: object) -> DataError:
    first_line = str(reason).strip().split("\n", maxsplit=1)[0]
    return DataError(f"{path} is damaged: {first_line}; delete it and import or download the series again")
