"""Jobs that end the process whenever it is at work on them: they are given up, and take nobody with them."""

import os
import signal
import threading
import time
from pathlib import Path

from personae.serving.engine.requests import EngineRequest, Read
from personae.serving.engine.ticket import Ticket
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import DONE, FAILED, Job
from personae.serving.jobs.runner import _MOST_TRIES, _TRIES_TOGETHER, Runner
from personae.serving.jobs.store import JobStore
from serving_fixtures import FakeEngine

GUILTY, INNOCENT = "0" * 32, [f"{number}" * 32 for number in range(1, 5)]


class Deadly(FakeEngine):
    """An engine that one job kills, a moment after it took it and all the others that were to come with it; before that
    moment nothing ends, unless the job is not among them."""

    def submit(self, request: EngineRequest, *, waited: float = 0.0) -> Ticket:
        assert isinstance(request, Read)
        ticket = super().submit(request)
        guilty = GUILTY in str(request.photo)
        threading.Timer(0.05, self._kill if guilty else self._end, [ticket]).start()
        return ticket

    def _kill(self, ticket: Ticket) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _end(self, ticket: Ticket) -> None:
        if not any(GUILTY in str(one.request.photo) for one in self.tickets):  # type: ignore[attr-defined]
            ticket.succeed([])


def process(folder: Path) -> None:
    """What a server's process does with its jobs, until all have ended."""
    store = JobStore(folder / "jobs.sqlite", most_waiting=9)
    Runner(Deadly(), store, JobFiles(folder / "jobs"))  # type: ignore[arg-type]
    until = time.monotonic() + 20
    while not all(job.done for job in store.of_owner("ann", most=9)) and time.monotonic() < until:
        time.sleep(0.01)


def test_a_job_that_kills_the_process_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    store, files = JobStore(tmp_path / "jobs.sqlite", most_waiting=9), JobFiles(tmp_path / "jobs")
    order = [*INNOCENT[:2], GUILTY, *INNOCENT[2:]]
    for number, name in enumerate(order):
        uploads = files.put_uploads(name, {"a.png": b"x"})
        request = {"consent": True, "photo": "a.png"}
        store.add(Job(id=name, kind="read", owner="ann", request=request, uploads=uploads, created=float(number)))
    store.close()
    deaths = 0
    while (child := os.fork()) != 0:
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        deaths += 1
        assert deaths <= _MOST_TRIES
    if child == 0:
        try:
            process(tmp_path)
        finally:
            os._exit(0)
    assert deaths == _TRIES_TOGETHER + 2  # of which one alone counts as seven
    store = JobStore(tmp_path / "jobs.sqlite", most_waiting=9)
    ends = {job.id: job for job in store.of_owner("ann", most=9)}
    assert ends[GUILTY].status == FAILED
    assert ends[GUILTY].error == {
        "type": "JobAbandoned",
        "message": "the server stopped too often while it was at work on this job: it is given up",
    }
    for name in INNOCENT:
        assert ends[name].status == DONE, ends[name]
        assert ends[name].result == {"files": [], "data": {"faces": []}}
        assert ends[name].tries < _MOST_TRIES
    Runner(Deadly(), store, files).close()  # type: ignore[arg-type]
    assert not list((tmp_path / "jobs").glob("*/uploads"))  # some processes ended before they had removed them
    store.close()
