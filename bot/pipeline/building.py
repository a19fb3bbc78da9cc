"""Building the versions of many recipes at once, in processes of their own: here by joblib, or on a Dask cluster.

A job is a value that holds everything it needs, and a pure function of it: wherever it runs, the same bundle comes out. A job
that fails, dies or runs out of memory spoils no other.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from ml.candles import Candles
    from ml.features.history import FeatureHistory
    from ml.recipes import Recipe

__all__ = ["DIED", "Built", "Failed", "Job", "build", "build_here", "build_on_dask"]

_NICENESS = 10
_SCHEDULER_SECONDS = 10.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # a worker is one share of the cores
DIED = "its process died: killed from outside, or out of memory"


@dataclass(frozen=True, eq=False)
class Job:
    """One version to build.

    Attributes
    ----------
    stream
        Names the recipe's record.
    recipe
        What to learn.
    candles
        Closed candles up to the cycle's moment; those before ``first_ms`` warm the features.
    first_ms
        Open time of the first bar to learn from; None for all.
    exchange
        Where the candles came from.
    record
        What the recipe's versions said so far; None for the first version, whose folds make it.
    at
        The cycle's moment, UTC.
    code_version
        Of this program.
    """

    stream: str
    recipe: Recipe
    candles: Candles
    first_ms: int | None
    exchange: str
    record: Any
    at: datetime
    code_version: str


@dataclass(frozen=True, eq=False)
class Built:
    """What a job made: the files of a bundle and, of a first version, the record of its folds."""

    stream: str
    files: dict[str, bytes]
    record: Any
    trained_until_ms: int
    verdict: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a job made nothing, in one line."""

    stream: str
    reason: str
    seconds: float = 0.0


def build(job: Job, features: FeatureHistory | None = None) -> Built | Failed:
    """Do one job; whatever goes wrong comes back as a value.

    ``features`` remembers rows from one job of a recipe to the next; the same bundle comes out without.
    """
    started = time.monotonic()
    try:
        built = _built(job, features)
    except MemoryError:
        return Failed(
            job.stream, "out of memory: shorten the window, or take fewer features", time.monotonic() - started
        )
    except Exception as error:  # noqa: BLE001 - it crosses processes: the cycle tells it, and goes on
        return Failed(job.stream, _line(error), time.monotonic() - started)
    return built


def build_here(jobs: Sequence[Job], workers: int) -> Iterator[Built | Failed]:
    """Do jobs in so many processes on this machine and yield what each made as it ends.

    Also one worker is a process of its own: what it runs out of is not this process's memory. Where a process dies the jobs
    that were under way are done again, each by itself, so that only the one that kills its process is lost.
    """
    left = {job.stream: job for job in jobs}
    for done in _side_by_side(list(jobs), workers):
        left.pop(done.stream)
        yield done
    for job in left.values():
        alone = list(_side_by_side([job], 1))
        yield alone[0] if alone else Failed(job.stream, DIED)


def build_on_dask(jobs: Sequence[Job], address: str) -> Iterator[Built | Failed]:
    """Do jobs on the workers of a Dask scheduler, such as ``tcp://127.0.0.1:8786``, and yield what each made as it ends.

    Raises
    ------
    UsageError
        When the ``dist`` extra is not installed.
    BotError
        When the scheduler does not answer, or has no worker.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UsageError("--dask needs the distributed library: pip install 'mlbot[dist]'") from None

    try:
        asyncio.run(_reach(address))
        client: Any = Client(address, timeout=_SCHEDULER_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError) as error:
        raise BotError(f"the Dask scheduler {address} does not answer: {_line(error)}") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise BotError(f"the Dask scheduler {address} has no workers: start one with 'dask worker {address}'")
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Sending large graph"
            )  # candles go with the job, so that it can be done again
            futures = {client.submit(_build_aside, job, pure=False): job for job in jobs}
        for future in as_completed(list(futures), loop=client.loop):  # type: ignore[no-untyped-call]
            if future.status == "finished":
                yield future.result()
                continue
            fault = None if future.cancelled() else future.exception()
            if fault is None:
                yield Failed(futures[future].stream, f"the Dask scheduler {address} was lost")
            else:
                yield Failed(futures[future].stream, DIED if type(fault).__name__ == "KilledWorker" else _line(fault))


async def _reach(address: str) -> None:
    """Connect once: a client that finds no scheduler leaves a thread behind, and is closed whenever it is collected."""
    from distributed import Security, connect

    secured = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    connection = await connect(address, timeout=_SCHEDULER_SECONDS, **secured)  # type: ignore[no-untyped-call]
    await connection.close()


def _side_by_side(jobs: list[Job], workers: int) -> Iterator[Built | Failed]:
    """Yield what jobs made in processes of this machine; where a process dies, it ends there."""
    from concurrent.futures import as_completed
    from concurrent.futures.process import BrokenProcessPool

    from joblib.externals.loky import ProcessPoolExecutor

    pool = ProcessPoolExecutor(
        min(workers, len(jobs)),
        initializer=_begin_worker,
        initargs=(os.getpid(),),
        env=dict.fromkeys(_THREADS, "1"),
    )
    try:
        futures = {pool.submit(_build_aside, job): job for job in jobs}
        for future in as_completed(futures):
            try:
                done = future.result()
            except BrokenProcessPool:
                continue
            except Exception as error:  # noqa: BLE001 - of the way between the processes
                done = Failed(futures[future].stream, _line(error))
            yield done
    finally:
        pool.shutdown(kill_workers=True)


def _begin_worker(parent: int) -> None:
    """Leave it to the cycle what Ctrl-C means, as a terminal sends it to every process, and end when the cycle has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when that of the cycle is gone: killed, it cannot end its workers."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _built(job: Job, features: FeatureHistory | None) -> Built:
    from ml.training.refit import refit
    from ml.training.trainer import train

    started = time.monotonic()
    recipe = job.recipe
    settings = recipe.settings(job.first_ms, job.exchange)
    of_recipe = {"name": recipe.name, "stream": job.stream, "expires_after_ms": recipe.expires_after_ms}
    if job.record is None:
        made = train(
            job.candles,
            recipe.key,
            settings,
            at=job.at,
            code_version=job.code_version,
            recipe=of_recipe,
            features=features,
        )
    else:
        made = refit(
            job.candles,
            recipe.key,
            settings,
            job.record,
            at=job.at,
            code_version=job.code_version,
            recipe=of_recipe,
            features=features,
        )
    return Built(
        stream=job.stream,
        files=made.files,
        record=made.record if job.record is None else None,
        trained_until_ms=int(made.metadata["trained_until_ms"]),
        verdict=made.gate.reason,
        seconds=time.monotonic() - started,
    )


def _build_aside(job: Job) -> Built | Failed:
    """Do one job at low priority: a bot that trades on this machine comes before it."""
    if os.nice(0) < _NICENESS:
        os.nice(_NICENESS - os.nice(0))
    return build(job)


def _line(error: BaseException | None) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    known = type(error).__module__.partition(".")[0] in {"ml", "bot", "registry"}
    return text if known else f"{type(error).__name__}: {text}"
