"""The kill switch: a file in the home that forbids new entries to every bot, by its presence alone.

A person makes it with ``touch var/KILL``, and a bot makes it when a protection says so. It survives restarts: who wants to
trade again deletes it. ``close`` as its first word also closes what is held.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bot.errors import StorageError
from registry.durable import make_folders, sync_folder, write_new

__all__ = ["KILL_NAME", "KillOrder", "KillSwitch"]

KILL_NAME = "KILL"
_CLOSE, _STOP = "close", "stop"
_MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class KillOrder:
    """What the switch says now.

    Attributes
    ----------
    is_on : bool
        No new entries.
    closes : bool
        Positions are closed as well.
    reason : str
        For a person; empty when it is off.
    """

    is_on: bool = False
    closes: bool = False
    reason: str = ""


_OFF = KillOrder()


class KillSwitch:
    """The file ``KILL`` of a home.

    Parameters
    ----------
    home
        The home folder; it need not exist.
    """

    def __init__(self, home: Path) -> None:
        self.path = Path(home) / KILL_NAME

    def read(self) -> KillOrder:
        """Return what it says; one look at the file system while there is no such file.

        Whatever cannot be read or understood stops entries: only a file that is not there allows them.
        """
        try:
            os.lstat(self.path)
        except FileNotFoundError:
            return _OFF
        except OSError as error:
            return KillOrder(is_on=True, reason=f"{self.path} cannot be looked at: {error.strerror or error}")
        try:
            with self.path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode("utf-8", errors="replace")
        except OSError as error:
            return KillOrder(is_on=True, reason=f"{self.path} is there and cannot be read: {error.strerror or error}")
        words = text.split()
        first = words[0].lower().strip(":,.;") if words else ""
        closes = first == _CLOSE
        said = " ".join(words[1:] if first in {_CLOSE, _STOP} else words)
        printable = "".join(letter for letter in said if letter.isprintable())[:200]
        return KillOrder(is_on=True, closes=closes, reason=f"{self.path}: {printable}" if printable else str(self.path))

    def engage(self, reason: str, *, close: bool = False) -> None:
        """Make the file; one that is there and closes positions keeps doing so.

        Parameters
        ----------
        reason
            Why, for whoever finds it.
        close
            Whether positions are closed as well.

        Raises
        ------
        StorageError
            When it cannot be written: the caller must stop entries by itself.
        """
        close = close or self.read().closes
        fresh = self.path.with_name(f".{KILL_NAME}-{uuid4().hex}")
        try:
            make_folders(self.path.parent)
            write_new(fresh, f"{_CLOSE if close else _STOP}\n{reason}\n".encode())
            fresh.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise StorageError(f"{self.path}: the kill switch cannot be written: {error.strerror or error}") from error

    def release(self) -> bool:
        """Delete the file, and return whether there was one."""
        try:
            self.path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(
                f"{self.path}: the kill switch cannot be deleted: {error.strerror or error}; delete it by hand"
            ) from error
        return True
