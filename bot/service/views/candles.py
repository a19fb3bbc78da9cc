"""Stored candles, put together in whole groups until they fit, and which series there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import UsageError
from bot.market.store import CandleStore
from bot.market.times import parse_moment
from bot.service.answers import pair_text
from bot.service.candle_memory import CandleMemory
from bot.service.views.plain import plain
from ml.candles import format_ms

if TYPE_CHECKING:
    import numpy.typing as npt

    from bot.home import Home
    from ml.candles import Candles

    Integers = npt.NDArray[np.int64]

__all__ = ["MOST_POINTS", "candles", "group_size", "group_starts", "series"]

MOST_POINTS = 5_000


def candles(
    home: Home,
    symbol: str,
    timeframe: str,
    exchange: str | None = None,
    *,
    start: str | None = None,
    end: str | None = None,
    points: int = 1_000,
    known: CandleMemory | None = None,
) -> dict[str, Any]:
    """Return the candles of a series, at most ``points`` rows.

    Where there are more, ``group`` neighbours become one row: open of the first, highest high, lowest low, close of the last,
    sum of the volume. The last row of a stretch may stand for fewer. No row spans a time without candles that is longer than
    a row.

    Parameters
    ----------
    home
        Whose store.
    symbol, timeframe, exchange
        Any accepted spelling; ``exchange`` may be left out where only one holds the series.
    start, end
        First moment, and the first after the last; a date as ``end`` includes its day. UTC unless they say otherwise.
    points
        1 to 5,000.
    known
        Candles of the home that are in memory already.

    Returns
    -------
    dict
        ``symbol``, ``timeframe``, ``exchange``, ``origin``, ``digest`` (of the stored series), ``bars`` (candles in the
        range), ``first`` and ``last`` (open times of the range; null where it is empty), ``stored_from`` and ``stored_until``
        (of the series), ``group`` and ``rows``: open time in milliseconds UTC, open, high, low, close, volume (null where the
        source has none).

    Raises
    ------
    SeriesNotFound, UsageError, InvalidName, DataError, StorageError
        As `CandleStore.read`, and for moments and numbers that make no sense.
    """
    if not 1 <= points <= MOST_POINTS:
        raise UsageError(f"points is {points}: expected 1 to {MOST_POINTS:,}")
    start_ms, end_ms = _moment(start, whole_day=False), _moment(end, whole_day=True)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise UsageError(f"start {start} is not before end {end}")
    stored = (known or CandleMemory(CandleStore(home.candles))).read(symbol, timeframe, exchange)
    part = stored.candles.between(start_ms, end_ms)
    group = group_size(part.open_ms, part.step_ms, points)
    document = {
        "symbol": pair_text(stored.symbol),
        "timeframe": stored.timeframe,
        "exchange": stored.exchange,
        "origin": stored.origin,
        "digest": stored.digest,
        "bars": len(part),
        **_span(part, "first", "last"),
        **_span(stored.candles, "stored_from", "stored_until"),
        "group": group,
    }
    return {**plain(document, home), "rows": _rows(part, group)}


def series(home: Home) -> list[dict[str, Any]]:
    """Return every series of the store by what its file says of itself; a damaged one has a ``problem``."""
    rows = []
    for each in CandleStore(home.candles).list():
        header = each.header
        told: dict[str, Any] = dict.fromkeys(("bars", "first", "last", "digest", "origin"))
        if header is not None:
            told = {
                "bars": header.bars,
                "first": format_ms(header.first_ms) if header.bars else None,
                "last": format_ms(header.last_ms) if header.bars else None,
                "digest": header.digest,
                "origin": header.origin,
            }
        rows.append(
            {
                "symbol": pair_text(each.symbol),
                "timeframe": each.timeframe,
                "exchange": each.exchange,
                **told,
                "columns": [] if header is None else list(header.columns),
                "rules": None if header is None or header.rules is None else header.rules.to_dict(),
                "problem": each.problem,
            }
        )
    found: list[dict[str, Any]] = plain(rows, home)
    return found


def group_size(open_ms: Integers, step_ms: int, points: int) -> int:
    """Return the smallest number of neighbours a row with which the bars fit into ``points`` rows.

    Larger groups never give more rows: each stretch needs fewer, and stretches join where a row becomes longer than the hole
    between them.
    """
    high = max(1, -(-len(open_ms) // points))  # with fewer a row, not even a stretch without holes fits
    low = high - 1
    while len(group_starts(open_ms, step_ms, high)) > points:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        if len(group_starts(open_ms, step_ms, middle)) <= points:
            high = middle
        else:
            low = middle
    return high


def group_starts(open_ms: Integers, step_ms: int, group: int) -> Integers:
    """Return the positions at which rows of ``group`` neighbours begin: anew after each hole longer than a row."""
    count = len(open_ms)
    if not count:
        return np.zeros(0, dtype=np.int64)
    missing = np.diff(open_ms) - step_ms
    breaks = np.concatenate([[0], np.flatnonzero(missing > group * step_ms) + 1])
    rows = -(-np.diff(np.concatenate([breaks, [count]])) // group)  # of each stretch
    number = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
    starts: Integers = np.repeat(breaks, rows) + group * number
    return starts


def _rows(part: Candles, group: int) -> list[list[float | int | None]]:
    starts = group_starts(part.open_ms, part.step_ms, group)
    if not len(starts):
        return []
    ends = np.concatenate([starts[1:], [len(part)]]) - 1
    columns = [
        part.open_ms[starts],
        part.open[starts],
        np.maximum.reduceat(part.high, starts),
        np.minimum.reduceat(part.low, starts),
        part.close[ends],
    ]
    volume = [None] * len(starts) if part.volume is None else np.add.reduceat(part.volume, starts).tolist()
    return [list(row) for row in zip(*(column.tolist() for column in columns), volume, strict=True)]


def _span(candles: Candles, first: str, last: str) -> dict[str, str | None]:
    if not len(candles):
        return {first: None, last: None}
    return {first: format_ms(int(candles.open_ms[0])), last: format_ms(int(candles.open_ms[-1]))}


def _moment(text: str | None, *, whole_day: bool) -> int | None:
    if text is None:
        return None
    try:
        return parse_moment(text, whole_day=whole_day)
    except OverflowError:  # the end of the last day that a date can name
        raise UsageError(f"{text!r} is too far away: expected a moment before the year 9999") from None
