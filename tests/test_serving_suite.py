"""The suite that loads a server, its clients against one in this process: what they count is what happened."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from conftest import made_up
from personae.evaluation.suites import serving
from personae.pipeline import FacePipeline
from personae.serving.api.app import create_app
from personae.serving.api.settings import Settings


class Here(serving.Server):
    """A server in a thread of this process, of 4 places in its queue."""

    def __init__(self, pipe: FacePipeline, state: Path) -> None:
        self.app = create_app(Settings(models={"tiny": lambda: pipe}, state=state, most_waiting=4, at_once=4))
        self._server = uvicorn.Server(uvicorn.Config(self.app, host="127.0.0.1", port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        until = time.monotonic() + 60
        while not (self._server.started and self.app.state.service.engine.ready):
            assert time.monotonic() < until
            time.sleep(0.05)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    @property
    def memory(self) -> int:
        return 1

    def end(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)


@pytest.fixture
def here(nano_like: FacePipeline, tmp_path: Path) -> Iterator[Here]:
    made = Here(nano_like, tmp_path)
    yield made
    made.end()


def test_clients_lose_nothing_and_hear_only_what_is_documented(here: Here, nano_like: FacePipeline) -> None:
    [person] = made_up(nano_like, 1)
    vector = {"space": person.space, "vector": [float(one) for one in person.vector]}
    load = serving.Load(clients=20, steps=2, identity=vector)
    memory = asyncio.run(serving._under_load(here, load, 2.0, 0))
    ends = asyncio.run(serving._ends(here, load, patience=60))
    counters = asyncio.run(here.ask("GET", "/metrics"))[2].decode()
    figures = serving._figures(load, ends, memory, counters)
    assert set(load.answers) <= {"202", "503"}
    assert load.answers["503"] > 0
    assert load.answers["202"] == figures["accepted"] > 4
    assert ends == {"statuses": Counter(done=len(load.accepted)), "files": Counter({"1": len(load.accepted)})}
    assert figures["requests_per_call"] > 1


def test_a_lost_job_is_counted(here: Here) -> None:
    load = serving.Load(clients=1, steps=1, identity={}, accepted={"0" * 32: 0.0})
    ends = asyncio.run(serving._ends(here, load, patience=1))
    assert ends["statuses"] == Counter({"lost (404)": 1})
