"""``bot models promote`` and its like: decisions about versions, each a row of the ledger with its reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.errors import UsageError
from bot.home import Home
from bot.model_rows import model_row
from bot.model_selection import find_key, open_registry, select_model

if TYPE_CHECKING:
    from pathlib import Path

    from registry.model import StrategyModel
    from registry.names import ModelKey

__all__ = [
    "FrameOption",
    "SymbolArgument",
    "TypeArgument",
    "archive",
    "promote",
    "quarantine",
    "restore",
    "rollback",
    "withdraw",
]

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTCUSDT or BTC/USDT.")]
TypeArgument = Annotated[str, typer.Argument(metavar="TYPE", help="Type of the model, such as basic.")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version, or its beginning, such as 2026-11-20.")
]
FrameOption = Annotated[
    str | None, typer.Option("--timeframe", help="Needed only where the model has several timeframes.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is written into the ledger.")]


def promote(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    version: VersionArgument,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    force: Annotated[bool, typer.Option("--force", help="Promote although the gate refused this version.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion of its timeframe; what the gate refused needs --force."""
    from bot.promotion import GateRefused, promote_by_hand

    place = Home.resolve(home)
    registry = open_registry(place.models)
    model = select_model(registry, symbol, model_type, timeframe, version)
    try:
        done = promote_by_hand(place, registry, model, at=datetime.now(UTC), reason=reason, force=force)
    except GateRefused as refused:
        raise UsageError(
            f"{refused}. To promote it all the same: bot models promote {model.symbol} {model.model_type} "
            f"{model.version_id} --force"
        ) from None
    champion, before = done.champion, done.before
    report = Report(as_json=as_json)
    if not done.changed:
        report.line(f"{champion} is the champion of {champion.timeframe} already; nothing was changed.")
    else:
        report.line(f"{champion} is now the champion of {champion.timeframe}{f', after {before}' if before else ''}.")
        if done.against_gate:
            report.line(f"WARNING: promoted against the gate, which said: {done.against_gate}")
    report.document(
        {
            **model_row(champion, datetime.now(UTC)),
            "previous": before,
            "changed": done.changed,
            "forced": bool(done.against_gate),
        }
    )


def rollback(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="An earlier champion [default: the last before this].")
    ] = None,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier champion champion again; without --to a second rollback undoes the first."""
    from bot.promotion import rollback_by_hand

    place = Home.resolve(home)
    registry = open_registry(place.models)
    if to is None:
        key, version = find_key(registry, symbol, model_type, timeframe), None
    else:
        key, version = registry.find_version(symbol=symbol, model_type=model_type, text=to, timeframe=timeframe)
    done = rollback_by_hand(place, registry, key, at=datetime.now(UTC), reason=reason, version=version)
    champion, before = done.champion, done.before
    report = Report(as_json=as_json)
    if done.changed:
        report.line(f"{champion} is the champion of {champion.timeframe} again{f', after {before}' if before else ''}.")
    else:
        report.line(f"{champion} is the champion of {champion.timeframe} already; nothing was changed.")
    report.document({**model_row(champion, datetime.now(UTC)), "previous": before, "changed": done.changed})


def withdraw(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Leave a model without a champion; a rollback brings the one back that it had."""
    registry = open_registry(Home.resolve(home).models)
    key = find_key(registry, symbol, model_type, timeframe)
    done = registry.withdraw(key, at=datetime.now(UTC), reason=reason)
    if done is not None:
        _tell_bots(home, key, None, reason)
    report = Report(as_json=as_json)
    if done is None:
        report.line(f"{key} has no champion; nothing was changed.")
    else:
        report.line(f"{key} has no champion any more; it was {done.version_id}.")
    names = {"symbol": key.symbol, "timeframe": key.timeframe, "model_type": key.model_type}
    report.document({**names, "previous": done.version_id if done else None, "changed": done is not None})


def quarantine(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    version: VersionArgument,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a version out of use; when it is the champion, the model has none until one is promoted."""
    registry = open_registry(Home.resolve(home).models)
    key, found = registry.find_version(symbol=symbol, model_type=model_type, text=version, timeframe=timeframe)
    was_champion = registry.champion_version(key) == found
    done = registry.quarantine(key, found, at=datetime.now(UTC), reason=reason)
    if was_champion:
        _tell_bots(home, key, None, reason)
    report = Report(as_json=as_json)
    report.line(f"{done} is quarantined.")
    if was_champion:
        report.line(f"{key} has no champion now; an earlier one: bot models rollback {key.symbol} {key.model_type}")
    report.document({**_brief(done), "was_champion": was_champion})


def restore(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    version: VersionArgument,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a version out of the archive or of quarantine; it is not promoted by that."""
    registry = open_registry(Home.resolve(home).models)
    key, found = registry.find_version(symbol=symbol, model_type=model_type, text=version, timeframe=timeframe)
    rows = len(registry.history(key))
    done = registry.restore(key, found, at=datetime.now(UTC), reason=reason)
    changed = len(registry.history(key)) > rows
    report = Report(as_json=as_json)
    report.line(f"{done} is {'' if changed else 'neither archived nor quarantined: it stays '}{done.status}.")
    report.document({**_brief(done), "changed": changed})


def archive(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    version: VersionArgument,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark a version as archived; nothing is deleted, and promoting it takes it out again."""
    registry = open_registry(Home.resolve(home).models)
    key, found = registry.find_version(symbol=symbol, model_type=model_type, text=version, timeframe=timeframe)
    done = registry.archive(key, found, at=datetime.now(UTC), reason=reason)
    report = Report(as_json=as_json)
    report.line(f"{done} is archived.")
    report.document(_brief(done))


def _tell_bots(home: Path | None, key: ModelKey, version: str | None, reason: str) -> None:
    """Tell the running bots that follow the model; they look the champion up in the ledger themselves."""
    from bot.live.following import tell_home

    tell_home(Home.resolve(home), key, version, reason)


def _brief(model: StrategyModel) -> dict[str, Any]:
    """Return what the ledger knows of a version: one that is put aside may be broken."""
    return {
        "symbol": model.symbol,
        "timeframe": model.timeframe,
        "model_type": model.model_type,
        "version": model.version_id,
        "status": model.status,
        "promoted": model.promoted,
        "path": str(model.path),
    }
