"""Commands to a running bot, and what it says of itself: rows of the state database, so that both survive either side.

A command is written by one process and taken by another within a moment: the bot looks several times a second, between
two bars, never inside one. Each is handed out once, in order; what a killed bot had taken and not finished, its next run
takes again.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import StorageError, UsageError
from bot.live.status import LiveStatus
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from sqlite3 import Row

    from bot.state import StateDatabase

__all__ = ["FRESH_MS", "VERBS", "Answer", "Command", "Control", "is_alive", "known_bots"]

VERBS = {"pause": (), "resume": (), "stop": (), "close-all": (), "deploy-model": ("role", "model")}
"""What a bot can be told, with the arguments that each needs."""

FRESH_MS = 15_000
"""A bot that said nothing for longer is not taken to be running."""

_PAUSE = 0.05  # seconds between two looks for an answer
_COMMANDS = """
    CREATE TABLE commands (
        id INTEGER PRIMARY KEY AUTOINCREMENT, bot TEXT NOT NULL, verb TEXT NOT NULL, arguments TEXT NOT NULL,
        created_ms INTEGER NOT NULL, taken_ms INTEGER, done_ms INTEGER, ok INTEGER, answer TEXT
    )
"""
_OPEN_COMMANDS = "CREATE INDEX open_commands ON commands (bot, id) WHERE done_ms IS NULL"
_LIVE_STATUS = """
    CREATE TABLE live_status (
        bot TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL, heartbeat_ms INTEGER NOT NULL, pid INTEGER NOT NULL,
        state TEXT NOT NULL
    )
"""
_STEPS = {"create_tables": (_COMMANDS, _OPEN_COMMANDS, _LIVE_STATUS)}


@dataclass(frozen=True, slots=True)
class Command:
    """What a bot was told.

    Attributes
    ----------
    id : int
        Grows with each command of the home.
    verb : str
        One of `VERBS`.
    arguments : dict
        By name.
    created_ms : int
        When it was sent, by the sender's wall clock, milliseconds UTC.
    """

    id: int
    verb: str
    arguments: dict[str, Any]
    created_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command: whether it was done, and the bot's words."""

    id: int
    verb: str
    ok: bool
    text: str
    done_ms: int


class Control:
    """One bot's commands and status.

    The bot calls ``pending``, ``finish`` and ``publish``; whoever steers it calls the rest. Every method may raise
    `StorageError`.

    Parameters
    ----------
    state
        The state database of the home.
    bot
        Name of the bot, that of its config.
    clock
        Returns the wall clock in milliseconds UTC.
    """

    def __init__(self, state: StateDatabase, bot: str, clock: Callable[[], int]) -> None:
        state.apply("control", _STEPS)
        self.bot = bot
        self.home = state.path.parent
        self._state = state
        self._clock = clock
        self._given: set[int] = set()
        self._has_looked = False

    def pending(self) -> list[Command]:
        """Return the commands that this object has not handed out yet, oldest first, and mark them as taken.

        The first call of a run also returns what the run before had taken and not finished; but a ``stop`` of that run is
        done, as the run is over. Cheap while there is nothing: one read.
        """
        query = "SELECT * FROM commands WHERE bot = ? AND done_ms IS NULL ORDER BY id"
        is_first, self._has_looked = not self._has_looked, True
        if not self._fresh(self._state.rows(query, (self.bot,))):
            return []
        now = self._clock()
        with self._state.transaction():
            rows = self._fresh(self._state.rows(query, (self.bot,)))
            for row in [each for each in rows if is_first and each["verb"] == "stop" and each["taken_ms"] is not None]:
                self.finish(_command(row), ok=True, answer="the run that was told so is over")
                rows.remove(row)
            for row in rows:
                self._state.execute(
                    "UPDATE commands SET taken_ms = coalesce(taken_ms, ?) WHERE id = ?", (now, row["id"])
                )
        self._given.update(row["id"] for row in rows)
        return [_command(row) for row in rows]

    def finish(self, command: Command, *, ok: bool, answer: str) -> None:
        """Say what became of a command; the first answer stands.

        Parameters
        ----------
        command
            What ``pending`` returned.
        ok
            Whether it was done.
        answer
            One sentence for a person: what was done, or why not.
        """
        self._state.execute(
            "UPDATE commands SET done_ms = ?, ok = ?, answer = ? WHERE id = ? AND done_ms IS NULL",
            (self._clock(), int(ok), answer, command.id),
        )

    def publish(self, status: LiveStatus) -> None:
        """Replace what is known of this bot; call it at every change and at least every few seconds."""
        if status.bot != self.bot:
            raise UsageError(f"a status of {status.bot!r} was published as that of {self.bot!r}")
        self._state.execute(
            "INSERT OR REPLACE INTO live_status (bot, document, heartbeat_ms, pid, state) VALUES (?, ?, ?, ?, ?)",
            (self.bot, json.dumps(status.to_dict(), allow_nan=False), status.heartbeat_ms, os.getpid(), status.state),
        )

    def send(self, verb: str, arguments: Mapping[str, Any] | None = None) -> int:
        """Write a command for the bot and return its id; it is on the disk when this returns.

        Raises
        ------
        UsageError
            For an unknown verb, or an argument that it lacks.
        """
        if verb not in VERBS:
            raise UsageError(f"a bot knows no {verb!r}{suggestion(verb, list(VERBS))}")
        given = dict(arguments or {})
        missing = [name for name in VERBS[verb] if not given.get(name)]
        if missing:
            raise UsageError(f"{verb} needs a {missing[0]}")
        rows = self._state.rows(
            "INSERT INTO commands (bot, verb, arguments, created_ms) VALUES (?, ?, ?, ?) RETURNING id",
            (self.bot, verb, json.dumps(given, allow_nan=False), self._clock()),
        )
        return int(rows[0]["id"])

    def wait(self, command_id: int, seconds: float) -> Answer | None:
        """Return the answer to a command, or None when there is none after that time."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self.answer(command_id)
            if answer is not None or time.monotonic() >= deadline:
                return answer
            time.sleep(_PAUSE)

    def answer(self, command_id: int) -> Answer | None:
        """Return the answer to a command, or None while there is none."""
        query = "SELECT * FROM commands WHERE id = ? AND bot = ? AND done_ms IS NOT NULL"
        for row in self._state.rows(query, (command_id, self.bot)):
            return Answer(row["id"], row["verb"], bool(row["ok"]), row["answer"], row["done_ms"])
        return None

    def withdraw(self, command_id: int) -> bool:
        """Take a command back; False when the bot has taken it already."""
        return bool(
            self._state.execute(
                "UPDATE commands SET done_ms = ?, ok = 0, answer = 'withdrawn: the bot did not take it' "
                "WHERE id = ? AND bot = ? AND taken_ms IS NULL AND done_ms IS NULL",
                (self._clock(), command_id, self.bot),
            )
        )

    def waiting(self) -> int:
        """Return how many commands the bot has not finished."""
        query = "SELECT count(*) FROM commands WHERE bot = ? AND done_ms IS NULL"
        return int(self._state.rows(query, (self.bot,))[0][0])

    def status(self) -> LiveStatus | None:
        """Return the bot's last words, also when it is down; None when it never ran."""
        row = self._row()
        if row is None:
            return None
        try:
            return LiveStatus.from_dict(json.loads(row["document"]))
        except (json.JSONDecodeError, StorageError) as error:
            raise StorageError(f"{self._state.path}: the status of {self.bot} cannot be read: {error}") from None

    def pid(self) -> int | None:
        """Return the process id of the bot's last run; None when it never ran."""
        row = self._row()
        return None if row is None else int(row["pid"])

    def is_running(self) -> bool:
        """Tell whether the bot runs: it did not say that it is over, its process lives, and its last word is fresh."""
        row = self._row()
        if row is None or row["state"] in {"stopped", "failed"}:
            return False
        return self._clock() - row["heartbeat_ms"] <= FRESH_MS and is_alive(row["pid"])

    def _row(self) -> Row | None:
        rows = self._state.rows("SELECT * FROM live_status WHERE bot = ?", (self.bot,))
        return rows[0] if rows else None

    def _fresh(self, rows: list[Row]) -> list[Row]:
        return [row for row in rows if row["id"] not in self._given]


def known_bots(state: StateDatabase) -> list[str]:
    """Return the names of the bots that ever ran in this home, sorted."""
    state.apply("control", _STEPS)
    return [str(row["bot"]) for row in state.rows("SELECT bot FROM live_status ORDER BY bot")]


def is_alive(pid: int) -> bool:
    """Tell whether a process with this id runs; one that has ended and waits for its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there and somebody else's
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:1]
    except OSError:  # a system without /proc
        return True
    return state not in (["Z"], ["X"])


def _command(row: Row) -> Command:
    return Command(row["id"], row["verb"], json.loads(row["arguments"]), row["created_ms"])
