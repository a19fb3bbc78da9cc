"""A file of sentiment, read and judged: a time and a value a row, every fault named by its line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bot.errors import DataError, UsageError
from bot.market.columns import VALUE, match_side_columns
from bot.market.importer import read_numbers, read_times
from bot.market.tables import read_table
from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt

    from bot.market.tables import RawTable

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["ImportedSentiment", "read_sentiment"]


@dataclass(frozen=True, eq=False)
class ImportedSentiment:
    """Values of a file in order of time, on the scale from 0 to 100, and what the reader of the import should know."""

    time_ms: Integers
    values: Floats
    notes: tuple[str, ...] = ()


def read_sentiment(
    path: Path,
    now_ms: int,
    *,
    columns: Mapping[str, str] | None = None,
    scale: tuple[float, float] = (0.0, 100.0),
    sort: bool = False,
    drop_duplicates: bool = False,
) -> ImportedSentiment:
    """Read a series of sentiment from CSV (plain, gzip, zip), Parquet or Feather.

    Parameters
    ----------
    path
        The file.
    now_ms
        The present, milliseconds UTC: rows after it are errors.
    columns
        Names of the columns ``time`` and ``value`` where they are not the usual ones.
    scale
        Values of the source that stand for extreme fear and extreme greed; they become 0 and 100.
    sort
        Put rows in order of time instead of refusing them.
    drop_duplicates
        Leave out rows that repeat another row.

    Raises
    ------
    UsageError
        When there is no such file, or the scale is empty.
    DataError
        For anything that is not such a series; the message names the line, the time and what was expected.
    """
    low, high = scale
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise UsageError(f"a scale from {low:g} to {high:g} has no values: expected two rising numbers such as 0 100")
    table = read_table(path)
    where = match_side_columns(path, table.names, columns or {})
    times = read_times(table, where)
    notes = [times.note] if times.note else []
    unused = [name for place, name in enumerate(table.names) if place not in where.values() and name.strip()]
    if unused:
        notes.append(f"columns that were not read: {', '.join(unused)}")
    values = read_numbers(table, where[VALUE], table.names[where[VALUE]])
    bad = ~((values >= low) & (values <= high))
    if bad.any():
        row = int(np.argmax(bad))
        shown = "empty or not a number" if np.isnan(values[row]) else f"{values[row]:g}"
        other = "" if np.isnan(values[row]) else "; --scale LOW HIGH names another scale"
        raise _fault(table, times.open_ms, row, f"the value is {shown}, expected {low:g} to {high:g}{other}")
    order = _in_order(table, times.open_ms, values, sort=sort, drop_duplicates=drop_duplicates, notes=notes)
    late = times.open_ms[order] > now_ms
    if late.any():
        row = int(order[np.argmax(late)])
        raise _fault(table, times.open_ms, row, f"lies in the future (it is {format_ms(now_ms)} now)")
    scaled = values[order] if (low, high) == (0.0, 100.0) else 100.0 * (values[order] - low) / (high - low)
    return ImportedSentiment(times.open_ms[order].astype(np.int64), scaled, tuple(notes))


def _in_order(
    table: RawTable, times: Integers, values: Floats, *, sort: bool, drop_duplicates: bool, notes: list[str]
) -> Integers:
    order: Integers = np.arange(len(times))
    steps = np.diff(times)
    if (steps < 0).any():
        if not sort:
            row = int(np.argmax(steps < 0)) + 1
            whole = " (the file runs from newest to oldest)" if (steps <= 0).all() else ""
            raise _fault(table, times, row, f"is out of order{whole}: --sort puts rows in order")
        order = np.argsort(times, kind="stable")
        notes.append(f"rows were sorted by time ({int((steps < 0).sum())} were out of order)")
    repeated = np.flatnonzero(np.diff(times[order]) == 0) + 1
    for place in repeated.tolist():
        alike = values[order[place]] == values[order[place - 1]]
        if not (alike and drop_duplicates):
            how = "the same value: --drop-duplicates leaves it out" if alike else "another value: remove the wrong one"
            first = table.place(int(order[place - 1]))
            raise _fault(table, times, int(order[place]), f"appears twice, also at {first}, with {how}")
    if len(repeated):
        notes.append(f"{len(repeated)} rows that repeat another were left out")
    return np.delete(order, repeated)


def _fault(table: RawTable, times: Integers, row: int, text: str) -> DataError:
    return DataError(f"{table.place(row)} ({format_ms(int(times[row]))}): {text}")
