"""``/api/jobs``: what runs in the background, watched and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from bot.service.context import Service, ServiceNow
from bot.service.problems import Problem
from bot.service.schemas.common import errors
from bot.service.schemas.jobs import JobAnswer
from bot.service.views.plain import plain

if TYPE_CHECKING:
    from bot.service.jobs.records import Job

__all__ = ["JobId", "finished", "router", "told"]

router = APIRouter(prefix="/api/jobs", tags=["jobs"])

JobId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$", description="Id of a job.")]
_LOOK_S = 1.0  # whether the server is to end
_SILENT_LOOKS = 15  # a proxy ends a stream that says nothing


@router.get("", summary="The newest jobs", responses=errors())
def list_jobs(
    service: ServiceNow,
    status: Annotated[
        Literal["queued", "running", "completed", "failed", "cancelled"] | None, Query(description="Only these.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many.")] = 100,
) -> list[JobAnswer]:
    """Return jobs, newest first."""
    return [JobAnswer(**told(service, job)) for job in service.jobs.store.list(status=status, most=limit)]


@router.get("/{job_id}", summary="One job", responses=errors(404))
def get_job(service: ServiceNow, job_id: JobId) -> JobAnswer:
    """Return what became of a job."""
    return JobAnswer(**told(service, service.jobs.store.get(job_id)))


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=errors(403, 404, 409))
def cancel_job(service: ServiceNow, job_id: JobId) -> JobAnswer:
    """Cancel a job: one that runs is ended; its row and what it had registered stay."""
    if not service.jobs.cancel(job_id):
        job = service.jobs.store.get(job_id)
        raise Problem(409, "It is done already", f"the job is {job.status}: there is nothing to cancel")
    return JobAnswer(**told(service, service.jobs.store.get(job_id)))


def _known(service: ServiceNow, job_id: JobId) -> str:
    """Return the id of a job that there is: a stream that has begun can no longer be a 404."""
    return service.jobs.store.get(job_id).id


@router.get("/{job_id}/events", summary="Watch a job", response_class=EventSourceResponse, responses=errors(404))
async def watch_job(service: ServiceNow, job_id: Annotated[str, Depends(_known)]) -> AsyncIterator[ServerSentEvent]:
    """Send the job at once and at each change, as server-sent events, until it is done."""
    async with aclosing(_changes(service, job_id)) as jobs:
        async for job in jobs:
            yield ServerSentEvent(data=told(service, job), event="job", id=str(job.progress))
            if job.is_done:
                return


def told(service: Service, job: Job) -> dict[str, Any]:
    """Return a job as it may leave the machine: its error may name files of the home."""
    document: dict[str, Any] = plain(job.to_dict(), service.home)
    return document


async def finished(service: Service, job_id: str, seconds: float) -> Job:
    """Return the job when it is done, or as it is after so many seconds, or when the server ends."""
    try:
        async with asyncio.timeout(seconds), aclosing(_changes(service, job_id)) as jobs:
            async for job in jobs:
                if job.is_done:
                    return job
    except TimeoutError:
        pass
    return await asyncio.to_thread(service.jobs.store.get, job_id)


async def _changes(service: Service, job_id: str) -> AsyncGenerator[Job]:
    """Yield a job as it is now, and whenever something is new, until the server ends."""
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[Any] = asyncio.Queue()

    def tell(job: Job) -> None:
        if job.id == job_id:
            loop.call_soon_threadsafe(news.put_nowait, job)

    forget = service.jobs.listen(tell)
    try:
        job = await asyncio.to_thread(service.jobs.store.get, job_id)
        yield job
        silent = 0
        while not job.is_done and not service.ending.is_set():
            try:
                job = await asyncio.wait_for(news.get(), _LOOK_S)
            except TimeoutError:
                silent += 1
                if silent < _SILENT_LOOKS:
                    continue
                job = await asyncio.to_thread(service.jobs.store.get, job_id)
            silent = 0
            yield job
    finally:
        forget()
