"""Jobs to the engine, and its results back: claim -> submit -> renew while it goes on -> write -> finish -> expire.

    runner = Runner(engine, store, files)
    job = runner.accept(job, {"me.jpg": content})
    runner.live(job.id)                          # how far it is, and its latest preview
    runner.cancel(job)
    runner.close()                               # what runs is queued again, for the next process

One thread keeps the engine busy and the leases fresh, one writes results; neither ends by an error, and an end that
cannot be stored now (the disk is full, say) is stored later. Nothing is claimed before the engine is ready: what keeps
it from starting is no job's fault, and they wait for the next process.

A lease is the database's word that somebody works on a job. This process never claims what it has itself, so that a
model that takes long to load, or a machine that slept, begins nothing twice; what the process has lost, because an
error came between the claim and the work, is begun again when its lease is over. A job during which the process ended
some times is carried out alone, and in the end given up.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from personae.errors import JobAbandoned, JobCancelled, PersonaeError, QueueFull
from personae.reading.photo import check_photo
from personae.serving.engine.engine import Engine
from personae.serving.engine.progress import Progress
from personae.serving.engine.ticket import Ticket
from personae.serving.jobs import results, translate
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import CANCELLED, ENDED, RUNNING, Job
from personae.serving.jobs.store import MANY, JobStore, StoreUnavailable

_MOST_TRIES = 20
_TRIES_TOGETHER = 8  # a job that was begun more often goes alone: it may be what ends the process, and all beside it
_TRIES_IF_ALONE = 6  # that a death counts more of a job that nothing was at work beside: the third is the last
_TICK = 0.2  # seconds between two looks at what goes on
_PAUSE = 1.0  # seconds until what failed is tried again
_log = logging.getLogger(__name__)

OnEnd = Callable[[Job, str], None]  # a job, and how it ended


@dataclass
class Live:
    """A job at work. previews: how many there were; preview: the latest."""

    job: Job
    ticket: Ticket
    progress: Progress = field(default_factory=lambda: Progress(stage="waiting"))
    previews: int = 0
    preview: Any = None

    def hear(self, progress: Progress) -> None:
        """Take note of a change."""
        self.progress = progress
        if progress.preview is not None:
            self.preview, self.previews = progress.preview, self.previews + 1


class Runner:
    """Arguments:
    at_once: jobs that the engine has at one time, of which it makes its batches. lease: seconds after which a job is
    begun again that the database calls running and nobody works on. results_for: seconds that results stay. on_end:
    hears of every end.
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
        self._swept = self._renewed = 0.0
        store.release_all(tries_if_alone=_TRIES_IF_ALONE)
        files.sweep(store.ids(), store.ids(*ENDED))
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
    def alive(self) -> bool:
        """Whether its threads are there: without them nothing is begun, or nothing ends."""
        return all(thread.is_alive() for thread in self._threads)

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
        try:
            self._store.release_all()
        except StoreUnavailable:  # the next start does the same
            _log.exception("what was at work is queued again at the next start")

    # ------------------------------------------------------------------ its own threads

    def _feed(self) -> None:
        while not self._closing:
            if self._engine.failure is not None:
                _log.error("the engine could not start: all jobs wait for the next process")
                return
            if self._engine.ready:
                self._go_on()
            self._wake.wait(_TICK)
            self._wake.clear()

    def _go_on(self) -> None:
        """One look at everything. Leases first: after the machine slept all of them are over."""
        try:
            for live in list(self._live.values()):
                live.ticket.end_if_late()
            self._renew()
            while len(self._live) < self._at_once and (job := self._claim()) is not None:
                if not self._begin(job):
                    break
            self._expire()
        except Exception:  # a full disk, say: it may have room again later
            _log.exception("jobs cannot be served at the moment")
            time.sleep(_PAUSE)

    def _claim(self) -> Job | None:
        tries = [live.job.tries for live in list(self._live.values())]
        if max(tries, default=0) > _TRIES_TOGETHER:
            return None
        most = _TRIES_TOGETHER - 1 if tries else MANY
        return self._store.claim(lease=self._lease, besides=tuple(self._live), most_tries=most)

    def _begin(self, job: Job) -> bool:
        """Give a job to the engine; False if it takes no more now."""
        if job.tries > _MOST_TRIES:
            self._fail(
                job, JobAbandoned("the server stopped too often while it was at work on this job: it is given up")
            )
            return True
        try:
            request = translate.request_of(job, self._files)
            ticket = self._engine.submit(request, waited=max(0.0, time.time() - job.created))
        except QueueFull:
            self._store.release(job)
            return False
        except Exception as error:
            self._fail(job, error)
            return True
        live = Live(job=job, ticket=ticket)
        self._live[job.id] = live

        def hear(progress: Progress) -> None:
            live.hear(progress)
            if ticket.done:
                self._ended.put(live)

        ticket.listen(hear)
        if not self._is_wanted(job):  # its client ended it between the claim and now, and found no ticket to cancel
            ticket.cancel()
        return True

    def _renew(self) -> None:
        """Leases of all that this process has, well before they are over; by the clock that goes on in sleep."""
        if self._live and abs(time.time() - self._renewed) > self._lease / 3:
            self._store.renew([one.job for one in list(self._live.values())], lease=self._lease)
            self._renewed = time.time()

    def _expire(self) -> None:
        if time.monotonic() - self._swept < 1:
            return
        self._swept = time.monotonic()
        for job in self._store.expired():
            self._store.delete(job.id)
            self._files.delete(job.id)
        self._store.clear_log()

    def _write(self) -> None:
        left: list[Live] = []  # whose ends could not be stored so far
        while True:
            try:
                live = self._ended.get(timeout=_PAUSE if left else None)
            except queue.Empty:
                left = [one for one in left if not self._try_end(one)]
                continue
            if live is None:
                return
            if not self._try_end(live):
                left.append(live)

    def _try_end(self, live: Live) -> bool:
        """End a job; False if that cannot be stored now."""
        try:
            self._end(live)
        except Exception:
            _log.exception("the end of job %s cannot be stored: it is tried again", live.job.id)
            return False
        self._live.pop(live.job.id, None)
        self._wake.set()
        return True

    def _end(self, live: Live) -> None:
        """Write a result, or say what went wrong. Raises what keeps it from being stored."""
        job = live.job
        if not self._is_wanted(job):
            self._clear(job)
            return
        try:
            value = live.ticket.result(0)
            result = results.write(job, self._files, live.ticket, value)
            stored = self._store.finish(job, result, expires=time.time() + self._results_for)
        except JobCancelled:  # by the end of the process: whom its client has cancelled is not wanted any more
            return
        except StoreUnavailable:
            raise
        except Exception as error:
            self._fail(job, error)
            return
        if not stored:
            self._clear(job)
            return
        self._files.delete_uploads(job.id)
        self._on_end(job, "done")

    def _is_wanted(self, job: Job) -> bool:
        """Whether the database still has this try of a job at work."""
        now = self._store.get(job.id)
        return now is not None and (now.status, now.tries) == (RUNNING, job.tries)

    def _clear(self, job: Job) -> None:
        """Remove the files of a job that was cancelled or deleted meanwhile; those of one that goes on stay."""
        now = self._store.get(job.id)
        if now is None:
            self._files.delete(job.id)
        elif now.status == CANCELLED:
            self._files.delete_uploads(job.id)
            self._files.delete_results(job.id)

    def _fail(self, job: Job, error: Exception) -> None:
        """A user's mistake in its own words; of a bug, the name alone: its words may name paths. What keeps the engine
        from its work is no job's fault."""
        if error is self._engine.failure:
            self._store.release(job)
            return
        ours = isinstance(error, PersonaeError)
        message = "the server could not do this: its log says why"
        if ours:
            message = self._files.in_clients_words(job, self._engine.in_models_words(str(error)))
        words = {"type": type(error).__name__ if ours else "ServerError", "message": message}
        if not ours:
            _log.error("job %s failed", job.id, exc_info=error)
        if self._store.fail(job, words, expires=time.time() + self._results_for):
            self._files.delete_uploads(job.id)
            self._on_end(job, "failed")
        else:
            self._clear(job)


def _check_photos(job: Job, files: JobFiles) -> None:
    """Raise what is wrong with a request, and with its photos by their first bytes."""
    translate.request_of(job, files)
    if job.kind == "detect":  # of any kind of file, by what is in it
        return
    for name in job.uploads:
        path = files.upload(job, name)
        if path.suffix in (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ""):
            check_photo(path)
