"""``bot backtest``: run a config on stored candles and write the run folder."""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bot.config.loader import ConfigFile

__all__ = ["backtest", "light_start"]


def backtest(
    config: Annotated[Path, typer.Argument(help="YAML file of the strategy; `bot init` writes one.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Leave report.html out.")] = False,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Compute every prediction anew.")] = False,
) -> None:
    """Run a strategy over stored candles and write orders, trades, predictions, equity, figures and a report."""
    from bot.config.loader import load_config

    file = load_config(config)
    where = Home.resolve(home)
    report = Report(as_json=as_json)
    documents = []
    if len(file.config.symbols) > 1:
        _check(file, where)
    for symbol in file.config.symbols:
        with light_start(file), progress(f"Backtest of {symbol}") as update:
            document, folder = _run(file, symbol, where, update, with_report=not no_report, with_cache=not no_cache)
        documents.append({**document, "folder": str(folder)})
        _print(report, document, folder, with_report=not no_report)
    report.document(documents[0] if len(documents) == 1 else {"runs": documents})


@contextmanager
def light_start(file: ConfigFile) -> Iterator[None]:
    """Spare a fifth of the command's time: a lazier garbage collector, and no TA-Lib where nobody can ask for it.

    Backtrader imports TA-Lib, and with it pandas, wherever it is installed. Only a strategy of the user's own may want it.
    """
    before = gc.get_threshold()
    gc.set_threshold(200_000, 50, 50)
    hidden = ":" not in file.config.strategy and "backtrader" not in sys.modules and "talib" not in sys.modules
    if hidden:
        sys.modules["talib"] = None  # type: ignore[assignment]  # the documented way to make an import fail
        try:
            import backtrader  # noqa: F401
        finally:
            del sys.modules["talib"]
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _check(file: ConfigFile, home: Home) -> None:
    """Find what is wrong with any symbol before the first of them is run and written."""
    with light_start(file), progress("Checking the symbols"):
        from bot.assembly import assemble_backtest

        for symbol in file.config.symbols:
            assemble_backtest(file, symbol, home)


def _run(
    file: ConfigFile,
    symbol: str,
    home: Home,
    update: Callable[[float, str], None],
    *,
    with_report: bool,
    with_cache: bool,
) -> tuple[dict[str, Any], Path]:
    """Assemble, run, measure and write one symbol's account."""
    update(0.0, "Reading candles and models")
    from bot.assembly import assemble_backtest
    from bot.backtest.document import result_document
    from bot.backtest.outputs import write_run
    from bot.backtest.run import run_backtest
    from ml.cache import PredictionCache
    from ml.errors import CacheUnavailable

    def open_cache() -> PredictionCache:
        try:
            return PredictionCache(home.predictions_db)
        except CacheUnavailable as error:
            raise CacheUnavailable(f"{error}; --no-cache goes on without it") from error

    assembly = assemble_backtest(file, symbol, home, open_cache if with_cache and file.config.models else None)
    run = run_backtest(assembly, update)
    document = result_document(run)
    update(0.7, "Writing the run")

    def draw() -> str:
        from bot.report.page import report_page

        return report_page(run, document)

    folder = write_run(run, document, home.runs, datetime.now(UTC), draw if with_report else None)
    update(1.0, "Done")
    return document, folder


def _print(report: Report, document: dict[str, Any], folder: Path, *, with_report: bool) -> None:
    """Print the headline beside its baselines."""
    from bot.report.words import headline, verdicts

    report.table(*headline(document))
    for line in verdicts(document):
        report.line(line)
    report.line(f"Run folder: {folder}")
    if with_report:
        report.line(f"Report:     {folder / 'report.html'}")
