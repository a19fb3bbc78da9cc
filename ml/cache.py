"""The prediction cache: results in SQLite under keys that name their content, so that none can be stale.

A key is a digest of everything that a prediction depends on (see :mod:`ml.engine`); a revised candle, another model or
another kernel is another key, never an old entry. Bars of a backtest are kept as one packed blob for each run of bars (a
*chunk*); the newest bar of a live feed is one small row. Each entry carries a checksum over its key and its content: a
damaged entry is a miss.

Several processes may use one file at once, and the file may be deleted at any time. A connection belongs to one thread of one
process: the object opens its own where it is used, and may be copied to another process.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
import struct
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import CacheUnavailable
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch
from ml.write_ahead import set_write_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    Row = tuple[float, ...]
    Table = tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]

__all__ = ["BUSY_SECONDS", "KEY_BYTES", "PredictionCache"]

KEY_BYTES = 16
BUSY_SECONDS = 5.0
"""How long to wait for another process that is writing."""

_COLUMNS = len(PREDICTION_COLUMNS)
_CHECK_BYTES = 8
_BAR_BYTES = 1 + 8 * _COLUMNS
_ONE_BAR = struct.Struct(f"<b{_COLUMNS}d")
_MIGRATION_SET = "predictions"
_STEPS = {
    "create_tables": (
        "CREATE TABLE prediction_chunks (key BLOB PRIMARY KEY NOT NULL, content BLOB NOT NULL)",
        "CREATE TABLE prediction_bars (key BLOB PRIMARY KEY NOT NULL, content BLOB NOT NULL) WITHOUT ROWID",
    ),
}
_MANY = 500  # keys in one SELECT; SQLite allows 999 parameters


class PredictionCache:
    """Predictions by 16-byte keys, in one SQLite file.

    Parameters
    ----------
    path
        The file; it and its folder are made where they are missing.
    busy_seconds
        How long to wait for another process.

    Raises
    ------
    CacheUnavailable
        On construction and in every method: the file is not a database, read-only, locked for longer than
        ``busy_seconds``, damaged, or the disk is full.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = Path(path)
        self.busy_seconds = busy_seconds
        self._local = threading.local()
        with self._guard() as connection, _writing(connection):  # a cache that cannot be written is said so at once
            connection.execute("SELECT count(*) FROM prediction_chunks WHERE key = x''").fetchone()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs: the path, not the connection."""
        return {"path": self.path, "busy_seconds": self.busy_seconds}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the path; the connection is opened at the first use."""
        self.__dict__.update(state)
        self._local = threading.local()

    def get_chunks(self, keys: Sequence[bytes]) -> dict[bytes, PredictionBatch]:
        """Return the chunks that are there, by key.

        Parameters
        ----------
        keys
            Digests of 16 bytes.
        """
        tables = self.get_tables(keys, _COLUMNS)
        return {key: PredictionBatch(values, status) for key, (values, status) in tables.items()}

    def put_chunks(self, chunks: Mapping[bytes, PredictionBatch]) -> None:
        """Store chunks in one transaction; an entry that is there is written anew."""
        self.put_tables({key: (batch.values, batch.status) for key, batch in chunks.items()})

    def get_tables(self, keys: Sequence[bytes], columns: int) -> dict[bytes, Table]:
        """Return values, float64 (n, columns), and statuses, int8 (n,), of the chunks that are there, by key.

        Parameters
        ----------
        keys
            Digests of 16 bytes; a key belongs to chunks of one width only.
        columns
            Numbers of a bar.
        """
        found: dict[bytes, Table] = {}
        with self._guard() as connection:
            for first in range(0, len(keys), _MANY):
                part = list(keys[first : first + _MANY])
                marks = ",".join("?" * len(part))
                query = f"SELECT key, content FROM prediction_chunks WHERE key IN ({marks})"  # noqa: S608 - question marks only
                for key, content in connection.execute(query, part):
                    table = _unpack(key, content, columns)
                    if table is not None:
                        found[key] = table
        return found

    def put_tables(self, tables: Mapping[bytes, Table]) -> None:
        """Store values and statuses in one transaction; an entry that is there is written anew."""
        rows = [(key, _pack(key, *table)) for key, table in tables.items()]
        with self._guard() as connection, _writing(connection):
            connection.executemany("INSERT OR REPLACE INTO prediction_chunks (key, content) VALUES (?, ?)", rows)

    def get_bar(self, key: bytes) -> tuple[Row, int] | None:
        """Return the numbers and the status code of one bar, or None."""
        with self._guard() as connection:
            row = connection.execute("SELECT content FROM prediction_bars WHERE key = ?", (key,)).fetchone()
        if row is None or len(row[0]) != _BAR_BYTES + _CHECK_BYTES:
            return None
        packed = row[0][:_BAR_BYTES]
        if _check(key, packed) != row[0][_BAR_BYTES:]:
            return None
        status, *values = _ONE_BAR.unpack(packed)
        return tuple(values), status

    def put_bar(self, key: bytes, values: Row, status: int) -> None:
        """Store one bar, at once and on its own."""
        packed = _ONE_BAR.pack(status, *values)
        row = (key, packed + _check(key, packed))
        with self._guard() as connection:
            connection.execute("INSERT OR REPLACE INTO prediction_bars (key, content) VALUES (?, ?)", row)

    def clear(self) -> None:
        """Delete every entry."""
        with self._guard() as connection, _writing(connection):
            connection.execute("DELETE FROM prediction_chunks")
            connection.execute("DELETE FROM prediction_bars")

    def close(self) -> None:
        """Close this thread's connection; the next use opens another."""
        if getattr(self._local, "owner", None) == os.getpid():
            self._local.connection.close()
        self._local = threading.local()

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection of this process."""
        if getattr(self._local, "owner", None) != os.getpid():  # a connection does not survive a fork
            self._local.connection = _open(self.path, self.busy_seconds)
            self._local.owner = os.getpid()
        connection: sqlite3.Connection = self._local.connection
        return connection

    @contextmanager
    def _guard(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection; turn what SQLite and the disk say into one clear message."""
        try:
            yield self._connection()
        except sqlite3.Error as error:
            self.close()
            raise CacheUnavailable(self._explain(error)) from error
        except OSError as error:
            self.close()
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            reason = "the disk is full" if full else error.strerror or str(error)
            raise CacheUnavailable(f"{self.path}: the prediction cache cannot be used: {reason}") from error

    def _explain(self, error: sqlite3.Error) -> str:
        text = str(error)
        place = f"{self.path}: the prediction cache"
        remedy = "it holds nothing that cannot be computed again: delete the file"
        if any(word in text for word in ("not a database", "malformed", "no such", "already exists")):
            what = "is not an SQLite database" if "not a database" in text else f"is damaged ({text})"
            return f"{place} {what}; {remedy}"
        if "locked" in text or "busy" in text:
            return f"{place} is locked by another process (waited {self.busy_seconds:g} s); stop it, or delete the file"
        if "readonly" in text or "read-only" in text:
            return f"{place} cannot be written: the file or its folder is read-only; make them writable"
        if "full" in text:
            return f"{place} cannot grow: the disk is full"
        if "disk I/O" in text:
            return f"{place} cannot be used: {text}: the disk is full, or failing"
        if "unable to open" in text:
            return f"{place} cannot be opened: its folder is missing or may not be written"
        return f"{place} cannot be used: {text}"


def _open(path: Path, busy_seconds: float) -> sqlite3.Connection:
    """Open the file, set it to write-ahead logging, and bring its tables up to date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")  # what a power cut takes is computed again
        set_write_ahead(connection, busy_seconds)
        if not _up_to_date(connection):
            with _writing(connection):  # of two processes that find an empty file, one makes the tables
                _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Run one transaction that may write from its start, so that waiting for another writer cannot fail half-way."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _up_to_date(connection: sqlite3.Connection) -> bool:
    """Tell whether every step was taken, without loading sqlite-utils (a third of a second)."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone():
        return False
    query = "SELECT name FROM _sqlite_migrations WHERE migration_set = ?"
    return set(_STEPS) <= {name for (name,) in connection.execute(query, (_MIGRATION_SET,))}


def _migrate(connection: sqlite3.Connection) -> None:
    """Take the steps that lead from an empty file to today's tables; a step that was released never changes."""
    from sqlite_utils import Database, Migrations

    migrations = Migrations(_MIGRATION_SET)
    for name, statements in _STEPS.items():

        def step(database: Database, statements: tuple[str, ...] = statements) -> None:
            for statement in statements:
                database.execute(statement)

        migrations(name=name)(step)
    migrations.apply(Database(connection, execute_plugins=False))


def _pack(key: bytes, values: npt.NDArray[np.float64], status: npt.NDArray[np.int8]) -> bytes:
    """Return statuses, values and a checksum as one blob."""
    packed = status.astype("<i1").tobytes() + np.ascontiguousarray(values, dtype="<f8").tobytes()
    return packed + _check(key, packed)


def _unpack(key: bytes, content: bytes, columns: int) -> Table | None:
    """Return what `_pack` packed, or None when it is not what was written under this key."""
    count, rest = divmod(len(content) - _CHECK_BYTES, 1 + 8 * columns)
    if count < 1 or rest or _check(key, content[:-_CHECK_BYTES]) != content[-_CHECK_BYTES:]:
        return None
    status = np.frombuffer(content, dtype="<i1", count=count)
    values = np.frombuffer(content, dtype="<f8", count=count * columns, offset=count)
    return values.reshape(count, columns), status


def _check(key: bytes, packed: bytes) -> bytes:
    return hashlib.blake2b(packed, digest_size=_CHECK_BYTES, key=key).digest()
