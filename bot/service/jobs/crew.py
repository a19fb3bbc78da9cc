"""The processes of the jobs that run: begun, watched and ended, one round after the other, by the keeper's thread."""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import StorageError
from bot.service.jobs.records import Job, JobStatus
from bot.service.jobs.worker import JobProcess, is_free, lock_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bot.service.jobs.records import JobStore

__all__ = ["KEEP_MS", "MOST_ATTEMPTS", "Crew"]

_log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""A job whose process ends with its server so often is given up: it may be what ends it."""
KEEP_MS = 30 * 86_400_000
"""How long done jobs are kept."""

_CANCEL_SECONDS = 5.0  # from the request to end to the end
_LEAVE_SECONDS = 10.0  # a process that has told its result may take so long to tidy up
_TELL_SECONDS = 0.5  # between two rows of progress of one job
_RETRY_SECONDS = 5.0  # after a process could not be started
_PRUNE_SECONDS = 3_600.0
_PAUSE = 0.01


@dataclass(eq=False)
class _Running:
    """A job whose process runs: when its progress was written, when it is killed, and what is decided already."""

    job: Job
    process: JobProcess
    written_s: float = 0.0
    written: tuple[float, str] | None = None
    kill_s: float | None = None
    is_cancelled: bool = False
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class _Adrift:
    """A job that is running by its row and has no process of ours; what became of that, in words."""

    job: Job
    why: str


class Crew:
    """The processes of one home's jobs. One thread uses it; but ``cancel`` may be called from any.

    A step that cannot be written down raises, and is done in a later round: what a process told is not lost meanwhile.

    Parameters
    ----------
    root
        The home folder.
    store
        Its jobs.
    works
        The function that does each kind, as ``module:function``.
    processes
        Jobs that run at once.
    clock
        Returns the time, milliseconds UTC.
    changed
        Called with the id of a job when its row has changed.
    """

    def __init__(
        self,
        root: Path,
        store: JobStore,
        works: Mapping[str, str],
        processes: int,
        clock: Callable[[], int],
        changed: Callable[[str], None],
    ) -> None:
        self._root = root
        self._store = store
        self._works = works
        self._processes = processes
        self._clock = clock
        self._changed = changed
        self._to_cancel: deque[str] = deque()
        self._running: dict[str, _Running] = {}
        self._adrift: dict[str, _Adrift] = {}
        self._begin_s = 0.0  # not before this time of the monotonic clock
        self._prune_s = 0.0

    @property
    def handles(self) -> list[Any]:
        """What becomes ready when there is something to do for a process."""
        return [handle for each in self._running.values() for handle in each.process.handles]

    @property
    def is_busy(self) -> bool:
        """Whether something is to be done by the time, without a process saying so."""
        return bool(self._adrift) or any(
            each.process.progress != each.written or each.kill_s is not None for each in self._running.values()
        )

    def adopt(self) -> None:
        """Take up the jobs that an earlier server left running; to be called once, before the first round."""
        for job in self._store.list(status=JobStatus.RUNNING, most=-1):
            self._adrift[job.id] = _Adrift(job, "the server ended while it ran")

    def cancel(self, job_id: str) -> None:
        """Have the process of a job ended in the next round."""
        self._to_cancel.append(job_id)

    def round(self) -> None:
        """Do what is to be done now; never waits.

        Raises
        ------
        StorageError
            When something cannot be written down.
        """
        self._signal()
        self._conclude_all()
        self._write_progress()
        self._settle_adrift()
        self._begin()
        self._prune()

    def end(self, seconds: float) -> None:
        """End every process, after so many seconds by force, and let their jobs wait for the next start."""
        deadline = time.monotonic() + seconds
        for each in self._running.values():
            each.process.terminate()
        while any(not each.process.has_died for each in self._running.values()):
            for each in self._running.values():
                each.process.read()
                if time.monotonic() >= deadline:
                    each.process.kill()
            time.sleep(_PAUSE)
        for job_id, each in list(self._running.items()):
            each.process.read()
            try:
                if not each.is_told and (each.process.has_told or each.is_cancelled):
                    self._conclude(each)
                elif not each.is_told and not self._store.requeue(job_id, "the server was stopped", counted=False):
                    self._store.cancel(job_id, self._clock())
            except StorageError as error:  # its row says that it runs: the next start takes it up
                _log.error("jobs: %s", error)
            self._changed(job_id)
            self._drop(each)

    # ------------------------------------------------------------------ the parts of a round

    def _signal(self) -> None:
        """End the processes of jobs that were cancelled, and kill those whose time is up."""
        now = time.monotonic()
        while self._to_cancel:
            each = self._running.get(self._to_cancel.popleft())
            if each is not None and not each.is_cancelled and not each.is_told:
                each.is_cancelled = True
                each.kill_s = now + _CANCEL_SECONDS
                each.process.terminate()
        for each in self._running.values():
            if each.kill_s is not None and now >= each.kill_s:
                each.process.kill()

    def _conclude_all(self) -> None:
        for job_id, each in list(self._running.items()):
            has_died = each.process.has_died  # asked before reading: what it said last is in the pipe then
            each.process.read()
            if not each.is_told and (has_died or (each.process.has_told and not each.is_cancelled)):
                self._conclude(each)
                each.is_told = True
                each.kill_s = time.monotonic() + _LEAVE_SECONDS
                self._changed(job_id)
            if each.is_told and has_died:
                self._drop(each)

    def _conclude(self, each: _Running) -> None:
        """Write down what came of a job whose process has told it, or is gone."""
        job, process = each.job, each.process
        if process.progress is not None and process.progress != each.written:
            self._store.tell(job.id, *process.progress)
        if process.result is not None:
            self._store.complete(job.id, process.result, self._clock())
        elif each.is_cancelled:
            self._store.cancel(job.id, self._clock())
        elif process.error is not None:
            self._store.fail(job.id, process.error, self._clock())
        elif process.was_ended_from_outside():
            self._adrift[job.id] = _Adrift(job, "its process was ended from outside")
        else:
            self._store.fail(job.id, process.last_words(), self._clock())

    def _write_progress(self) -> None:
        now = time.monotonic()
        for job_id, each in self._running.items():
            said = each.process.progress
            if each.is_told or said is None or said == each.written or now < each.written_s + _TELL_SECONDS:
                continue
            self._store.tell(job_id, *said)
            each.written, each.written_s = said, now
            self._changed(job_id)

    def _settle_adrift(self) -> None:
        """Decide about jobs without a process, once nobody holds their lock: begin again, give up, or cancel."""
        for job_id, each in list(self._adrift.items()):
            if not is_free(self._root, job_id):
                continue
            attempts = each.job.attempts
            if self._store.is_cancelling(job_id):
                self._store.cancel(job_id, self._clock())
            elif attempts >= MOST_ATTEMPTS:
                self._store.fail(job_id, f"given up after {attempts} attempts: {each.why}", self._clock())
            else:
                self._store.requeue(job_id, f"to be begun again: {each.why}")
                if self._store.is_cancelling(job_id):  # somebody was quicker
                    continue
            del self._adrift[job_id]
            self._changed(job_id)

    def _begin(self) -> None:
        while len(self._running) < self._processes and time.monotonic() >= self._begin_s:
            job = self._store.take(self._clock())
            if job is None:
                return
            self._changed(job.id)
            self._adrift[job.id] = _Adrift(job, "its process could not be started")  # until it has one
            work = self._works.get(job.kind)
            if work is None:  # a row of another version of this program
                self._store.fail(job.id, f"there are no jobs of the kind {job.kind!r}", self._clock())
            else:
                try:
                    self._running[job.id] = _Running(job, JobProcess(str(self._root), job, work))
                except OSError as error:
                    why = f"its process could not be started: {error.strerror or error}"
                    self._adrift[job.id] = _Adrift(job, why)
                    self._begin_s = time.monotonic() + _RETRY_SECONDS
                    return
            del self._adrift[job.id]

    def _drop(self, each: _Running) -> None:
        del self._running[each.job.id]
        each.process.close()
        with suppress(StorageError):  # a lock that stays is tidied away later
            is_free(self._root, each.job.id)

    def _prune(self) -> None:
        """Now and then delete old rows, and the locks of processes that were killed."""
        if time.monotonic() < self._prune_s:
            return
        self._prune_s = time.monotonic() + _PRUNE_SECONDS
        self._store.prune(self._clock(), KEEP_MS)
        for path in lock_path(self._root, "any").parent.glob("*.lock"):
            if path.stem not in self._running:
                is_free(self._root, path.stem)
