"""The bounded queue between those who request and those who work."""

import threading
from collections.abc import Callable

from personae.errors import QueueFull
from personae.serving.engine.ticket import Ticket

Fits = Callable[[list[Ticket], Ticket], bool]


class WaitingLine:
    """Tickets in the order in which they came; at most `most` of them wait."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._tickets: list[Ticket] = []
        self._changed = threading.Condition()
        self._closed = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return sum(not ticket.done for ticket in list(self._tickets))

    def put(self, ticket: Ticket, *, retry_after: float) -> None:
        """Add one at the end. Raises `QueueFull`, also once it is closed; what it was closed for, if anything."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise QueueFull("the engine is closed: it takes no requests any more", retry_after=retry_after)
            self._drop_ended()
            if len(self._tickets) >= self.most:
                raise QueueFull(
                    f"{self.most} requests wait already: ask again in {retry_after:.0f} seconds",
                    retry_after=retry_after,
                )
            self._tickets.append(ticket)
            self._changed.notify()

    def take(self, fits: Fits) -> list[Ticket] | None:
        """The first that waits, and those behind it that fit together with it; waits for one. None: closed, and none is
        left."""
        with self._changed:
            while True:
                self._drop_ended()
                if self._tickets:
                    break
                if self._closed:
                    return None
                self._changed.wait()
            batch = [self._tickets[0]]
            for ticket in self._tickets[1:]:
                if fits(batch, ticket):
                    batch.append(ticket)
            self._tickets = [ticket for ticket in self._tickets if ticket not in batch]
            return batch

    def _drop_ended(self) -> None:
        """Those that were cancelled while they waited, or have no time left, which ends them."""
        for ticket in self._tickets:
            ticket.end_if_late()
        self._tickets = [ticket for ticket in self._tickets if not ticket.done]

    def close(self, failure: BaseException | None = None) -> list[Ticket]:
        """Take no more; returns those that still wait, and forgets them. failure: why nobody will ever serve it."""
        with self._changed:
            left, self._tickets, self._closed = self._tickets, [], True
            self._failure = self._failure or failure
            self._changed.notify_all()
            return left
