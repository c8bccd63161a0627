"""The progress of a job as server-sent events, until it has ended.

event: progress      data: a `ProgressView`
event: end           data: a `JobView`
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

from fastapi.sse import ServerSentEvent

from personae.serving.api.views import job_view, progress_view
from personae.serving.jobs.record import Job
from personae.serving.jobs.runner import Live

_LOOK = 0.1  # seconds between two looks at what is in memory
_LOOK_AT_DISK = 1.0  # ... and at the database, for a job that waits


class Jobs(Protocol):
    """Where jobs are found."""

    def get(self, name: str) -> Job | None:
        """From the database."""

    def live(self, name: str) -> Live | None:
        """From the engine."""


async def events_of(jobs: Jobs, job: Job) -> AsyncIterator[ServerSentEvent]:
    """Every change of a job's progress, and its end; a slow reader misses some. Ends when the job is deleted, too."""
    before, since_disk = None, _LOOK_AT_DISK
    while True:
        live = jobs.live(job.id)
        if live is None or live.ticket.done or since_disk >= _LOOK_AT_DISK:
            found = await asyncio.to_thread(jobs.get, job.id)
            if found is None:
                return
            job, since_disk = found, 0.0
        if job.done:
            yield ServerSentEvent(event="end", data=job_view(job, None))
            return
        now = progress_view(job, live)
        if now != before:
            before = now
            yield ServerSentEvent(event="progress", data=now)
        await asyncio.sleep(_LOOK)
        since_disk += _LOOK if live is not None else 3 * _LOOK
