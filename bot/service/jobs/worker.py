"""The process of a job: what it does, and the handle by which the keeper watches it.

The process is a fresh interpreter, as the server has threads. It says how far it is through a pipe, ends itself when the
server is gone, and holds a lock for its life: while an old process of a job lives, no other does that job.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections import deque
from importlib import import_module
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bot.errors import BotError, StorageError
from bot.home import Home
from bot.pipeline.building import DIED
from registry.locks import acquire, release

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from bot.service.jobs.records import Job

__all__ = ["JobProcess", "is_free", "lock_path", "run_job"]

_log = logging.getLogger(__name__)

_NICENESS = 10
_TELL_SECONDS = 0.1
_LOCK_SECONDS = 30.0  # an old process that lost its server ends within moments
_LONGEST_MESSAGE = 200
_LONGEST_REASON = 2_000
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # a job leaves the other cores to the server
_OURS = frozenset({"bot", "strategies", "indicators", "ml", "registry"})
_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGHUP})


def lock_path(home_root: Path, job_id: str) -> Path:
    """Return the lock that a job's process holds for its life."""
    return home_root / "service" / "jobs" / f"{job_id}.lock"


def is_free(home_root: Path, job_id: str) -> bool:
    """Tell whether no process does this job, and tidy its lock away then.

    Raises
    ------
    StorageError
        When the lock cannot be made.
    """
    path = lock_path(home_root, job_id)
    try:
        lock = acquire(path, 0.0)
        if lock is None:
            return False
        try:
            path.unlink(missing_ok=True)  # who waits for it notices, and locks its successor
        finally:
            release(lock)
    except OSError as error:
        raise StorageError(f"{path}: the lock cannot be made: {error.strerror or error}") from None
    return True


def run_job(home_root: str, job: Job, work: str, connection: Connection) -> None:
    """Do a job in this process, which is nothing else's, and send what came of it.

    Parameters
    ----------
    home_root
        The home folder; ``service/jobs`` is there.
    job
        What is to be done.
    work
        ``module:function``; called with the home, the job and ``tell(progress, message)``, it returns plain data. It may be
        killed at any moment and is then called again for the same job. It starts no process by ``multiprocessing``.
    connection
        Takes the messages: JSON objects with ``progress`` and ``message``, at last one with ``result`` or ``error``.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to every process: the server decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    if os.nice(0) < _NICENESS:
        os.nice(_NICENESS - os.nice(0))
    voice = _Voice(connection)
    try:
        text = json.dumps({"result": _do(Path(home_root), job, work, voice.tell)}, allow_nan=False)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - it crosses processes: the keeper tells it
        reason, is_known = _reason(error)
        if not is_known:
            _log.error("the %s job %s failed", job.kind, job.id, exc_info=error)
        text = json.dumps({"error": reason})
    voice.end(text.encode())


def _do(home_root: Path, job: Job, work: str, tell: Callable[[float, str], None]) -> dict[str, Any]:
    path = lock_path(home_root, job.id)
    try:
        lock = acquire(path, _LOCK_SECONDS)  # never released: the kernel does it when this process is gone
    except OSError as error:
        raise StorageError(f"{path}: the lock cannot be made: {error.strerror or error}") from None
    if lock is None:
        raise BotError(f"another process still does this job (waited {_LOCK_SECONDS:g} s): end it, and ask again")
    if wait([_parent()], 0):  # before the lock was ours another server may have begun
        os._exit(1)
    module, _, name = work.partition(":")
    done = getattr(import_module(module), name)(Home(home_root), job, tell)
    if not isinstance(done, dict):
        raise TypeError(f"{work} returned {type(done).__name__}, expected dict")
    return done


class _Voice:
    """What the process says: the newest progress at most ten times a second, then its end. It ends with the server.

    ``tell`` never waits, however slowly the server reads.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._news: deque[tuple[float, str]] = deque(maxlen=1)
        self._sending = threading.Lock()
        self._has_ended = False
        threading.Thread(target=self._run, name="voice", daemon=True).start()

    def tell(self, progress: float, message: str) -> None:
        """Say how far the work is: a share from 0 to 1, and what it is at."""
        share = min(1.0, max(0.0, float(progress)))  # NaN becomes 0
        self._news.append((share, _one_line(message, _LONGEST_MESSAGE)))

    def end(self, text: bytes) -> None:
        """Send the last words."""
        self._pass_on()
        with self._sending:
            self._has_ended = True
            self._send(text)
            self._connection.close()

    def _run(self) -> None:
        server = _parent()
        while not wait([server], _TELL_SECONDS):
            self._pass_on()
        os._exit(1)

    def _pass_on(self) -> None:
        with self._sending:
            if self._news and not self._has_ended:
                progress, message = self._news.pop()
                self._send(json.dumps({"progress": progress, "message": message}).encode())

    def _send(self, text: bytes) -> None:
        try:
            self._connection.send_bytes(text)
        except OSError:  # nobody reads any more
            os._exit(1)


class JobProcess:
    """A job's process, from the keeper's side; none of its methods waits, and one thread uses them.

    Parameters
    ----------
    home_root, job, work
        As `run_job` takes them.

    Raises
    ------
    OSError
        When the process cannot be started.
    """

    def __init__(self, home_root: str, job: Job, work: str) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=run_job, args=(home_root, job, work, theirs), daemon=True)
        self.progress: tuple[float, str] | None = None
        self.result: dict[str, Any] | None = None
        self.error: str | None = None
        resource_tracker.ensure_running()  # its first start would undo the mask
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited, until Ctrl-C is ignored
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return cast("int", self._process.pid)

    @property
    def has_told(self) -> bool:
        """Whether the process has said what came of the job."""
        return self.result is not None or self.error is not None

    @property
    def has_died(self) -> bool:
        """Whether the process is gone."""
        return self._process.exitcode is not None

    @property
    def handles(self) -> list[Any]:
        """What becomes ready when there is something to read, or the process is gone."""
        return [self._process.sentinel, *([] if self._connection.closed else [self._connection])]

    def read(self) -> None:
        """Take what the process has said into ``progress``, ``result`` and ``error``."""
        while not self._connection.closed:
            try:
                if not self._connection.poll():
                    return
                said = json.loads(self._connection.recv_bytes())
            except (EOFError, OSError):
                self._connection.close()
                return
            if "progress" in said:
                self.progress = (said["progress"], said["message"])
            self.result, self.error = said.get("result"), said.get("error")

    def was_ended_from_outside(self) -> bool:
        """Tell whether it was asked to end by whoever stops the server too, such as systemd or a terminal that closes."""
        code = self._process.exitcode
        return code is not None and -code in _FROM_OUTSIDE

    def last_words(self) -> str:
        """Say how a process ended that said nothing itself."""
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return DIED
        if code < 0:
            return f"its process died of {signal.Signals(-code).name} ({signal.strsignal(-code)})"
        return f"its process ended with exit code {code} and no result"

    def terminate(self) -> None:
        """Ask the process to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def close(self) -> None:
        """Give back what the handle holds; the process is gone."""
        self._connection.close()
        self._process.join()
        self._process.close()


def _parent() -> int:
    """Return what becomes ready when the server's process is gone."""
    parent = parent_process()
    if parent is None:
        raise BotError("a job runs in a process that its server started")
    return parent.sentinel


def _reason(error: BaseException) -> tuple[str, bool]:
    """Say in one line why a work failed, and whether that is a reason that we know."""
    if isinstance(error, MemoryError):
        return "out of memory: ask for fewer days, or fewer features", True
    text = _one_line(str(error), _LONGEST_REASON)
    if type(error).__module__.partition(".")[0] in _OURS:
        return text or type(error).__name__, True
    return f"its process failed: {type(error).__name__}{text and ': '}{text}", False


def _one_line(text: str, longest: int) -> str:
    line = " ".join(str(text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
