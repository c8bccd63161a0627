"""The thread of one device, which alone touches its models: take a batch, carry it out, go on."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from personae.errors import PersonaeError
from personae.serving.engine import batching
from personae.serving.engine.models import ModelShelf
from personae.serving.engine.requests import Generate
from personae.serving.engine.ticket import Ticket
from personae.serving.engine.waiting import WaitingLine
from personae.serving.safety import Policy


@dataclass
class Counts:
    """What a worker has done so far. seconds: at work; images: of generations and edits that ended well."""

    batches: int = 0
    requests: int = 0
    images: int = 0
    seconds: float = 0.0


class Worker(threading.Thread):
    """Serves a line until it is closed.

    warm: models to load, and to call once, before the first request. most_images: of one batch. on_bug: hears of what
    is no mistake of a request's.
    """

    def __init__(
        self,
        line: WaitingLine,
        shelf: ModelShelf,
        *,
        policy: Policy,
        warm: tuple[str, ...],
        most_images: int,
        on_bug: Callable[[BaseException], None],
        name: str,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.shelf, self.counts = shelf, Counts()
        self.ready = threading.Event()
        self.failure: BaseException | None = None  # what went wrong before the first request
        self._line, self._policy, self._warm = line, policy, warm
        self._most_images, self._on_bug = most_images, on_bug

    def run(self) -> None:
        """The thread's work."""
        try:
            for name in self._warm:
                self._warm_up(name)
        except BaseException as error:
            self.failure = error
            for ticket in self._line.close(error):
                ticket.fail(error)
            self.ready.set()
            return
        self.ready.set()
        while (batch := self._line.take(self._fits)) is not None:
            self._serve(batch)

    def _warm_up(self, name: str) -> None:
        """Load a model and let it make one image in one step: what is done once only is done now."""
        from personae.types import Identity  # late: as all of a model

        pipe = self.shelf.get(name)
        if self._policy.deny_list is not None:
            self._policy.deny_list.require_space(pipe.config.identity_space)
        width = pipe.config.identity_width or 1
        somebody = Identity(vector=np.eye(1, width)[0], space=pipe.config.identity_space)
        pipe(somebody, num_inference_steps=1, seed=0)

    def _fits(self, batch: list[Ticket], ticket: Ticket) -> bool:
        """Whether a ticket may share the call of a batch."""
        key = batching.key_of(batch[0].request)
        if key is None or key != batching.key_of(ticket.request):
            return False
        wanted = [one.request for one in (*batch, ticket)]
        return sum(batching.images_of(one) for one in wanted if isinstance(one, Generate)) <= self._most_images

    def _serve(self, batch: list[Ticket]) -> None:
        from personae.serving.engine.perform import perform  # late: it brings torch

        began = time.perf_counter()
        tickets = [ticket for ticket in batch if ticket.begin()]
        if not tickets:
            return
        name = tickets[0].request.model
        assert name is not None  # the engine has filled it in
        try:
            perform(self.shelf.get(name), tickets, self._policy)
            self.shelf.measure(name)
        except BaseException as error:  # whatever a library raises, the thread goes on
            for ticket in tickets:
                ticket.fail(error)
            if not isinstance(error, PersonaeError):
                self._on_bug(error)
        self.counts.batches += 1
        self.counts.requests += len(tickets)
        self.counts.images += sum(ticket.images for ticket in tickets)
        self.counts.seconds += time.perf_counter() - began
