"""A job until it has ended: its progress as server-sent events, or one answer at its end.

event: progress      data: a `ProgressView`
event: end           data: a `JobView`
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

from fastapi.concurrency import run_in_threadpool
from fastapi.sse import ServerSentEvent

from personae.serving.api.views import job_view, progress_view
from personae.serving.jobs.record import Job
from personae.serving.jobs.runner import Live

_LOOK = 0.05  # seconds between two looks at what is in memory
_LOOK_AT_DISK = 0.4  # ... and at the database: hundreds of jobs may wait, whom memory knows nothing of


class Jobs(Protocol):
    """Where jobs are found."""

    def get(self, name: str) -> Job | None:
        """From the database."""

    def live(self, name: str) -> Live | None:
        """From the engine."""


class OpenAnswers:
    """Counts the answers that are held open, so that no owner takes the connections of all. Of one event loop."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, Counter[str]()

    @contextmanager
    def place(self, owner: str) -> Iterator[bool]:
        """For the time of the block, one more of an owner; False if that is one too many, which then does not count."""
        free = self._open[owner] < self._most
        self._open[owner] += free
        try:
            yield free
        finally:
            self._open[owner] -= free
            if not self._open[owner]:
                del self._open[owner]


async def looks_at(jobs: Jobs, job: Job, seconds: float) -> AsyncGenerator[tuple[Job, Live | None], None]:
    """A job as it is now, time and again: until it has ended, which is the last look, is deleted, or `seconds` are
    over."""
    until, since_disk, worked = time.monotonic() + seconds, _LOOK_AT_DISK, False
    while time.monotonic() < until:
        live = jobs.live(job.id)
        if live is None or live.ticket.done or since_disk >= _LOOK_AT_DISK:
            found = await run_in_threadpool(jobs.get, job.id)
            if found is None:
                return
            job, since_disk = found, 0.0
        yield job, live
        if job.done:
            return
        worked = worked or live is not None
        pause = _LOOK if worked else _LOOK_AT_DISK
        await asyncio.sleep(pause)
        since_disk += pause


async def events_of(jobs: Jobs, job: Job, seconds: float) -> AsyncGenerator[ServerSentEvent, None]:
    """Every change of a job's progress, and its end; a slow reader misses some. Ends when the job is deleted, or
    `seconds` are over, too."""
    before = None
    async with aclosing(looks_at(jobs, job, seconds)) as looks:
        async for now, live in looks:
            if now.done:
                yield ServerSentEvent(event="end", data=job_view(now, None))
            elif (progress := progress_view(now, live)) != before:
                before = progress
                yield ServerSentEvent(event="progress", data=progress)


async def wait_for_end(jobs: Jobs, job: Job, seconds: float) -> Job:
    """A job when it has ended, or as it is after so many seconds."""
    async with aclosing(looks_at(jobs, job, seconds)) as looks:
        async for now, _ in looks:
            job = now
    return await run_in_threadpool(jobs.get, job.id) or job
