"""``/api/predictions``: what a model says of the newest candle, at once or from a job."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from bot.service.answers import pair_text
from bot.service.context import Caller, ServiceNow
from bot.service.problems import Problem
from bot.service.retraining import needed_training, training_for
from bot.service.routes.jobs import told
from bot.service.schemas.common import ExchangeQuery, SymbolQuery, TimeframeQuery, TypeQuery, VersionText, errors
from bot.service.schemas.jobs import JobAnswer
from bot.service.schemas.predictions import Forecast, GenerateRequest, PredictionStarted, StoredPrediction
from registry.names import normalise_symbol, normalise_type, timeframe_ms

__all__ = ["router"]

router = APIRouter(prefix="/api/predictions", tags=["predictions"])

_SHOWN = {"queued": "running"}


@router.get(
    "",
    summary="The newest prediction",
    response_model=Forecast,
    responses=errors(404)
    | {202: {"model": JobAnswer, "description": "There is no usable model: one is being trained."}},
)
def get_predictions(
    service: ServiceNow,
    request: Request,
    caller: Caller,
    symbol: SymbolQuery,
    timeframe: TimeframeQuery,
    type: TypeQuery = None,  # noqa: A002 - the name in the address
    version: Annotated[VersionText, Query()] = "latest",
    exchange: ExchangeQuery = None,
    auto_train: Annotated[bool, Query(description="Train where no usable model is there; needs a write token.")] = True,
    force_retrain: Annotated[bool, Query(description="Train whatever is there; needs a write token.")] = False,
) -> Any:
    """Return what the model says of the newest closed candle.

    Nothing is trained while the caller waits. Where no usable model is there, a token that may write gets 202 and the job
    that trains one; where an older one still answers, its prediction with ``"retraining": true``.
    """
    may_write = request.scope["state"]["identity"].may_write
    if force_retrain and not may_write:
        raise Problem(403, "Forbidden", "force_retrain needs a token that may write; this one may only read")
    job = None
    if may_write and (auto_train or force_retrain) and version == "latest":
        wanted = needed_training(service, symbol, timeframe, type, exchange, force=force_retrain)
        if wanted is not None:
            job, _ = service.jobs.submit("train", wanted.request, caller)
            if not wanted.answerable:
                return JSONResponse(told(service, job), 202, {"Location": f"/api/jobs/{job.id}"})
    found = service.forecaster.forecast(symbol, timeframe, type, version, exchange)
    body = found.json(retraining=job is not None, job_id=None if job is None else job.id)
    return Response(body, media_type="application/json")


@router.post(
    "/generate", summary="Make a prediction in the background", status_code=202, responses=errors(400, 403, 404)
)
def generate(service: ServiceNow, caller: Caller, body: GenerateRequest) -> PredictionStarted:
    """Start a prediction and return its id; the same request while it runs is the same prediction."""
    from bot.service.work import check_training

    timeframe_ms(body.timeframe)
    request = {
        **body.model_dump(),
        "symbol": normalise_symbol(body.symbol),
        "type": None if body.type is None else normalise_type(body.type),
    }
    state = service.forecaster.usable(body.symbol, body.timeframe, body.type) if body.auto_train else None
    if state is not None and not state.usable:
        check_training(service.home, training_for(state, {"symbol": body.symbol, "timeframe": body.timeframe}))
    job, _ = service.jobs.submit("generate", request, caller)
    return PredictionStarted(
        prediction_id=job.id, message=f"Prediction started. Check status at /api/predictions/{job.id}"
    )


@router.get("/{prediction_id}", summary="A prediction by its id", responses=errors(404))
def get_prediction(
    service: ServiceNow, prediction_id: Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
) -> StoredPrediction:
    """Return a prediction that was made in the background, or that was stored."""
    from bot.service.jobs.records import JobNotFound
    from bot.service.ml_service import MLService

    try:
        job = service.jobs.store.get(prediction_id)
    except JobNotFound:
        stored = MLService(service.home).prediction_result(prediction_id)
        return StoredPrediction(**{name: value for name, value in stored.items() if name != "user_id"})
    document = told(service, job)
    return StoredPrediction(
        id=job.id,
        symbol=pair_text(str(job.request.get("symbol"))),
        timeframe=str(job.request.get("timeframe")),
        status=_SHOWN.get(str(job.status), str(job.status)),  # type: ignore[arg-type]
        created_at=document["created_at"],
        result=document["result"],
        error=document["error"],
    )
