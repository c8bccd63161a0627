"""The HTTP API when something is wrong with the server itself, without a model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from personae.errors import BadOption
from serving_fixtures import FakeEngine, hollow

SAMPLE = {"count": 1, "seed": 1}


def test_readiness_tells_what_keeps_it(tmp_path: Path) -> None:
    engine = FakeEngine(ready=False)
    with hollow(tmp_path, engine) as client:
        loading = client.get("/readyz")
        assert (loading.status_code, loading.headers["retry-after"]) == (503, "2")
        assert "being loaded" in loading.text
        engine.ready = True
        assert client.get("/readyz").status_code == 200
        assert "personae_runner_alive 1.0" in client.get("/metrics").text
        client.service.runner.close()  # as if its threads had ended
        ended = client.get("/readyz")
        assert ended.status_code == 503
        assert "started again" in ended.text
        assert "personae_runner_alive 0.0" in client.get("/metrics").text
        engine.failure = BadOption("/home/ann/models/nano is damaged")
        failed = client.get("/readyz")
        assert failed.status_code == 503
        assert "could not be loaded" in failed.text
        assert "/home/ann" not in failed.text


def test_a_database_that_cannot_be_used_is_a_503_of_ours(tmp_path: Path) -> None:
    with hollow(tmp_path) as client:
        job = client.post("/v1/identities/sample", json=SAMPLE).json()
        client.service.store.close()
        for answer in (
            client.post("/v1/identities/sample", json=SAMPLE),
            client.get(job["url"]),
            client.get("/v1/jobs"),
            client.get("/metrics"),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.json()["error"]["message"] == "the server cannot store this now"
            assert int(answer.headers["retry-after"]) >= 1
        assert client.service.runner.alive


def test_a_bug_is_answered_in_our_form_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("/home/ann/secret")

    with hollow(tmp_path) as client:
        monkeypatch.setattr(client.service.store, "of_owner", broken)
        answer = client.get("/v1/jobs")
        assert answer.status_code == 500
        assert answer.json()["error"]["type"] == "ServerError"
        assert "secret" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert 'personae_http_requests_total{path="/v1/jobs",status="500"} 1.0' in client.get("/metrics").text


PROCESS = """
import sys
from contextlib import contextmanager
from pathlib import Path
from serving_fixtures import FakeEngine
from personae.serving.api import run, service
from personae.serving.api.settings import Settings

class Engine(FakeEngine):
    def __init__(self, *_, **__):
        super().__init__(failure=MemoryError("CUDA out of memory") if sys.argv[2] == "fails" else None)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        print("closed", flush=True)
    def wait_until_ready(self):
        if self.failure is not None:
            raise self.failure

service.Engine = Engine
run.run(Settings(state=Path(sys.argv[1]), port=0), ready=lambda words: print(words, flush=True))
"""


def process(state: Path, how: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, state, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    """The engine and the database are closed, and what was at work is queued again."""
    import json
    import sqlite3
    import urllib.request

    with process(tmp_path, "serves") as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        request = urllib.request.Request(
            f"{address}/v1/identities/sample", json.dumps(SAMPLE).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            url = json.load(answer)["url"]
        until = time.monotonic() + 20
        while json.load(urllib.request.urlopen(f"{address}{url}"))["status"] != "running":
            assert time.monotonic() < until
            time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
    assert out.splitlines() == ["closed"], err
    assert server.returncode == 0
    assert not (tmp_path / "jobs.sqlite-wal").exists()  # SQLite removes it when the last connection is closed
    rows = sqlite3.connect(tmp_path / "jobs.sqlite").execute("SELECT status, tries FROM jobs").fetchall()
    assert rows == [("queued", 1)]


def test_a_start_that_fails_of_any_error_ends_the_process(tmp_path: Path) -> None:
    with process(tmp_path, "fails") as server:
        out, err = server.communicate(timeout=60)
    assert server.returncode == 1
    assert "CUDA out of memory" in err
    assert out.splitlines() == ["closed"]
