"""``bot models history``: the story of a model, and who was champion at a past moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.model_decisions import FrameOption, SymbolArgument, TypeArgument
from bot.cli.model_figures import flatten, short
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.home import Home
from bot.model_rows import history_document
from bot.model_selection import find_key, open_registry
from registry.names import normalise_symbol, normalise_type
from registry.reigns import reign_at

if TYPE_CHECKING:
    from registry.ledger import LedgerRow
    from registry.reigns import Reign

__all__ = ["history", "history_cells"]


def history(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    timeframe: FrameOption = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="MOMENT", help="Say who was champion then, UTC: 2024-01-31T09:00.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the ledger: what was registered, promoted, rolled back, quarantined and archived, when and why."""
    registry = open_registry(Home.resolve(home).models)
    names = {"symbol": normalise_symbol(symbol), "model_type": normalise_type(model_type)}
    if at is not None:
        timeframe = find_key(registry, symbol, model_type, timeframe).timeframe
    frames = [timeframe] if timeframe else registry.timeframes(**names)
    keys = {frame: find_key(registry, symbol, model_type, frame) for frame in frames}
    found = {row.sequence: row for key in keys.values() for row in registry.history(key)}
    rows = [found[sequence] for sequence in sorted(found)]
    report = Report(as_json=as_json)
    document: dict[str, Any] = {**names, "history": [history_document(row) for row in rows]}
    document["reigns"] = {frame: [_reign(each) for each in registry.reigns(key)] for frame, key in keys.items()}
    if at is not None:
        moment = _moment(at)
        [(frame, key)] = keys.items()
        then = reign_at(registry.reigns(key), moment)
        report.line(f"{moment.isoformat()}: {_told(then)}")
        document |= {"timeframe": frame, "at": moment.isoformat(), "champion": _reign(then) if then else None}
    report.table(
        f"{names['symbol']}/{names['model_type']}",
        ["time", "action", "version", "reason", "evidence"],
        [[*history_cells(row), _evidence(row)] for row in rows],
    )
    report.document(document)


def history_cells(row: LedgerRow) -> list[Any]:
    """Return one row for a table: time, action, version, reason."""
    return [row.at.strftime("%Y-%m-%d %H:%M:%S"), row.action, row.version or "-", row.reason]


def _moment(text: str) -> datetime:
    from bot.market.times import parse_moment

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=parse_moment(text))


def _told(reign: Reign | None) -> str:
    if reign is None:
        return "there was no champion yet"
    since = f"since {reign.from_at.isoformat()} ({reign.row.action}: {reign.row.reason or 'no reason given'})"
    return f"champion was {reign.version}, {since}" if reign.version else f"there was no champion, {since}"


def _reign(reign: Reign) -> dict[str, Any]:
    return {
        "from": reign.from_at.isoformat(),
        "version": reign.version,
        "action": reign.row.action,
        "reason": reign.row.reason,
        "evidence": dict(reign.row.evidence),
    }


def _evidence(row: LedgerRow) -> str:
    figures = flatten(row.evidence)
    return ", ".join(f"{name}={short(value)}" for name, value in figures.items() if value is not None)
