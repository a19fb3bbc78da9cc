"""Keeping jobs: one thread of the server that does what was asked for, and takes up again what an earlier server left."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, StorageError, UsageError
from bot.service.jobs.crew import Crew
from bot.service.jobs.records import Job, JobNotFound, JobStore, content_key
from bot.wall_clock import wall_ms
from registry.errors import suggestion
from registry.locks import acquire, release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bot.home import Home
    from bot.state import StateDatabase

__all__ = ["JobKeeper"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 100
_IDLE_SECONDS = 1.0  # another process may have written a row
_BUSY_SECONDS = 0.1


class JobKeeper:
    """The jobs of one home.

    ``submit``, ``cancel`` and ``listen`` may be called from any thread, also before ``start`` and after ``stop``: what was
    asked for then is done after the next start.

    Parameters
    ----------
    home
        Its folder ``service`` holds the locks.
    state
        Its state database.
    works
        The function that does each kind of job, as ``module:function``; see `bot.service.jobs.worker.run_job`.
    processes
        Jobs that run at once.
    most_waiting
        Jobs that may be unfinished.
    clock
        Returns the time, milliseconds UTC.

    Attributes
    ----------
    store : JobStore
        The rows, for reading.
    """

    def __init__(
        self,
        home: Home,
        state: StateDatabase,
        works: Mapping[str, str],
        *,
        processes: int = 1,
        most_waiting: int = _MOST_WAITING,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        if processes < 1:
            raise UsageError(f"{processes} processes for jobs: expected at least 1")
        self.store = JobStore(state)
        self._root = home.root
        self._works = dict(works)
        self._processes = processes
        self._most_waiting = most_waiting
        self._clock = clock
        self._listeners: dict[object, Callable[[Job], None]] = {}
        self._changed: deque[str] = deque()
        self._wake = _Wake()
        self._crew = self._new_crew()
        self._complaint = ""
        self._end_seconds: float | None = None
        self._lock: int | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take up what an earlier server left, and do jobs in the background from now on.

        Raises
        ------
        BotError
            When another server keeps the jobs of this home.
        StorageError
            When the home cannot be written.
        """
        lock = _keeper_lock(self._root)
        try:
            self._crew = self._new_crew()
            self._crew.adopt()
            self._wake.open()
            self._end_seconds = None
            self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
            self._thread.start()
            self._lock = lock
        except BaseException:
            self._wake.close()
            release(lock)
            raise

    def stop(self, seconds: float) -> None:
        """End the running jobs, after so many seconds by force.

        They wait for the next start, and the attempt that ended so does not count.
        """
        if self._thread is None or self._lock is None:
            return
        self._end_seconds = seconds
        self._wake()
        self._thread.join()
        self._thread = None
        self._wake.close()
        release(self._lock)
        self._lock = None

    def submit(self, kind: str, request: Mapping[str, Any], owner: str) -> tuple[Job, bool]:
        """Ask for a job and return it with True; or the unfinished job that does the same with False.

        Raises
        ------
        UsageError
            For an unknown kind, or a request that is not plain data.
        TooManyJobs
            When too many jobs are unfinished.
        StorageError
            When it cannot be written down; then it will not be done.
        """
        if kind not in self._works:
            raise UsageError(f"there are no jobs of the kind {kind!r}{suggestion(kind, self._works)}")
        job, is_new = self.store.submit(
            kind,
            request,
            key=content_key(kind, request),
            owner=owner,
            now_ms=self._clock(),
            most_waiting=self._most_waiting,
        )
        if is_new:
            self._changed.append(job.id)
            self._wake()
        return job, is_new

    def cancel(self, job_id: str) -> bool:
        """Cancel a job and return True; False where it is done already. It does not wait.

        One that waits is cancelled when this returns; one that runs is within seconds, unless it completes before.

        Raises
        ------
        JobNotFound
            When there is none of that id.
        StorageError
            When it cannot be written down.
        """
        job = self.store.ask_to_cancel(job_id, self._clock())
        if job is None:
            self.store.get(job_id)
            return False
        if job.is_done:
            self._changed.append(job_id)
        else:
            self._crew.cancel(job_id)
        self._wake()
        return True

    def listen(self, callback: Callable[[Job], None]) -> Callable[[], None]:
        """Have something called with a job at each of its changes, from the keeper's thread; returns what ends that.

        It is given the job as it is now, so of several changes within a moment the last. It must not wait.
        """
        key = object()
        self._listeners[key] = callback

        def forget() -> None:
            self._listeners.pop(key, None)

        return forget

    # ------------------------------------------------------------------ the keeper's thread

    def _new_crew(self) -> Crew:
        return Crew(self._root, self.store, self._works, self._processes, self._clock, self._changed.append)

    def _run(self) -> None:
        while self._end_seconds is None:
            self._tried(self._round)
        self._crew.end(self._end_seconds)
        self._tried(self._announce)

    def _round(self) -> None:
        self._announce()
        self._crew.round()
        self._announce()
        self._complaint = ""
        self._wake.wait(self._crew.handles, _BUSY_SECONDS if self._crew.is_busy else _IDLE_SECONDS)

    def _tried(self, step: Callable[[], None]) -> None:
        """Do a step; what goes wrong is logged once, and neither ends the thread nor keeps a processor busy."""
        try:
            step()
        except StorageError as error:  # what could not be written is written in a later round
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.error("jobs: %s", error)
        except Exception:  # noqa: BLE001 - a fault in one job must not stop the others
            _log.exception("jobs: a round failed")
        else:
            return
        self._wake.wait([], _IDLE_SECONDS)

    def _announce(self) -> None:
        """Tell the listeners what has changed; what cannot be read is told later."""
        while self._changed:
            job_id = self._changed.popleft()
            while self._changed and self._changed[0] == job_id:
                self._changed.popleft()
            try:
                job = self.store.get(job_id)
            except JobNotFound:  # it was pruned
                continue
            except StorageError:
                self._changed.appendleft(job_id)
                raise
            for callback in list(self._listeners.values()):
                try:
                    callback(job)
                except Exception:  # noqa: BLE001 - one that listens does not stop the others
                    _log.exception("jobs: a listener failed")


class _Wake:
    """Ends a wait of the keeper's thread from another thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._ends: Any = None
        self._is_set = False

    def open(self) -> None:
        self._ends, self._is_set = Pipe(duplex=False), False

    def close(self) -> None:
        with self._guard:
            for end in self._ends or ():
                end.close()
            self._ends = None

    def __call__(self) -> None:
        with self._guard:
            if self._ends is not None and not self._is_set:
                self._is_set = True
                self._ends[1].send_bytes(b"!")

    def wait(self, handles: list[Any], seconds: float) -> None:
        """Wait until a handle is ready, somebody calls, or the time is over."""
        reader = self._ends[0]
        if reader in wait([reader, *handles], seconds):
            with self._guard:
                reader.recv_bytes()
                self._is_set = False


def _keeper_lock(root: Path) -> int:
    """Return the lock by which one server keeps the jobs of a home; its file names the process."""
    folder = root / "service"
    path = folder / "keeper.lock"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "jobs").mkdir(mode=0o700, exist_ok=True)
        lock = acquire(path, 0.0)
        if lock is not None:
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            return lock
        holder = path.read_text(encoding="utf-8").strip() or "unknown"
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{error.filename or path}: the lock of the jobs cannot be made: {reason}") from None
    raise BotError(
        f"another server (process {holder}) keeps the jobs of {root}: stop it first, or choose another --home"
    )
