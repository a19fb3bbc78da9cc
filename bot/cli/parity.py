"""``bot parity``: the same config in the backtest and through the local exchange, compared bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.errors import UsageError
from bot.home import Home

if TYPE_CHECKING:
    from bot.parity.run import ParityRun

__all__ = ["parity"]

_FINDING = 3
_WORDS = {
    "bars": "bars",
    "feature_rows": "feature rows",
    "predictions": "predictions",
    "decisions": "decisions",
    "orders": "orders",
    "fills": "fills",
    "stops_and_targets": "of these stops and targets",
    "refusals": "refusals",
}


def parity(
    config: Annotated[Path, typer.Argument(help="YAML file of the strategy.")],
    allow_idle: Annotated[
        bool, typer.Option("--allow-idle", help="A run without a single order proves little; accept it all the same.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that a config trades the same in a backtest and live, through a real ccxt client and real HTTP.

    Exits 0 when every bar, feature, prediction, decision, order, fill, fee, cash and value is the same to the last bit, 3
    with the first difference when not, or when nothing was ordered.
    """
    from bot.config.loader import load_config
    from bot.parity.run import run_parity

    file = load_config(config)
    where = Home.resolve(home)
    report = Report(as_json=as_json)
    with progress(f"Parity of {file.config.name}") as update:
        found = run_parity(file, where, update)
    report.document(_document(file.config.name, found))
    _print(report, file.config.name, found)
    if not found.is_identical:
        raise typer.Exit(_FINDING)
    if not found.orders and not allow_idle:
        if not as_json:
            raise _Idle("no order was placed: this proves nothing about orders; --allow-idle accepts that")
        raise typer.Exit(_FINDING)


class _Idle(UsageError):
    exit_code = _FINDING


def _document(name: str, found: ParityRun) -> dict[str, Any]:
    return {
        "name": name,
        "identical": found.is_identical,
        "orders": found.orders,
        "bars_per_second": found.bars_per_second,
        "requests": found.requests,
        "account": [{"asset": asset, "ledger": ours, "exchange": theirs} for asset, ours, theirs in found.account],
        "symbols": {
            each.symbol: {
                "identical": each.is_identical,
                "counts": each.counts,
                "differing_bars": each.differing,
                "first": None if each.first is None else each.first.to_dict(),
            }
            for each in found.symbols
        },
    }


def _print(report: Report, name: str, found: ParityRun) -> None:
    verdict = "identical" if found.is_identical else "NOT identical"
    rows = [[words, *(f"{each.counts[key]:,}" for each in found.symbols)] for key, words in _WORDS.items()]
    report.table(f"{name}: {verdict}", ["compared bit for bit", *(each.symbol for each in found.symbols)], rows)
    for each in found.symbols:
        if each.first is not None:
            report.line(f"first difference: {each.first.words()}")
            report.line("bars that differ: " + ", ".join(f"{kind} {count}" for kind, count in each.differing.items()))
    for asset, ours, theirs in found.account:
        report.line(f"account: the books hold {ours} {asset}, the exchange {theirs}")
    report.line(
        f"live side: {found.requests:,} requests over HTTP by the ccxt client, {found.bars_per_second:,.0f} bars a second"
    )
