"""The parts of ``bot data`` that speak of sentiment: its import, and its lines of the listing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.errors import BotError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bot.cli.output import Report
    from bot.market.sentiment import SentimentSeries

__all__ = ["import_sentiment", "list_sentiment"]

_SHOWN = 5
_LONGEST_MS = 3_650 * 86_400_000


def import_sentiment(
    report: Report,
    root: Path,
    file: Path,
    now_ms: int,
    *,
    name: str | None,
    columns: Sequence[str],
    scale: tuple[float, float],
    delay: str | None,
    max_age: str | None,
    sort: bool,
    drop_duplicates: bool,
    replace: bool,
) -> None:
    """Read a file of sentiment, merge it into the series of that name, and say what changed.

    Raises
    ------
    UsageError, DataError, StorageError
        As `bot.market.sentiment_file.read_sentiment` and `bot.market.sentiment.SentimentStore.merge`.
    """
    from bot.market.sentiment import DEFAULT_NAME, SentimentSeries, SentimentStore, sentiment_name
    from bot.market.sentiment_file import read_sentiment
    from bot.market.times import parse_duration
    from ml.candles import format_ms

    called = sentiment_name(name or DEFAULT_NAME)
    delay_ms = None if delay is None else parse_duration(delay)
    max_age_ms = None if max_age is None else parse_duration(max_age)
    for option, length in (("--publication-delay", delay_ms), ("--max-age", max_age_ms)):
        if length is not None and length > _LONGEST_MS:
            raise UsageError(f"{option} is longer than ten years: expected such as 0s, 1h or 7d")
    if max_age_ms == 0:
        raise UsageError("--max-age 0 leaves no value to use: expected such as 7d")
    found = read_sentiment(
        file, now_ms, columns=_columns(columns), scale=scale, sort=sort, drop_duplicates=drop_duplicates
    )
    new = SentimentSeries(called, found.time_ms, found.values, origin=f"file {file.name}")
    done = SentimentStore(root).merge(new, delay_ms=delay_ms, max_age_ms=max_age_ms, fresh=replace)
    row = _row(done.series)
    report.line(f"sentiment {called}: {row['values']} values, {row['first']} to {row['last']}")
    report.line(f"{done.added} added, {done.unchanged} unchanged, {len(done.revised)} revised")
    if done.revised:
        more = f" and {len(done.revised) - _SHOWN} more" if len(done.revised) > _SHOWN else ""
        report.line(f"revised (the newer values won): {', '.join(map(format_ms, done.revised[:_SHOWN]))}{more}")
    after = "at" if done.series.delay_ms == 0 else f"{row['publication_delay_seconds']} s after"
    report.line(
        f"A value is used by candles that close {after} its time or later, and for {row['max_age_days']:g} days at most."
    )
    for note in found.notes:
        report.line(f"note: {note}")
    report.document(
        {
            **row,
            "added": done.added,
            "unchanged": done.unchanged,
            "revised": [format_ms(time) for time in done.revised],
            "file": str(file),
            "notes": list(found.notes),
        }
    )


def list_sentiment(report: Report, root: Path) -> list[dict[str, Any]]:
    """Print the series of sentiment where there are any, and return their rows."""
    from bot.market.sentiment import SentimentStore, read_file

    store = SentimentStore(root)
    rows = []
    for name in store.names():
        try:
            rows.append(_row(read_file(store.path(name))) | {"problem": None})
        except BotError as error:
            rows.append({"kind": "sentiment", "name": name, "problem": str(error)})
    columns = ("name", "values", "first", "last", "publication_delay_seconds", "max_age_days")
    if rows:
        report.table("Sentiment", columns, [[row.get(column) for column in columns] for row in rows])
    for row in rows:
        if row["problem"]:
            report.line(f"problem: {row['problem']}")
    return rows


def _row(series: SentimentSeries) -> dict[str, Any]:
    from ml.candles import format_ms

    return {
        "kind": "sentiment",
        "name": series.name,
        "values": len(series),
        "first": format_ms(int(series.time_ms[0])),
        "last": format_ms(int(series.time_ms[-1])),
        "publication_delay_seconds": series.delay_ms // 1000,
        "max_age_days": series.max_age_ms / 86_400_000,
        "origin": series.origin,
        "digest": series.digest,
    }


def _columns(words: Sequence[str]) -> dict[str, str]:
    """Return the columns that the user named: ``value=NAME``, ``time=NAME``, or NAME alone for the value."""
    chosen: dict[str, str] = {}
    for word in words:
        kind, equals, name = word.partition("=")
        kind, name = (kind.strip().lower(), name) if equals else ("value", word)
        if kind not in {"time", "value"} or not name.strip():
            raise UsageError(f"--column {word!r}: expected value=NAME or time=NAME")
        chosen[kind] = name
    return chosen
