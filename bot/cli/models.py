"""``bot models``: what is registered, how good it is, and which version is in use."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.model_compare import compare
from bot.cli.model_decisions import (
    FrameOption,
    SymbolArgument,
    TypeArgument,
    archive,
    promote,
    quarantine,
    restore,
    rollback,
    withdraw,
)
from bot.cli.model_explain import explain
from bot.cli.model_figures import age_text, percent, short
from bot.cli.model_history import history, history_cells
from bot.cli.model_import import import_model
from bot.cli.model_repair import repair
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.home import Home
from bot.model_rows import gate_verdict, headline, history_document, model_row
from bot.model_selection import open_registry, runnable_registry, select_model
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from registry.model import StrategyModel

__all__ = ["app"]

app = typer.Typer(
    help="Models: list, show, compare, explain, import and validate them; decide which is in use; the story of it.",
    no_args_is_help=True,
)


@app.command("list")
def list_models(
    symbol: Annotated[str | None, typer.Option("--symbol", help="Only this symbol.")] = None,
    model_type: Annotated[str | None, typer.Option("--type", help="Only this type.")] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", help="Only this timeframe.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every version by symbol, timeframe and type; ``*`` marks the champion."""
    root = Home.resolve(home).models
    if timeframe is not None:
        timeframe_ms(timeframe)
    found = open_registry(root).list_bundles(symbol, model_type, timeframe)
    now = datetime.now(UTC)
    report = Report(as_json=as_json)
    for key, group in groupby(found, key=lambda model: str(model.key)):
        columns = ["", "version", "status", "right", "95 % interval", "baseline", "skill", "scored", "age"]
        report.table(key, columns, [_list_cells(model, now) for model in group])
    for model in found:
        if model.problem:
            report.line(f"broken: {model}: {model.problem}")
    if not found:
        report.line(f"No models in {root}. Train one: bot train model BTCUSDT --type basic --timeframe 1h")
    report.document({"root": str(root), "models": [model_row(model, now) for model in found]})


@app.command("show")
def show(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    timeframe: FrameOption = None,
    version: Annotated[
        str | None, typer.Option("--version", help="latest, newest or a version [default: the champion, else newest].")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one version: what it was trained on, what it showed, and what was decided about it."""
    from bot.pipeline.living import living_card

    place = Home.resolve(home)
    registry = open_registry(place.models)
    model = select_model(registry, symbol, model_type, timeframe, version)
    rows = [row for row in registry.history(model.key) if row.version == model.version_id]
    report = Report(as_json=as_json)
    _, metadata = living_card(place, model)
    figures = headline(model)
    allowed, reason = gate_verdict(model)
    report.line(f"{model}  {model.timeframe}  {model.status}")
    report.line(f"  folder         {model.path}")
    report.line(f"  digest         {model.digest}")
    data = metadata.get("data")
    data = data if isinstance(data, dict) else {}
    report.line(f"  trained on     {data.get('start', '-')} to {data.get('end', '-')}, {data.get('bars', '-')} bars")
    report.line(f"  horizon        {metadata.get('horizon', '-')} bars; {metadata.get('feature_count', '-')} features")
    report.line(f"  out of sample  {_accuracy_text(figures)}")
    report.line(f"  a bet          {_bet_text(figures)}")
    report.line(f"  gate           {reason}")
    report.line(f"  since          {_live_text(metadata)}")
    report.table("files", ["name", "bytes", "sha256"], _file_cells(model))
    report.table("history", ["time", "action", "reason"], [[*history_cells(row)[:2], row.reason] for row in rows])
    report.document(
        {
            **model_row(model, datetime.now(UTC)),
            "gate": {"promoted": allowed, "reason": reason},
            "metadata": metadata,
            "metrics": model.metrics,
            "files": {
                name: {"sha256": each.sha256, "bytes": each.bytes} for name, each in model.manifest.files.items()
            },
            "history": [history_document(row) for row in rows],
        }
    )


def _live_text(metadata: dict[str, Any]) -> str:
    """Return what became of the predictions since training."""
    live = metadata.get("live_performance") or {}
    count, share = live.get("trades_evaluated") or 0, live.get("accuracy")
    if not count:
        return "no prediction of a new bar has an outcome yet"
    right = "" if share is None else f", {100 * share:.1f} % right"
    return f"{count:,} predictions of new bars{right}, until {live.get('last_updated')}"


app.command("compare")(compare)
app.command("explain")(explain)
app.command("import")(import_model)
app.command("promote")(promote)
app.command("rollback")(rollback)
app.command("withdraw")(withdraw)
app.command("quarantine")(quarantine)
app.command("restore")(restore)
app.command("archive")(archive)
app.command("history")(history)
app.command("repair")(repair)


@app.command("validate")
def validate(
    run: Annotated[bool, typer.Option("--run/--no-run", help="Open every model and re-run its self-test.")] = True,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read every byte of every bundle, and re-run its self-test; exit code 3 when anything is wrong."""
    root = Home.resolve(home).models
    registry = runnable_registry(root) if run and root.exists() else open_registry(root)
    with progress("Validating") as update:
        findings = registry.validate(update)
    count = len(registry.list_bundles())
    leftovers = registry.leftovers()
    report = Report(as_json=as_json)
    for finding in findings:
        report.line(f"wrong: {finding}")
    for leftover in leftovers:
        report.line(f"note: {leftover}; the next write there cleans it up")
    verdict = f"{len(findings)} problem(s)" if findings else "all sound"
    report.line(f"{count} bundle(s) in {root}: {verdict}")
    report.document(
        {
            "root": str(root),
            "bundles": count,
            "sound": not findings,
            "findings": [{"place": each.place, "problem": each.problem} for each in findings],
            "leftovers": [{"place": each.place, "problem": each.problem} for each in leftovers],
        }
    )
    if findings:
        raise typer.Exit(3)


def _list_cells(model: StrategyModel, now: datetime) -> list[str]:
    figures = headline(model)
    baselines = [value for name in ("majority_baseline", "last_sign_baseline") if (value := figures[name]) is not None]
    low, high = figures["direction_accuracy_low"], figures["direction_accuracy_high"]
    return [
        "*" if model.status == "champion" else "",
        model.version_id,
        "broken" if model.problem else model.status,
        percent(figures["direction_accuracy"]),
        "-" if low is None or high is None else f"{100 * low:.1f}-{100 * high:.1f} %",
        percent(max(baselines, default=None)),
        percent(figures["log_loss_skill"], 2),
        short(figures["n"]),
        age_text((now - model.registered_at).total_seconds()),
    ]


def _accuracy_text(figures: dict[str, float | None]) -> str:
    return (
        f"right on {percent(figures['direction_accuracy'])} of {short(figures['n'])} bars "
        f"({percent(figures['direction_accuracy_low'])} to {percent(figures['direction_accuracy_high'])}); "
        f"majority {percent(figures['majority_baseline'])}, last sign {percent(figures['last_sign_baseline'])}; "
        f"log-loss skill {percent(figures['log_loss_skill'], 2)}"
    )


def _bet_text(figures: dict[str, float | None]) -> str:
    low, high = figures["gross_return_per_bet_low"], figures["gross_return_per_bet_high"]
    return (
        f"earned {percent(figures['gross_return_per_bet'], 3)} before costs ({percent(low, 3)} to {percent(high, 3)}); "
        f"it breaks even at costs of {percent(figures['break_even_cost'], 3)}"
    )


def _file_cells(model: StrategyModel) -> list[list[Any]]:
    return [[name, record.bytes, record.sha256[:16]] for name, record in model.manifest.files.items()]
