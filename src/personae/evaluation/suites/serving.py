"""personae evaluate --suite serving --clients 200 --seconds 60 --kills 0 --kills 5 -o docs/figures/serving.json

The server under many clients on the loopback: a process of `personae serve`, killed by SIGKILL at moments under load
and started again, and clients in this one that each send a job, wait for its end, and send the next. Reported: accepted
jobs that were lost, answers, images per second beside the library's own bulk rate, waits, batches (`--batch off`: what
they gain), memory; a row for each `--kills`. Traffic goes to 127.0.0.1 alone. Run it on an otherwise idle machine.
"""

import asyncio
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from personae.console import note
from personae.errors import BadOutput
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.report import FOLDER, Report, assemble, publish
from personae.evaluation.suite_options import ReportFile

_TICK = 0.1  # seconds
_LOOK = 2.0  # seconds between a client's two looks at its job
_MOST_SECONDS_TO_READY = 180.0
_ON_ITS_WAY = ("queued", "running")


@dataclass
class Load:
    """What the clients saw."""

    clients: int
    steps: int
    identity: dict[str, Any]
    batch: str = "auto"
    stop: float = math.inf
    seed: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    accepted: dict[str, float] = field(default_factory=dict)  # when, by id
    waits: list[float] = field(default_factory=list)  # seconds from acceptance to end, of those that were waited for

    def request(self) -> bytes:
        """The next job's body, of a seed of its own."""
        self.seed += 1
        own = {"seed": self.seed, "batch": self.batch, "options": {"num_inference_steps": self.steps}}
        return json.dumps({"consent": True, "people": [self.identity], **own}).encode()


class Server:
    """A process of `personae serve`."""

    def __init__(self, state: Path, model: str) -> None:
        self._state, self._model = state, model
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.started_in = 0.0

    def start(self) -> None:
        """Start it and wait until it is ready. Raises `BadOutput` if it ends instead, or takes too long."""
        words = [sys.executable, "-m", "personae", "serve", "--quiet", "--no-page", "--port", str(self.port)]
        words += ["--state", str(self._state), "--model", self._model, "--waiting", "512", "--results-for", "86400"]
        began = time.monotonic()
        self._process = subprocess.Popen(words)
        while asyncio.run(self.status("/readyz")) != 200:
            if self._process.poll() is not None:
                raise BadOutput(f"the server ended with code {self._process.returncode}: see its words above")
            if time.monotonic() - began > _MOST_SECONDS_TO_READY:
                self.kill()
                raise BadOutput(f"the server was not ready within {_MOST_SECONDS_TO_READY:.0f} seconds")
            time.sleep(_TICK)
        self.started_in = time.monotonic() - began

    async def status(self, path: str) -> int:
        """Of an address; 0: nobody answers."""
        try:
            return (await self.ask("GET", path))[0]
        except (OSError, asyncio.IncompleteReadError):
            return 0

    async def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content of one answer. Raises `OSError`, `IncompleteReadError` if the line breaks."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            content = await reader.read()
        finally:
            writer.close()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        return int(lines[0].split()[1]), headers, content

    @property
    def memory(self) -> int:
        """Bytes of it that are in memory; 0 while it is not there."""
        try:
            assert self._process is not None
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """SIGKILL, at once."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        """As Ctrl-C."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)


async def _client(server: Server, load: Load) -> None:
    """One job after the other, until the time is over."""
    while time.monotonic() < load.stop:
        try:
            status, headers, content = await server.ask("POST", "/v1/generate", load.request())
        except (OSError, asyncio.IncompleteReadError, IndexError):
            load.answers["broken"] += 1
            await asyncio.sleep(0.5)
            continue
        load.answers[str(status)] += 1
        if status == 202:
            await _until_end(server, load, json.loads(content)["id"])
        else:
            await asyncio.sleep(float(headers.get("retry-after", "1")))


async def _until_end(server: Server, load: Load, job: str) -> None:
    """Wait for a job's end, however it ends: `_ends` counts how. A job that the server has lost is not waited for."""
    load.accepted[job] = time.monotonic()
    while time.monotonic() < load.stop:
        try:
            status, _, content = await server.ask("GET", f"/v1/jobs/{job}")
            found = "lost" if status == 404 else json.loads(content)["status"]
            if found == "done":
                load.waits.append(time.monotonic() - load.accepted[job])
            if found not in _ON_ITS_WAY:
                return
        except (OSError, asyncio.IncompleteReadError, ValueError, KeyError):
            pass
        await asyncio.sleep(_LOOK)


async def _under_load(server: Server, load: Load, seconds: float, kills: int) -> list[int]:
    """Let the clients work, kill the server at evenly spread moments; the memory that it took, second by second."""
    load.stop = time.monotonic() + seconds
    clients = [asyncio.create_task(_client(server, load)) for _ in range(load.clients)]
    moments = [time.monotonic() + seconds * (number + 1) / (kills + 1) for number in range(kills)]
    memory = []
    while time.monotonic() < load.stop:
        if moments and time.monotonic() >= moments[0]:
            moments.pop(0)
            server.kill()
            await asyncio.to_thread(server.start)
            load.stop += server.started_in  # in which nobody could be served
        memory.append(server.memory)
        await asyncio.sleep(min(1.0, max(0.0, load.stop - time.monotonic())))
    await asyncio.gather(*clients)
    return [one for one in memory if one]


async def _ends(server: Server, load: Load, patience: float) -> dict[str, Counter[str]]:
    """How the accepted jobs ended, and how many results each has; waits for those that have not."""
    until, statuses, results = time.monotonic() + patience, Counter[str](), Counter[str]()
    for job in load.accepted:
        while True:
            status, _, content = await server.ask("GET", f"/v1/jobs/{job}")
            found: dict[str, Any] = {"status": f"lost ({status})", "result": None}
            if status == 200:
                found = json.loads(content)
            if found["status"] not in _ON_ITS_WAY or time.monotonic() > until:
                break
            await asyncio.sleep(0.5)
        statuses[found["status"]] += 1
        results[str(len((found["result"] or {"files": []})["files"]))] += 1
    return {"statuses": statuses, "results": results}


def _bulk_rate(model: str, steps: int) -> tuple[dict[str, Any], float]:
    """Somebody, and how many of their images a second the library makes in full batches, reading back included."""
    import personae
    from personae.identity import PEOPLE, IdentitySampler

    pipe = personae.load(model)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.folder is not None
    [person] = IdentitySampler.load(pipe.folder / PEOPLE).sample(1, seed=0)
    pipe([person] * 16, seed=0, num_inference_steps=steps)
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        pipe([person] * 16, seed=0, num_inference_steps=steps)
        rates.append(16 / (time.perf_counter() - began))
    return {"space": person.space, "vector": [float(one) for one in person.vector]}, float(np.median(rates))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run. ends: of `_ends`. memory: bytes, second by second. counters: the server's. seconds: until
    the last job had ended."""

    load: Load
    ends: dict[str, Counter[str]]
    memory: list[int]
    counters: dict[str, float]
    seconds: float
    seconds_to_ready: float
    idle: int

    def row(self, bulk: float) -> dict[str, Estimate]:
        """Its figures. bulk: images that the library makes a second."""
        accepted, waits = len(self.load.accepted), self.load.waits or [math.nan]
        batches, requests = (self.counters[f"personae_engine_{name}"] for name in ("batches", "requests"))
        others = sum(count for status, count in self.load.answers.items() if status not in ("202", "503", "broken"))
        rate, half = self.ends["statuses"]["done"] / self.seconds, len(self.memory) // 2
        memory = [max(part, default=0) / 2**20 for part in (self.memory[: half or 1], self.memory[half:])]
        return {
            "one_result": estimate.plain(self.ends["results"]["1"] / accepted if accepted else math.nan, accepted),
            "other_answers": estimate.plain(others, self.load.answers.total()),
            "images_per_s": estimate.plain(rate, accepted),
            "share_of_bulk": estimate.plain(rate / bulk, accepted),
            "wait_p50": estimate.plain(float(np.percentile(waits, 50)), len(self.load.waits)),
            "wait_p95": estimate.plain(float(np.percentile(waits, 95)), len(self.load.waits)),
            "requests_per_call": estimate.plain(requests / batches if batches else math.nan, int(batches)),
            "memory_first": estimate.plain(memory[0], half),
            "memory_second": estimate.plain(memory[1], len(self.memory) - half),
        }


def outcome(model: str, load: Load, *, seconds: float, kills: int) -> Outcome:
    """Of a server of its own, for the time of a run."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "state", model)
        try:
            server.start()
            ready, idle = server.started_in, server.memory
            note(f"ready after {ready:.1f} s with {idle / 2**20:.0f} MiB; {load.clients} clients for {seconds:.0f} s")
            began = time.monotonic()
            memory = asyncio.run(_under_load(server, load, seconds, kills))
            ends = asyncio.run(_ends(server, load, patience=600))
            took = time.monotonic() - began
            counters = _counters(asyncio.run(server.ask("GET", "/metrics"))[2].decode())
        finally:
            server.end()
    return Outcome(
        load=load,
        ends=ends,
        memory=memory,
        counters=counters,
        seconds=took,
        seconds_to_ready=ready,
        idle=idle,
    )


def _counters(text: str) -> dict[str, float]:
    """Of /metrics, by name."""
    rows = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def report_of(model: str, runs: Mapping[int, Outcome], bulk: float, settings: Mapping[str, Any]) -> Report:
    """The report: what holds for the first run, and a row for each. runs: by the number of kills."""
    first = next(iter(runs.values()))
    rows = {"none" if not kills else str(kills): one.row(bulk) for kills, one in runs.items()}
    of_first = next(iter(rows.values()))
    return assemble(
        kind="serving",
        subject=model,
        settings=dict(settings) | {"kills": list(runs)},
        figures={
            "seconds_to_ready": estimate.plain(first.seconds_to_ready, 1),
            "idle": estimate.plain(first.idle / 2**20, 1),
            "bulk_images_per_s": estimate.plain(bulk, 3),
            **{name: of_first[name] for name in ("share_of_bulk", "one_result", "other_answers")},
        },
        groups={"kills": rows},
        caveats=[
            "{clients} clients for {seconds:g} seconds, images of {steps} steps, each with its likeness measured, "
            "marked and signed; a client sends a job, waits for its end, and sends the next".format_map(settings),
            "n counts accepted jobs (answers, calls, seconds); waits are of jobs whose end their client saw",
            "the clients share the machine with the server; starts after a kill count as seconds of the run",
        ],
    )


def main(
    model: Annotated[str, typer.Argument(help="Model: its name or folder.")] = "nano",
    clients: Annotated[int, typer.Option(min=1, help="At one time.")] = 200,
    seconds: Annotated[float, typer.Option(min=1, help="Of load.")] = 60,
    kills: Annotated[
        list[int] | None, typer.Option(min=0, help="Times that the server is killed under load; repeat for more runs.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of each image.")] = 8,
    batch: Annotated[str, typer.Option(help="auto; or off: a call for each request.")] = "auto",
    out: ReportFile = FOLDER / "serving.json",
) -> None:
    """Let many clients use a server, and count what became of their jobs."""
    somebody, bulk = _bulk_rate(model, steps)
    runs = {
        count: outcome(
            model,
            Load(clients=clients, steps=steps, identity=somebody, batch=batch),
            seconds=seconds,
            kills=count,
        )
        for count in kills or [0]
    }
    settings = {"clients": clients, "seconds": seconds, "steps": steps, "batch": batch}
    publish(report_of(model, runs, bulk, settings), out)


if __name__ == "__main__":
    typer.run(main)
