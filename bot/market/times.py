"""Times as files and people write them, turned into milliseconds UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bot.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

__all__ = ["DAY_MS", "ParsedTimes", "align_days", "parse_duration", "parse_moment", "parse_times"]

DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
_YEAR_MS = 366 * DAY_MS

# Powers of ten that separate the units of epoch times from 1973 to the year 5138.
_UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
_BORDERS = (1e8, 1e11, 1e14, 1e17, 1e20)
_EXPECTED = "expected ISO such as 2024-01-31T09:00:00Z, or epoch seconds, milliseconds or microseconds"
_ZONE = r"(?i):\d\d(?:\.\d+)?\s*(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d)$"
_ZONE_END = r"(?i)\s*(?:Z|UTC|GMT|[+-]\d\d:?\d\d|[+-]\d\d)$"
_YEAR_FIRST = r"^(\d{4})[./](\d{1,2})[./](\d{1,2})($|[ T])"
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_LENGTHS = {"s": 1_000, "m": 60_000, "h": _HOUR_MS, "d": DAY_MS, "w": 7 * DAY_MS}
_COMPACT_DATE = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")


@dataclass(frozen=True)
class ParsedTimes:
    """Open times of a file.

    Attributes
    ----------
    open_ms : int64 array, shape (n,)
        Milliseconds UTC.
    written_ms : int64 array or None, shape (n,)
        The same as the clock of the file's zone shows them; None where the file holds epoch numbers.
    note : str or None
        What a reader of the import should know.
    """

    open_ms: Integers
    written_ms: Integers | None = None
    note: str | None = None


def parse_moment(text: str, *, whole_day: bool = False) -> int:
    """Return milliseconds UTC for ``2024-01-31``, ``2024-01-31T09:00`` or one with a zone; naive times are UTC.

    Parameters
    ----------
    text
        What a user wrote.
    whole_day
        Whether a date without a time means the end of that day (an ``end`` that includes it).

    Raises
    ------
    UsageError
        When it is not a date or time.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text!r} is not a date: expected 2024-01-31 or 2024-01-31T09:00") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if whole_day and len(text.strip()) <= len("2024-01-31"):
        moment += timedelta(days=1)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def parse_duration(text: str) -> int:
    """Return milliseconds of ``0s``, ``30m``, ``1h`` or ``7d``.

    Raises
    ------
    UsageError
        When it is not a whole number with one of the units s, m, h, d, w.
    """
    found = _DURATION.fullmatch(text.strip().lower())
    if not found:
        raise UsageError(f"{text!r} is no length of time: expected such as 0s, 30m, 1h or 7d")
    return int(found[1]) * _LENGTHS[found[2]]


def parse_times(values: Sequence[Any] | npt.NDArray[Any], place: Callable[[int], str]) -> ParsedTimes:
    """Return the open times of a column of numbers or texts.

    Parameters
    ----------
    values
        Numbers, or texts of numbers or ISO times; one a row.
    place
        Names a row for messages: ``prices.csv:17``.

    Raises
    ------
    DataError
        For a cell that is no time, for mixed units, and for times with and without a zone in one file.
    """
    numbers = _numbers(values)
    if numbers is None:
        return _parse_texts([str(value).strip() for value in values], place)
    bad = ~np.isfinite(numbers)
    if bad.any():
        row = int(np.argmax(bad))
        if str(values[row]).count("-") > 1:  # a date among numbers
            raise DataError(f"{place(row)}: the time is {str(values[row])!r}, but numbers before it: mixed time units")
        raise _not_a_time(values, row, place)
    middle = float(np.median(np.abs(numbers)))
    unit = int(np.searchsorted(_BORDERS, middle, side="right")) - 1
    if unit < 0 and all(_COMPACT_DATE.fullmatch(str(int(number))) for number in numbers):
        return _parse_texts([str(int(number)) for number in numbers], place)
    if not 0 <= unit < len(_UNITS):
        raise _not_a_time(values, 0, place)
    _refuse_mixed(numbers, unit, place)
    times = np.round(numbers * 1000.0) if unit == 0 else numbers // 1000 ** (unit - 1)
    return ParsedTimes(times.astype(np.int64))


def align_days(times: ParsedTimes, step_ms: int) -> ParsedTimes:
    """Return bars of whole days named by their date at 00:00 UTC, where all are stamped at one other local hour.

    Session dates often come as midnight of the exchange's zone, or as the session's open or close. The clock that is written
    counts, else that of UTC; two times of day an hour apart are one, in winter and in summer. A bar takes its own date,
    or the next one when only that leaves no weekend bars, or when no side does and it is nearer. Anything else is returned as
    it is.

    Parameters
    ----------
    times
        As parsed.
    step_ms
        Length of a candle; only whole days are moved.
    """
    if step_ms % DAY_MS or not (times.open_ms % DAY_MS).any():
        return times
    stamps = times.open_ms if times.written_ms is None else times.written_ms
    hours = np.unique(stamps % DAY_MS)
    if len(hours) == 2 and hours[1] - hours[0] == DAY_MS - _HOUR_MS:  # 23:00 in summer is 00:00 in winter
        stamps = stamps + _HOUR_MS
    elif len(hours) > 2 or (len(hours) == 2 and hours[1] - hours[0] != _HOUR_MS):
        return times
    dates = stamps // DAY_MS * DAY_MS
    if _weekend_bars(dates) and (not _weekend_bars(dates + DAY_MS) or (stamps % DAY_MS).min() * 2 >= DAY_MS):
        dates = dates + DAY_MS
    note = "every bar is stamped at the same hour of its day: they are named by their dates, at 00:00 UTC"
    return ParsedTimes(dates, times.written_ms, "; ".join(filter(None, (times.note, note))))


def _weekend_bars(dates: Integers) -> int:
    return int(((dates // DAY_MS + 3) % 7 >= 5).sum())  # 1970-01-01 was a Thursday


def _numbers(values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return the column as numbers if its first cell is one; cells that are not become NaN."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values
    try:
        float(values[0])
    except (TypeError, ValueError):
        return None
    try:
        return np.array([int(value) for value in values], dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number_or_nan(value) for value in values])


def _number_or_nan(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _refuse_mixed(numbers: npt.NDArray[Any], unit: int, place: Callable[[int], str]) -> None:
    """Refuse a row that would fall among the others if it were read in another unit.

    Reading it in the wrong one moves it by decades: a series without such a jump (old ones near 1970) is not mixed.
    """
    if len(numbers) < 2 or np.abs(np.diff(numbers)).max() < 2 * _YEAR_MS / 1000.0 * 1000.0**unit:
        return
    found = np.searchsorted(_BORDERS, np.abs(numbers), side="right") - 1
    usual = numbers[found == unit].astype(np.float64)
    for other in sorted({int(unit_of) for unit_of in np.unique(found) if 0 <= unit_of < len(_UNITS)} - {unit}):
        slack = _YEAR_MS / 1000.0 * 1000.0**unit
        moved = np.where(found == other, numbers * 1000.0 ** (unit - other), np.nan)
        mixed = (moved >= usual.min() - slack) & (moved <= usual.max() + slack)
        if mixed.any():
            row = int(np.argmax(mixed))
            raise DataError(
                f"{place(row)}: the time {numbers[row]} is in {_UNITS[other]}, but most rows are in {_UNITS[unit]}: "
                "mixed time units"
            )


def _parse_texts(texts: list[str], place: Callable[[int], str]) -> ParsedTimes:
    import pandas as pd

    column = pc.replace_substring_regex(pa.array(texts, pa.string()), _YEAR_FIRST, r"\1-\2-\3\4")
    zones = pc.struct_field(pc.extract_regex(column, _ZONE), "zone")
    zoned = pc.is_valid(zones).to_numpy(zero_copy_only=False)
    if zoned.any() and not zoned.all():
        row = int(np.argmax(zoned != zoned[0]))
        if _first_unreadable(texts[row : row + 1]) is not None:
            raise _not_a_time(texts, row, place)
        what = ("without", "with") if zoned[0] else ("with", "without")
        raise DataError(
            f"{place(row)}: the time {texts[row]!r} is {what[0]} a time zone, the rows before are {what[1]}"
        )
    written = pc.replace_substring_regex(column, _ZONE_END, "").to_pylist() if zoned.any() else column.to_pylist()
    try:
        local = pd.to_datetime(written, format="ISO8601", utc=True)
    except (ValueError, TypeError, OverflowError):
        raise _not_a_time(texts, _first_unreadable(written) or 0, place) from None
    if local.isna().any():
        raise _not_a_time(texts, int(np.argmax(local.isna())), place)
    written_ms: Integers = local.as_unit("us").asi8 // 1000
    if zoned.any():
        found = zones.dictionary_encode()
        offsets = np.array([_offset_ms(zone) for zone in found.dictionary.to_pylist()], dtype=np.int64)
        return ParsedTimes(written_ms - offsets[found.indices.to_numpy()], written_ms)
    note = "its times name no zone: they are taken as UTC" if ":" in texts[0] else None
    return ParsedTimes(written_ms, written_ms, note)


def _offset_ms(zone: str) -> int:
    """Return milliseconds east of UTC for Z, UTC, GMT, +02:00, -0400 or +02."""
    digits = zone.strip().replace(":", "")
    if digits[0] not in "+-":
        return 0
    east = int(digits[1:3]) * 3_600_000 + int(digits[3:5] or 0) * 60_000
    return east if digits[0] == "+" else -east


def _first_unreadable(texts: list[str]) -> int | None:
    import pandas as pd

    for row, text in enumerate(texts):
        try:
            moment = pd.to_datetime([text], format="ISO8601", utc=True)
        except (ValueError, TypeError, OverflowError):
            return row
        if moment.isna()[0]:
            return row
    return None


def _not_a_time(values: Sequence[Any] | npt.NDArray[Any], row: int, place: Callable[[int], str]) -> DataError:
    value = values[row]
    shown = repr(str(value)) if str(value).strip() else "empty"
    return DataError(f"{place(row)}: the time is {shown}: {_EXPECTED}")
