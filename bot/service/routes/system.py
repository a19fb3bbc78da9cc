"""Health, version and metrics of the server."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from bot.service.context import ServiceNow
from bot.service.schemas.common import errors
from bot.service.schemas.home import Document, Health

__all__ = ["router"]

router = APIRouter(prefix="/api", tags=["system"])
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get(
    "/health",
    summary="Whether the server can do its work",
    response_model=Health,
    responses={503: {"model": Health, "description": "Something is wrong; the answer says what."}},
)
def health(service: ServiceNow) -> Response:
    """Return what is wrong, if anything; needs no token and tells no secret."""
    from bot.service.views.system import health

    found = health(service.home)
    return JSONResponse(found, 200 if found["ok"] else 503)


@router.get("/version", summary="Versions of the program and its libraries", responses=errors())
def version() -> Document:
    """Return the versions behind an answer."""
    from bot.service.views.system import version

    return Document(**version())


@router.get(
    "/metrics",
    summary="Metrics in Prometheus' text format",
    response_class=PlainTextResponse,
    responses=errors() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(service: ServiceNow) -> Response:
    """Return counts and durations of requests, jobs by status, predictions and memory."""
    return Response(service.metrics.text(service.jobs.store, service.forecaster), media_type=_PROMETHEUS)
