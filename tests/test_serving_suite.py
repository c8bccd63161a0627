"""The suite that loads a server, its clients against one in this process: what they count is what happened."""

import asyncio
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from conftest import made_up
from personae.errors import BadOutput
from personae.evaluation import tables
from personae.evaluation.measures import KINDS
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
    for _ in range(8):  # a busy machine may do no more than fill the queue in two seconds
        memory = asyncio.run(serving._under_load(here, load, 2.0, 0))
        if len(load.accepted) > 4 and load.answers["503"]:
            break
    ends = asyncio.run(serving._ends(here, load, patience=60))
    counters = serving._counters(asyncio.run(here.ask("GET", "/metrics"))[2].decode())
    assert set(load.answers) <= {"202", "503"}
    assert load.answers["503"] > 0
    assert load.answers["202"] == len(load.accepted) > 4
    assert ends == {"statuses": Counter(done=len(load.accepted)), "results": Counter({"1": len(load.accepted)})}
    row = a_run(load, ends, memory=memory, counters=counters).row(bulk=1.0)
    assert row["requests_per_call"].value > 1
    assert (row["one_result"].value, row["one_result"].n) == (1.0, len(load.accepted))
    assert row["other_answers"].value == 0


def a_run(load: serving.Load, ends: dict[str, Counter[str]], **facts: Any) -> serving.Outcome:
    counters = {"personae_engine_batches": 2.0, "personae_engine_requests": 2.0}
    own = {"memory": [1 << 20] * 3 + [2 << 20], "counters": counters, "seconds": 2.0}
    own |= {"seconds_to_ready": 6.0, "idle": 600 << 20}
    return serving.Outcome(load=load, ends=ends, **own | facts)


class Answers(serving.Server):
    """A server that says the same of every job, one word after the other."""

    def __init__(self, *statuses: str) -> None:
        self._statuses, self.polls = list(statuses), 0

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        if method == "POST":
            return 202, {}, json.dumps({"id": f"{self.polls:032x}"}).encode()
        self.polls += 1
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if status == "lost":
            return 404, {}, b'{"error": {}}'
        return 200, {}, json.dumps({"status": status, "result": None}).encode()


@pytest.mark.parametrize("end", ["failed", "cancelled", "lost"])
def test_a_client_whose_job_did_not_end_well_sends_the_next(end: str) -> None:
    load = serving.Load(clients=1, steps=1, identity={}, stop=time.monotonic() + 0.05)
    asyncio.run(asyncio.wait_for(serving._client(Answers(end), load), 5))
    assert len(load.accepted) > 1
    assert not load.waits


def test_only_jobs_that_ended_well_count_as_images() -> None:
    load = serving.Load(clients=1, steps=1, identity={}, accepted={f"{number:032x}": 0.0 for number in range(4)})
    ends = asyncio.run(serving._ends(Answers("done", "failed", "cancelled", "lost"), load, patience=1))
    assert ends["statuses"] == Counter({"done": 1, "failed": 1, "cancelled": 1, "lost (404)": 1})
    row = a_run(load, ends).row(bulk=1.0)
    assert row["images_per_s"].value == row["share_of_bulk"].value == 0.5
    assert row["one_result"].value == 0, "these have no results at all"


def test_the_report_has_a_row_for_each_run_and_the_bars_of_the_first() -> None:
    def one(done: int, lost: int) -> serving.Outcome:
        accepted = {f"{number:032x}": 0.0 for number in range(done + lost)}
        load = serving.Load(clients=2, steps=8, identity={}, accepted=accepted, waits=[1.0, 2.0, 3.0])
        load.answers.update({"202": done + lost, "503": 3, "500": lost})
        return a_run(load, {"statuses": Counter(done=done, lost=lost), "results": Counter({"1": done, "0": lost})})

    settings = {"clients": 2, "seconds": 60.0, "steps": 8, "batch": "auto"}
    report = serving.report_of("nano", {0: one(4, 0), 5: one(3, 1)}, 2.0, settings)
    assert set(report["figures"]) | set(report["groups"]["kills"]["5"]) == set(KINDS["serving"])
    assert report["figures"]["share_of_bulk"]["value"] == 1.0
    assert report["groups"]["kills"]["5"]["one_result"]["value"] == 0.75
    assert report["groups"]["kills"]["5"]["other_answers"]["value"] == 1
    assert report["groups"]["kills"]["none"]["memory_second"]["value"] == 2
    assert "100.0 % | - | 4 | ≥ 100.0 % met" in tables.markdown(report)


def test_a_server_that_is_never_ready_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server, plain = serving.Server(tmp_path, "nano"), subprocess.Popen
    monkeypatch.setattr(serving, "_MOST_SECONDS_TO_READY", 0.2)
    monkeypatch.setattr(subprocess, "Popen", lambda words: plain(["sleep", "60"]))
    with pytest.raises(BadOutput, match="not ready within"):
        server.start()
    assert server.memory == 0


def test_a_lost_job_is_counted(here: Here) -> None:
    load = serving.Load(clients=1, steps=1, identity={}, accepted={"0" * 32: 0.0})
    ends = asyncio.run(serving._ends(here, load, patience=1))
    assert ends["statuses"] == Counter({"lost (404)": 1})
