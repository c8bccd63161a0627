"""Jobs to the engine, and its results back: claim -> submit -> renew while it goes on -> write -> finish -> expire.

    runner = Runner(engine, store, files)
    job = runner.accept(job, {"me.jpg": content})
    runner.live(job.id)                          # how far it is, and its latest preview
    runner.cancel(job)
    runner.close()                               # what runs is queued again, for the next process

One thread keeps the engine busy and the leases fresh, one writes results. A job during which the process ended many
times is given up.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from personae.errors import JobCancelled, PersonaeError, QueueFull
from personae.reading.photo import check_photo
from personae.serving.engine.engine import Engine
from personae.serving.engine.progress import Progress
from personae.serving.engine.ticket import Ticket
from personae.serving.jobs import results, translate
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import Job
from personae.serving.jobs.store import JobStore

_MOST_TRIES = 20  # many: whoever kills the server kills all that it has claimed, guilty or not
_TICK = 0.2  # seconds between two looks at what goes on
_log = logging.getLogger(__name__)

OnEnd = Callable[[Job, str], None]  # a job, and how it ended


@dataclass
class Live:
    """A job at work. version: counts its changes. renewed: the version at its last renewal. previews: how many there
    were; preview: the latest."""

    job: Job
    ticket: Ticket
    progress: Progress = field(default_factory=lambda: Progress(stage="waiting"))
    version: int = 0
    renewed: int = -1
    previews: int = 0
    preview: Any = None

    def hear(self, progress: Progress) -> None:
        """Take note of a change."""
        self.progress, self.version = progress, self.version + 1
        if progress.preview is not None:
            self.preview, self.previews = progress.preview, self.previews + 1


class Runner:
    """Arguments:
    at_once: jobs that the engine has at one time, of which it makes its batches. lease: seconds without progress
    after which a job is begun again. results_for: seconds that results stay. on_end: hears of every end.
    """

    def __init__(
        self,
        engine: Engine,
        store: JobStore,
        files: JobFiles,
        *,
        at_once: int = 32,
        lease: float = 300.0,
        results_for: float = 3600.0,
        on_end: OnEnd = lambda job, status: None,
    ) -> None:
        self._engine, self._store, self._files = engine, store, files
        self._at_once, self._lease, self._results_for, self._on_end = at_once, lease, results_for, on_end
        self._live: dict[str, Live] = {}
        self._ended: queue.SimpleQueue[Live | None] = queue.SimpleQueue()
        self._wake, self._closing = threading.Event(), False
        self._swept = 0.0
        store.release_all()
        files.sweep(store.ids())
        self._threads = [
            threading.Thread(target=work, name=f"personae-jobs-{number}", daemon=True)
            for number, work in enumerate((self._feed, self._write))
        ]
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------------ for the server's threads

    def accept(self, job: Job, contents: Mapping[str, bytes], *, most_of_owner: int | None = None) -> Job:
        """Put a job into the queue, its files first; an earlier one with its idempotency key is returned instead.

        Raises what is wrong with the request as far as it can be seen without the model; `QueueFull`, `LimitReached`.
        """
        try:
            job = replace(job, uploads=self._files.put_uploads(job.id, contents))
            _check_photos(job, self._files)
            accepted = self._store.add(job, most_of_owner=most_of_owner)
        except PersonaeError as error:
            self._files.delete(job.id)
            error.args = (self._files.in_clients_words(job, str(error)),)
            raise
        except BaseException:
            self._files.delete(job.id)
            raise
        if accepted.id != job.id:
            self._files.delete(job.id)
        self._wake.set()
        return accepted

    def live(self, name: str) -> Live | None:
        """A job at work; None: it is not."""
        return self._live.get(name)

    @property
    def at_work(self) -> int:
        """How many jobs the engine has."""
        return len(self._live)

    def cancel(self, job: Job) -> bool:
        """End a job; False if it has ended."""
        done = self._store.cancel(job, expires=time.time() + self._results_for)
        if (live := self._live.get(job.id)) is not None:
            live.ticket.cancel()
        elif done:
            self._files.delete_uploads(job.id)
        if done:
            self._on_end(job, "cancelled")
        return done

    def delete(self, job: Job) -> None:
        """End a job, and forget it with all its files."""
        self.cancel(job)
        self._store.delete(job.id)
        self._files.delete(job.id)

    def close(self) -> None:
        """Stop; what is at work waits for the next process."""
        self._closing = True
        self._wake.set()
        self._threads[0].join()
        for live in list(self._live.values()):
            live.ticket.cancel()
        self._ended.put(None)
        self._threads[1].join()
        self._store.release_all()

    # ------------------------------------------------------------------ its own threads

    def _feed(self) -> None:
        while not self._closing:
            try:
                while len(self._live) < self._at_once and (job := self._store.claim(lease=self._lease)) is not None:
                    self._begin(job)
                self._renew()
                self._expire()
            except Exception:  # a full disk, say: it may have room again later
                _log.exception("jobs cannot be served at the moment")
                time.sleep(1)
            self._wake.wait(_TICK)
            self._wake.clear()

    def _begin(self, job: Job) -> None:
        if (before := self._live.pop(job.id, None)) is not None:
            before.ticket.cancel()  # it showed no progress for the time of a lease
        if job.tries > _MOST_TRIES:
            self._fail(job, RuntimeError(f"the server stopped {_MOST_TRIES} times while it was at work on this job"))
            return
        try:
            ticket = self._engine.submit(translate.request_of(job, self._files))
        except QueueFull:
            self._store.release(job)
            time.sleep(_TICK)
            return
        except Exception as error:
            self._fail(job, error)
            return
        live = Live(job=job, ticket=ticket)
        self._live[job.id] = live

        def hear(progress: Progress) -> None:
            live.hear(progress)
            if ticket.done:
                self._ended.put(live)

        ticket.listen(hear)

    def _renew(self) -> None:
        """Leases of what goes on, or waits for the engine."""
        fresh = [one for one in list(self._live.values()) if one.version != one.renewed or one.ticket.began is None]
        if fresh:
            self._store.renew([one.job for one in fresh], lease=self._lease)
        for one in fresh:
            one.renewed = one.version

    def _expire(self) -> None:
        if time.monotonic() - self._swept < 1:
            return
        self._swept = time.monotonic()
        for job in self._store.expired():
            self._store.delete(job.id)
            self._files.delete(job.id)

    def _write(self) -> None:
        while (live := self._ended.get()) is not None:
            try:
                self._end(live)
            except Exception as error:
                _log.exception("the result of job %s cannot be written", live.job.id)
                self._fail(live.job, error)
            if self._live.get(live.job.id) is live:
                del self._live[live.job.id]
            self._wake.set()

    def _end(self, live: Live) -> None:
        job = live.job
        try:
            value = live.ticket.result(0)
        except JobCancelled:  # by its client, who has ended it already; or by the end of the process
            if not self._closing:
                self._files.delete_uploads(job.id)
            return
        except Exception as error:
            self._fail(job, error)
            return
        result = results.write(job, self._files, live.ticket, value)
        if self._store.finish(job, result, expires=time.time() + self._results_for):
            self._files.delete_uploads(job.id)
            self._on_end(job, "done")

    def _fail(self, job: Job, error: Exception) -> None:
        """A user's mistake in its own words; of a bug, the name alone: its words may name paths."""
        ours = isinstance(error, PersonaeError)
        message = "the server could not do this: its log says why"
        if ours:
            message = self._files.in_clients_words(job, str(error))
        words = {"type": type(error).__name__ if ours else "ServerError", "message": message}
        if not ours:
            _log.error("job %s failed", job.id, exc_info=error)
        if self._store.fail(job, words, expires=time.time() + self._results_for):
            self._files.delete_uploads(job.id)
            self._on_end(job, "failed")


def _check_photos(job: Job, files: JobFiles) -> None:
    """Raise what is wrong with a request, and with its photos by their first bytes."""
    translate.request_of(job, files)
    for name in job.uploads:
        path = files.upload(job, name)
        if path.suffix in (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ""):
            check_photo(path)
