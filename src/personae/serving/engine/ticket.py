"""What a caller gets back at once for a request: its progress, its result, and the way to cancel it.

ticket = engine.submit(request)
for progress in ticket.events(): ...
ticket.result(timeout=60)
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from personae.errors import JobCancelled, JobTimedOut
from personae.serving.engine.progress import Progress
from personae.serving.engine.requests import EngineRequest
from personae.types import Face, Identity

Listener = Callable[[Progress], None]


class Ticket:
    """One request on its way. Any thread may call any of its methods.

    request: as it was submitted, its seed drawn. seconds: that it may take, waiting included; None: any number. waited:
    how many of them were over before. people: of a `Generate`, whose images were requested, photos read: what
    `provenance.writer` asks for.
    """

    def __init__(self, request: EngineRequest, seconds: float | None = None, *, waited: float = 0.0) -> None:
        self.request, self._seconds = request, seconds
        self.deadline = None if seconds is None else time.monotonic() + seconds - waited  # of `time.monotonic()`
        self.began: float | None = None  # when a worker took it
        self.people: Sequence[Face | Identity] = ()
        self._changed = threading.Condition()
        self._progress, self._version = Progress(stage="waiting"), 0
        self._result: Any = None
        self._error: BaseException | None = None
        self._ended = self._cancelled = False
        self._listeners: list[Listener] = []

    # ------------------------------------------------------------------ for the caller

    @property
    def progress(self) -> Progress:
        """The latest."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._ended

    @property
    def images(self) -> int:
        """How many pictures it has made; 0 until it has ended well, and of what makes none."""
        return 0 if self._error is not None else len(getattr(self._result, "images", ()))

    def result(self, timeout: float | None = None) -> Any:
        """What the request asks for. timeout: seconds to wait here; the request itself goes on.

        Raises what it failed of, `JobCancelled`, `JobTimedOut`; `TimeoutError` if `timeout` is over first.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._ended:
                ends = [end for end in (until, self.deadline) if end is not None]
                left = min(ends) - time.monotonic() if ends else None
                if left is not None and left <= 0:
                    if self.expired:
                        self._end(error=self._late())
                        break
                    raise TimeoutError(f"not done after {timeout} seconds")
                self._changed.wait(left)
            if self._error is not None:
                raise self._error
            return self._result

    def end_if_late(self) -> None:
        """End it if its time is over: nobody has to ask for its result to hear so."""
        with self._changed:
            if self.expired and not self._ended:
                self._end(error=self._late())

    def cancel(self) -> bool:
        """End it: at once if it waits, at the next step if it runs. Returns whether there was something to end."""
        with self._changed:
            if self._ended:
                return False
            self._cancelled = True
            self._end(error=JobCancelled("the request was cancelled"), stage="cancelled")
            return True

    def events(self) -> Iterator[Progress]:
        """Every change of the progress from now on, the latest first, until the end. A slow reader misses some, but
        neither the last one nor a preview that is newer than what it has."""
        version = -1
        while True:
            with self._changed:
                while self._version == version and not self.expired:
                    self._changed.wait(self._left())
                if self.expired and not self._ended:
                    self._end(error=self._late())
                version, latest, ended = self._version, self._progress, self._ended
            yield latest
            if ended:
                return

    def listen(self, listener: Listener) -> None:
        """Call `listener` at each change, in the thread that makes it; at once if the request has ended. It must be
        quick, and must not raise."""
        with self._changed:
            self._listeners.append(listener)
            ended = self._ended
        if ended:
            listener(self._progress)

    # ------------------------------------------------------------------ for the worker

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def begin(self) -> bool:
        """Mark it as running; False if it has ended already, or its time is over."""
        with self._changed:
            if self.expired and not self._ended:
                self._end(error=self._late())
            if self._ended:
                return False
            self.began = time.monotonic()
            self._set(Progress(stage="running"))
            return True

    def report(self, progress: Progress) -> bool:
        """Say how far it is; False if nobody wants it any more."""
        with self._changed:
            if self.expired and not self._ended:
                self._end(error=self._late())
            if self._ended:
                return False
            self._set(progress)
            return True

    def succeed(self, result: Any) -> None:
        """End it with a result, unless it has ended."""
        with self._changed:
            if not self._ended:
                self._end(result=result, stage="done")

    def fail(self, error: BaseException) -> None:
        """End it with an error, unless it has ended."""
        with self._changed:
            if not self._ended:
                self._end(error=error)

    def _end(self, *, result: Any = None, error: BaseException | None = None, stage: str = "failed") -> None:
        self._result, self._error, self._ended = result, error, True
        self._set(Progress(stage=stage, step=self._progress.step, steps=self._progress.steps))

    def _set(self, progress: Progress) -> None:
        self._progress, self._version = progress, self._version + 1
        self._changed.notify_all()
        for listener in self._listeners:
            listener(progress)

    def _late(self) -> JobTimedOut:
        return JobTimedOut(
            f"not done within {self._seconds or 0:.0f} seconds: ask for fewer images or steps, or for more time"
        )

    def _left(self) -> float | None:
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())
