"""``bot drift``: whether champions are still what they were promoted for."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption, PipelineSettingsOption
from bot.cli.output import Report, progress
from bot.home import Home
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from bot.pipeline.drifting import DriftCheck

__all__ = ["app"]

_FINDING = 3

app = typer.Typer(help="Watch champions for drift.", no_args_is_help=True)

SymbolOption = Annotated[str | None, typer.Option("--symbol", help="Only models of this symbol.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only models of this type.")]


@app.callback()
def _group() -> None:
    """Watch champions: hit rate, calibration, predictions and features, by tests with a stated rate of false alarms."""


@app.command("check")
def check(
    symbol: SymbolOption = None,
    model_type: TypeOption = None,
    settings: PipelineSettingsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look only: quarantine nothing.")] = False,
    no_fetch: Annotated[bool, typer.Option("--no-fetch", help="Ask no exchange for new candles.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch and score new bars and look for drift; exits 3 when there is any, 1 when a model could not be checked.

    It exits 0 when all is calm, and when nobody serves.

    A champion whose hit rate fell is quarantined: the best sound member of the kept set serves then, or nobody.
    """
    checks, failures = _checks(symbol, model_type, settings, home, act=not dry_run, fetch=not no_fetch)
    report = Report(as_json=as_json)
    for found in checks:
        _tell(report, found)
    if not checks and not failures:
        report.line("Nothing to watch: there is no recipe and no champion.")
    alarms = sum(len(found.alarms) for found in checks)
    report.document({"drift": alarms > 0, "checks": [_brief(found) for found in checks], "failures": failures})
    _end(failures, alarms)


@app.command("report")
def report_page(
    symbol: SymbolOption = None,
    model_type: TypeOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the pages, one a model.")] = Path("drift"),
    settings: PipelineSettingsOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw one HTML page a model, with the statistic, hit rate, calibration and features; quarantines nothing."""
    from bot.report.drift_page import drift_page
    from registry.durable import make_folders

    checks, failures = _checks(symbol, model_type, settings, home, act=False, fetch=False)
    report = Report(as_json=as_json)
    make_folders(out)
    pages = []
    for found in checks:
        document = found.document
        path = out / f"{document['symbol']}_{document['timeframe']}_{document['model_type']}.html"
        path.write_text(drift_page(document), encoding="utf-8")
        pages.append(str(path))
        report.line(f"{_name(document)}: {document['state']}, {path}")
    if not checks and not failures:
        report.line("Nothing to draw: there is no recipe and no champion.")
    report.document({"pages": pages, "failures": failures})
    _end(failures, 0)


def _checks(
    symbol: str | None, model_type: str | None, settings: Path | None, home: Path | None, *, act: bool, fetch: bool
) -> tuple[list[DriftCheck], list[dict[str, str]]]:
    """Return what each model's check found, and why some could not be checked: they keep no other from its turn."""
    from bot.errors import BotError
    from bot.pipeline.drifting import check_key, watched_keys
    from bot.pipeline.running import open_pipeline
    from ml.errors import MLError
    from registry.errors import RegistryError
    from registry.names import normalise_symbol, normalise_type

    place, now_ms = Home.resolve(home), wall_ms()
    wanted = None if symbol is None else normalise_symbol(symbol)
    kind = None if model_type is None else normalise_type(model_type)
    checks: list[DriftCheck] = []
    failures: list[dict[str, str]] = []
    with progress("Looking for drift") as update, open_pipeline(place, settings, [], need_recipes=False) as pipeline:
        pipeline.require_time(now_ms)
        keys = watched_keys(pipeline, wanted, kind)
        for number, key in enumerate(keys):
            update(number / len(keys), str(key))
            steps = (partial(pipeline.fetch_for, key, now_ms),) if fetch else ()
            look = partial(check_key, pipeline, key, now_ms, place.state_db, act=act)
            for step in (*steps, look):  # without new candles the stored ones are looked at all the same
                try:
                    found = step()
                except (BotError, MLError, RegistryError) as error:
                    failure = {"key": str(key), "reason": " ".join(str(error).split())}
                    failures += [] if failure in failures else [failure]
                else:
                    checks += [] if found is None else [found]
    return checks, failures


def _end(failures: list[dict[str, str]], alarms: int) -> None:
    """Tell what could not be checked, and leave with the exit code that the worst of it calls for."""
    for failure in failures:
        print(f"error: {failure['key']}: {failure['reason']}", file=sys.stderr)
    if alarms:
        raise typer.Exit(_FINDING)
    if failures:
        raise typer.Exit(1)


def _tell(report: Report, found: DriftCheck) -> None:
    document = found.document
    report.line(f"{_name(document)}: {document['state']}. {document['words']}")
    for alarm in found.alarms:
        report.line(f"  {alarm}")
    for part in ("calibration", "predictions", "features", "naive"):
        looked: Any = document[part]
        if looked is not None and not any(alarm.startswith(part) for alarm in found.alarms):
            report.line(f"  {part}: {looked['words']}")
    if "action" in document:
        report.line(f"  {document['action']}")


def _name(document: Any) -> str:
    return f"{document['symbol']}/{document['timeframe']}/{document['model_type']}"


def _brief(found: DriftCheck) -> dict[str, Any]:
    """Return the document without the columns of every evaluation, which only the page needs."""
    document = dict(found.document)
    performance: Any = document["performance"]
    if performance is not None:
        columns = ("open_ms", "came_true", "stated", "statistic")
        document["performance"] = {
            **{name: value for name, value in performance.items() if name not in columns},
            "evaluations": len(performance["open_ms"]),
            "hits": sum(performance["came_true"]),
            "statistic": performance["statistic"][-1] if performance["statistic"] else 0.0,
        }
    return {**document, "alarms": list(found.alarms)}
