"""What a home holds, to look at: candles, backtest runs, live bots, the pipeline and drift. Nothing here writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from bot.service.context import ServiceNow
from bot.service.schemas.common import ExchangeQuery, SymbolQuery, TimeframeQuery, TypeText, errors
from bot.service.schemas.home import Accuracy, BotRow, CandleSeries, CandleTable, Document, RunRow

__all__ = ["router"]

router = APIRouter(prefix="/api")

_POLL_S = 1.0
_SILENCE_POLLS = 15
BotName = Annotated[str, Path(min_length=1, max_length=80, description="Name of a bot, from its config.")]
Moment = Annotated[
    str | None, Query(max_length=40, description="A day, or a moment, UTC.", examples=["2024-01-15T10:30:00Z"])
]


@router.get("/candles", tags=["market"], summary="Candles", responses=errors(404))
def candles(
    service: ServiceNow,
    symbol: SymbolQuery,
    timeframe: TimeframeQuery,
    exchange: ExchangeQuery = None,
    start: Moment = None,
    end: Moment = None,
    points: Annotated[int, Query(ge=1, le=5_000, description="At most so many; more are put together.")] = 1_000,
) -> CandleTable:
    """Return stored candles; where there are more than ``points``, groups of neighbours as one candle each."""
    from bot.service.views.candles import candles

    span = {"start": start, "end": end}
    return CandleTable(
        **candles(service.home, symbol, timeframe, exchange, **span, points=points, known=service.candles)
    )


@router.get("/series", tags=["market"], summary="Stored series", responses=errors())
def series(service: ServiceNow) -> list[CandleSeries]:
    """Return every series of candles of the store."""
    from bot.service.views.candles import series

    return [CandleSeries(**row) for row in series(service.home)]


@router.get("/runs", tags=["runs"], summary="Backtest and live runs", responses=errors())
def runs(
    service: ServiceNow,
    limit: Annotated[int, Query(ge=1, le=1_000, description="At most so many, newest first.")] = 100,
) -> list[RunRow]:
    """Return the runs of the home with their headline figures beside buy and hold."""
    from bot.service.views.runs import runs

    return [RunRow(**row) for row in runs(service.home, limit)]


@router.get("/runs/{run_id}", tags=["runs"], summary="One run", responses=errors(404))
def run(service: ServiceNow, run_id: Annotated[str, Path(min_length=1, max_length=200)]) -> Document:
    """Return a run's result with its equity and its trades."""
    from bot.service.views.runs import run

    return Document(**run(service.home, run_id))


@router.get("/live", tags=["live"], summary="Live bots", responses=errors())
def bots(service: ServiceNow) -> list[BotRow]:
    """Return every bot that runs or ran in this home."""
    from bot.service.views.bots import bots

    return [BotRow(**row) for row in bots(service.home)]


@router.get(
    "/live/events", tags=["live"], summary="Watch the live bots", response_class=EventSourceResponse, responses=errors()
)
async def watch_bots(service: ServiceNow) -> AsyncIterator[ServerSentEvent]:
    """Send what changed about any bot, as server-sent events, for as long as the caller listens."""
    from bot.service.views.bots import changes

    since: Any = None
    silent = 0
    while not service.ending.is_set():
        since, changed = await anyio.to_thread.run_sync(changes, service.home, since)
        silent = 0 if changed else silent + 1
        for row in changed:
            yield ServerSentEvent(data=row, event="bot")
        if silent >= _SILENCE_POLLS:
            yield ServerSentEvent(comment="still here")
            silent = 0
        await anyio.sleep(_POLL_S)


@router.get("/live/{name}", tags=["live"], summary="One live bot", responses=errors(404))
def bot(service: ServiceNow, name: BotName) -> Document:
    """Return position, orders, equity, predictions and protections of a bot as it last stated them."""
    from bot.service.views.bots import bot

    return Document(**bot(service.home, name))


@router.get("/live/{name}/decisions", tags=["live"], summary="What a bot decided", responses=errors(404))
def decisions(
    service: ServiceNow,
    name: BotName,
    limit: Annotated[int, Query(ge=1, le=2_000, description="At most so many, newest first.")] = 200,
) -> list[Document]:
    """Return what was known and decided at each bar: every gate with its value and threshold."""
    from bot.service.views.bots import decisions

    return [Document(**row) for row in decisions(service.home, name, limit)]


@router.get("/pipeline", tags=["lifecycle"], summary="State of the pipeline", responses=errors())
def pipeline(service: ServiceNow) -> Document:
    """Return recipes, champions, cycles and what is due."""
    from bot.service.views.pipeline import pipeline

    return Document(**pipeline(service.home, service.settings.pipeline))


@router.get("/drift", tags=["lifecycle"], summary="Findings of drift", responses=errors())
def drift(service: ServiceNow) -> Document:
    """Return the newest findings of the drift checks."""
    from bot.service.views.pipeline import drift

    return Document(**drift(service.home, settings=service.settings.pipeline))


@router.get("/accuracy", tags=["lifecycle"], summary="Predictions against what came true", responses=errors(404))
def accuracy(
    service: ServiceNow,
    symbol: SymbolQuery,
    timeframe: TimeframeQuery,
    type: Annotated[TypeText, Query()] = "basic",  # noqa: A002 - the name in the address
    window: Annotated[int, Query(ge=30, le=20_000, description="Bars of the rolling figures.")] = 500,
) -> Accuracy:
    """Return rolling accuracy with its interval and baselines, and the calibration, on bars that no model had seen."""
    from bot.service.views.pipeline import accuracy

    return Accuracy(**accuracy(service.home, symbol, type, timeframe, window))
