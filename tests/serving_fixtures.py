"""A server in this process, on a tiny real model, and a client of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi.testclient import TestClient

from personae.errors import QueueFull
from personae.serving.api.app import create_app
from personae.serving.api.events import OpenAnswers
from personae.serving.api.metrics import Metrics
from personae.serving.api.service import Service
from personae.serving.api.settings import Settings
from personae.serving.engine.engine import Stats
from personae.serving.engine.requests import EngineRequest
from personae.serving.engine.ticket import Ticket
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.runner import Runner
from personae.serving.jobs.store import JobStore

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

ADDRESS = "http://127.0.0.1:8000"


class FakeEngine:
    """Hands out tickets, which the test ends."""

    def __init__(self, *, ready: bool = True, failure: BaseException | None = None) -> None:
        self.ready, self.failure = ready, failure
        self.tickets: list[Ticket] = []
        self.most, self.models, self.facts = 100, ("tiny",), {}  # type: ignore[var-annotated]

    def stats(self) -> Stats:
        return Stats(waiting=0, batches=0, requests=0, images=0, seconds=0.0, loaded=self.models)

    def submit(self, request: EngineRequest, *, waited: float = 0.0) -> Ticket:
        if self.failure is not None:
            raise self.failure
        if len(self.tickets) >= self.most:
            raise QueueFull("no room", retry_after=1)
        self.tickets.append(Ticket(request, request.timeout, waited=waited))
        return self.tickets[-1]

    def source_of(self, name: str | None) -> str | None:
        return None

    def in_models_words(self, message: str) -> str:
        return message.replace("/models/nano", "model 'nano'")


@contextmanager
def hollow(state: Path, engine: FakeEngine | None = None, **settings: Any) -> Iterator[TestClient]:
    """A client of a server without a model; `client.service` holds its parts."""
    chosen, metrics = Settings(state=state, **settings), Metrics()
    store, files = JobStore(state / "jobs.sqlite", most_waiting=chosen.most_waiting), JobFiles(state / "jobs")
    own: Any = engine or FakeEngine()
    runner = Runner(own, store, files, at_once=chosen.at_once, results_for=chosen.results_for, on_end=metrics.ended)
    answers = OpenAnswers(chosen.streams)
    parts = Service(
        settings=chosen,
        engine=own,
        store=store,
        files=files,
        runner=runner,
        metrics=metrics,
        open_answers=answers,
    )
    with TestClient(create_app(chosen, parts), base_url=ADDRESS, raise_server_exceptions=False) as client:
        client.service = parts
        yield client
    runner.close()
    store.close()


@contextmanager
def server(pipe: "FacePipeline", state: Path, **settings: Any) -> Iterator[TestClient]:
    """A client of a server whose models are warm."""
    own = {"models": {"tiny": lambda: pipe}, "state": state} | settings
    app = create_app(Settings(**own))
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        assert app.state.service.engine.wait_until_ready(60)
        client.service = app.state.service
        yield client


def form(request: dict[str, Any], **files: bytes) -> dict[str, Any]:
    """What a client's `post` takes, of a request and its files by name."""
    parts = [("files", (name.replace("_", "."), content)) for name, content in files.items()]
    return {"files": [("request", (None, json.dumps(request))), *parts]}
