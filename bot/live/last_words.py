"""What a bot said last, and whether it still runs: one document for every command and view."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from bot.live.kill_switch import KillSwitch

if TYPE_CHECKING:
    from bot.live.control import Control
    from bot.live.status import LiveStatus

__all__ = ["bot_document", "last_words"]


def last_words(control: Control) -> LiveStatus:
    """Return what the bot said last.

    Raises
    ------
    UsageError
        When it never said anything.
    StorageError
        When that cannot be read.
    """
    words = control.status()
    if words is None:
        raise UsageError(f"{control.bot} never said anything in this home")
    return words


def bot_document(control: Control, now_ms: int) -> dict[str, Any]:
    """Return one bot as JSON: its last words, its process, what waits for it, and the kill switch of its home.

    Raises
    ------
    UsageError, StorageError
        As `last_words`.
    """
    words = last_words(control)
    return {
        "bot": control.bot,
        "running": control.is_running(),
        "pid": control.pid(),
        "silent_seconds": max(0, now_ms - words.heartbeat_ms) / 1000,
        "waiting_commands": control.waiting(),
        "kill_switch": asdict(KillSwitch(control.home).read()),
        "status": words.to_dict(),
    }
