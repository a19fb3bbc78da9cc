"""``bot live-control``: look at a running bot and steer it, from any other terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from bot.cli.live_bots import (
    BotOption,
    QueueOption,
    WaitOption,
    choose,
    control_of,
    list_bots,
    open_state,
    show_bot,
    tell,
)
from bot.cli.live_models import deploy_model, list_models, train
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.live.last_words import bot_document
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["app"]

app = typer.Typer(help="A running bot: its status, its models, and commands to it.", no_args_is_help=True)


@app.command("status")
def status(bot: BotOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show a bot's last words, also when it is down.

    Several bots are listed.
    """
    from bot.live.control import known_bots

    report = Report(as_json=as_json)
    with open_state(home) as state:
        names = known_bots(state)
        if bot is None and len(names) > 1:
            everyone = [control_of(state, name) for name in names]
            list_bots(report, everyone)
            report.document({"bots": [bot_document(control, wall_ms()) for control in everyone]})
            return
        control = choose(state, bot)
        if not as_json:
            show_bot(report, control)
        report.document(bot_document(control, wall_ms()))


def _add(verb: str, words: str, seconds: float) -> None:
    """Add a command that a bot may also find when it starts again."""

    def command(
        bot: BotOption = None,
        wait: WaitOption = seconds,
        queue: QueueOption = False,
        home: HomeOption = None,
        as_json: JsonOption = False,
    ) -> None:
        _tell(verb, bot, wait, home, queue=queue, as_json=as_json)

    app.command(verb, help=words)(command)


_add("pause", "Open no new positions until resume.\n\nWhat is open keeps its stops and may close.", 10.0)
_add("resume", "Undo a pause.", 10.0)


@app.command("stop")
def stop(bot: BotOption = None, wait: WaitOption = 30.0, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End the bot in good order.

    Positions and their stops stay on the exchange.
    """
    _tell("stop", bot, wait, home, queue=False, as_json=as_json)


_add("close-all", "Cancel its orders and sell what it holds.\n\nAt the market, at once.", 30.0)
app.command("deploy-model")(deploy_model)
app.command("list-models")(list_models)
app.command("train")(train)


def _tell(verb: str, bot: str | None, wait: float, home: Path | None, *, queue: bool, as_json: bool) -> None:
    report = Report(as_json=as_json)
    with open_state(home) as state:
        outcome = tell(choose(state, bot), verb, {}, wait=wait, queue=queue)
    report.line(f"{outcome['bot']}: {outcome['answer']}")
    report.document(outcome)
