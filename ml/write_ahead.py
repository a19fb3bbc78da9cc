"""Write-ahead logging of an SQLite file: readers of other processes never wait for a writer."""

from __future__ import annotations

import sqlite3
import time

__all__ = ["primary_code", "set_write_ahead"]

_PAUSE_S = 0.01


def set_write_ahead(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch a file to write-ahead logging; SQLite itself does not wait for other processes here, so this does.

    Parameters
    ----------
    connection
        Opened, with no transaction begun.
    busy_seconds
        How long to wait for another process that uses the file.

    Raises
    ------
    sqlite3.OperationalError
        When the file is in use for longer, or its folder does not allow write-ahead logging.
    """
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            if mode != "wal":
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            is_busy = primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not is_busy or time.monotonic() >= deadline:
                raise
            time.sleep(_PAUSE_S)
            continue
        if mode != "wal":
            raise sqlite3.OperationalError(f"its folder does not allow write-ahead logging (journal mode {mode})")
        return


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, such as ``sqlite3.SQLITE_BUSY``; 0 where the error is not SQLite's own."""
    return int(getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
