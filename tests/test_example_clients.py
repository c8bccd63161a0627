"""The clients in examples/ against a server of the test's own that is busy, breaks streams off and cancels jobs."""

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
JOB = "/v1/jobs/" + "0" * 32


class Busy(BaseHTTPRequestHandler):
    """A server that is busy at first, ends its first stream early, and whose job of two files ends as `end` says."""

    end = "cancelled"
    keys: ClassVar[list[str]] = []
    looks = 0

    def job(self, status: str) -> dict[str, Any]:
        files = [{"url": f"{JOB}/results/{number}.png", "seed": number} for number in (0, 1)]
        result = {"files": files, "data": {}} if status == "done" else None
        return {
            "id": "0" * 32,
            "status": status,
            "url": JOB,
            "events": f"{JOB}/events",
            "result": result,
            "error": None,
        }

    def say(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def json(self, status: int, value: Any, **headers: str) -> None:
        self.say(status, json.dumps(value, separators=(",", ":")).encode(), **headers)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Idempotency-Key"])
        if len(self.keys) % 2:
            self.json(503, {"error": {"message": "busy"}}, Retry_After="1")
        else:
            self.json(202, self.job("queued"))

    def do_GET(self) -> None:
        type(self).looks += 1
        if self.path.endswith("/events"):
            progress = 'event: progress\ndata: {"stage":"running","step":1,"steps":2}\n\n'
            last = f"event: end\ndata: {json.dumps(self.job(self.end))}\n\n"
            self.say(200, (progress + last * (self.looks > 1)).encode(), Content_Type="text/event-stream")
        elif "/results/" in self.path:
            self.say(200, self.path[-5:].encode())
        else:
            self.json(200, self.job(self.end if self.looks > 1 else "running"))

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("end", ["cancelled", "done"])
@pytest.mark.parametrize("name", ["client.py", "client.sh", "client.mjs"])
def test_clients_are_patient_and_hear_that_a_job_was_cancelled(
    name: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = {"py": sys.executable, "sh": "sh", "mjs": "node"}[name.partition(".")[2]]
    if shutil.which(program) is None or (name == "client.sh" and shutil.which("curl") is None):
        pytest.skip(f"there is no {program}, or no curl")
    monkeypatch.chdir(tmp_path)
    Path("me.jpg").write_bytes(b"a photo")
    one: Any = type("One", (Busy,), {"end": end, "keys": [], "looks": 0})
    with ThreadingHTTPServer(("127.0.0.1", 0), one) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_port}"
        words = [program, FOLDER / name, "me.jpg", address, "."]
        if name == "client.py":
            code = f"import client; client.main('me.jpg', '.', address={address!r})"
            words = [program, "-c", code]
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(FOLDER)}
        )
        http.shutdown()
    if end == "done":
        assert done.returncode == 0, done.stderr
        if name == "client.sh":  # the first of the two
            assert Path("me-seed7.png").read_text() == "0.png"
    else:
        assert done.returncode != 0
        assert "cancelled" in done.stderr
        assert "TypeError" not in done.stderr
    pairs = list(zip(one.keys[::2], one.keys[1::2], strict=True))
    assert pairs
    assert all(first == second and first for first, second in pairs)
    assert len({first for first, _ in pairs}) == len(pairs)
