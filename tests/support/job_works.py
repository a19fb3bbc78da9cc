"""Works for jobs that are known to the last step, and a server that is nothing but a keeper of jobs.

A work is called in a process of its own, as ``job_works:NAME``; what it does it writes to a log of its own, of which the
keeper knows nothing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from bot.home import Home

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bot.service.jobs.records import Job

    Tell = Callable[[float, str], None]

WORKS = {
    name: f"job_works:{name}"
    for name in ("echo", "sleep", "refuse", "crash", "hoard", "die", "leave", "deaf", "mark", "look", "chatter", "odd")
}
WORKS["absent"] = "job_works:there_is_no_such_function"


def echo(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Return the request."""
    return {"home": str(home.root), "said": dict(job.request)}


def sleep(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Sleep for ``seconds`` in ten parts, and say so."""
    for part in range(10):
        tell(part / 10, f"part {part}")
        time.sleep(job.request["seconds"] / 10)
    return {"slept": job.request["seconds"]}


def refuse(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Fail as our own code does, over two lines."""
    raise UsageError("3 bars:\n  expected at least 100")


def crash(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Fail by a fault, or leave by ``sys.exit`` where the request says so."""
    if job.request.get("exit"):
        sys.exit(int(job.request["exit"]))
    return {"value": {}["missing"]}


def hoard(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Take more memory than the process may have."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    return {"bytes": len(bytearray(4 << 30))}


def die(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Kill this process by a signal of that name, the first so many ``times``."""
    if _count(Path(job.request["folder"]) / job.id) <= job.request.get("times", 1_000):
        os.kill(os.getpid(), getattr(signal, job.request["signal"]))
        time.sleep(30)
    return {"lived": True}


def leave(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """End this process at once with an exit code."""
    os._exit(job.request["code"])


def deaf(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Ignore SIGTERM, and sleep for a minute."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell(0.5, f"deaf {os.getpid()}")
    time.sleep(60)
    return {}


def odd(home: Home, job: Job, tell: Tell) -> Any:
    """Return what no job returns."""
    return {"list": ["a", "b"], "nan": {"value": float("nan")}, "bytes": {"value": b"a"}}[job.request["what"]]


def chatter(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Say 20,000 things within a second, and end with nonsense."""
    end = time.monotonic() + 1.0
    count = 0
    while time.monotonic() < end:
        tell(count / 20_000, f"word {count}")
        count += 1
        time.sleep(0.00005)
    tell(float("nan"), "\n".join(["long"] * 1_000))
    time.sleep(0.3)
    tell(7.0, "last")
    return {"told": count}


def look(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Return what the process is like."""
    had_numpy = "numpy" in sys.modules

    import numpy as np

    before = len(list(Path("/proc/self/task").iterdir()))
    square = np.ones((600, 600))
    square @ square
    lock = home.root / "service" / "jobs" / f"{job.id}.lock"
    with lock.open() as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = False
        except BlockingIOError:
            is_locked = True
    return {
        "pid": os.getpid(),
        "niceness": os.nice(0),
        "had_numpy": had_numpy,
        "new_threads": len(list(Path("/proc/self/task").iterdir())) - before,
        "omp": os.environ.get("OMP_NUM_THREADS"),
        "ignores_interrupt": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        "is_locked": is_locked,
    }


def mark(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Sleep for ``seconds``, then make a marker at once; a second call finds it, and does nothing.

    The log in ``folder`` has a line for each begin and each marker made, and for what must never be: two that do it at once.
    """
    folder, number = Path(job.request["folder"]), job.request["number"]
    with (folder / f"{number}.busy").open("w") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log(folder, f"overlap {number}")
        _log(folder, f"begin {number} {os.getpid()}")
        marker = folder / f"{number}.done"
        if not marker.exists():
            for part in range(4):
                tell(part / 4, "marking")
                time.sleep(job.request["seconds"] / 4)
            fresh = folder / f"{number}.{os.getpid()}"
            fresh.write_text(str(os.getpid()))
            fresh.replace(marker)
            _log(folder, f"made {number}")
        return {"number": number, "by": int(marker.read_text())}


def _count(path: Path) -> int:
    """Return how often this was called for a file."""
    with path.open("a") as stream:
        stream.write("x")
    return path.stat().st_size


def _log(folder: Path, line: str) -> None:
    descriptor = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def serve(root: Path, works: Mapping[str, str] = WORKS) -> None:
    """Keep the jobs of a home until the standard input ends; says ``ready``, or the error."""
    from bot.errors import BotError
    from bot.service.jobs.keeper import JobKeeper
    from bot.state import StateDatabase

    if os.geteuid() == 0 and "--nobody" in sys.argv:
        os.seteuid(65534)  # root may write everything
    try:
        with StateDatabase(root / "state.db") as state:
            keeper = JobKeeper(Home(root), state, works, processes=2)
            keeper.start()
            print("ready", flush=True)
            try:
                sys.stdin.read()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
            finally:
                keeper.stop(5.0)
    except BotError as error:
        print(f"error: {error}", flush=True)


__all__ = ["WORKS", "serve"]

if __name__ == "__main__":
    serve(Path(sys.argv[1]))
