"""What carries jobs to the engine and back, with an engine of the test's own: nothing is lost by a full disk, a lease
that is over, a start that goes wrong, a client that cancels at the wrong moment."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personae.errors import BadImage, BadOption, JobCancelled
from personae.provenance.detection import Detected
from personae.provenance.findings import Finding
from personae.serving.jobs import results, runner
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import Job
from personae.serving.jobs.runner import Runner
from personae.serving.jobs.store import JobStore, StoreUnavailable
from personae.types import Identity
from serving_fixtures import FakeEngine

SOMEBODY = [Identity(vector=np.ones(8), space="some/space/0")]


class Place:
    """A runner, and what it works with."""

    def __init__(self, folder: Path, engine: FakeEngine, **settings: Any) -> None:
        self.engine, self.ends = engine, []
        self.store, self.files = JobStore(folder / "jobs.sqlite", most_waiting=100), JobFiles(folder / "jobs")
        on_end = lambda job, status: self.ends.append((job.id, status))  # noqa: E731
        self.runner = Runner(engine, self.store, self.files, on_end=on_end, **settings)  # type: ignore[arg-type]

    def accept(self, number: int = 1, **request: Any) -> Job:
        fields = {"id": f"{number:032x}", "kind": "sample", "owner": "ann", "created": time.time()}
        return self.runner.accept(Job(**fields, request={"seed": 1} | request), {"me.csv": b"mine"})  # type: ignore[arg-type]

    def status(self, job: Job) -> str | None:
        found = self.store.get(job.id)
        return None if found is None else found.status

    def files_of(self, job: Job) -> set[str]:
        return {path.name for path in self.files.place(job.id).rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Place]]:
    monkeypatch.setattr(runner, "_PAUSE", 0.05)
    monkeypatch.setattr(runner, "_TICK", 0.02)
    opened: list[Place] = []

    def make(engine: FakeEngine | None = None, **settings: Any) -> Place:
        opened.append(Place(tmp_path, engine or FakeEngine(), **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.runner.close()
        one.store.close()


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_full_disk_delays_an_end_and_loses_none(place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's thread once died of the error in its own handler, and nothing ended any more."""
    here = place()
    plain, faults = here.store._end, iter([1, 1, 1])

    def full(*args: Any, **more: Any) -> bool:
        if next(faults, None):
            raise StoreUnavailable("database or disk is full")
        return plain(*args, **more)

    monkeypatch.setattr(here.store, "_end", full)
    jobs = [here.accept(1), here.accept(2)]
    until(lambda: len(here.engine.tickets) == 2)
    here.engine.tickets[0].succeed(SOMEBODY)
    here.engine.tickets[1].fail(BadOption("no"))
    until(lambda: [here.status(job) for job in jobs] == ["done", "failed"])
    until(lambda: here.runner.at_work == 0)
    assert here.runner.alive
    assert sorted(status for _, status in here.ends) == ["done", "failed"]


def test_what_a_disk_has_no_room_for_while_claiming_is_claimed_later(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place()
    plain, faults = here.store.claim, iter([1, 1])

    def full(**more: Any) -> Job | None:
        if next(faults, None):
            raise StoreUnavailable("database or disk is full")
        return plain(**more)

    monkeypatch.setattr(here.store, "claim", full)
    here.accept()
    until(lambda: here.engine.tickets)
    assert here.runner.alive


def test_a_thread_that_ended_is_no_secret(place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)
    here = place()

    def interrupted(*_: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(here.runner, "_go_on", interrupted)
    assert here.runner.alive
    here.runner._wake.set()
    until(lambda: not here.runner.alive)


def test_a_lease_that_is_over_begins_no_job_of_this_process_again(place: Callable[..., Place]) -> None:
    """A model that loads for minutes shows no progress; a machine that slept finds all leases over."""
    here = place(lease=0.03)
    job = here.accept()
    until(lambda: here.engine.tickets)
    time.sleep(0.3)
    with here.store._transaction() as database:
        database.execute("UPDATE jobs SET lease = 0")  # the machine slept
    time.sleep(0.1)
    [ticket] = here.engine.tickets
    assert not ticket.done
    assert here.files_of(job) == {"0.csv"}
    ticket.succeed(SOMEBODY)
    until(lambda: here.status(job) == "done")
    assert here.store.get(job.id).tries == 1


def test_what_the_process_lost_between_claim_and_work_is_begun_when_its_lease_is_over(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place(lease=0.1)
    here.engine.most = 0

    def full(job: Job) -> None:
        here.engine.most = 1
        raise StoreUnavailable("database or disk is full")

    monkeypatch.setattr(here.store, "release", full)
    job = here.accept()
    until(lambda: here.engine.tickets)
    assert here.files_of(job) == {"0.csv"}


@pytest.mark.parametrize("loading", [True, False], ids=["fails while it loads", "has failed"])
def test_a_start_that_goes_wrong_leaves_the_queue_as_it_is(place: Callable[..., Place], loading: bool) -> None:
    here = place(FakeEngine(ready=False, failure=None if loading else BadOption("no such model")))
    jobs = [here.accept(number) for number in range(3)]
    time.sleep(0.1)
    here.engine.failure = BadOption("no such model")
    until(lambda: not here.runner.alive)
    here.runner.close()
    assert [here.status(job) for job in jobs] == ["queued"] * 3
    assert all(here.files_of(job) == {"0.csv"} for job in jobs)
    assert not here.ends
    here = place()
    until(lambda: len(here.engine.tickets) == 3)


def test_the_engines_failure_is_no_jobs_fault(place: Callable[..., Place]) -> None:
    here = place(at_once=1)
    job = here.accept()
    until(lambda: here.engine.tickets)
    here.engine.failure = BadOption("the deny-list is of another space")
    here.engine.tickets[0].fail(here.engine.failure)
    until(lambda: here.status(job) == "queued")
    assert here.files_of(job) == {"0.csv"}


@pytest.mark.parametrize(("end", "left"), [("cancel", "cancelled"), ("delete", None)])
@pytest.mark.parametrize("moment", ["before", "while", "after"])
def test_a_client_who_ends_a_job_while_its_result_is_written_leaves_no_file(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, moment: str, end: str, left: str | None
) -> None:
    here = place()
    job = here.accept()
    until(lambda: here.engine.tickets)
    plain, writes = results.write, []

    def write(*args: Any) -> Any:
        if moment == "while":
            getattr(here.runner, end)(job)
        found = plain(*args)
        writes.append(found)
        if moment == "after":
            getattr(here.runner, end)(job)
        return found

    monkeypatch.setattr(results, "write", write)
    if moment == "before":
        with here.store._transaction() as database:  # it has ended in the database, and nobody has heard of it yet
            database.execute("UPDATE jobs SET status = 'cancelled'" if left else "DELETE FROM jobs")
    here.engine.tickets[0].succeed(SOMEBODY)
    until(lambda: here.runner.at_work == 0)
    assert here.status(job) == left
    assert here.files_of(job) == set()
    assert bool(writes) == (moment != "before")


def test_a_client_who_ends_a_job_between_claim_and_work_is_heard(
    place: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine(ready=False)
    here = place(engine)
    job, plain = here.accept(), engine.submit

    def submit(request: Any, **facts: Any) -> Any:
        assert here.runner.cancel(job)
        return plain(request, **facts)

    monkeypatch.setattr(engine, "submit", submit)
    engine.ready = True
    until(lambda: engine.tickets and engine.tickets[0].done)
    with pytest.raises(JobCancelled):
        engine.tickets[0].result(0)
    until(lambda: here.runner.at_work == 0)
    assert here.status(job) == "cancelled"
    assert here.files_of(job) == set()


def test_a_file_whose_marks_are_looked_for_may_be_of_any_kind(place: Callable[..., Place]) -> None:
    here = place()
    fields = {"id": "d" * 32, "owner": "ann", "created": time.time(), "request": {"file": "clip.ts"}}
    job = here.runner.accept(Job(kind="detect", **fields), {"clip.ts": b"no photo"})  # type: ignore[arg-type]
    assert here.store.get(job.id) is not None
    with pytest.raises(BadImage):
        here.runner.accept(
            Job(kind="read", **fields | {"id": "e" * 32, "request": {"photo": "clip.ts"}}), {"clip.ts": b"no photo"}
        )  # type: ignore[arg-type]


def test_time_counts_from_acceptance_and_is_over_at_once(place: Callable[..., Place]) -> None:
    engine = FakeEngine(ready=False)
    here = place(engine)
    late, soon = here.accept(1, timeout=0.2), here.accept(2, timeout=1.0)
    time.sleep(0.3)
    engine.ready = True
    until(lambda: here.status(late) == "failed")
    assert here.store.get(late.id).error["type"] == "JobTimedOut"
    assert here.status(soon) == "running"
    until(lambda: here.status(soon) == "failed")  # although nobody waits for its result
    assert time.time() - soon.created < 3


def test_words_of_errors_name_neither_the_servers_folders_nor_the_models(place: Callable[..., Place]) -> None:
    here = place()
    job = here.accept()
    until(lambda: here.engine.tickets)
    upload = here.files.upload(job, "me.csv")
    here.engine.tickets[0].fail(BadOption(f"{upload} is damaged, /models/nano has no directions"))
    until(lambda: here.status(job) == "failed")
    assert here.store.get(job.id).error["message"] == "me.csv is damaged, model 'nano' has no directions"


def test_results_do_not_name_the_servers_folders(place: Callable[..., Place], tmp_path: Path) -> None:
    here = place()
    fields = {"id": "1" * 32, "kind": "detect", "owner": "ann", "created": time.time()}
    job = here.runner.accept(Job(**fields, request={"file": "me.csv"}), {"me.csv": b"x"})  # type: ignore[arg-type]
    until(lambda: here.engine.tickets)
    words = f"the recipe in {here.files.upload(job, 'me.csv')} is damaged"
    mark = Finding(mark="recipe", state="none", proves=words, proves_not="", facts={"why": [words]})
    found = Detected(file="0.csv", kind="text/csv", marks=[mark], stripped=[words], inputs=[], frames=[], verdict=words)
    here.engine.tickets[0].succeed(found)
    until(lambda: here.status(job) == "done")
    assert str(tmp_path) not in json.dumps(here.store.get(job.id).result)
    assert here.store.get(job.id).result["data"]["verdict"] == "the recipe in me.csv is damaged"


def test_a_job_that_ends_the_process_alone_is_given_up_soon(tmp_path: Path) -> None:
    store, deaths = JobStore(tmp_path / "jobs.sqlite", most_waiting=10), 0
    store.add(Job(id="1" * 32, kind="sample", owner="ann", request={"seed": 1}, created=time.time()))
    while True:
        store.release_all(tries_if_alone=runner._TRIES_IF_ALONE)
        claimed = store.claim(lease=60)
        if claimed.tries > runner._MOST_TRIES:
            break
        deaths += 1
    assert deaths == 3
    assert replace(claimed, tries=0).status == "running"
