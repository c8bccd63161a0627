"""`Engine`: the front of the models, which any thread may call.

    with Engine(["nano"]) as engine:
        one = engine.submit(Generate(people=["me.jpg"], seed=0))
        two = engine.submit(Generate(people=["ann.jpg"], seed=0))       # shares the call of the first
        one.result().images[0].save("me-again.png")

A pipeline serves one thread at a time (`threads.one_at_a_time`); here one thread for each device owns the pipelines,
and all others queue. Everything that a request sets (scheduler, hooks, adapters, seeds) is of its own call, so that one
request leaves nothing behind for the next.
"""

import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from personae.errors import BadOption, JobCancelled, unknown_name
from personae.serving.engine import requests
from personae.serving.engine.models import ModelFacts, ModelShelf
from personae.serving.engine.requests import EngineRequest
from personae.serving.engine.ticket import Ticket
from personae.serving.engine.waiting import WaitingLine
from personae.serving.engine.worker import Worker
from personae.serving.safety import Policy

if TYPE_CHECKING:
    from personae.serving.engine.models import ModelSource

_LARGEST_DRAWN = 2**31  # as of a pipeline's call: short enough to be typed again
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Stats:
    """What an engine has done so far. seconds: at work, of all workers together."""

    waiting: int
    batches: int
    requests: int
    images: int
    seconds: float
    loaded: tuple[str, ...]


class Engine:
    """Models by name, served to all threads.

    Arguments:
        models: names of the catalog, or names of your own with where each comes from: a catalog's name, a folder, a Hub
            id, or a function that returns a pipeline. Requests may name no others. The first is the default.
        devices: torch's names, a worker with models of its own on each; None: one, on an accelerator if there is one.
        budget: bytes that the weights of all models of a device may take; the least recently used leaves. None: no
            limit.
        waiting: how many requests may wait; one more is `QueueFull`.
        most_images: of one shared call.
        timeout: seconds that a request may take, waiting included; a request may say fewer. None: no limit.
        policy: what the operator forbids.
        warm: models to load, and call once, at the start; None: the first. (): each when it is first wanted.
    """

    def __init__(
        self,
        models: "Sequence[str] | Mapping[str, ModelSource]" = ("nano",),
        *,
        devices: Sequence[str | None] | None = None,
        budget: int | None = None,
        waiting: int = 64,
        most_images: int = 16,
        timeout: float | None = None,
        policy: Policy | None = None,
        warm: Sequence[str] | None = None,
    ) -> None:
        sources = dict(models) if isinstance(models, Mapping) else {Path(name).name: name for name in models}
        if not sources:
            raise BadOption("an engine serves at least one model, got none")
        if waiting < 1 or most_images < 1:
            raise BadOption(f"an engine needs room for at least 1 request and 1 image, got {waiting} and {most_images}")
        self.models, self.policy, self._timeout = tuple(sources), policy or Policy(), timeout
        self._sources = sources
        first = self.models[:1] if warm is None else tuple(warm)
        for name in first:
            self._require_known(name)
        self._line = WaitingLine(waiting)
        self._workers = [
            Worker(
                self._line,
                ModelShelf(sources, device=device, budget=budget),
                policy=self.policy,
                warm=first,
                most_images=most_images,
                on_bug=lambda error: _log.error("a request failed", exc_info=error),
                name=f"personae-{device or 'engine'}",
            )
            for device in devices or [None]
        ]
        for worker in self._workers:
            worker.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    # ------------------------------------------------------------------ requests

    def submit(self, request: EngineRequest, *, waited: float = 0.0) -> Ticket:
        """Queue a request; its ticket at once. waited: seconds of its time that are over already. Raises `QueueFull`;
        `BadOption` for a model that there is not; what kept the engine from starting."""
        name = request.model or self.models[0]
        self._require_known(name)
        drawn: dict[str, Any] = {"model": name}
        if isinstance(request, requests.Generate | requests.Edit | requests.Sample) and request.seed is None:
            drawn["seed"] = secrets.randbelow(_LARGEST_DRAWN)
        limits = [seconds for seconds in (request.timeout, self._timeout) if seconds is not None]
        ticket = Ticket(replace(request, **drawn), min(limits, default=None), waited=waited)
        self._line.put(ticket, retry_after=self.retry_after())
        return ticket

    def run(self, request: EngineRequest) -> Any:
        """Queue a request and wait for its result. Raises as `submit` and `Ticket.result`."""
        return self.submit(request).result()

    def retry_after(self) -> float:
        """In about how many seconds there will be room again: what a request has taken so far, on the average."""
        stats = self.stats()
        return min(60.0, max(1.0, stats.seconds / stats.requests if stats.requests else 1.0))

    # ------------------------------------------------------------------ what there is

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """Wait until all workers are warm; False if that takes longer. Raises what kept one from it."""
        until = None if timeout is None else time.monotonic() + timeout
        for worker in self._workers:
            if not worker.ready.wait(None if until is None else max(0.0, until - time.monotonic())):
                return False
            if worker.failure is not None:
                raise worker.failure
        return True

    @property
    def ready(self) -> bool:
        """Whether all workers are warm and at work."""
        return all(worker.ready.is_set() and worker.is_alive() for worker in self._workers)

    @property
    def failure(self) -> BaseException | None:
        """What kept a worker from starting; None: nothing so far."""
        return next((worker.failure for worker in self._workers if worker.failure is not None), None)

    @property
    def facts(self) -> dict[str, ModelFacts]:
        """What is known of each model that was loaded so far."""
        return {name: facts for worker in self._workers for name, facts in dict(worker.shelf.facts).items()}

    def source_of(self, name: str | None) -> str | None:
        """Where a model comes from, as `--model` of the command line takes it: a catalog's name, a folder, a Hub id.
        name: None: the first. None: it is of a function, or there is none of that name."""
        source = self._sources.get(name or self.models[0])
        return None if source is None or callable(source) else str(source)

    def in_models_words(self, message: str) -> str:
        """A message about a model's files, with the model's name instead of where they are."""
        for name, facts in self.facts.items():
            if facts.folder is not None:
                message = message.replace(str(facts.folder), f"model {name!r}")
        return message

    def stats(self) -> Stats:
        """What was done so far."""
        counts = [worker.counts for worker in self._workers]
        return Stats(
            waiting=len(self._line),
            batches=sum(one.batches for one in counts),
            requests=sum(one.requests for one in counts),
            images=sum(one.images for one in counts),
            seconds=sum(one.seconds for one in counts),
            loaded=tuple(dict.fromkeys(name for worker in self._workers for name in worker.shelf.loaded)),
        )

    def close(self) -> None:
        """Take no more requests, cancel those that wait, and wait for those that run."""
        for ticket in self._line.close():
            ticket.fail(JobCancelled("the engine was closed before the request's turn"))
        for worker in self._workers:
            worker.join()

    def _require_known(self, name: str) -> None:
        if name not in self.models:
            raise unknown_name("model", name, self.models)
