"""``/api/models``: what is registered, training, promotion and rollback."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from bot.service.answers import pair_text
from bot.service.context import Caller, ServiceNow
from bot.service.problems import Problem
from bot.service.routes.jobs import finished, told
from bot.service.schemas.common import SymbolText, TimeframeText, TypeText, VersionText, errors
from bot.service.schemas.jobs import JobAnswer
from bot.service.schemas.models import Decision, ModelCard, ModelRow, PromoteRequest, RollbackRequest, TrainRequest
from registry.names import ModelKey

if TYPE_CHECKING:
    from bot.promotion import Decided

__all__ = ["router"]

router = APIRouter(prefix="/api/models", tags=["models"])

_LONGEST_WAIT_S = 300.0


@router.get("", summary="Registered models", responses=errors())
def list_models(
    service: ServiceNow,
    symbol: Annotated[SymbolText | None, Query()] = None,
    type: Annotated[TypeText | None, Query()] = None,  # noqa: A002 - the name in the address
    timeframe: Annotated[TimeframeText | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=2_000, description="At most so many, newest first.")] = 500,
) -> list[ModelRow]:
    """Return every version, newest first."""
    from bot.service.views.models import models

    return [ModelRow(**row) for row in models(service.home, symbol, type, timeframe, limit)]


@router.get("/{symbol}/{type}/{version}", summary="The card of a version", responses=errors(404))
def get_model(
    service: ServiceNow,
    symbol: Annotated[SymbolText, Path()],
    type: Annotated[TypeText, Path()],  # noqa: A002
    version: Annotated[VersionText, Path()],
    timeframe: Annotated[TimeframeText | None, Query(description="Needed for latest and newest.")] = None,
) -> ModelCard:
    """Return what a version was trained on, what it showed, and what was decided about it."""
    from bot.service.views.models import model

    return ModelCard(**model(service.home, symbol, type, version, timeframe))


@router.post(
    "/train",
    summary="Train a model",
    response_model=ModelRow,
    responses=errors(400, 403, 404, 409) | {202: {"model": JobAnswer, "description": "It is still being trained."}},
)
async def train(
    service: ServiceNow,
    caller: Caller,
    body: TrainRequest,
    wait: Annotated[
        float, Query(ge=0, le=_LONGEST_WAIT_S, description="Seconds to wait for the model; then 202 and the job.")
    ] = 20.0,
) -> Any:
    """Train in the background and return the model, or the job where it takes longer than ``wait``.

    The same request while it runs is the same job.
    """
    from asyncio import to_thread

    from bot.service.work import check_training, normalised

    request = normalised(body.model_dump(exclude_unset=True))
    await to_thread(check_training, service.home, request)
    job, _ = await to_thread(service.jobs.submit, "train", request, caller)
    job = await finished(service, job.id, wait)
    if job.status == "completed":
        return JSONResponse(told(service, job)["result"])
    if job.is_done:
        raise Problem(422, "Not trained", job.error or f"the job was {job.status}", job_id=job.id)
    return JSONResponse(told(service, job), 202, {"Location": f"/api/jobs/{job.id}"})


@router.post("/{symbol}/{type}/promote", summary="Put a version in charge", responses=errors(400, 403, 404, 409))
def promote(
    service: ServiceNow,
    caller: Caller,
    symbol: Annotated[SymbolText, Path()],
    type: Annotated[TypeText, Path()],  # noqa: A002
    body: PromoteRequest,
) -> Decision:
    """Promote a version by hand: the ledger holds who asked and why, and bots that follow are told."""
    from bot.model_selection import open_registry
    from bot.promotion import GateRefused, promote_by_hand

    key = ModelKey.of(symbol, type, body.timeframe)
    registry = open_registry(service.home.models)
    model = registry.select_bundle(
        symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=body.version
    )
    reason = f"{body.reason} (by {caller}, over the service)"
    try:
        done = promote_by_hand(service.home, registry, model, at=datetime.now(UTC), reason=reason, force=body.force)
    except GateRefused as refused:
        raise Problem(409, "The gate refused it", f"{refused}; to promote it all the same, send force: true") from None
    return _decision(key, done)


@router.post("/{symbol}/{type}/rollback", summary="Take a champion back", responses=errors(400, 403, 404, 409))
def rollback(
    service: ServiceNow,
    caller: Caller,
    symbol: Annotated[SymbolText, Path()],
    type: Annotated[TypeText, Path()],  # noqa: A002
    body: RollbackRequest,
) -> Decision:
    """Put the version before the champion back in charge."""
    from bot.model_selection import open_registry
    from bot.promotion import rollback_by_hand

    key = ModelKey.of(symbol, type, body.timeframe)
    reason = f"{body.reason} (by {caller}, over the service)"
    registry = open_registry(service.home.models)
    return _decision(key, rollback_by_hand(service.home, registry, key, at=datetime.now(UTC), reason=reason))


def _decision(key: ModelKey, done: Decided) -> Decision:
    return Decision(
        symbol=pair_text(key.symbol),
        type=key.model_type,
        timeframe=key.timeframe,
        champion=done.champion.version_id,
        replaced=done.before,
        changed=done.changed,
    )
