"""The HTTP API when something is wrong with the server itself, without a model."""

import asyncio
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from personae.errors import BadOption
from personae.serving import Edit
from personae.serving.api import uploads
from personae.serving.api.events import OpenAnswers
from personae.serving.api.problems import words_of
from personae.serving.api.settings import Settings
from serving_fixtures import FakeEngine, form, hollow

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


def test_who_hangs_up_while_sending_is_no_bug(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        messages.append(message)

    async def hang_up(app: Any, kind: bytes) -> None:
        headers = [(b"host", b"127.0.0.1"), (b"content-type", kind)]
        own = {"path": "/v1/generate", "raw_path": b"/v1/generate", "method": "POST", "headers": headers}
        fixed = {"type": "http", "http_version": "1.1", "query_string": b"", "scheme": "http", "root_path": ""}
        whole = {**fixed, **own, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1)}
        await app(whole, receive, send)

    with hollow(tmp_path) as client:
        for kind in (b"application/json", b"multipart/form-data; boundary=x"):
            asyncio.run(hang_up(client.app, kind))
        counters = client.get("/metrics").text
    assert messages == []
    assert "could not be answered" not in caplog.text
    assert 'personae_http_requests_total{path="/v1/generate",status="499"} 2.0' in counters
    assert 'status="500"' not in counters


# ---------------------------------------------------------------------- what is too much


def names(count: int) -> str:
    return "{" + ",".join(f'"k{number}":0' for number in range(count)) + "}"


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (names(200_000), 413, "1 MiB without its files"),
        (names(50_000), 422, "4096 fields in all"),
        ('{"by":' + names(50_000) + "}", 422, "4096 fields in all"),
        ('{"people":[{"space":"s","vector":[' + ",".join(['"x"'] * 4000) + "]}]}", 422, "things are wrong with it"),
        ('{"consent": true, "count": 0, "files": {"a.png": "' + "A" * 2**21 + '"}}', 422, "count"),
        ("[" * 10_000, 422, "no JSON"),
        ("[1]", 422, "body"),
    ],
    ids=["large", "many names", "many names within", "many faults", "large files", "deep", "a list"],
)
def test_json_of_an_impossible_size_is_refused_for_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, status: int, words: str
) -> None:
    """An error was made for each of 200,000 names, which took two seconds and 180 MiB; and in the event loop."""
    rows = []

    def counted(faults: list[Any]) -> str:
        rows.append((len(faults), threading.current_thread().name))
        return words_of(faults)

    monkeypatch.setattr(uploads, "words_of", counted)
    with hollow(tmp_path) as client:
        path = "/v1/generate" if "people" in text else "/v1/identities/sample"
        answer = client.post(path, content=text, headers={"Content-Type": "application/json"})
        assert answer.status_code == status, answer.text
        assert words in answer.text
        assert all(count < 100 for count, _ in rows)
        assert all("worker thread" in name for _, name in rows), rows  # where anyio runs what may take long
        assert len(answer.text) < 2000


def test_a_slow_line_may_take_its_time_and_a_silent_one_may_not() -> None:
    """What counts is the pause and the lowest rate, not the whole: 64 MiB on a phone's line take minutes."""

    async def received(pauses: list[float], size: int) -> int:
        parts = iter(pauses)

        async def receive() -> dict[str, Any]:
            pause = next(parts, None)
            await asyncio.sleep(pause or 0)
            return {"type": "http.request", "body": bytes(size), "more_body": pause is not None}

        paced, total = uploads._paced(receive, Settings(body_seconds=0.2, body_rate=1000)), 0
        while True:
            message = await paced()
            total += len(message["body"])
            if not message["more_body"]:
                return total

    assert asyncio.run(received([0.05] * 10, 200)) == 11 * 200  # 4 kB a second, for longer than 0.2 seconds
    with pytest.raises(TimeoutError):
        asyncio.run(received([0.05] * 10, 10))  # 200 bytes a second
    with pytest.raises(TimeoutError):
        asyncio.run(received([0.5], 10**6))


def test_one_owner_does_not_hold_all_connections(tmp_path: Path) -> None:
    with hollow(tmp_path, streams=1, stream_seconds=1.0) as client:
        job = client.post("/v1/identities/sample", json=SAMPLE).json()
        texts: list[str] = []
        reader = threading.Thread(target=lambda: texts.append(client.get(job["events"]).text))
        reader.start()
        until = time.monotonic() + 10
        while not client.service.open_answers._open:
            assert time.monotonic() < until
            time.sleep(0.01)
        refusal = client.get(job["events"])
        assert refusal.status_code == 429
        assert int(refusal.headers["retry-after"]) >= 1
        began = time.monotonic()
        assert client.post("/v1/identities/sample?wait=30", json=SAMPLE).status_code == 202  # at once
        assert time.monotonic() - began < 10
        reader.join(10)
        assert "event: progress" in texts[0]
        assert "event: end" not in texts[0]  # its time was over
        assert not client.service.open_answers._open
        while not client.service.engine.tickets:
            time.sleep(0.01)
        client.service.engine.tickets[0].cancel()
        client.delete(job["url"])
    answers = OpenAnswers(2)
    with answers.place("a") as one, answers.place("a") as two, answers.place("a") as three, answers.place("b") as other:
        assert (one, two, three, other) == (True, True, False, True)
    assert not answers._open


def test_whoever_hangs_up_gives_the_place_back(tmp_path: Path) -> None:
    async def hang_up(app: Any, path: str) -> list[Any]:
        messages: list[Any] = []
        parts = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> dict[str, Any]:
            for part in parts:
                return part
            while not any(b"progress" in message.get("body", b"") for message in messages):
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            messages.append(message)

        own = {"path": path, "raw_path": path.encode(), "method": "GET", "headers": [(b"host", b"127.0.0.1")]}
        fixed = {"type": "http", "http_version": "1.1", "query_string": b"", "scheme": "http", "root_path": ""}
        whole = {**fixed, **own, "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1)}
        await asyncio.wait_for(app(whole, receive, send), 30)
        return messages

    with hollow(tmp_path) as client:
        job = client.post("/v1/identities/sample", json=SAMPLE).json()
        messages = asyncio.run(hang_up(client.app, job["events"]))
        assert messages[0]["status"] == 200
        assert not client.service.open_answers._open


def test_events_end_with_the_job(tmp_path: Path) -> None:
    with hollow(tmp_path) as client:
        job = client.post("/v1/identities/sample", json=SAMPLE).json()
        threading.Timer(0.3, lambda: client.service.engine.tickets[0].fail(BadOption("no"))).start()
        with client.stream("GET", job["events"]) as stream:
            lines = [line for line in stream.iter_lines() if line]
        last = json.loads(lines[-1].removeprefix("data: "))
        assert lines[-2] == "event: end"
        assert last["error"] == {"type": "BadOption", "message": "no"}
        again = client.post("/v1/identities/sample", json=SAMPLE | {"seed": 2}).json()
        assert client.delete(again["url"]).status_code == 204


def test_results_of_an_edit_fit_in_memory(tmp_path: Path) -> None:
    """By the photo's header: 64 of its size were 30 GiB, and the process was gone with all its jobs."""
    buffer = io.BytesIO()
    Image.new("1", (8000, 5000)).save(buffer, "PNG")
    body = {"consent": True, "task": "attribute", "target": "x.png", "shift": {"age": 1.0}}
    with hollow(tmp_path) as client:
        many = client.post("/v1/edit", **form(body | {"num_images": 5}, x_png=buffer.getvalue()))
        assert many.status_code == 422
        assert "at most 4 of this photo" in many.text
        assert client.post("/v1/edit", **form(body | {"num_images": 4}, x_png=buffer.getvalue())).status_code == 202
    with pytest.raises(BadOption, match="too many"):
        Edit(task="swap", target=np.zeros((5000, 8000, 3), np.uint8), num_images=5)


# ---------------------------------------------------------------------- its process


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
        out, err = server.communicate(timeout=300)
    assert out.splitlines() == ["closed"], err
    assert server.returncode == 0
    assert not (tmp_path / "jobs.sqlite-wal").exists()  # SQLite removes it when the last connection is closed
    rows = sqlite3.connect(tmp_path / "jobs.sqlite").execute("SELECT status, tries FROM jobs").fetchall()
    assert rows == [("queued", 1)]


def test_a_start_that_fails_of_any_error_ends_the_process(tmp_path: Path) -> None:
    with process(tmp_path, "fails") as server:
        out, err = server.communicate(timeout=300)
    assert server.returncode == 1
    assert "CUDA out of memory" in err
    assert out.splitlines() == ["closed"]
