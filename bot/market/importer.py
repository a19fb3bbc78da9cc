"""A file of candles, read and judged: every fault is named by its line and time before anything is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bot.errors import DataError
from bot.market.columns import DATE, IGNORED_TEXT, TIME, match_columns
from bot.market.quality import usual_step
from bot.market.tables import read_table
from bot.market.times import align_days, parse_times
from ml.candles import OPTIONAL_COLUMNS, PRICE_COLUMNS, Candles, format_ms
from ml.errors import InvalidCandles
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from bot.market.tables import RawTable
    from bot.market.times import ParsedTimes

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Imported", "read_candles", "read_numbers", "read_times"]

_FEWEST_BARS = 2
_ROUNDING = 1e-6  # how far open or close may lie outside low and high and still be a rounding of the source
_UNITS = (("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


@dataclass(frozen=True)
class Imported:
    """Candles of a file, and what the reader of the import should know.

    Attributes
    ----------
    candles : Candles
        Valid candles, ascending.
    notes : tuple of str
        Assumptions that were made and rows that were left out.
    """

    candles: Candles
    notes: tuple[str, ...] = ()


def read_candles(
    path: Path,
    timeframe: str,
    now_ms: int,
    *,
    sort: bool = False,
    drop_duplicates: bool = False,
    widen_ranges: bool = False,
) -> Imported:
    """Read candles from CSV (plain, gzip, zip), Parquet or Feather.

    Columns are found by their usual names; times may be ISO (with or without zone) or epoch seconds, milliseconds or
    microseconds. A header-less CSV of 11 or 12 numbers is Binance's klines.

    Parameters
    ----------
    path
        The file.
    timeframe
        Length of a candle; must be the distance of most neighbouring rows.
    now_ms
        The present, milliseconds UTC: rows after it are errors, a candle that is still forming is left out.
    sort
        Put rows in order of time instead of refusing them.
    drop_duplicates
        Leave out rows that repeat another row in every value.
    widen_ranges
        Move low and high so that they hold open and close, instead of refusing the row. (Up to a millionth of the
        price, a rounding of the source, this is always done, with a note.)

    Raises
    ------
    UsageError
        When there is no such file.
    DataError
        For anything that is not a series of candles; the message names the line, the time and what was expected.
    """
    step = timeframe_ms(timeframe)
    table = read_table(path)
    where = match_columns(path, table.names)
    notes = _unused(table, where)
    times = align_days(read_times(table, where), step)
    columns = {name: read_numbers(table, where[name], name) for name in PRICE_COLUMNS}
    for name in OPTIONAL_COLUMNS:
        if name in where:
            columns[name] = read_numbers(table, where[name], name)
    if times.note:
        notes.append(times.note)
    columns, dropped = _without_empty_volume(table, columns, where)
    notes += dropped

    rows = _Rows(table, times.open_ms)
    _refuse_bad_values(rows, columns)
    order = _in_order(rows, columns, sort=sort, drop_duplicates=drop_duplicates, notes=notes)
    open_ms = times.open_ms[order]
    _refuse_spacing(table, open_ms, step, timeframe)
    late = open_ms > now_ms
    if late.any():
        row = int(order[np.argmax(late)])
        raise rows.fault(row, f"lies in the future (it is {format_ms(now_ms)} now)")
    forming = int((open_ms + step > now_ms).sum())
    if forming:
        order, open_ms = order[:-forming], open_ms[:-forming]
        notes.append(f"the last candle is still forming until {format_ms(int(times.open_ms.max()) + step)}: left out")
    columns = {name: column[order] for name, column in columns.items()}
    _fit_ranges(rows, order, columns, notes, widen=widen_ranges)
    try:
        candles = Candles.from_columns(timeframe, {"open_ms": open_ms, **columns})
    except InvalidCandles as error:
        raise _second_candle(rows, order, open_ms, step, timeframe) or DataError(f"{path.name}: {error}") from None
    if 2 * int(candles.off_grid.sum()) > len(candles):
        notes.append(
            f"most bars do not open on multiples of {timeframe}: such bars are kept, but never scored or traded"
        )
    return Imported(candles, tuple(notes))


@dataclass(frozen=True)
class _Rows:
    """Names rows of a table for messages."""

    table: RawTable
    open_ms: Integers

    def fault(self, row: int, text: str) -> DataError:
        """Return an error that names the file, the line and the time of a row."""
        return DataError(f"{self.table.place(row)} ({format_ms(int(self.open_ms[row]))}): {text}")


def read_times(table: RawTable, where: dict[str, int]) -> ParsedTimes:
    """Return the times of a table's rows; what is no time is an error that names its line."""
    column = table.columns[where[TIME]]
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise DataError(f"{table.place(row)}: the time is empty")
        zone = getattr(column.type, "tz", None)
        texts = pc.strftime(column.cast(pa.timestamp("ms", zone)), "%Y-%m-%dT%H:%M:%S" + ("%z" if zone else ""))
        return parse_times(texts.to_pylist(), table.place)
    if pa.types.is_integer(column.type) and not column.null_count:
        return parse_times(column.to_numpy(), table.place)
    values = column.to_pylist()
    if DATE in where:
        dates = table.columns[where[DATE]].to_pylist()
        values = [f"{date} {value}" for date, value in zip(dates, values, strict=True)]
    return parse_times(["" if value is None else value for value in values], table.place)


def read_numbers(table: RawTable, place: int, name: str) -> Floats:
    """Return a column as numbers; empty cells become NaN and are judged later, text is refused here."""
    column = table.columns[place]
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), None, column)
    try:
        numbers: Floats = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=False)
    except (pa.ArrowException, ValueError):
        return np.array([_number(table, row, name, value) for row, value in enumerate(column.to_pylist())])
    return numbers


def _number(table: RawTable, row: int, name: str, value: object) -> float:
    try:
        if "_" in str(value):  # Python reads 1_000, no exchange writes it
            raise ValueError
        return float("nan") if value is None else float(str(value))
    except ValueError:
        raise DataError(
            f"{table.place(row)}: {name} is {value!r}, expected a number such as 42283.58 (a point, no thousands marks)"
        ) from None


def _unused(table: RawTable, where: dict[str, int]) -> list[str]:
    """Return notes on columns that are not read; refuse a file of several symbols."""
    unused = [place for place in range(len(table.names)) if place not in where.values() and table.names[place].strip()]
    for place in unused:
        if table.names[place].strip().lower() in {"symbol", "ticker", "pair", "coin"}:
            values = pc.unique(table.columns[place]).to_pylist()
            if len(values) > 1:
                raise DataError(
                    f"{table.path.name} holds {len(values)} symbols ({values[0]}, {values[1]}, ...): "
                    "split it into one file a symbol"
                )
    names = [table.names[place].strip() for place in unused if table.names[place] not in {"ignore", "close_time"}]
    notes = [f"columns that were not read: {', '.join(names)}"] if names else []
    return notes + ([IGNORED_TEXT] if any(name.lower().startswith("adj") for name in names) else [])


def _without_empty_volume(
    table: RawTable, columns: dict[str, Floats], where: dict[str, int]
) -> tuple[dict[str, Floats], list[str]]:
    """Leave out optional columns that say nothing: empty, or zero in every row."""
    silent = [
        name for name in OPTIONAL_COLUMNS if name in columns and (np.isnan(columns[name]) | (columns[name] == 0)).all()
    ]
    notes = [f"{table.names[where[name]]} is empty or zero in every row: taken as absent" for name in silent]
    return {name: column for name, column in columns.items() if name not in silent}, notes


def _refuse_bad_values(rows: _Rows, columns: dict[str, Floats]) -> None:
    for name, column in columns.items():
        price = name in PRICE_COLUMNS
        bad = ~np.isfinite(column) | (column <= 0 if price else column < 0)
        if bad.any():
            row = int(np.argmax(bad))
            value = column[row]
            shown = "empty or not a number" if np.isnan(value) else f"{value:g}"
            raise rows.fault(
                row, f"{name} is {shown}, expected a finite number {'above' if price else 'of at least'} 0"
            )
    inverted = columns["high"] < columns["low"]
    if inverted.any():
        row = int(np.argmax(inverted))
        raise rows.fault(row, f"high {columns['high'][row]:.10g} is below low {columns['low'][row]:.10g}")


def _in_order(
    rows: _Rows, columns: dict[str, Floats], *, sort: bool, drop_duplicates: bool, notes: list[str]
) -> Integers:
    """Return the rows to keep, ascending in time; refuse disorder and repeats that were not allowed."""
    times = rows.open_ms
    order = np.arange(len(times))
    steps = np.diff(times)
    if (steps < 0).any():
        if not sort:
            row = int(np.argmax(steps < 0)) + 1
            newest_first = " (the file runs from newest to oldest)" if (steps <= 0).all() else ""
            before = format_ms(int(times[row - 1]))
            raise rows.fault(
                row, f"is out of order, the row before is {before}{newest_first}: --sort puts rows in order"
            )
        order = np.argsort(times, kind="stable")
        notes.append(f"rows were sorted by time ({int((steps < 0).sum())} were out of order)")
    repeated = np.flatnonzero(np.diff(times[order]) == 0) + 1
    if not len(repeated):
        return order
    alike = np.ones(len(repeated), dtype=bool)
    for column in columns.values():
        alike &= column[order][repeated] == column[order][repeated - 1]
    if not alike.all() or not drop_duplicates:
        which = int(np.argmin(alike)) if not alike.all() and (drop_duplicates or not alike[0]) else 0
        row, first = int(order[repeated[which]]), int(order[repeated[which] - 1])
        how = (
            "the same values: --drop-duplicates leaves it out" if alike[which] else "other values: remove the wrong one"
        )
        raise rows.fault(row, f"appears twice, also at {rows.table.place(first)}, with {how}")
    notes.append(f"{len(repeated)} rows that repeat another were left out")
    return np.delete(order, repeated)


def _refuse_spacing(table: RawTable, open_ms: Integers, step: int, timeframe: str) -> None:
    if len(open_ms) < _FEWEST_BARS:
        raise DataError(f"{table.path.name} holds {len(open_ms)} bar: at least {_FEWEST_BARS} are needed")
    usual = usual_step(open_ms)
    if usual == step:
        return
    count = int((np.diff(open_ms) == usual).sum())
    fitting = _timeframe_of(usual)
    hint = f"use --timeframe {fitting}" if fitting else "no timeframe fits"
    apart = fitting or f"{usual / 1000:g} s"
    raise DataError(f"{table.path.name}: {count} of {len(open_ms) - 1} bars are {apart} apart, not {timeframe}: {hint}")


def _timeframe_of(step_ms: int) -> str | None:
    for unit, length in _UNITS:
        if step_ms % length == 0 and step_ms // length <= 999:
            return f"{step_ms // length}{unit}"
    return None


def _fit_ranges(rows: _Rows, order: Integers, columns: dict[str, Floats], notes: list[str], *, widen: bool) -> None:
    low, high = columns["low"], columns["high"]
    lowest, highest = np.minimum(columns["open"], columns["close"]), np.maximum(columns["open"], columns["close"])
    outside = np.maximum(low - lowest, highest - high)
    if not (outside > 0).any():
        return
    large = outside > _ROUNDING * highest
    if large.any() and not widen:
        place = int(np.argmax(large))
        raise rows.fault(
            int(order[place]),
            f"open {columns['open'][place]:.10g} and close {columns['close'][place]:.10g} are not between "
            f"low {low[place]:.10g} and high {high[place]:.10g}: --widen-ranges moves low and high",
        )
    columns["low"], columns["high"] = np.minimum(low, lowest), np.maximum(high, highest)
    size = "" if large.any() else " by less than a millionth, a rounding of the source"
    notes.append(f"low or high of {int((outside > 0).sum())} bars did not hold open and close{size}: widened")


def _second_candle(rows: _Rows, order: Integers, open_ms: Integers, step: int, timeframe: str) -> DataError | None:
    repeated = np.flatnonzero(np.diff(open_ms // step) == 0) + 1
    if not len(repeated):
        return None
    before = format_ms(int(open_ms[repeated[0] - 1]))
    return rows.fault(int(order[repeated[0]]), f"is a second candle in the same {timeframe} interval as {before}")
