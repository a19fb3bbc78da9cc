"""``bot pipeline``: the cycle that trains, judges and promotes, on a schedule or once."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption, PipelineSettingsOption
from bot.cli.output import Report, progress
from bot.errors import BotError, UsageError
from bot.home import Home
from bot.wall_clock import wall_ms
from ml.errors import MLError
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bot.pipeline.outcomes import CycleReport, RecipeOutcome

__all__ = ["app"]

_FAULTS = (BotError, MLError, RegistryError)

app = typer.Typer(help="Train, judge and promote again and again.", no_args_is_help=True)


RecipesOption = Annotated[
    list[Path] | None,
    typer.Option("--recipes", help="Folder or file of recipes; repeated [default: the settings']."),
]
WorkersOption = Annotated[int | None, typer.Option("--workers", help="Processes that build at once.")]


@app.callback()
def _group() -> None:
    """Train, judge and promote again and again: recipes are refitted, and only evidence on new bars makes a champion."""


@app.command("run")
def run(
    settings: PipelineSettingsOption = None,
    recipes: RecipesOption = None,
    every: Annotated[str | None, typer.Option("--every", help="Go on for ever, a cycle each 12h, 1d, ...")] = None,
    force: Annotated[bool, typer.Option("--force", help="Refit every recipe now, due or not.")] = False,
    workers: WorkersOption = None,
    dask: Annotated[
        str | None, typer.Option("--dask", help="Build on a Dask scheduler, such as tcp://host:8786.")
    ] = None,
    no_fetch: Annotated[bool, typer.Option("--no-fetch", help="Ask no exchange for new candles.")] = False,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Leave the champions as they are.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do one cycle: new candles, score, judge, refit what is due, promote by evidence.

    A cycle that was cut short is finished first. Exit code 1 when a recipe failed; the others are done all the same.
    """
    from bot.config.values import duration_ms
    from bot.pipeline.running import open_pipeline

    every_ms = None
    if every is not None:
        try:
            every_ms = duration_ms(every)
        except ValueError as error:
            raise UsageError(f"--every: {error}") from None
    if every_ms is not None and as_json:
        raise UsageError("--json prints one document: it goes with one cycle, not with --every")
    report = Report(as_json=as_json)
    place = Home.resolve(home)

    def one_cycle(stop: threading.Event) -> list[CycleReport]:
        """Finish the cycle that was cut short, if any, and do the one of now."""
        done: list[CycleReport] = []
        with (
            progress("Cycle") as update,
            open_pipeline(
                place,
                settings,
                recipes or [],
                workers=workers,
                dask=dask,
                fetch=False if no_fetch else None,
                promote=False if no_promote else None,
                progress=update,
            ) as pipeline,
        ):
            while not done or (done[-1].resumed and not stop.is_set()):
                done.append(pipeline.run(wall_ms(), force=force))
                _tell(report, done[-1])
        return done

    with _stopped_by_signals() as stop:
        if every_ms is None:
            done = one_cycle(stop)
        else:
            _go_on(one_cycle, every_ms, stop, report)
            return
    finished = [each.to_dict() for each in done[:-1]]
    report.document(done[-1].to_dict() | {"finished": finished})
    if any(each.failed for each in done):
        raise typer.Exit(1)


@app.command("status")
def status(settings: PipelineSettingsOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the recipes, the last and next cycle, who serves, the challengers, drift and age."""
    from bot.pipeline.running import open_pipeline
    from bot.pipeline.status import status_document, status_tables

    with open_pipeline(Home.resolve(home), settings, [], reading=True) as pipeline:
        document = status_document(pipeline, wall_ms())
    report = Report(as_json=as_json)
    for title, columns, rows in status_tables(document):
        report.table(title, columns, rows)
        report.line()
    for line in document["notes"]:
        report.line(line)
    report.document(document)


@app.command("repair")
def repair(
    stream: Annotated[str, typer.Argument(help="The record, as the error or `bot pipeline status` names it.")],
    settings: PipelineSettingsOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the damaged part of a record anew, from the versions that said it."""
    from bot.pipeline.running import open_pipeline
    from bot.pipeline.scoring import repair_stream

    with progress("Scoring") as update, open_pipeline(Home.resolve(home), settings, [], progress=update) as pipeline:
        dropped, appended = repair_stream(pipeline, stream, wall_ms())
    report = Report(as_json=as_json)
    report.line(f"{stream}: {dropped} append(s) were taken away, {appended:,} rows were scored anew")
    report.document({"stream": stream, "dropped": dropped, "scored": appended})


@app.command("simulate")
def simulate(
    start: Annotated[str, typer.Option("--start", help="First cycle: a day, or moment, UTC.")],
    end: Annotated[str, typer.Option("--end", help="Last cycle: a day, or moment, UTC.")],
    settings: PipelineSettingsOption = None,
    recipes: RecipesOption = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Time between two cycles [default: the settings'].")
    ] = None,
    workers: WorkersOption = None,
    keep: Annotated[Path | None, typer.Option("--keep", help="Folder to keep the simulated home in.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the cycle over stored candles as if time went by, and say what it would have promoted and noticed."""
    from bot.market.times import parse_moment
    from bot.pipeline.simulating import simulate as run_simulation

    with progress("Simulating") as update:
        document = run_simulation(
            Home.resolve(home),
            settings,
            recipes or [],
            start_ms=parse_moment(start),
            end_ms=parse_moment(end, whole_day=True),
            every=every,
            workers=workers,
            keep=keep,
            progress=update,
        )
    report = Report(as_json=as_json)
    for line in document["lines"]:
        report.line(line)
    report.document(document)


def _go_on(
    one_cycle: Callable[[threading.Event], list[CycleReport]], every_ms: int, stop: threading.Event, report: Report
) -> None:
    """Do a cycle at each multiple of the rhythm until a signal comes; one that fails does not end it, wrong usage does."""
    for number in itertools.count():
        try:
            one_cycle(stop)
        except _FAULTS as error:
            if number == 0 and isinstance(error, UsageError):
                raise
            print(f"error: {error}", file=sys.stderr, flush=True)
        if stop.is_set():
            return
        next_ms = (wall_ms() // every_ms + 1) * every_ms
        report.line(f"next cycle at {datetime.fromtimestamp(next_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC")
        if stop.wait(max(1.0, (next_ms - wall_ms()) / 1000)):
            return


def _tell(report: Report, done: CycleReport) -> None:
    """Print what a cycle did."""
    if done.resumed:
        report.line("The last cycle had been cut short; this one finished it.")
    rows = [
        (each.recipe, each.state, each.version or "", f"{each.scored:,}", _seconds(each.seconds), _why(each))
        for each in done.recipes
    ]
    report.table("Recipes", ("recipe", "state", "version", "scored", "seconds", "why"), rows)
    report.line()
    for each in done.decisions:
        report.line(f"{each['key']}: {each['kind']} {each['version']}: {each['reason']}")
    for key, streams in done.kept.items():
        report.line(f"{key}: kept {', '.join(streams) or 'nothing'}")
    for problem in done.problems:
        report.line(f"problem: {problem}")


def _why(outcome: RecipeOutcome) -> str:
    """Return why a recipe was not refitted; what the gate says of a version that was is for its card."""
    return "" if outcome.state == "registered" else outcome.reason


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


@contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set: the cycle under way is finished, and no other begins."""
    stop = threading.Event()

    def note(number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        if number == signal.SIGINT:
            print("this cycle is finished first; once more Ctrl-C cuts it short", file=sys.stderr)

    before: dict[signal.Signals, Callable[..., Any] | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGTERM, signal.SIGINT):
            before[each] = signal.signal(each, note)
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
