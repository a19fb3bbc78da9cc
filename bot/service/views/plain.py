"""From the program's values to documents that may leave the machine: plain JSON, times in UTC, no path of this computer."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import BotError
from ml.candles import format_ms
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bot.home import Home

__all__ = ["NotHere", "home_pattern", "iso", "not_here", "plain", "without_paths"]

_HOME = "home"
_MS = "_ms"
_MILLISECOND = timedelta(milliseconds=1)


class NotHere(BotError, LookupError):
    """The home holds nothing of that name; the message says what is near, or what there is."""

    exit_code = 2


def not_here(what: str, name: str, known: Iterable[str], most: int = 5) -> NotHere:
    """Return the error for a name that is none: ``no bot 'x' in this home; did you mean 'y'?``.

    Parameters
    ----------
    what
        Kind of thing, such as ``bot``.
    name
        What was asked for; cut where it is long, since it is told back.
    known
        Names that there are.
    most
        How many are listed where none is near.
    """
    names = list(known)
    listed = f"; known: {', '.join(names[:most])}" if names else "; there are none"
    shown = name if len(name) <= 80 else f"{name[:80]}..."
    return NotHere(f"no {what} {shown!r} in this home{suggestion(name[:80], names) or listed}")


def iso(at: datetime) -> str:
    """Return a moment as ``2024-01-31T09:00:00Z``, with milliseconds where there are any."""
    return format_ms((at - datetime(1970, 1, 1, tzinfo=UTC)) // _MILLISECOND)


def plain(value: Any, home: Home | None = None, *, times: bool = False) -> Any:
    """Return a document as JSON has it: no NaN, no infinity, lists for tuples, no path of this computer.

    Parameters
    ----------
    value
        Nested dicts, lists and single values.
    home
        Whose paths are told as ``home/...``; None for a document that holds none.
    times
        Turn every ``NAME_ms`` that holds milliseconds into ``NAME_at`` in ISO 8601.
    """
    return _plain(value, None if home is None else home_pattern(home.root), times)


def without_paths(text: str, home: Home) -> str:
    """Return a text in which the folder of the home is called ``home``, in one line."""
    return home_pattern(home.root).sub(_HOME, " ".join(text.split()))


def home_pattern(root: Path) -> re.Pattern[str]:
    """Return what finds the folder of a home in a text, as it was given and resolved; not a longer name that begins so."""
    spelled = sorted({str(root.absolute()), str(root.resolve())} - {"/"}, key=len, reverse=True)
    found = "|".join(map(re.escape, spelled))
    return re.compile(rf"(?<![\w.-])(?:{found})(?![\w.-])" if found else r"(?!)")


def _plain(value: Any, folder: re.Pattern[str] | None, times: bool) -> Any:
    if isinstance(value, dict):
        return {
            f"{name.removesuffix(_MS)}_at" if times and _is_time(name, item) else str(name): (
                _moment(item) if times and _is_time(name, item) else _plain(item, folder, times)
            )
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, folder, times) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, (str, Path)):
        return str(value) if folder is None else folder.sub(_HOME, str(value))
    return value


def _is_time(name: Any, value: Any) -> bool:
    return isinstance(name, str) and name.endswith(_MS) and (value is None or type(value) is int)


def _moment(value: int | None) -> str | None:
    return None if value is None else format_ms(value)
