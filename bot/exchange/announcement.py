"""What a running exchange says about itself in the home folder, so that ``bot live`` finds it."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bot.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Announcement"]

_NAME = "exchange.json"


@dataclass(frozen=True, slots=True)
class Announcement:
    """A running local exchange.

    Attributes
    ----------
    url : str
        Such as ``http://127.0.0.1:8899``.
    key, secret : str
        They open this exchange and nothing else.
    symbols : tuple of str
        On the wire, such as BTCUSDT.
    timeframe : str
        Of its candles.
    clock : str
        ``lockstep``, ``accelerated`` or ``wall``.
    pid : int
        Of its process.
    """

    url: str
    key: str
    secret: str
    symbols: tuple[str, ...]
    timeframe: str
    clock: str
    pid: int

    @staticmethod
    def path(home: Path) -> Path:
        """Return the file below a home folder."""
        return home / _NAME

    @classmethod
    def read(cls, home: Path) -> Announcement | None:
        """Return what a running exchange announced; None without one, or when its process is gone.

        Raises
        ------
        StorageError
            When the file is there and cannot be read or is no announcement.
        """
        path = cls.path(home)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = cls(**{**values, "symbols": tuple(values["symbols"])})
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, TypeError, KeyError):
            raise StorageError(
                f"{path} is not what an exchange writes: delete it and start the exchange anew"
            ) from None
        return found if _runs(found.pid) else None

    def write(self, home: Path) -> None:
        """Write the file, readable by its owner only.

        Raises
        ------
        StorageError
            When it cannot be written.
        """
        path = self.path(home)
        aside = path.with_name(f"{_NAME}.{os.getpid()}")
        try:
            home.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self), indent=2) + "\n")
            aside.replace(path)
        except OSError as error:
            raise StorageError(f"{path} cannot be written: {error.strerror}") from None

    def remove(self, home: Path) -> None:
        """Take the file away, unless another exchange has written its own."""
        path = self.path(home)
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.read_text(encoding="utf-8")).get("pid") == self.pid:
                path.unlink()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
