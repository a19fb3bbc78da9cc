"""The state database: what must survive a crash and a power cut, in one SQLite file.

Orders, decisions, commands and the status of running bots stand here. Unlike the prediction cache nothing in it can be
computed again, so every commit waits for the disk, and a write that fails raises: who sends an order writes its intent
first, and sends nothing when that raises.

Several processes may use one file at once: readers never wait, writers wait for each other. A connection belongs to one
thread of one process; the object opens its own where it is used.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import StorageError
from ml.write_ahead import primary_code, set_write_ahead
from registry.durable import make_folders

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["BUSY_SECONDS", "StateDatabase"]

BUSY_SECONDS = 5.0
"""How long to wait for another process that is writing."""

_CACHE_KB = 512  # of a connection: a bot that runs for weeks does not grow by what it has written
_MIGRATIONS = "state_migrations"
_WORDS = ("BEGIN IMMEDIATE", "ROLLBACK", "COMMIT")
_PART_WORDS = ("SAVEPOINT", "ROLLBACK TO", "RELEASE")


class StateDatabase:
    """One SQLite file of precious rows: write-ahead logging, a flush at every commit, foreign keys.

    A row that breaks a constraint raises ``sqlite3.IntegrityError``, as that is a fact about rows; everything that the
    disk, the file or another process does wrong is a `StorageError`.

    Parameters
    ----------
    path
        The file; it and its folder are made where they are missing.
    busy_seconds
        How long to wait for another process that is writing.

    Raises
    ------
    StorageError
        On construction and in every method: the file is not a database, damaged, read-only, deleted under us, locked for
        longer than ``busy_seconds``, or the disk is full. What was not committed is not there.
    """

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = Path(path)
        self.busy_seconds = busy_seconds
        self._guard = threading.Lock()
        self._owner = os.getpid()
        self._connections: dict[threading.Thread, _Connection] = {}
        self._inherited: list[_Connection] = []
        self._closed = False
        try:
            with self.transaction():  # a file that cannot be written is said so at once
                self.execute(
                    f"CREATE TABLE IF NOT EXISTS {_MIGRATIONS} "
                    "(owner TEXT NOT NULL, step TEXT NOT NULL, PRIMARY KEY (owner, step)) WITHOUT ROWID"
                )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> StateDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """Run the block as one transaction: all of it is on the disk when the block ends, or nothing is.

        With ``durable=False`` it does not wait for the disk: it survives a kill of the process, and a power cut loses it
        together with all that came after it, up to the next that is durable. For what can be fetched again.

        It may write from its start (``BEGIN IMMEDIATE``), so it cannot fail half-way for another writer. Inside another
        transaction of the same thread it is a part of that: an error undoes the part, the outer end commits.

        Raises
        ------
        StorageError
            When it cannot begin or commit. Errors of the block are raised as they are, after everything was undone.
        """
        link = self._link()
        begin, undo, end = _WORDS if not link.depth else (f"{words} part_{link.depth}" for words in _PART_WORDS)
        if not link.depth and durable != link.is_durable:
            self._run(link, f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            link.is_durable = durable
        self._run(link, begin)
        link.depth += 1
        try:
            yield
            if link.depth == 1:
                self._check_named(link)
            self._run(link, end)
        except BaseException:
            self._undo(link, undo)
            raise
        finally:
            link.depth -= 1
            if not link.depth and link.is_lost:
                self._forget(link)

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Return every row of a query; also of ``INSERT ... RETURNING``.

        Parameters
        ----------
        sql
            One statement.
        params
            Values of its question marks, or of its names.
        """
        return self._run(self._link(), sql, params)[0]

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run one statement, on its own or in the open transaction, and return how many rows it changed."""
        link = self._link()
        if not link.depth and not link.is_durable:
            with self.transaction():
                return self._run(link, sql, params)[1]
        return self._run(link, sql, params)[1]

    def execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for many rows, in one transaction."""
        with self.transaction():
            for row in rows:
                self.execute(sql, row)

    def apply(self, owner: str, steps: Mapping[str, Sequence[str]]) -> None:
        """Bring one owner's tables up to date: run the steps that this file has not seen, in order, in one transaction.

        Parameters
        ----------
        owner
            Whose tables: ``"control"``, ``"journal"``.
        steps
            Statements by name of the step. A step that was released never changes; a change is another step.

        Raises
        ------
        StorageError
            Also when the file has a step that is not known here: a newer program wrote it.
        """
        if not self._missing(owner, steps):  # the usual case takes no lock
            return
        with self.transaction():  # of two processes that find an old file, one takes the steps
            for name in self._missing(owner, steps):
                for statement in steps[name]:
                    self.execute(statement)
                self.execute(f"INSERT INTO {_MIGRATIONS} (owner, step) VALUES (?, ?)", (owner, name))  # noqa: S608 - our constant

    def problems(self) -> list[str]:
        """Read the whole file and return what is damaged, in SQLite's words; empty for a sound file."""
        try:
            found = [str(row[0]) for row in self.rows("PRAGMA quick_check")]
        except StorageError as error:
            return [str(error)]
        return [] if found == ["ok"] else found

    def close(self) -> None:
        """Close the connections of every thread; no thread may use the object any more."""
        with self._guard:
            self._closed = True
            connections, self._connections = self._connections, {}
        if self._owner == os.getpid():
            for link in connections.values():
                link.sqlite.close()
        else:
            self._inherited.extend(connections.values())

    def _missing(self, owner: str, steps: Mapping[str, Sequence[str]]) -> list[str]:
        query = f"SELECT step FROM {_MIGRATIONS} WHERE owner = ?"  # noqa: S608 - our constant
        taken = {str(row["step"]) for row in self.rows(query, (owner,))}
        unknown = sorted(taken - set(steps))
        if unknown:
            raise StorageError(
                f"{self.path}: the state database was written by a newer version of this program "
                f"({owner} has the step {unknown[0]!r}): update the program"
            )
        return [name for name in steps if name not in taken]

    def _link(self) -> _Connection:
        """Return this thread's connection of this process, opened at its first use."""
        me = threading.current_thread()
        with self._guard:
            if self._closed:
                raise StorageError(f"{self.path}: the state database was closed by this program")
            if self._owner != os.getpid():  # a connection does not survive a fork, and the child may not close it
                self._inherited.extend(self._connections.values())
                self._connections, self._owner = {}, os.getpid()
            link = self._connections.get(me)
        if link is None:
            link = self._open()
            with self._guard:
                for thread in [each for each in self._connections if not each.is_alive()]:
                    self._connections.pop(thread).sqlite.close()
                self._connections[me] = link
        elif not link.depth:
            self._check_named(link)
        return link

    def _open(self) -> _Connection:
        try:
            make_folders(self.path.parent)
            sqlite = sqlite3.connect(
                self.path, timeout=self.busy_seconds, isolation_level=None, check_same_thread=False
            )
        except OSError as error:
            raise StorageError(
                f"{self.path}: the state database cannot be opened: {error.strerror or error}: {error.filename}"
            ) from error
        except sqlite3.Error as error:
            raise StorageError(self._explain(error)) from error
        try:
            sqlite.row_factory = sqlite3.Row
            set_write_ahead(sqlite, self.busy_seconds)
            sqlite.execute("PRAGMA synchronous = FULL")
            sqlite.execute("PRAGMA foreign_keys = ON")
            sqlite.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
            return _Connection(sqlite, self._file_number())
        except sqlite3.Error as error:
            sqlite.close()
            raise StorageError(self._explain(error)) from error
        except BaseException:
            sqlite.close()
            raise

    def _file_number(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0)
        return (found.st_dev, found.st_ino)

    def _check_named(self, link: _Connection) -> None:
        """Refuse to go on in a file that was deleted or replaced: what is written there nobody finds again."""
        if self._file_number() != link.file_number:
            raise StorageError(
                f"{self.path}: the state database was deleted or replaced while this program used it: "
                "stop every bot of this home, put the file back, and start again"
            )

    def _run(
        self, link: _Connection, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()
    ) -> tuple[list[sqlite3.Row], int]:
        """Return the rows of a statement, and how many it changed."""
        if link.depth and (link.is_lost or not link.sqlite.in_transaction):
            raise StorageError(f"{self.path}: the state database has undone this transaction after an earlier error")
        try:
            cursor = link.sqlite.execute(sql, params)
            return cursor.fetchall(), max(0, cursor.rowcount)
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
            raise  # a fact about the rows, or a fault of the caller
        except sqlite3.Error as error:
            raise StorageError(self._explain(error)) from error

    def _undo(self, link: _Connection, words: str) -> None:
        """Undo a transaction or a part of it; where not even that works, closing the connection undoes all."""
        try:
            if not link.is_lost and link.sqlite.in_transaction:  # SQLite itself has undone it after some errors
                link.sqlite.execute(words)
        except sqlite3.Error:
            link.is_lost = True
            link.sqlite.close()

    def _forget(self, link: _Connection) -> None:
        with self._guard:
            for thread in [each for each, other in self._connections.items() if other is link]:
                del self._connections[thread]

    def _explain(self, error: sqlite3.Error) -> str:
        text, code = str(error), primary_code(error)
        place = f"{self.path}: the state database"
        keep = "keep a copy of it, then put back a backup, or move it away to start anew"
        if code == sqlite3.SQLITE_NOTADB:
            return f"{place} is not an SQLite database: move the file away, or choose another --home"
        if code == sqlite3.SQLITE_CORRUPT:
            return f"{place} is damaged ({text}): stop every bot of this home, {keep}"
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return (
                f"{place} is locked by another process (waited {self.busy_seconds:g} s): end what writes to it, "
                "such as a backup or a database browser, and try again"
            )
        if code == sqlite3.SQLITE_READONLY:
            return f"{place} cannot be written: the file or its folder is read-only; make them writable"
        if code == sqlite3.SQLITE_FULL:
            return f"{place} cannot grow: the disk is full; nothing was written: make room"
        if code == sqlite3.SQLITE_IOERR:
            return (
                f"{place} cannot be used: {text}: the disk is full or failing, or a limit on file sizes is reached; "
                "nothing was written: make room, and check the disk"
            )
        if code == sqlite3.SQLITE_CANTOPEN:
            return f"{place} cannot be opened: its folder is missing or may not be written, or it is a folder itself"
        if "no such" in text:
            return f"{place} is not as this program left it ({text}): {keep}"
        return f"{place} cannot be used: {text}"


class _Connection:
    """A connection, the file that it opened, how many transactions of its thread are open, and whether it was given up."""

    __slots__ = ("depth", "file_number", "is_durable", "is_lost", "sqlite")

    def __init__(self, sqlite: sqlite3.Connection, file_number: tuple[int, int]) -> None:
        self.sqlite = sqlite
        self.file_number = file_number
        self.depth = 0
        self.is_lost = False
        self.is_durable = True  # as the connection is opened
