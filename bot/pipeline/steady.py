"""Workers that stay: each process builds the same recipes again and again, and remembers their features from one to the next.

A cycle that comes twice a day starts its processes anew (``bot.pipeline.building``); a simulation has thousands of builds.
"""

from __future__ import annotations

from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

from bot.pipeline.building import DIED, Built, Failed, Job, build
from ml.features.history import FeatureHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

__all__ = ["steady_builder"]

_END_S = 5.0


@contextmanager
def steady_builder(count: int) -> Iterator[Callable[[Sequence[Job]], Iterator[Built | Failed]]]:
    """Yield a builder with so many processes of its own; with one it builds in this process.

    A recipe is always built by the same process. One that dies fails its recipes from then on.
    """
    if count <= 1:
        histories: dict[str, FeatureHistory] = {}

        def build_here(jobs: Sequence[Job]) -> Iterator[Built | Failed]:
            for job in jobs:
                yield build(job, histories.setdefault(job.stream, FeatureHistory()))

        yield build_here
        return
    context = get_context("spawn")
    ends: list[Connection] = []
    processes = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        ends.append(ours)
        processes.append(process)
    homes: dict[str, Connection] = {}

    def build_there(jobs: Sequence[Job]) -> Iterator[Built | Failed]:
        waiting: dict[Connection, list[Job]] = {}
        for job in jobs:
            waiting.setdefault(homes.setdefault(job.stream, ends[len(homes) % count]), []).append(job)
        for end in list(waiting):
            yield from _hand_over(end, waiting)
        while waiting:
            for ready in wait(list(waiting)):
                connection: Any = ready
                try:
                    done = connection.recv()
                except (EOFError, OSError):
                    yield from (Failed(job.stream, DIED) for job in waiting.pop(connection))
                    continue
                waiting[connection].pop(0)
                yield done
                yield from _hand_over(connection, waiting)

    try:
        yield build_there
    finally:
        for end in ends:
            end.close()
        for process in processes:
            process.join(_END_S)
            if process.is_alive():
                process.kill()


def _hand_over(end: Connection, waiting: dict[Connection, list[Job]]) -> Iterator[Failed]:
    """Give a process its next job, one at a time: two that send at once, each more than a pipe holds, wait for ever."""
    jobs = waiting[end]
    if not jobs:
        del waiting[end]
        return
    try:
        end.send(jobs[0])
    except OSError:
        del waiting[end]
        yield from (Failed(job.stream, DIED) for job in jobs)


def _serve(end: Connection) -> None:
    """Build what comes, until nobody asks any more."""
    histories: dict[str, FeatureHistory] = {}
    while True:
        try:
            job = end.recv()
        except EOFError:
            return
        end.send(build(job, histories.setdefault(job.stream, FeatureHistory())))
