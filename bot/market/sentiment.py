"""Side series of sentiment: one Parquet file each below ``candles/sentiment``, merged and replaced atomically."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from bot.errors import DataError, SeriesNotFound, StorageError, UsageError
from ml.sentiment import DEFAULT_MAX_AGE_MS, join_sentiment
from registry.errors import suggestion

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from bot.market.store import StoredSeries
    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["DEFAULT_NAME", "SentimentMerge", "SentimentSeries", "SentimentStore", "read_file", "sentiment_name"]

DEFAULT_NAME = "fear_and_greed"
_FOLDER = "sentiment"
_KEY = b"sentiment"
_SCHEMA_VERSION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,47}")
_IMPORT = "`bot data import FILE --kind sentiment`"


def sentiment_name(text: str) -> str:
    """Return the canonical name of a series, such as fear_and_greed.

    Raises
    ------
    UsageError
        When it is not 1 to 48 lower-case letters, digits and ``_``.
    """
    name = text.strip().lower().replace("-", "_")
    if not _NAME.fullmatch(name):
        raise UsageError(f"{text!r} is no name of a series: expected letters, digits and _, such as {DEFAULT_NAME}")
    return name


@dataclass(frozen=True, eq=False)
class SentimentSeries:
    """Values of sentiment, and when each became known.

    Attributes
    ----------
    name : str
        Such as ``fear_and_greed``.
    time_ms : int64 array, shape (m,)
        Time that each value is named by, milliseconds UTC, strictly increasing; for a date, 00:00 UTC of it.
    values : float64 array, shape (m,)
        From 0, extreme fear, to 100, extreme greed.
    delay_ms : int
        How long after that time a value was published.
    max_age_ms : int
        A value that is older than this at a candle's close counts as missing.
    origin : str or None
        Where the newest values came from.
    """

    name: str
    time_ms: Integers
    values: Floats
    delay_ms: int = 0
    max_age_ms: int = DEFAULT_MAX_AGE_MS
    origin: str | None = None

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self.values)

    @property
    def published_ms(self) -> Integers:
        """When each value became known, int64, shape (m,)."""
        return self.time_ms + self.delay_ms

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of everything that decides what candles get."""
        head = {"name": self.name, "delay_ms": self.delay_ms, "max_age_ms": self.max_age_ms, "rows": len(self)}
        state = hashlib.sha256(json.dumps(head, sort_keys=True, separators=(",", ":")).encode())
        state.update(np.ascontiguousarray(self.time_ms, dtype="<i8").data)
        state.update(np.ascontiguousarray(self.values, dtype="<f8").data)
        return state.hexdigest()

    def join(self, candles: Candles) -> Candles:
        """Return the candles with what was known at each close."""
        return join_sentiment(candles, self.published_ms, self.values, self.max_age_ms)


@dataclass(frozen=True)
class SentimentMerge:
    """What a write did: values that are new, alike, and the times of those that were revised (the newer values won)."""

    series: SentimentSeries
    added: int
    unchanged: int
    revised: tuple[int, ...] = ()


class SentimentStore:
    """The series of one home.

    Parameters
    ----------
    root
        The folder of candles; the series lie in ``sentiment`` below it.
    lock_timeout
        Seconds to wait for another writer of the same series.
    """

    def __init__(self, root: Path, lock_timeout: float = 10.0) -> None:
        self.root = root / _FOLDER
        self._lock_timeout = lock_timeout

    def path(self, name: str) -> Path:
        """Return where a series is stored, or would be."""
        return self.root / f"{sentiment_name(name)}.parquet"

    def names(self) -> tuple[str, ...]:
        """Return the names of the series that are there."""
        return tuple(sorted(path.stem for path in self.root.glob("*.parquet") if _NAME.fullmatch(path.stem)))

    def choose(self, name: str | None = None) -> str:
        """Return the name of the series to use: the one that is named, else fear_and_greed, else the only one.

        Raises
        ------
        SeriesNotFound
            When there is none, or not that one; the message names the command that imports one.
        UsageError
            When there are several, and none was named.
        """
        known = self.names()
        wanted = None if name is None else sentiment_name(name)
        if not known:
            raise SeriesNotFound(f"no series of sentiment under {self.root}: import one with {_IMPORT}")
        if wanted is not None and wanted not in known:
            raise SeriesNotFound(
                f"no series of sentiment {wanted!r} under {self.root}{suggestion(wanted, known)} "
                f"(there: {', '.join(known)}); "
                f"import it with `bot data import FILE --kind sentiment --name {wanted}`"
            )
        if wanted is not None:
            return wanted
        if DEFAULT_NAME in known:
            return DEFAULT_NAME
        if len(known) > 1:
            raise UsageError(
                f"there are several series of sentiment ({', '.join(known)}): name one with --sentiment, or call the usual "
                f"one {DEFAULT_NAME}"
            )
        return known[0]

    def read(self, name: str | None = None) -> SentimentSeries:
        """Return a series, checked against its digest; errors are those of `choose` and `read_file`."""
        return read_file(self.path(self.choose(name)))

    def attach(self, series: StoredSeries, name: str | None = None) -> StoredSeries:
        """Return a stored series whose candles have the column; errors as `read`."""
        candles = self.read(name).join(series.candles)
        return replace(series, candles=candles, digest=candles.digest)

    def merge(
        self, new: SentimentSeries, *, delay_ms: int | None = None, max_age_ms: int | None = None, fresh: bool = False
    ) -> SentimentMerge:
        """Merge values into the series of that name, or begin it.

        Parameters
        ----------
        new
            The values.
        delay_ms, max_age_ms
            Rules that differ from those that are stored (or from 0 and 7 days); they are of the whole series.
        fresh
            Replace what is stored, even a damaged file.

        Raises
        ------
        DataError
            When the stored file is damaged.
        StorageError
            When it cannot be written or another process is writing it; what was stored stays.
        """
        from bot.market.series_file import series_lock

        path = self.path(new.name)
        with series_lock(path, self._lock_timeout):
            old = read_file(path) if path.exists() and not fresh else replace(new, time_ms=_NO_TIMES, values=_NO_VALUES)
            rules = replace(
                new,
                delay_ms=old.delay_ms if delay_ms is None else delay_ms,
                max_age_ms=old.max_age_ms if max_age_ms is None else max_age_ms,
            )
            both = np.isin(new.time_ms, old.time_ms)
            same = old.values[np.searchsorted(old.time_ms, new.time_ms[both])] == new.values[both]
            keep = ~np.isin(old.time_ms, new.time_ms)
            times = np.concatenate((old.time_ms[keep], new.time_ms))
            order = np.argsort(times, kind="stable")
            values = np.concatenate((old.values[keep], new.values))[order]
            merged = replace(rules, time_ms=times[order], values=values)
            if merged.digest != old.digest or fresh:
                _write(path, merged)
        revised = tuple(new.time_ms[both][~same].tolist())
        return SentimentMerge(merged, int((~both).sum()), int(same.sum()), revised)


_NO_TIMES = np.empty(0, dtype=np.int64)
_NO_VALUES = np.empty(0, dtype=np.float64)


def read_file(path: Path) -> SentimentSeries:
    """Read a stored series.

    Raises
    ------
    DataError
        When the file is damaged, changed, renamed or not ours.
    StorageError
        When it cannot be opened.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            table = pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True).read(use_threads=False)
        head = json.loads((table.schema.metadata or {})[_KEY])
        if head["schema_version"] != _SCHEMA_VERSION:
            raise ValueError(f"it has format {head['schema_version']}, this program reads format {_SCHEMA_VERSION}")
        series = SentimentSeries(
            name=str(head["name"]),
            time_ms=np.from_dlpack(table["time_ms"].combine_chunks()).astype(np.int64, copy=False),
            values=np.from_dlpack(table["value"].combine_chunks()).astype(np.float64, copy=False),
            delay_ms=int(head["delay_ms"]),
            max_age_ms=int(head["max_age_ms"]),
            origin=head["origin"],
        )
        if series.name != path.stem or series.digest != head["digest"]:
            raise ValueError("its content does not have the name and digest that were stored with it")
    except (pa.ArrowException, ValueError, KeyError, TypeError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise DataError(f"{path} is damaged: {reason}; import it again with --replace") from error
    except OSError as error:
        if error.errno is None:  # so pyarrow reports a failed checksum
            raise DataError(f"{path} is damaged: {error}; import it again with --replace") from error
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return series


def _write(path: Path, series: SentimentSeries) -> None:
    """Replace the file in one step; after a crash there is the old one or the new one, whole."""
    import pyarrow as pa

    from bot.market.series_file import replace_file

    head = {
        "schema_version": _SCHEMA_VERSION,
        "name": series.name,
        "delay_ms": series.delay_ms,
        "max_age_ms": series.max_age_ms,
        "origin": series.origin,
        "digest": series.digest,
    }
    schema = pa.schema(
        [pa.field("time_ms", pa.int64(), nullable=False), pa.field("value", pa.float64(), nullable=False)],
        metadata={_KEY: json.dumps(head, sort_keys=True).encode()},
    )
    replace_file(path, pa.table([pa.array(series.time_ms), pa.array(series.values)], schema=schema))
