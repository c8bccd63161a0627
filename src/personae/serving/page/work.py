"""A press of a button, carried out: one picture after the other through the engine, each shown as it comes.

    order = Order(kind="edit", stem="me", request=..., encode=..., command=..., alt="...")
    for view in make(desk, order, session="a", seed=7, count=4, words=words): ...

A picture is a request of its own, so that the row grows, the engine serves others in between, and the command of each
makes exactly that picture.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personae.errors import JobCancelled, PersonaeError
from personae.serving.engine.engine import Engine
from personae.serving.engine.requests import EngineRequest
from personae.serving.engine.ticket import Ticket
from personae.serving.page import results
from personae.serving.page.consent import ConsentLog
from personae.serving.page.results import Card, Shelf
from personae.serving.page.texts import Mistake, Words

OFTEN = 0.25  # seconds between two views of a progress
_log = logging.getLogger(__name__)


class Running:
    """The tickets of each session that have not ended: what a Stop button stops, and a closed page leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tickets: dict[str, list[Ticket]] = {}
        self._stops: Counter[str] = Counter()

    def stops(self, session: str) -> int:
        """How often a session has stopped so far: what a press remembers."""
        return self._stops[session]

    def add(self, session: str, ticket: Ticket, *, since: int | None = None) -> None:
        """Remember a ticket of a session. since: the stops at the press that it is of; it is cancelled if there was
        another meanwhile, when there may have been no ticket to cancel. None: it is of no press."""
        with self._lock:
            left = [one for one in self._tickets.get(session, []) if not one.done]
            self._tickets[session] = [*left, ticket]
            late = since is not None and self._stops[session] > since
        if late:
            ticket.cancel()

    def stop(self, session: str) -> int:
        """Cancel all of a session, and what presses until now would still begin; returns how many there were."""
        with self._lock:
            self._stops[session] += 1
            tickets = self._tickets.pop(session, [])
        return sum(ticket.cancel() for ticket in tickets)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What all tabs work with."""

    engine: Engine
    shelf: Shelf
    consent: ConsentLog
    running: Running = field(default_factory=Running)

    def ask(self, request: EngineRequest, session: str) -> Any:
        """The result of a request that takes no time worth showing. Raises as `Ticket.result`."""
        ticket = self.engine.submit(request)
        self.running.add(session, ticket)
        return ticket.result()


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the pictures of a press have in common.

    kind: "generate", "edit" ..., for the record of consent. stem: of the files' names. request: by seed. encode: the
    bytes of a result's file, marked. command: by seed and by what `--model` takes, a line of the shell that makes the
    same. alt: by seed, what the picture shows. before: of an edit, the photo. more: further files of every card.
    """

    kind: str
    stem: str
    request: Callable[[int], EngineRequest]
    encode: Callable[[Any], bytes]
    command: Callable[[int, str | None], str]
    alt: Callable[[int], str]
    before: Path | None = None
    more: Sequence[tuple[str, Path]] = ()


@dataclass(frozen=True, kw_only=True)
class View:
    """What the page shows at one moment, both as HTML."""

    status: str
    row: str

    @classmethod
    def of_error(cls, problem: BaseException, words: Words, cards: Sequence[Card] = ()) -> View:
        """A mistake as its sentence; a bug as ours, with the rest in the log."""
        return cls(status=complaint(problem, words), row=results.row(cards, words=words))


def complaint(problem: BaseException, words: Words) -> str:
    """An error as the page shows it, as HTML."""
    return results.error(*explained(problem, words))


def explained(problem: BaseException, words: Words) -> tuple[str, str]:
    """An error as a sentence in the reader's language, and what the library says of it, in English and without the
    places of files on this machine; nothing, if the first is all there is to say."""
    if isinstance(problem, JobCancelled):
        return words("stopped"), ""
    if isinstance(problem, Mistake):
        return str(problem), ""
    if not isinstance(problem, PersonaeError):
        _log.error("the page failed", exc_info=problem)
        return words("bug"), ""
    text = " ".join(part.rpartition("/")[2] if part.startswith("/") else part for part in str(problem).split(" "))
    text = f"{text if '.' in text.partition(' ')[0] else text[:1].upper() + text[1:]}."  # a file keeps its name
    kind = words.kind_of(problem)
    return (text, "") if kind is None else (kind, text)


def make(
    desk: Desk, order: Order, *, session: str, seed: int, count: int, words: Words, stops: int | None = None
) -> Iterator[View]:
    """Every view from the first step to the last; errors are views, too. stops: of the session at the press; None: as
    of now."""
    cards: list[Card] = []
    began = time.monotonic()
    since = desk.running.stops(session) if stops is None else stops
    try:
        for number in range(1, count + 1):
            ticket = desk.engine.submit(order.request(seed + number - 1))
            desk.running.add(session, ticket, since=since)
            for text, share in _progress(ticket, number, count, words):
                row_so_far = results.row(cards, waiting=count - len(cards), words=words)
                yield View(status=results.sentence(text, share=share), row=row_so_far)
            cards.append(_card(desk, order, ticket, seed + number - 1))
    except Exception as error:  # whatever a library raises, the page goes on
        yield View.of_error(error, words, cards)
        return
    done = words("done", total=len(cards), seconds=time.monotonic() - began)
    yield View(status=results.sentence(f"{done} {words('marked')}"), row=results.row(cards, words=words))


def _progress(ticket: Ticket, number: int, count: int, words: Words) -> Iterator[tuple[str, float]]:
    """What to say while a ticket is on its way, not too often, and the share of all that is done."""
    latest = 0.0
    for progress in ticket.events():
        if ticket.done or time.monotonic() - latest < OFTEN:
            continue
        latest = time.monotonic()
        facts = {"number": number, "total": count, "step": progress.step, "steps": progress.steps}
        key = "waiting" if progress.stage == "waiting" else "working" if progress.steps else "begins"
        yield words(key, **facts), (number - 1 + progress.share) / count


def _card(desk: Desk, order: Order, ticket: Ticket, seed: int) -> Card:
    result = ticket.result()
    path = desk.shelf.put(f"{order.stem}-seed{seed}.png", order.encode(result))
    return Card(
        path=path,
        seed=seed,
        likeness=result.likeness[0] if result.likeness else None,
        command=order.command(seed, desk.engine.source_of(ticket.request.model)),
        alt=order.alt(seed),
        before=order.before,
        more=order.more,
    )
