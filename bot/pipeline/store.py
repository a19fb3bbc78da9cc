"""What the pipeline remembers: its cycles, what each built, who serves and why, and what was noticed.

It is a file of its own, ``pipeline.db``: a cycle that writes never holds the lock that the journal of orders waits for.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bot.errors import StorageError
from bot.state import StateDatabase
from ml.errors import BrokenModel
from ml.lifecycle.facts import Facts
from registry.names import ModelKey

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from pathlib import Path

    from ml.recipes import Recipe

__all__ = ["Build", "Cycle", "Finding", "PipelineStore"]

_STEPS = {
    "create_tables": (
        """
        CREATE TABLE recipes (
            stream TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, model_key TEXT NOT NULL, digest TEXT NOT NULL,
            document TEXT NOT NULL, first_ms INTEGER NOT NULL
        )
        """,
        """
        CREATE TABLE cycles (
            id INTEGER PRIMARY KEY AUTOINCREMENT, moment_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL,
            ended_ms INTEGER, status TEXT NOT NULL, summary TEXT NOT NULL
        )
        """,
        """
        CREATE TABLE builds (
            cycle INTEGER NOT NULL REFERENCES cycles (id), stream TEXT NOT NULL, state TEXT NOT NULL, version TEXT,
            reason TEXT NOT NULL, seconds REAL, at_ms INTEGER NOT NULL, PRIMARY KEY (cycle, stream)
        )
        """,
        "CREATE INDEX builds_of_stream ON builds (stream, cycle) WHERE state = 'registered'",
        "CREATE TABLE facts (model_key TEXT PRIMARY KEY NOT NULL, document TEXT NOT NULL, at_ms INTEGER NOT NULL)",
        """
        CREATE TABLE findings (
            id INTEGER PRIMARY KEY AUTOINCREMENT, model_key TEXT NOT NULL, at_ms INTEGER NOT NULL, kind TEXT NOT NULL,
            text TEXT NOT NULL, document TEXT NOT NULL
        )
        """,
    )
}
BuildState = Literal["registered", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """One run of the pipeline.

    Attributes
    ----------
    moment_ms
        The time that the cycle stands for: what closed later does not exist for it. A cycle that is resumed keeps it.
    started_ms, ended_ms
        By the clock on the wall; None while it is not over.
    status
        ``running``, ``done`` or ``failed``.
    summary
        What came of it; plain data.
    """

    number: int
    moment_ms: int
    started_ms: int
    ended_ms: int | None
    status: str
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Build:
    """What became of one recipe in one cycle."""

    stream: str
    state: str
    version: str | None
    reason: str
    seconds: float | None
    cycle: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was noticed or decided: a promotion, an alarm, a rollback."""

    number: int
    model_key: str
    at_ms: int
    kind: str
    text: str
    document: Mapping[str, Any]


class PipelineStore:
    """The pipeline's own database; every method may raise `StorageError`.

    Parameters
    ----------
    path
        ``pipeline.db`` of the home; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.state = StateDatabase(path)
        try:
            self.state.apply("pipeline", _STEPS)
        except BaseException:
            self.state.close()
            raise

    def __enter__(self) -> PipelineStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.state.close()

    # ------------------------------------------------------------------ recipes

    def enroll(self, recipe: Recipe, at_ms: int) -> str:
        """Remember a recipe and return the name of its record: one that learns something else has a record of its own."""
        known = self.stream_for(recipe)
        if known is not None:
            return known
        stream = f"{recipe.name}-{recipe.digest[:8]}"
        document = json.dumps(recipe.to_dict(), sort_keys=True)
        self.state.execute(
            "INSERT INTO recipes (stream, name, model_key, digest, document, first_ms) VALUES (?, ?, ?, ?, ?, ?)",
            (stream, recipe.name, str(recipe.key), recipe.digest, document, at_ms),
        )
        return stream

    def stream_for(self, recipe: Recipe) -> str | None:
        """Return the name of a recipe's record; None where it was not enrolled yet."""
        rows = self.state.rows("SELECT stream FROM recipes WHERE digest = ?", (recipe.digest,))
        return str(rows[0]["stream"]) if rows else None

    def known_recipes(self, model_key: str | None = None) -> dict[str, dict[str, Any]]:
        """Return every recipe that was ever enrolled, as plain data by stream, the oldest first."""
        query = "SELECT stream, document FROM recipes WHERE ? IS NULL OR model_key = ? ORDER BY first_ms, stream"
        return {
            str(row["stream"]): json.loads(row["document"]) for row in self.state.rows(query, (model_key, model_key))
        }

    # ------------------------------------------------------------------ cycles

    def begin(self, moment_ms: int, now_ms: int) -> tuple[Cycle, bool]:
        """Begin a cycle, or resume the one that a crash cut short; tells which."""
        unfinished = self._cycles("WHERE status = 'running' ORDER BY id DESC LIMIT 1")
        if unfinished:
            return unfinished[0], True
        with self.state.transaction():
            self.state.execute(
                "INSERT INTO cycles (moment_ms, started_ms, status, summary) VALUES (?, ?, 'running', '{}')",
                (moment_ms, now_ms),
            )
            return self._cycles("ORDER BY id DESC LIMIT 1")[0], False

    def end(self, cycle: Cycle, *, status: str, summary: Mapping[str, Any], now_ms: int) -> None:
        """Write down how a cycle ended."""
        self.state.execute(
            "UPDATE cycles SET status = ?, summary = ?, ended_ms = ? WHERE id = ?",
            (status, json.dumps(summary), now_ms, cycle.number),
        )

    def cycles(self, most: int = 20) -> list[Cycle]:
        """Return the newest cycles, the newest first."""
        return self._cycles("ORDER BY id DESC LIMIT ?", (most,))

    # ------------------------------------------------------------------ builds

    def keep_build(
        self,
        cycle: Cycle,
        stream: str,
        state: BuildState,
        *,
        version: str | None = None,
        reason: str = "",
        seconds: float | None = None,
        now_ms: int,
    ) -> None:
        """Write down what became of a recipe in a cycle; what it registered stays, whatever went wrong later."""
        self.state.execute(
            "INSERT INTO builds (cycle, stream, state, version, reason, seconds, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (cycle, stream) DO UPDATE SET state = excluded.state, version = excluded.version, "
            "reason = excluded.reason, seconds = excluded.seconds, at_ms = excluded.at_ms WHERE state <> 'registered'",
            (cycle.number, stream, state, version, reason, seconds, now_ms),
        )

    def builds(self, cycle: Cycle) -> dict[str, Build]:
        """Return what became of each recipe in a cycle, by stream."""
        rows = self.state.rows("SELECT * FROM builds WHERE cycle = ? ORDER BY at_ms", (cycle.number,))
        return {str(row["stream"]): _build(row) for row in rows}

    def newest_build(self, stream: str) -> Build | None:
        """Return the last version of a recipe that was registered."""
        query = "SELECT * FROM builds WHERE stream = ? AND state = 'registered' ORDER BY cycle DESC LIMIT 1"
        rows = self.state.rows(query, (stream,))
        return _build(rows[0]) if rows else None

    def versions(self, stream: str) -> list[tuple[str, int]]:
        """Return every version of a recipe that was registered, with the moment of its cycle, the oldest first."""
        query = (
            "SELECT version, moment_ms FROM builds JOIN cycles ON cycles.id = builds.cycle "
            "WHERE stream = ? AND state = 'registered' ORDER BY cycle"
        )
        return [(str(row["version"]), int(row["moment_ms"])) for row in self.state.rows(query, (stream,))]

    def stream_of(self, version: str, model_key: str) -> str | None:
        """Return the recipe that a version was built by; None where no recipe of the key was."""
        query = (
            "SELECT builds.stream FROM builds JOIN recipes USING (stream) "
            "WHERE builds.version = ? AND builds.state = 'registered' AND recipes.model_key = ?"
        )
        rows = self.state.rows(query, (version, model_key))
        return str(rows[0]["stream"]) if rows else None

    # ------------------------------------------------------------------ facts and findings

    def facts(self, model_key: str) -> Facts:
        """Return what is remembered of a model key; empty where nothing is."""
        rows = self.state.rows("SELECT document FROM facts WHERE model_key = ?", (model_key,))
        try:
            return Facts.from_dict(json.loads(rows[0]["document"])) if rows else Facts()
        except (ValueError, BrokenModel) as error:
            raise StorageError(f"{self.state.path}: {model_key}: {error}") from None

    def keep_facts(self, model_key: str, facts: Facts, now_ms: int) -> None:
        """Remember the facts of a model key."""
        self.state.execute(
            "INSERT OR REPLACE INTO facts (model_key, document, at_ms) VALUES (?, ?, ?)",
            (model_key, json.dumps(facts.to_dict()), now_ms),
        )

    def model_keys(self) -> list[ModelKey]:
        """Return the model keys of which anything is remembered."""
        query = "SELECT model_key FROM facts UNION SELECT model_key FROM recipes ORDER BY model_key"
        parts = (str(row["model_key"]).split("/") for row in self.state.rows(query))
        return [ModelKey(symbol, model_type, timeframe) for symbol, timeframe, model_type in parts]

    def note(self, model_key: str, kind: str, text: str, document: Mapping[str, Any], now_ms: int) -> None:
        """Write down something that was noticed or decided."""
        self.state.execute(
            "INSERT INTO findings (model_key, at_ms, kind, text, document) VALUES (?, ?, ?, ?, ?)",
            (model_key, now_ms, kind, text, json.dumps(document)),
        )

    def findings(self, model_key: str | None = None, most: int = 100) -> list[Finding]:
        """Return what was noticed and decided last, the newest first."""
        query = "SELECT * FROM findings WHERE ? IS NULL OR model_key = ? ORDER BY id DESC LIMIT ?"
        rows = self.state.rows(query, (model_key, model_key, most))
        return [
            Finding(row["id"], row["model_key"], row["at_ms"], row["kind"], row["text"], json.loads(row["document"]))
            for row in rows
        ]

    def _cycles(self, rest: str, params: tuple[Any, ...] = ()) -> list[Cycle]:
        rows = self.state.rows(f"SELECT * FROM cycles {rest}", params)  # noqa: S608 - our own words
        return [
            Cycle(
                number=row["id"],
                moment_ms=row["moment_ms"],
                started_ms=row["started_ms"],
                ended_ms=row["ended_ms"],
                status=row["status"],
                summary=json.loads(row["summary"]),
            )
            for row in rows
        ]


def _build(row: sqlite3.Row) -> Build:
    return Build(row["stream"], row["state"], row["version"], row["reason"], row["seconds"], row["cycle"], row["at_ms"])
