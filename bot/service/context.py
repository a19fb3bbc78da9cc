"""What the routes share: one object a server, made from a home folder and closed with the server."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from bot.market.store import CandleStore
from bot.service.access import TokenStore
from bot.service.candle_memory import CandleMemory
from bot.service.forecasts import Forecaster
from bot.service.jobs.keeper import JobKeeper
from bot.service.views.system import Metrics
from bot.state import StateDatabase
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bot.home import Home

__all__ = ["WORKS", "Caller", "Service", "ServiceNow", "Settings", "open_service"]

WORKS = {"train": "bot.service.work:train", "generate": "bot.service.work:generate"}
"""Kinds of jobs, and the function that does each."""

_BUSY_S = 4.0  # a request says within a few seconds that another process locks the database


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server behaves.

    Attributes
    ----------
    loopback
        Whether it can be reached from this machine only; then foreign Host headers are refused.
    processes
        Jobs that run at once.
    reads_per_second, writes_per_minute
        Of one token.
    wrong_per_minute
        Wrong tokens of one address that are told so; of more it is told to wait.
    most_bytes
        Of the body of a request.
    pipeline
        Settings of the pipeline; None for those that its command would find.
    """

    loopback: bool = True
    processes: int = 1
    reads_per_second: float = 50.0
    writes_per_minute: float = 60.0
    wrong_per_minute: float = 10.0
    most_bytes: int = 65_536
    pipeline: Path | None = None


@dataclass(frozen=True, eq=False)
class Service:
    """The parts of a running server; ``ending`` is set when it is to end, and ends its streams."""

    home: Home
    settings: Settings
    tokens: TokenStore
    state: StateDatabase
    jobs: JobKeeper
    candles: CandleMemory
    forecaster: Forecaster
    metrics: Metrics
    now_ms: Callable[[], int]
    ending: Event = field(default_factory=Event)


@contextmanager
def open_service(home: Home, settings: Settings, now_ms: Callable[[], int] = wall_ms) -> Iterator[Service]:
    """Yield the parts of a server over one home; its jobs run until the block ends, and go on at the next start.

    Raises
    ------
    BotError
        When the home cannot be written, or another server keeps its jobs.
    """
    from ml.cache import PredictionCache

    tokens = TokenStore(home.root / "service")
    with StateDatabase(home.state_db, busy_seconds=_BUSY_S) as state:
        jobs = JobKeeper(home, state, WORKS, processes=settings.processes)
        jobs.start()
        try:
            candles = CandleMemory(CandleStore(home.candles))
            forecaster = Forecaster(home, PredictionCache(home.predictions_db), candles=candles)
            yield Service(home, settings, tokens, state, jobs, candles, forecaster, Metrics(), now_ms)
        finally:
            jobs.stop(5.0)


# both are coroutines because FastAPI takes a plain function to a thread and back
async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def _caller(request: Request) -> str:
    name: str = request.scope["state"]["identity"].name
    return name


ServiceNow = Annotated[Service, Depends(_service)]
"""The server's parts, as a parameter of a route."""
Caller = Annotated[str, Depends(_caller)]
"""Name of the token that asks, as a parameter of a route."""
