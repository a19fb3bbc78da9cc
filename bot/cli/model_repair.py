"""``bot models repair``: make a model usable again whose ledger was damaged."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.model_decisions import SymbolArgument, TypeArgument
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.errors import UsageError
from bot.home import Home
from bot.model_selection import open_registry

if TYPE_CHECKING:
    from registry.repair import Repair

__all__ = ["repair"]


def repair(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Repair a ledger whose chain is broken: show what will be kept and lost, ask, and do it.

    The rows before the damage stay, the damaged file is kept beside the ledger, bundles that can be vouched for are
    candidates again. A champion stays only where nothing speaks against it.
    """
    registry = open_registry(Home.resolve(home).models)
    report = Report(as_json=as_json)
    planned = registry.examine(symbol, model_type, at=datetime.now(UTC))
    if planned is None:
        report.line("The ledger is sound; nothing was changed.")
        report.document({"changed": False, "repair": None})
        return
    for line in _told(planned):
        report.line(line)
    if not yes:
        _agree(planned, as_json=as_json)
    done = registry.repair(symbol, model_type, at=datetime.now(UTC), expected=planned.digest)
    if done is None:  # another process was quicker
        report.line("The ledger is sound by now; nothing was changed.")
        report.document({"changed": False, "repair": None})
        return
    report.line(f"Repaired. The damaged ledger is kept as {done.saved_as}; check the model: bot models validate")
    report.document({"changed": True, "repair": asdict(done)})


def _agree(planned: Repair, *, as_json: bool) -> None:
    """Ask a person; where there is none, say what to add."""
    if as_json or not sys.stdin.isatty():
        raise UsageError(f"{planned.fault}; to repair it as shown, add --yes")
    if not typer.confirm("Repair it so?", err=True):
        raise UsageError("nothing was changed")


def _told(planned: Repair) -> list[str]:
    """Say what a repair does, a line for each consequence."""
    lines = [
        f"{planned.fault}",
        f"  kept         {planned.kept} row(s) before the damage",
        f"  lost         {planned.lost} line(s) from there on, {planned.unreadable} of them unreadable",
        f"  saved        the damaged file as {planned.saved_as}",
    ]
    lines += [f"  candidate    {version}" for version in planned.adopted]
    lines += [f"  {status:<12} {version}" for version, status in planned.set_aside.items()]
    lines += [f"  left out     {version}: {why}" for version, why in planned.left_out.items()]
    lines += [f"  champion     {version} ({timeframe})" for timeframe, version in planned.champions.items()]
    lines += [f"  withdrawn    {version}: {why}" for version, why in planned.withdrawn.items()]
    if not planned.champions:
        lines.append("  champion     none: promote one afterwards")
    return lines
