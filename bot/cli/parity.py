"""``bot parity``: the same config in the backtest and through the local exchange, or a recorded run against its journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.errors import UsageError
from bot.home import Home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.parity.compare import Comparison
    from bot.parity.run import ParityRun

__all__ = ["parity", "print_comparisons"]

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
    config: Annotated[Path | None, typer.Argument(help="YAML file of the strategy.", show_default=False)] = None,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", help="A recorded live run instead: the bot's name for its newest, or the beginning of a run id."
        ),
    ] = None,
    allow_idle: Annotated[
        bool, typer.Option("--allow-idle", help="A run without a single order proves little; accept it all the same.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that a config trades the same in a backtest and live, through a real ccxt client and real HTTP.

    With --run it lives through what a live run recorded again: every decision must come out as it is written, and what
    the exchange's prices cost is told order by order. No exchange is asked.

    Exits 0 when every bar, feature, prediction, decision, order, fill, fee, cash and value is the same to the last bit, 3
    with the first difference when not, or when nothing was ordered.
    """
    where, report = Home.resolve(home), Report(as_json=as_json)
    if run is not None:
        from bot.cli.parity_run import print_run_check
        from bot.parity.check import check_run

        folder = None if config is None else config.resolve().parent
        with progress(f"Parity of the run {run}") as update:
            check = check_run(where, run, folder=folder, progress=update)
        report.document(check.to_dict())
        print_run_check(report, check)
        _finish(report, is_identical=check.replay.is_identical, orders=check.orders, allow_idle=allow_idle)
        return
    from bot.config.loader import load_config
    from bot.parity.run import run_parity

    if config is None:
        raise UsageError("which one? bot parity CONFIG.yaml, or bot parity --run RUN for a recorded live run")
    file = load_config(config)
    with progress(f"Parity of {file.config.name}") as update:
        found = run_parity(file, where, update)
    report.document(_document(file.config.name, found))
    _print(report, file.config.name, found)
    _finish(report, is_identical=found.is_identical, orders=found.orders, allow_idle=allow_idle)


class _Idle(UsageError):
    exit_code = _FINDING


def _finish(report: Report, *, is_identical: bool, orders: int, allow_idle: bool) -> None:
    """End with 3 where something differs, or nothing was ordered."""
    if not is_identical:
        raise typer.Exit(_FINDING)
    if not orders and not allow_idle:
        if not report.as_json:
            raise _Idle("no order was placed: this proves nothing about orders; --allow-idle accepts that")
        raise typer.Exit(_FINDING)


def _document(name: str, found: ParityRun) -> dict[str, Any]:
    return {
        "name": name,
        "identical": found.is_identical,
        "orders": found.orders,
        "bars_per_second": found.bars_per_second,
        "requests": found.requests,
        "account": [{"asset": asset, "ledger": ours, "exchange": theirs} for asset, ours, theirs in found.account],
        "symbols": {each.symbol: each.to_dict() for each in found.symbols},
        "replayed": {each.symbol: each.to_dict() for each in found.replayed},
    }


def _print(report: Report, name: str, found: ParityRun) -> None:
    verdict = "identical" if found.is_identical else "NOT identical"
    print_comparisons(report, f"{name}: {verdict}", found.symbols)
    for each in found.replayed:
        if each.first is not None:
            report.line(f"a restart would decide otherwise: {each.first.words()}")
    for asset, ours, theirs in found.account:
        report.line(f"account: the books hold {ours} {asset}, the exchange {theirs}")
    if all(each.is_identical for each in found.replayed):
        report.line(
            f"restart: {sum(each.counts['bars'] for each in found.replayed):,} rows came again from the journal alone"
        )
    report.line(
        f"live side: {found.requests:,} requests over HTTP by the ccxt client, {found.bars_per_second:,.0f} bars a second"
    )


def print_comparisons(report: Report, title: str, symbols: Sequence[Comparison]) -> None:
    """Print the counts of each symbol as a table, and the first difference of each."""
    rows = [[words, *(f"{each.counts[key]:,}" for each in symbols)] for key, words in _WORDS.items()]
    report.table(title, ["compared bit for bit", *(each.symbol for each in symbols)], rows)
    for each in symbols:
        if each.first is not None:
            report.line(f"first difference: {each.first.words()}")
            report.line("bars that differ: " + ", ".join(f"{kind} {count}" for kind, count in each.differing.items()))
