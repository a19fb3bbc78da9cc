"""The state database for looking only: no lock is taken, nothing can be changed, and no bot ever waits for a view."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from bot.errors import StorageError
from bot.state import BUSY_SECONDS, StateDatabase

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["StateReader", "reading"]


class StateReader(StateDatabase):
    """An existing state database, read by the thread that opened it.

    It stands in for `StateDatabase` wherever only rows are asked for. Tables of parts that never ran in this home are not
    made: ``has`` tells.

    Parameters
    ----------
    path
        The file; it must exist.

    Raises
    ------
    StorageError
        When it cannot be read, and for every statement that would write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.busy_seconds = BUSY_SECONDS
        try:
            self._file = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None
            )
        except sqlite3.Error as error:
            raise StorageError(self._explain(error)) from error
        self._file.row_factory = sqlite3.Row
        try:
            self._tables = {str(row[0]) for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def has(self, *tables: str) -> bool:
        """Tell whether all of these tables are there."""
        return self._tables.issuperset(tables)

    def rows(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """Return every row of a query."""
        try:
            return self._file.execute(sql, params).fetchall()
        except sqlite3.Error as error:
            raise StorageError(self._explain(error)) from error

    def execute(self, sql: str, params: Sequence[Any] | Mapping[str, Any] = ()) -> int:  # noqa: ARG002 - as the base has it
        """Refuse, as nothing is written here."""
        raise StorageError(f"{self.path}: the state database is only read here")

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:  # noqa: ARG002 - as the base has it
        """Let the block see one moment of the file."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            self.rows("ROLLBACK")

    def apply(self, owner: str, steps: Mapping[str, Sequence[str]]) -> None:
        """Do nothing: the tables are as whoever writes them left them."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def reading(path: Path) -> Iterator[StateReader | None]:
    """Open a state database for the length of the block; None where there is none, and none is made.

    Raises
    ------
    StorageError
        When it cannot be read.
    """
    if not path.exists():
        yield None
        return
    with StateReader(path) as state:
        yield state
