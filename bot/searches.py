"""The trials of every search, kept in the home: looking again costs again, so they are counted for good.

One file of JSON lines for each series and family, ``searches/SYMBOL_TIMEFRAME_TYPE_MODEL.jsonl``. A line is appended for each
finished trial and for each exam; a last line that a crash cut off is passed over.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import StorageError
from registry.durable import write_all

if TYPE_CHECKING:
    from pathlib import Path

    from registry.names import ModelKey

__all__ = ["KeptTrials", "TrialStore"]

_VERSION = 1


@dataclass(frozen=True)
class KeptTrials:
    """What was ever tried for one series and family.

    Attributes
    ----------
    counted
        Trials on whatever data.
    same
        Plain data of those on the same bars, features and fixed parameters, oldest first.
    exams
        How often the last fold of these bars was looked at.
    """

    counted: int
    same: tuple[dict[str, Any], ...]
    exams: int


class TrialStore:
    """Trials of one series and family.

    Parameters
    ----------
    folder
        ``searches`` of the home; made by the first trial.
    key, architecture
        What is searched.
    data
        Digest of everything that makes two trials comparable.
    """

    def __init__(self, folder: Path, key: ModelKey, architecture: str, data: str) -> None:
        self.path = folder / f"{key.symbol}_{key.timeframe}_{key.model_type}_{architecture}.jsonl"
        self._data = data

    def read(self) -> KeptTrials:
        """Return what is kept; nothing where there is no file yet.

        Raises
        ------
        StorageError
            When the file cannot be read, or a line of it is no trial.
        """
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return KeptTrials(0, (), 0)
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"{self.path} cannot be read: {error}") from None
        counted, same, exams = 0, [], 0
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end was cut off
            entry = self._entry(line, number)
            if entry["kind"] == "exam":
                exams += entry["data"] == self._data
                continue
            counted += 1
            if entry["data"] == self._data:
                same.append(entry["trial"])
        return KeptTrials(counted, tuple(same), exams)

    def keep(self, trial: dict[str, Any]) -> None:
        """Append a finished trial; raises StorageError when the disk refuses."""
        self._append({"schema_version": _VERSION, "kind": "trial", "data": self._data, "trial": trial})

    def keep_exam(self) -> None:
        """Append that the last fold was looked at."""
        self._append({"schema_version": _VERSION, "kind": "exam", "data": self._data})

    def _entry(self, line: str, number: int) -> dict[str, Any]:
        try:
            entry = json.loads(line)
            if entry["schema_version"] != _VERSION or entry["kind"] not in {"trial", "exam"}:
                raise ValueError("it is of another format")
            if entry["kind"] == "trial" and not isinstance(entry["trial"], dict):
                raise ValueError("it holds no trial")
            found: dict[str, Any] = {"data": str(entry["data"]), **entry}
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"{self.path}:{number}: not a line of this program ({error}): move the file away to count anew"
            ) from None
        return found

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a crash cut the last line off: drop it
                    whole = os.pread(descriptor, size, 0)
                    os.ftruncate(descriptor, whole.rfind(b"\n") + 1)
                write_all(descriptor, (json.dumps(entry) + "\n").encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror or error}") from None
