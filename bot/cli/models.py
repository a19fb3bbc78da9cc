"""``bot models``: what is registered, how good it is, and which version is in use."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.model_compare import compare
from bot.cli.model_explain import explain
from bot.cli.model_figures import age_text, gate_verdict, headline, model_row, percent, short
from bot.cli.model_import import import_model
from bot.cli.model_selection import find_key, open_registry, runnable_registry, select_model
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.errors import UsageError
from bot.home import Home
from registry.names import normalise_symbol, normalise_type, timeframe_ms

if TYPE_CHECKING:
    from registry.ledger import LedgerRow
    from registry.model import StrategyModel

__all__ = ["app"]

app = typer.Typer(
    help="Models: list, show, compare, explain, import, validate, promote, roll back and archive them.",
    no_args_is_help=True,
)

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTCUSDT or BTC/USDT.")]
TypeArgument = Annotated[str, typer.Argument(metavar="TYPE", help="Type of the model, such as basic.")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="A version, or its beginning, such as 2026-11-20.")
]
FrameOption = Annotated[
    str | None, typer.Option("--timeframe", help="Needed only where the model has several timeframes.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is written into the ledger.")]


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
    registry = open_registry(Home.resolve(home).models)
    model = select_model(registry, symbol, model_type, timeframe, version)
    rows = [row for row in registry.history(model.key) if row.version == model.version_id]
    report = Report(as_json=as_json)
    metadata, figures = model.metadata, headline(model)
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
    report.table("files", ["name", "bytes", "sha256"], _file_cells(model))
    report.table("history", ["time", "action", "reason"], [[*_history_cells(row)[:2], row.reason] for row in rows])
    report.document(
        {
            **model_row(model, datetime.now(UTC)),
            "gate": {"promoted": allowed, "reason": reason},
            "metadata": metadata,
            "metrics": model.metrics,
            "files": {
                name: {"sha256": each.sha256, "bytes": each.bytes} for name, each in model.manifest.files.items()
            },
            "history": [_history_document(row) for row in rows],
        }
    )


app.command("compare")(compare)
app.command("explain")(explain)
app.command("import")(import_model)


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


@app.command("promote")
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
    registry = open_registry(Home.resolve(home).models)
    model = select_model(registry, symbol, model_type, timeframe, version)
    allowed, verdict = gate_verdict(model)
    already = model.status == "champion"
    if not allowed and not force and not already:
        raise UsageError(
            f"{model} did not pass the gate: {verdict}. "
            f"To promote it all the same: bot models promote {model.symbol} {model.model_type} {model.version_id} --force"
        )
    before = registry.champion_version(model.key)
    evidence = {"by_hand": True, "forced": not allowed, "gate_reason": verdict, **headline(model)}
    done = registry.promote(model.key, model.version_id, at=datetime.now(UTC), reason=reason, evidence=evidence)
    report = Report(as_json=as_json)
    if already:
        report.line(f"{done} is the champion of {done.timeframe} already; nothing was changed.")
    else:
        report.line(f"{done} is now the champion of {done.timeframe}{f', after {before}' if before else ''}.")
        if not allowed:
            report.line(f"WARNING: promoted against the gate, which said: {verdict}")
    report.document(
        {**model_row(done, datetime.now(UTC)), "previous": before, "changed": not already, "forced": not allowed}
    )


@app.command("rollback")
def rollback(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    timeframe: FrameOption = None,
    reason: ReasonOption = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the champion before this one champion again; a second rollback undoes the first."""
    registry = open_registry(Home.resolve(home).models)
    key = find_key(registry, symbol, model_type, timeframe)
    before = registry.champion_version(key)
    done = registry.rollback(key, at=datetime.now(UTC), reason=reason)
    report = Report(as_json=as_json)
    report.line(f"{done} is the champion of {done.timeframe} again, after {before}.")
    report.document({**model_row(done, datetime.now(UTC)), "previous": before, "changed": True})


@app.command("archive")
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
    report.document({"symbol": key.symbol, "timeframe": key.timeframe, "model_type": key.model_type} | _brief(done))


@app.command("history")
def history(
    symbol: SymbolArgument,
    model_type: TypeArgument,
    timeframe: FrameOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the ledger: what was registered, promoted, rolled back and archived, when and why."""
    registry = open_registry(Home.resolve(home).models)
    names = {"symbol": normalise_symbol(symbol), "model_type": normalise_type(model_type)}
    frames = [timeframe] if timeframe else registry.timeframes(**names)
    rows = [row for frame in frames for row in registry.history(find_key(registry, symbol, model_type, frame))]
    rows.sort(key=lambda row: row.sequence)
    report = Report(as_json=as_json)
    title = f"{names['symbol']}/{names['model_type']}"
    report.table(title, ["time", "action", "version", "reason"], [_history_cells(row) for row in rows])
    report.document({**names, "history": [_history_document(row) for row in rows]})


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


def _history_cells(row: LedgerRow) -> list[Any]:
    return [row.at.strftime("%Y-%m-%d %H:%M:%S"), row.action, row.version, row.reason]


def _history_document(row: LedgerRow) -> dict[str, Any]:
    return {
        "time": row.at.isoformat(),
        "action": row.action,
        "timeframe": row.timeframe,
        "version": row.version,
        "reason": row.reason,
        "evidence": dict(row.evidence),
        "manifest": row.manifest,
    }


def _brief(model: StrategyModel) -> dict[str, Any]:
    """Return what the ledger knows of a version: an archived bundle may be broken."""
    return {"version": model.version_id, "status": model.status, "promoted": model.promoted, "path": str(model.path)}
