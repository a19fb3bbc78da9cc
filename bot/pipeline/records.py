"""The prequential record: what each recipe's versions said of bars that they had never seen, and what came.

It is the only source of published accuracy, of calibration, of drift and of ranking. Rows are appended, never changed; each
append is sealed with a digest of its rows, chained to the one before, so a row that is missing, repeated or edited is found.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import DataError
from ml.candles import format_ms
from ml.errors import InvalidRecord
from ml.lifecycle.evaluations import evaluations_of
from ml.record import check_order, concat_records, record_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from bot.state import StateDatabase
    from ml.lifecycle.evaluations import Evaluations

__all__ = ["Records"]

_TASKS = ("direction", "risk", "volatility")  # one table for each kind of record
_APPENDS = """
    CREATE TABLE record_appends (
        stream TEXT NOT NULL, number INTEGER NOT NULL, version TEXT NOT NULL, source TEXT NOT NULL,
        first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, count INTEGER NOT NULL, training_rows INTEGER NOT NULL,
        digest TEXT NOT NULL,
        PRIMARY KEY (stream, number)
    )
"""


def _steps() -> dict[str, tuple[str, ...]]:
    tables = [_APPENDS]
    for task in _TASKS:
        kinds = {np.dtype(np.float64): "REAL"}
        columns = ", ".join(
            f"{name} {kinds.get(dtype, 'INTEGER')}" for name, dtype in record_class(task).dtypes().items()
        )
        tables.append(
            f"CREATE TABLE record_{task} (stream TEXT NOT NULL, number INTEGER NOT NULL, {columns}, "
            "PRIMARY KEY (stream, open_ms)) WITHOUT ROWID"
        )
    return {"create_tables": tuple(tables)}


class Records:
    """The records of all streams: of recipes, and of single versions that are watched beside them.

    Parameters
    ----------
    state
        The pipeline's database.
    """

    def __init__(self, state: StateDatabase) -> None:
        state.apply("records", _steps())
        self._state = state
        self._held: dict[str, _Held] = {}

    def append(self, stream: str, task: str, record: Any, *, version: str, source: str, training_rows: int) -> int:
        """Add rows to the end of a stream, all or none, and return how many.

        Parameters
        ----------
        stream
            Whose they are.
        task
            Of the model.
        record
            Rows of the task's record, later than every one that the stream has.
        version
            Which version said them.
        source
            ``walk_forward`` for what the first version's folds said of the past, ``prequential`` for what was said of new
            bars.
        training_rows
            Rows that the version's base rate was counted on.

        Raises
        ------
        DataError
            When a row is not later than the last one.
        StorageError
            When it cannot be written.
        """
        if not len(record):
            return 0
        check_order(record, stream)
        columns = record.columns()
        names, first, last = list(columns), int(record.open_ms[0]), int(record.open_ms[-1])
        with self._state.transaction():
            before = self._last(stream)
            if before is not None and first <= before["last_ms"]:
                raise DataError(
                    f"the record of {stream} ends with {format_ms(before['last_ms'])}: a row of {format_ms(first)} "
                    "comes too late"
                )
            number = 1 if before is None else before["number"] + 1
            said = f"{version} {source} {training_rows}"
            digest = _digest(stream if before is None else before["digest"], record, said)
            self._state.execute(
                "INSERT INTO record_appends VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (stream, number, version, source, first, last, len(record), training_rows, digest),
            )
            marks = ", ".join("?" * (len(names) + 2))
            statement = f"INSERT INTO {_table(task)} (stream, number, {', '.join(names)}) VALUES ({marks})"  # noqa: S608 - our own names
            for row in zip(*(column.tolist() for column in columns.values()), strict=True):
                self._state.execute(statement, (stream, number, *row))
        return len(record)

    def read(self, stream: str, task: str, *, after_ms: int | None = None) -> Any:
        """Return a stream's rows in time order as the task's record; see `_read` for what may be raised."""
        return self._read(stream, task, after_ms)[0]

    def evaluations(self, stream: str, task: str, horizon: int, *, after_ms: int | None = None) -> Evaluations:
        """Return a stream's rows as the judges read them; see `_read` for what may be raised."""
        record, numbers = self._read(stream, task, after_ms)
        if not len(numbers):
            return evaluations_of(record, task, horizon, numbers)
        known = self._state.rows(
            "SELECT number, training_rows FROM record_appends WHERE stream = ? AND number >= ?",
            (stream, int(numbers[0])),
        )
        behind = {row["number"]: row["training_rows"] for row in known}
        rows = np.array([behind[number] for number in numbers.tolist()], dtype=np.int64)
        return evaluations_of(record, task, horizon, rows)

    def _read(self, stream: str, task: str, after_ms: int | None) -> tuple[Any, npt.NDArray[np.int64]]:
        """Return a stream's rows in time order, checked against their seals, and the append of each; none where it has none.

        Parameters
        ----------
        after_ms
            Only rows of later bars.

        Raises
        ------
        DataError
            When rows are missing, repeated or changed; the message names the first span that is.
        """
        held = self._whole(stream, task)
        if after_ms is None:
            return held.record, held.numbers
        first = int(np.searchsorted(held.record.open_ms, after_ms, side="right"))
        return held.record.rows(slice(first, None)), held.numbers[first:]

    def _whole(self, stream: str, task: str) -> _Held:
        """Return every row of a stream; those that this object has checked before are not read again."""
        held = self._held.get(stream)
        names = list(record_class(task).dtypes())
        after = 0 if held is None else held.appends
        record, numbers = self._select(stream, task, names, "number > ?", after)
        known = self._state.rows(
            "SELECT * FROM record_appends WHERE stream = ? AND number > ? ORDER BY number", (stream, after)
        )
        seal = self._check(stream, record, numbers, known, stream if held is None else held.seal)
        if held is not None:
            if not known:
                return held
            record = concat_records([held.record, record], stream)
            numbers = np.concatenate([held.numbers, numbers])
        held = _Held(record, numbers, after + len(known), seal)
        self._held[stream] = held
        return held

    def last_ms(self, stream: str) -> int | None:
        """Return the open time of a stream's last row."""
        last = self._last(stream)
        return None if last is None else int(last["last_ms"])

    def sources(self, stream: str) -> list[tuple[str, str, int, int, int]]:
        """Return the appends of a stream: version, source, first and last open time, rows."""
        return [
            (row["version"], row["source"], row["first_ms"], row["last_ms"], row["count"])
            for row in self._appends(stream)
        ]

    def said_by(self, stream: str, version: str, record: Any) -> Any:
        """Return the rows of a stream's record that one version said of new bars."""
        taken = np.zeros(len(record), dtype=np.bool_)
        for who, source, first_ms, last_ms, _ in self.sources(stream):
            if who == version and source == "prequential":
                taken |= (record.open_ms >= first_ms) & (record.open_ms <= last_ms)
        return record.rows(taken)

    def first_damage(self, stream: str, task: str) -> int | None:
        """Return the number of the first append whose rows are not as they were sealed; None where all is well.

        Rows that nobody appended are damage after the last append.
        """
        names = list(record_class(task).dtypes())
        seal, appends = stream, self._appends(stream)
        for place, row in enumerate(appends, 1):
            part, _ = self._select(stream, task, names, "number = ?", row["number"])
            if row["number"] != place or len(part) != row["count"] or _digest(seal, part, _said(row)) != row["digest"]:
                return place
            seal = row["digest"]
        count = self._state.rows(f"SELECT count(*) FROM {_table(task)} WHERE stream = ?", (stream,))[0][0]  # noqa: S608
        return None if count == sum(row["count"] for row in appends) else len(appends) + 1

    def drop(self, stream: str, task: str, number: int) -> int:
        """Take away an append, all that came after it and rows that nobody appended; returns how many appends are gone."""
        with self._state.transaction():
            self._held.pop(stream, None)
            gone = self._state.execute("DELETE FROM record_appends WHERE stream = ? AND number >= ?", (stream, number))
            kept = "SELECT number FROM record_appends WHERE stream = ?"
            self._state.execute(
                f"DELETE FROM {_table(task)} WHERE stream = ? AND number NOT IN ({kept})",  # noqa: S608 - our own names
                (stream, stream),
            )
        return gone

    def _select(
        self, stream: str, task: str, names: list[str], where: str, value: int
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Return rows as a record, and the append of each."""
        query = f"SELECT number, {', '.join(names)} FROM {_table(task)} WHERE stream = ? AND {where} ORDER BY open_ms"  # noqa: S608
        rows = self._state.rows(query, (stream, value))
        columns = dict(zip(names, zip(*(tuple(row)[1:] for row in rows), strict=True), strict=True)) if rows else {}
        record = record_class(task).from_columns({name: columns.get(name, ()) for name in names})
        return record, np.array([row["number"] for row in rows], dtype=np.int64)

    def _last(self, stream: str) -> Any:
        """Return the newest append of a stream; None where it has none."""
        query = "SELECT * FROM record_appends WHERE stream = ? ORDER BY number DESC LIMIT 1"
        return next(iter(self._state.rows(query, (stream,))), None)

    def _appends(self, stream: str) -> Sequence[Any]:
        return self._state.rows("SELECT * FROM record_appends WHERE stream = ? ORDER BY number", (stream,))

    def _check(self, stream: str, record: Any, numbers: Any, known: Sequence[Any], seal: str) -> str:
        """Compare rows with the seals of their appends, and return the last seal."""
        strays = ~np.isin(numbers, [row["number"] for row in known])
        strays[:-1] |= np.diff(numbers) < 0  # under the number of a later append
        if strays.any():
            at = format_ms(int(record.open_ms[int(np.argmax(strays))]))
            raise DataError(
                f"{self._state.path}: the record of {stream} has a row of {at} that nobody appended; "
                f"'bot pipeline repair {stream}' takes it away"
            )
        try:
            check_order(record, f"the record of {stream}")
        except InvalidRecord as error:
            raise DataError(f"{self._state.path}: {error}; 'bot pipeline repair {stream}' mends it") from None
        borders = np.searchsorted(numbers, [row["number"] for row in known], side="left").tolist()
        for row, lo, hi in zip(known, borders, [*borders[1:], len(numbers)][: len(known)], strict=True):
            part = record.rows(slice(lo, hi))
            if len(part) == row["count"] and _digest(seal, part, _said(row)) == row["digest"]:
                seal = str(row["digest"])
                continue
            lost = row["count"] - len(part)
            what = f"{lost} of its rows are missing" if lost > 0 else "a row was changed"
            raise DataError(
                f"{self._state.path}: the record of {stream} is damaged between {format_ms(row['first_ms'])} and "
                f"{format_ms(row['last_ms'])}: {what}; 'bot pipeline repair {stream}' scores that span anew"
            )
        return seal


@dataclass(frozen=True, eq=False)
class _Held:
    """Rows of a stream that were read and checked, the append of each, how many appends they are, and the last seal."""

    record: Any
    numbers: npt.NDArray[np.int64]
    appends: int
    seal: str


def _table(task: str) -> str:
    return "record_direction" if task in {"direction", "price"} else f"record_{task}"


def _said(row: Any) -> str:
    """Return what an append says of its rows: who said them, how, and on how many rows the base rate was counted."""
    return f"{row['version']} {row['source']} {row['training_rows']}"


def _digest(before: str, record: Any, said: str) -> str:
    """Return the seal of an append: SHA-256 over the seal before, what it says of itself and the bytes of every column.

    Every NaN counts alike, and so do the zeros of both signs: a database keeps neither apart.
    """
    seal = hashlib.sha256(f"{before} {said}".encode())
    for name, column in record.columns().items():
        values = column
        if values.dtype.kind == "f":
            values = np.where(np.isnan(values), np.nan, values + 0.0)
        seal.update(name.encode() + b"\0" + np.ascontiguousarray(values).tobytes())
    return seal.hexdigest()
