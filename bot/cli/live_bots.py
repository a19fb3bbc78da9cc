"""The bots of a home as commands see them: which there are, what they said last, and how to tell them something."""

from __future__ import annotations

import shutil
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.errors import BotError, UsageError
from bot.home import Home
from bot.live.last_words import last_words
from bot.wall_clock import wall_ms
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from bot.cli.output import Report
    from bot.live.control import Answer, Control
    from bot.live.kill_switch import KillOrder
    from bot.live.status import LiveStatus
    from bot.state import StateDatabase

__all__ = [
    "BotOption",
    "QueueOption",
    "WaitOption",
    "choose",
    "control_of",
    "list_bots",
    "open_state",
    "require_running",
    "show_bot",
    "tell",
]

BotOption = Annotated[str | None, typer.Option("--bot", help="Name of the bot [default: the only one known].")]
WaitOption = Annotated[
    float, typer.Option("--wait", min=0.0, max=3600.0, help="Seconds to wait for the bot's answer; 0 does not wait.")
]
QueueOption = Annotated[
    bool, typer.Option("--queue", help="Leave the command for a bot that is down, or that does not answer.")
]

_NO_WIDTH = 1_000_000  # lines for a file or another program are never wrapped
_PAUSE = 0.05


@contextmanager
def open_state(home: Path | None) -> Iterator[StateDatabase]:
    """Open the state database of a home for the length of the block; a home without one is not given one.

    Raises
    ------
    UsageError
        When no bot ever ran there.
    """
    from bot.state import StateDatabase

    place = Home.resolve(home)
    if not place.state_db.exists():
        raise _nobody(place)
    with StateDatabase(place.state_db) as state:
        yield state


def control_of(state: StateDatabase, bot: str) -> Control:
    """Return the control of a bot, by the wall clock."""
    from bot.live.control import Control

    return Control(state, bot, wall_ms)


def choose(state: StateDatabase, bot: str | None) -> Control:
    """Return the bot that is meant: the named one, or the only one.

    Raises
    ------
    UsageError
        When none is known, none has that name, or there are several and none is named.
    """
    from bot.live.control import known_bots

    names = known_bots(state)
    if not names:
        raise _nobody(Home(state.path.parent))
    if bot is not None and bot not in names:
        raise UsageError(f"no bot {bot!r} ran in this home{suggestion(bot, names)}; known: {', '.join(names)}")
    if bot is None and len(names) > 1:
        controls = [control_of(state, name) for name in names]
        listed = ", ".join(f"{each.bot} ({'running' if each.is_running() else 'down'})" for each in controls)
        raise UsageError(f"several bots are known here: {listed}; choose one with --bot NAME")
    return control_of(state, bot or names[0])


def require_running(control: Control, *, may_queue: bool) -> None:
    """Raise ``BotError`` when the bot is down: it says since when, and what to do."""
    if control.is_running():
        return
    queue = ", or leave the command for its next start with --queue" if may_queue else ""
    raise BotError(f"{_down_text(control, last_words(control))}; start it with: bot live CONFIG{queue}")


def show_bot(report: Report, control: Control) -> None:
    """Print one bot for a person."""
    from bot.live.screen import screen_lines

    words = last_words(control)
    running, orders = control.is_running(), _kill_order(control)
    if not running:
        report.line(f"{_down_text(control, words)}. Its last words:")
        report.line()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _NO_WIDTH
    for line in screen_lines(words, width, _NO_WIDTH, wall_ms() if running else None):
        report.line("".join(text for text, _ in line))
    if orders.is_on:
        report.line()
        closing = " and positions are closed" if orders.closes else ""
        report.line(
            f"The kill switch is on: no new entries{closing} ({orders.reason}); delete the file to trade again."
        )
    if control.waiting():
        report.line(f"{control.waiting()} command(s) wait for it.")


def list_bots(report: Report, controls: Sequence[Control]) -> None:
    """Print several bots, one line each."""
    rows = []
    for control in controls:
        words = last_words(control)
        silent = _age(wall_ms() - words.heartbeat_ms)
        state = words.state if control.is_running() else f"down ({words.state})"
        rows.append([control.bot, state, words.mode, words.exchange, f"{words.value:,.2f}", f"{silent} ago"])
    report.table("bots", ["bot", "state", "mode", "exchange", "value", "last heard"], rows)
    report.line("One of them: bot live-control status --bot NAME")


def tell(
    control: Control, verb: str, arguments: Mapping[str, Any], *, wait: float, queue: bool = False
) -> dict[str, Any]:
    """Send a command, wait for the answer, and return what became of it as JSON.

    Parameters
    ----------
    control
        The bot.
    verb, arguments
        The command.
    wait
        Seconds; 0 sends it and does not wait.
    queue
        Whether a bot that is down, or does not answer in time, finds the command later. Else it is not sent, or withdrawn.

    Raises
    ------
    BotError
        When the bot is down, refuses, or does not answer in time.
    """
    if not queue:
        require_running(control, may_queue=verb != "stop")
    is_up = control.is_running()
    sent = control.send(verb, arguments)
    document = {"bot": control.bot, "verb": verb, "arguments": dict(arguments), "id": sent}
    if not is_up:
        return document | {"outcome": "queued", "answer": "the bot is down; it will find the command at its next start"}
    if not wait:
        return document | {"outcome": "sent", "answer": "sent; the bot was not waited for"}
    answer = _wait_for_end(control, sent, wait) if verb == "stop" else control.wait(sent, wait)
    if answer is None and not queue and control.withdraw(sent):
        raise BotError(f"{control.bot} did not take the command within {wait:g} s, so it was withdrawn: try again")
    answer = answer or control.answer(sent)
    if answer is None and queue:
        return document | {"outcome": "queued", "answer": f"no answer within {wait:g} s; the command stays"}
    if answer is None:
        raise BotError(
            f"{control.bot} has taken the command and not finished it within {wait:g} s; "
            "bot live-control status shows how it stands"
        )
    if not answer.ok:
        raise BotError(f"{control.bot} refused: {answer.text}")
    return document | {"outcome": "done", "answer": answer.text}


def _wait_for_end(control: Control, sent: int, seconds: float) -> Answer | None:
    """Wait until the process of the bot is gone: only then another may start in its place."""
    from bot.live.control import Answer, is_alive

    deadline = time.monotonic() + seconds
    pid = control.pid()
    while pid is not None and is_alive(pid) and time.monotonic() < deadline:
        answer = control.answer(sent)
        if answer is not None and not answer.ok:
            return answer
        time.sleep(_PAUSE)
    answer = control.answer(sent)
    if answer is None and not control.is_running():  # it ended before it could answer
        return Answer(sent, "stop", ok=True, text="it has ended", done_ms=wall_ms())
    if answer is not None and pid is not None and is_alive(pid):
        return replace(answer, text=f"{answer.text}; but its process {pid} has not ended within {seconds:g} s")
    return answer


def _down_text(control: Control, words: LiveStatus) -> str:
    from bot.live.control import is_alive
    from bot.live.wording import moment

    at = f"{moment(words.heartbeat_ms)} UTC"
    if words.has_ended:
        return f"{control.bot} is not running: it {words.state} at {at}"
    pid = control.pid()
    if pid is not None and is_alive(pid):
        silent = _age(wall_ms() - words.heartbeat_ms)
        return f"{control.bot} has been silent for {silent} (its process {pid} is there, last heard of at {at})"
    return f"{control.bot} is not running: last heard of at {at}, then {words.state}; it did not end in good order"


def _kill_order(control: Control) -> KillOrder:
    from bot.live.kill_switch import KillSwitch

    return KillSwitch(control.home).read()


def _nobody(home: Home) -> UsageError:
    return UsageError(f"no bot ran in {home.root} yet: start one with: bot live CONFIG")


def _age(milliseconds: int) -> str:
    from bot.cli.model_figures import age_text

    return age_text(milliseconds / 1000)
