"""GET /v1/jobs/...: how far jobs are, their previews and results; DELETE: cancel and forget."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from personae.errors import BadOption
from personae.provenance import writer
from personae.serving.api.access import Owner, OwnJob, Serves
from personae.serving.api.events import events_of
from personae.serving.api.problems import Problem
from personae.serving.api.routes import Responses, problems_of
from personae.serving.api.views import JobsView, JobView, ProblemView, job_view
from personae.serving.jobs.results import MEDIA_TYPES

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_UNKNOWN: Responses = {
    404: {"model": ProblemView, "description": "There is no such job, or it is somebody else's."},
    **problems_of(401, 422, 429),
}
_BYTES = {"content": {one: {"schema": {"type": "string", "format": "binary"}} for one in set(MEDIA_TYPES.values())}}
_PRIVATE = {"Cache-Control": "private, no-store"}


async def _place(service: Serves, job: OwnJob) -> AsyncIterator[None]:
    """A place among the answers that an owner may hold open. Raises `Problem`: 429 if there is none."""
    with service.open_answers.place(job.owner) as free:
        if not free:
            raise Problem(429, f"{service.settings.streams} answers are open with this key: read fewer", retry_after=5)
        yield


OpenAnswer = Annotated[None, Depends(_place)]


@router.get("", responses=problems_of(401, 422, 429))
async def list_jobs(service: Serves, owner: Owner, most: Annotated[int, Query(ge=1, le=200)] = 50) -> JobsView:
    """Your jobs, the newest first."""
    found = await run_in_threadpool(service.store.of_owner, owner, most=most)
    return JobsView(jobs=[job_view(job, service.live(job.id)) for job in found])


@router.get("/{job}", responses=_UNKNOWN)
async def get_job(service: Serves, job: OwnJob) -> JobView:
    """A job as it is now, its result once it is done."""
    return job_view(job, service.live(job.id))


@router.get("/{job}/events", response_class=EventSourceResponse, responses=_UNKNOWN)
async def follow_job(service: Serves, job: OwnJob, place: OpenAnswer) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress` at every change, `end` with the whole job at its end. A stream ends after some
    minutes without one: ask for it again."""
    async with aclosing(events_of(service, job, service.settings.stream_seconds)) as events:
        async for event in events:
            yield event


@router.get(
    "/{job}/preview",
    response_class=Response,
    responses=_UNKNOWN | {200: {"description": "A JPEG.", **_BYTES}},
)
async def get_preview(service: Serves, job: OwnJob, number: Annotated[int, Query(ge=0)] = 0) -> Response:
    """The latest look at an unfinished image. number: for a browser's cache, otherwise of no effect."""
    live = service.live(job.id)
    if live is None or live.preview is None:
        raise Problem(404, "there is no preview of this job now: ask for some with `previews`")
    # As every image that leaves, marked as generated; without a watermark, which a look at noise could not hold.
    marks = writer.Marks.of_environment(watermark=False, c2pa=False)
    recipe = {"task": "preview", "ai_generated": True}
    content = await run_in_threadpool(writer.encode, live.preview, "jpg", recipe, marks=marks)
    return Response(content, media_type="image/jpeg", headers=_PRIVATE)


@router.get(
    "/{job}/results/{name}",
    response_class=FileResponse,
    responses=_UNKNOWN | {200: {"description": "The file.", **_BYTES}},
)
async def get_result(
    service: Serves, job: OwnJob, name: Annotated[str, Path(pattern="^[0-9]{1,4}[.][a-z0-9]{1,8}$")]
) -> Response:
    """One file of a job's result."""
    try:
        path, row = service.files.result(job, name)
    except BadOption as error:
        raise Problem(404, str(error)) from error
    if not path.is_file():
        raise Problem(404, "this result's time is over")
    return FileResponse(path, media_type=row["media_type"], filename=f"{job.id[:8]}-{name}", headers=_PRIVATE)


@router.post("/{job}/cancel", responses=_UNKNOWN)
async def cancel_job(service: Serves, job: OwnJob) -> JobView:
    """End a job: at once if it waits, at its next step if it runs. One that has ended stays as it is."""
    await run_in_threadpool(service.runner.cancel, job)
    return job_view(await run_in_threadpool(service.latest, job), None)


@router.delete("/{job}", status_code=204, responses=_UNKNOWN)
async def delete_job(service: Serves, job: OwnJob) -> None:
    """End a job and forget it with all its files, now."""
    await run_in_threadpool(service.runner.delete, job)
