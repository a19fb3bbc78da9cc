"""Jobs as rows of the state database: what was asked for, how far it is, and what came of it.

A row goes from ``queued`` over ``running`` to one of three ends, and back to ``queued`` where its process ended before the
work did. Of one content key at most one row is unfinished: a unique index says so, whoever writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bot.errors import BotError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from sqlite3 import Row

    from bot.state import StateDatabase

__all__ = ["KEPT_ROWS", "Job", "JobNotFound", "JobStatus", "JobStore", "TooManyJobs", "content_key"]

KEPT_ROWS = 1_000
"""So many of the newest rows are never pruned."""

_ID_LENGTH = 36
_JOBS = """
    CREATE TABLE service_jobs (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        content_key TEXT NOT NULL, request TEXT NOT NULL CHECK (json_valid(request)), owner TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
        created_ms INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER, progress REAL NOT NULL DEFAULT 0,
        message TEXT NOT NULL DEFAULT '', attempts INTEGER NOT NULL DEFAULT 0,
        result TEXT CHECK (result IS NULL OR json_valid(result)), error TEXT, cancel_asked INTEGER NOT NULL DEFAULT 0
    )
"""
_ONE_UNFINISHED = """
    CREATE UNIQUE INDEX service_jobs_unfinished ON service_jobs (content_key) WHERE status IN ('queued', 'running')
"""
_BY_STATUS = "CREATE INDEX service_jobs_by_status ON service_jobs (status, number)"
_STEPS = {"create_tables": (_JOBS, _ONE_UNFINISHED, _BY_STATUS)}


class JobNotFound(BotError, LookupError):
    """No job has that id: it never had one, or it was pruned."""

    exit_code = 2


class TooManyJobs(BotError):
    """So many jobs are unfinished that no other is taken: wait, or cancel one."""


class JobStatus(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes
    ----------
    id
        A random UUID.
    kind
        What is to be done: ``train``, ``generate``.
    key
        Digest of kind and request; see `content_key`.
    request
        Plain data, as it was asked for.
    owner
        Who asked first.
    status
        Where it stands.
    created_ms, started_ms, ended_ms
        Milliseconds UTC; None where it has not come to that.
    progress
        Share that is done, 0 to 1.
    message
        What it is at, for a person.
    attempts
        How often it was begun. What a server that is stopped in order had begun does not count.
    result
        Plain data of a completed job.
    error
        Why it failed, in one line.
    """

    id: str
    kind: str
    key: str
    request: Mapping[str, Any]
    owner: str
    status: JobStatus
    created_ms: int
    started_ms: int | None
    ended_ms: int | None
    progress: float
    message: str
    attempts: int
    result: Mapping[str, Any] | None
    error: str | None

    @property
    def is_done(self) -> bool:
        """Whether nothing more will become of it."""
        return self.status not in {JobStatus.QUEUED, JobStatus.RUNNING}

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data for an answer: times in ISO 8601, UTC; without its key and its owner."""
        from ml.candles import format_ms

        def time(milliseconds: int | None) -> str | None:
            return None if milliseconds is None else format_ms(milliseconds)

        return {
            "id": self.id,
            "kind": self.kind,
            "status": str(self.status),
            "created_at": time(self.created_ms),
            "started_at": time(self.started_ms),
            "ended_at": time(self.ended_ms),
            "progress": round(self.progress, 4),
            "message": self.message,
            "attempts": self.attempts,
            "request": dict(self.request),
            "result": None if self.result is None else dict(self.result),
            "error": self.error,
        }


def content_key(kind: str, request: Mapping[str, Any]) -> str:
    """Return the digest that equal work has in common: SHA-256 over kind and request as canonical JSON.

    Raises
    ------
    UsageError
        When the request is not plain data.
    """
    return sha256(_plain([kind, dict(request)], sort_keys=True).encode()).hexdigest()


class JobStore:
    """The jobs of a home; every method may raise `StorageError`, and then nothing was changed.

    Threads and processes may use one file at once. A method that moves a job along says whether it did: it does nothing
    where the job is not, or no longer, in a status that allows it.
    Where the clock on the wall was put back, a job neither begins before it was asked for nor ends before it began.

    Parameters
    ----------
    state
        The state database of the home.
    """

    def __init__(self, state: StateDatabase) -> None:
        state.apply("service_jobs", _STEPS)
        self._state = state

    # ------------------------------------------------------------------ asking

    def submit(
        self, kind: str, request: Mapping[str, Any], *, key: str, owner: str, now_ms: int, most_waiting: int
    ) -> tuple[Job, bool]:
        """Write a job down and return it with True; or the unfinished job of the same key with False.

        Parameters
        ----------
        kind, request, owner
            As in `Job`.
        key
            What equal work has in common.
        now_ms
            The time, milliseconds UTC.
        most_waiting
            So many jobs may be unfinished.

        Raises
        ------
        TooManyJobs
            When as many are.
        UsageError
            When the request is not plain data.
        """
        text = _plain(dict(request))
        with self._state.transaction():
            found = self.unfinished(key)
            if found is not None:
                return found, False
            counts = self.counts()
            unfinished = counts[JobStatus.QUEUED] + counts[JobStatus.RUNNING]
            if unfinished >= most_waiting:
                raise TooManyJobs(
                    f"{unfinished} jobs wait or run, and no more are taken: try again when one is done, or cancel one"
                )
            rows = self._state.rows(
                "INSERT INTO service_jobs (id, kind, content_key, request, owner, status, created_ms) "
                "VALUES (?, ?, ?, ?, ?, 'queued', ?) RETURNING *",
                (str(uuid4()), kind, key, text, owner, now_ms),
            )
            return _job(rows[0]), True

    def unfinished(self, key: str) -> Job | None:
        """Return the job of a content key that waits or runs; None where none does."""
        query = "SELECT * FROM service_jobs WHERE content_key = ? AND status IN ('queued', 'running')"
        rows = self._state.rows(query, (key,))
        return _job(rows[0]) if rows else None

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises
        ------
        JobNotFound
            When there is none of that id.
        """
        for row in self._state.rows("SELECT * FROM service_jobs WHERE id = ?", (job_id,)):
            return _job(row)
        raise JobNotFound(f"there is no job {job_id[:_ID_LENGTH]!r}{self._near(job_id)}")

    def list(self, kinds: Iterable[str] | None = None, status: str | None = None, most: int = 100) -> tuple[Job, ...]:
        """Return jobs, the newest first.

        Parameters
        ----------
        kinds
            Only of these; None for all.
        status
            Only in this status; None for all.
        most
            At most so many.
        """
        chosen = {"kinds": None if kinds is None else json.dumps([*kinds]), "status": status, "most": most}
        rows = self._state.rows(
            "SELECT * FROM service_jobs WHERE (:kinds IS NULL OR kind IN (SELECT value FROM json_each(:kinds))) "
            "AND (:status IS NULL OR status = :status) ORDER BY number DESC LIMIT :most",
            chosen,
        )
        return tuple(_job(row) for row in rows)

    def counts(self) -> dict[JobStatus, int]:
        """Return how many jobs are in each status."""
        rows = self._state.rows("SELECT status, count(*) AS n FROM service_jobs GROUP BY status")
        return dict.fromkeys(JobStatus, 0) | {JobStatus(row["status"]): int(row["n"]) for row in rows}

    def is_cancelling(self, job_id: str) -> bool:
        """Tell whether a job runs that is to be cancelled."""
        query = "SELECT 1 FROM service_jobs WHERE id = ? AND status = 'running' AND cancel_asked"
        return bool(self._state.rows(query, (job_id,)))

    # ------------------------------------------------------------------ moving along

    def take(self, now_ms: int) -> Job | None:
        """Make the oldest queued job a running one and return it; None where none waits."""
        if not self._state.rows("SELECT 1 FROM service_jobs WHERE status = 'queued' LIMIT 1"):  # so it takes no lock
            return None
        with self._state.transaction():
            rows = self._state.rows(
                "UPDATE service_jobs SET status = 'running', started_ms = max(?, created_ms), progress = 0, "
                "attempts = attempts + 1 "
                "WHERE number = (SELECT min(number) FROM service_jobs WHERE status = 'queued') RETURNING *",
                (now_ms,),
            )
        return _job(rows[0]) if rows else None

    def tell(self, job_id: str, progress: float, message: str) -> bool:
        """Say how far a running job is. It does not wait for the disk: a power cut may lose it."""
        with self._state.transaction(durable=False):
            return self._move(
                "UPDATE service_jobs SET progress = ?, message = ? WHERE id = ? AND status = 'running'",
                (progress, message, job_id),
            )

    def complete(self, job_id: str, result: Mapping[str, Any], now_ms: int) -> bool:
        """End a running job with its result."""
        return self._move(
            "UPDATE service_jobs SET status = 'completed', progress = 1, result = ?, "
            "ended_ms = max(?, started_ms) WHERE id = ? AND status = 'running'",
            (_plain(dict(result)), now_ms, job_id),
        )

    def fail(self, job_id: str, error: str, now_ms: int) -> bool:
        """End a running job with the reason why it failed."""
        return self._move(
            "UPDATE service_jobs SET status = 'failed', error = ?, ended_ms = max(?, started_ms) "
            "WHERE id = ? AND status = 'running'",
            (error, now_ms, job_id),
        )

    def cancel(self, job_id: str, now_ms: int) -> bool:
        """End a job that waits or runs; the process of one that runs must be gone."""
        return self._move(
            "UPDATE service_jobs SET status = 'cancelled', ended_ms = max(?, coalesce(started_ms, created_ms)) "
            "WHERE id = ? AND status IN ('queued', 'running')",
            (now_ms, job_id),
        )

    def ask_to_cancel(self, job_id: str, now_ms: int) -> Job | None:
        """Cancel a job that waits; mark one that runs, so that it is not begun again. Returns it; None where it is done."""
        rows = self._state.rows(
            "UPDATE service_jobs SET cancel_asked = 1, ended_ms = CASE status WHEN 'queued' THEN max(?, created_ms) END, "
            "status = CASE status WHEN 'queued' THEN 'cancelled' ELSE status END "
            "WHERE id = ? AND status IN ('queued', 'running') RETURNING *",
            (now_ms, job_id),
        )
        return _job(rows[0]) if rows else None

    def requeue(self, job_id: str, why: str, *, counted: bool = True) -> bool:
        """Let a running job, whose process is gone, wait again, unless it is to be cancelled.

        Parameters
        ----------
        job_id
            Id of the job.
        why
            Its message until it runs again.
        counted
            Whether the attempt that ended counts.
        """
        return self._move(
            "UPDATE service_jobs SET status = 'queued', started_ms = NULL, progress = 0, message = ?, "
            "attempts = attempts - ? WHERE id = ? AND status = 'running' AND NOT cancel_asked",
            (why, int(not counted), job_id),
        )

    def prune(self, now_ms: int, keep_ms: int) -> int:
        """Delete jobs that were done longer than ``keep_ms`` ago, but none of the newest; returns how many."""
        return self._state.execute(
            "DELETE FROM service_jobs WHERE status NOT IN ('queued', 'running') AND ended_ms < ? "
            "AND number NOT IN (SELECT number FROM service_jobs ORDER BY number DESC LIMIT ?)",
            (now_ms - keep_ms, KEPT_ROWS),
        )

    def _move(self, sql: str, params: tuple[Any, ...]) -> bool:
        return self._state.execute(sql, params) == 1

    def _near(self, job_id: str) -> str:
        """Return the words that name ids which begin in the same way; empty for what is no piece of an id."""
        if not 4 <= len(job_id) <= _ID_LENGTH:
            return ""
        rows = self._state.rows(
            "SELECT id FROM service_jobs WHERE substr(id, 1, ?) = ? ORDER BY number DESC LIMIT 2",
            (min(len(job_id), 8), job_id[:8]),
        )
        return f"; did you mean {' or '.join(repr(row['id']) for row in rows)}?" if rows else ""


def _job(row: Row) -> Job:
    return Job(
        id=row["id"],
        kind=row["kind"],
        key=row["content_key"],
        request=json.loads(row["request"]),
        owner=row["owner"],
        status=JobStatus(row["status"]),
        created_ms=row["created_ms"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        progress=row["progress"],
        message=row["message"],
        attempts=row["attempts"],
        result=None if row["result"] is None else json.loads(row["result"]),
        error=row["error"],
    )


def _plain(document: Any, *, sort_keys: bool = False) -> str:
    try:
        return json.dumps(document, sort_keys=sort_keys, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"what a job asks for and returns is plain data: {error}") from None
