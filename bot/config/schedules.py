"""Lines for cron and units for systemd, filled in for one folder."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files
from typing import TYPE_CHECKING

from bot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CRONTAB", "UNITS", "schedule_files"]

CRONTAB = "crontab"
"""Lines for cron."""

UNITS = (
    "bot-pipeline.service",
    "bot-pipeline.timer",
    "bot-drift.service",
    "bot-drift.timer",
    "bot-live@.service",
)
"""Units for systemd, of a user or of the machine."""

_PLAIN = re.compile(r"[\w@+=:,./-]+")


def schedule_files(folder: Path, program: Sequence[str]) -> dict[str, str]:
    """Return the text of the crontab and of every unit, by file name.

    Parameters
    ----------
    folder
        Absolute path of the working folder: settings, recipes, ``.env``.
    program
        Words that start ``bot``, the first an absolute path.

    Raises
    ------
    UsageError
        When a path holds a line break or another sign that no scheduler can be told.
    """
    for text in (str(folder), *program):
        if not text.isprintable():
            raise UsageError(f"{text!r} cannot stand in a scheduler's file: choose a folder without line breaks")
    # cron takes a bare % for the end of the line
    found = {
        CRONTAB: _fill(CRONTAB, *(text.replace("%", r"\%") for text in (shlex.quote(str(folder)), shlex.join(program))))
    }
    for name in UNITS:
        found[name] = _fill(name, str(folder).replace("%", "%%"), " ".join(_unit_word(word) for word in program))
    return found


def _fill(name: str, folder: str, program: str) -> str:
    text = files("bot.config").joinpath(f"{name}.example").read_text(encoding="utf-8")
    return text.replace("{folder}", folder).replace("{bot}", program)


def _unit_word(word: str) -> str:
    """Return a word of a command line as systemd reads it: quoted where it must be, % doubled."""
    word = word.replace("%", "%%")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
