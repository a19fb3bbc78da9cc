"""The entry point ``bot``: parse, call, map errors to one message and an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.output import prepare_streams, print_json
from bot.errors import BotError
from indicators.errors import IndicatorError
from ml.errors import MLError
from registry.errors import RegistryError
from strategies.errors import StrategyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["app", "main"]

_TYPER_INTERRUPT = 130  # what typer makes of Ctrl-C while a command runs

OUR_ERRORS = (BotError, StrategyError, IndicatorError, MLError, RegistryError)

app = typer.Typer(
    name="bot",
    help="Train models on candles, backtest and trade the strategies that read them.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            print(version("mlbot"))
        except PackageNotFoundError:
            print("unknown")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train models on candles, backtest and trade the strategies that read them."""


def _register() -> None:
    """Attach every command; their modules import nothing heavy at the top."""
    from bot.cli import (
        backtest,
        data,
        drift,
        ensemble,
        exchange,
        init,
        live,
        live_control,
        models,
        parity,
        pipeline,
        predict,
        serve,
        train,
        why,
    )

    app.add_typer(data.app, name="data")
    app.add_typer(train.app, name="train")
    app.add_typer(models.app, name="models")
    app.add_typer(ensemble.app, name="ensemble")
    app.add_typer(pipeline.app, name="pipeline")
    app.add_typer(drift.app, name="drift")
    app.add_typer(exchange.app, name="exchange")
    app.add_typer(live_control.app, name="live-control")
    app.add_typer(serve.app, name="serve")
    app.command("init")(init.init)
    app.command("backtest")(backtest.backtest)
    app.command("predict")(predict.predict)
    app.command("live")(live.live)
    app.command("parity")(parity.parity)
    app.command("why")(why.why)


_register()


@cache
def _command() -> Callable[..., Any]:
    """Build the commands, once a process: it takes longer than many a command does."""
    return typer.main.get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 wrong usage or config, 3 a finding.

    A fault of the program itself is one message too; with ``BOT_TRACEBACK`` in the environment it is raised.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    prepare_streams()
    try:
        code = _command()(words, prog_name="bot", standalone_mode=False)
    except typer.Exit as stop:
        code = stop.exit_code
    except typer.TyperException as error:
        return _fail(error.format_message(), getattr(error, "exit_code", 2), words)
    except OUR_ERRORS as error:
        return _fail(str(error), error.exit_code, words)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 1, words)
    except OSError as error:
        return _fail(_os_message(error), 1, words)
    except MemoryError as error:
        return _fail(f"not enough memory: {error}".removesuffix(": "), 1, words)
    except Exception as error:
        if os.environ.get("BOT_TRACEBACK"):
            raise
        return _fail(_fault(error), 1, words)
    if code == _TYPER_INTERRUPT:
        return _fail("interrupted", 1, words)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int, words: Sequence[str]) -> int:
    if message.startswith("Usage:"):  # `bot` or a group alone: its help is the answer
        print(message)
        return code
    try:
        if "--json" in words:
            print_json({"error": message, "exit_code": code})
            sys.stdout.flush()
    except OSError:  # nobody reads any more, or the disk behind stdout is full: stderr and the exit code say it
        sys.stdout = None
        prepare_streams()
    print(f"error: {message}", file=sys.stderr)
    return code


def _fault(error: Exception) -> str:
    """Return one line about an error that nobody foresaw: what, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"  # noqa: PTH119 - text only
    return (
        f"a fault of this program: {type(error).__name__}: {error} ({place}); BOT_TRACEBACK=1 shows where it came from"
    )


def _os_message(error: OSError) -> str:
    """Return ``reason: file`` without the errno and the class name."""
    reason = error.strerror or str(error)
    return f"{reason}: {error.filename}" if error.filename else reason
