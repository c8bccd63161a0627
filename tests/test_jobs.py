"""The database of jobs: nothing accepted is lost, nothing is done twice, whoever is killed in between."""

import json
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from personae.errors import BadData, BadOption, QueueFull
from personae.serving.jobs.files import JobFiles
from personae.serving.jobs.record import Job
from personae.serving.jobs.store import JobStore, LimitReached, StoreUnavailable

# A process that accepts jobs, works on them, and says what it has accepted, until it is killed.
WORKER = """
import sys, time
from pathlib import Path
from personae.serving.jobs.record import Job
from personae.serving.jobs.store import JobStore

store = JobStore(Path(sys.argv[1]), most_waiting=10**6)
store.release_all()
number = int(sys.argv[2])
while True:
    name = f"{number:032x}"
    store.add(Job(id=name, kind="read", owner="ann", request={}, created=time.time()))
    print(name, flush=True)
    number += 1
    for _ in range(2):
        job = store.claim(lease=60)
        if job is not None and number % 3:
            store.renew([job], lease=60)
            print("done", job.id, store.finish(job, {"files": [], "data": {}}, expires=time.time() + 60), flush=True)
"""


def job(number: int, **facts: object) -> Job:
    own = {"id": f"{number:032x}", "kind": "read", "owner": "ann", "request": {"consent": True}, "created": time.time()}
    return Job(**own | facts)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite", most_waiting=3)


def test_kills_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    path, accepted, finished = tmp_path / "jobs.sqlite", set(), []
    for turn in range(5):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, path, str(turn * 10**6)], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        for _ in range(10 + 7 * turn):  # killed at a moment of its own each time
            words = worker.stdout.readline().split()
            if words[0] == "done":
                assert words[2] == "True"
                finished.append(words[1])
            else:
                accepted.add(words[0])
        worker.kill()
        rest = worker.stdout.read().splitlines()
        accepted |= {line for line in rest if len(line) == 32}
        finished += [line.split()[1] for line in rest if line.startswith("done") and line.endswith("True")]
    store = JobStore(path, most_waiting=1)
    assert accepted <= store.ids()
    assert len(finished) == len(set(finished))
    store.release_all()
    left = 0
    while (one := store.claim(lease=60)) is not None:
        assert one.id not in finished
        assert store.finish(one, {"files": [], "data": {}}, expires=time.time() + 60)
        left += 1
    assert store.counts() == {"done": len(store.ids())}
    assert left > 0


def test_the_oldest_is_claimed_once(store: JobStore) -> None:
    for number in (1, 2):
        store.add(job(number, created=time.time() - number))
    first, second, third = (store.claim(lease=60) for _ in range(3))
    assert (first.id, second.id, third) == (job(2).id, job(1).id, None)
    assert (first.status, first.tries) == ("running", 1)


def test_a_lease_that_is_over_gives_the_job_to_the_next(store: JobStore) -> None:
    store.add(job(1))
    lost = store.claim(lease=0.05)
    time.sleep(0.1)
    again = store.claim(lease=60)
    assert (again.id, again.tries) == (lost.id, 2)
    store.renew([lost], lease=-1)  # whoever lost it can neither renew nor end it
    assert store.claim(lease=60) is None
    assert not store.finish(lost, {"files": [], "data": {}}, expires=0)
    assert not store.fail(lost, {"type": "x", "message": "y"}, expires=0)
    assert store.finish(again, {"files": [], "data": {}}, expires=time.time() + 60)
    assert not store.finish(again, {"files": [], "data": {}}, expires=0)


def test_renewed_leases_are_not_over(store: JobStore) -> None:
    store.add(job(1))
    claimed = store.claim(lease=0.2)
    for _ in range(4):
        time.sleep(0.1)
        store.renew([claimed], lease=0.2)
        assert store.claim(lease=1) is None


def test_the_queue_is_bounded(store: JobStore) -> None:
    for number in range(3):
        store.add(job(number))
    with pytest.raises(QueueFull) as refusal:
        store.add(job(9))
    assert refusal.value.retry_after > 0
    assert store.get(job(9).id) is None
    store.claim(lease=60)
    store.add(job(9))


def test_an_owner_has_its_share(store: JobStore) -> None:
    store.add(job(1))
    store.claim(lease=60)
    with pytest.raises(LimitReached):
        store.add(job(2), most_of_owner=1)
    store.add(job(3, owner="bob"), most_of_owner=1)


def test_an_idempotency_key_is_an_owners(store: JobStore) -> None:
    first = store.add(job(1, idempotency_key="k", digest="a"))
    assert store.add(job(2, idempotency_key="k", digest="b")).id == first.id
    assert store.add(job(3, idempotency_key="k", owner="bob")).id == job(3).id
    assert store.add(job(4)).id == job(4).id


def test_what_has_ended_holds_no_vector(store: JobStore, tmp_path: Path) -> None:
    private = {"consent": True, "people": [{"space": "s", "vector": [0.123456789]}]}
    store.add(job(1, request=private))
    store.add(job(2, request=private))
    store.finish(store.claim(lease=60), {"files": [], "data": {}}, expires=time.time() + 60)
    assert store.cancel(store.get(job(2).id), expires=time.time() + 60)
    assert not store.cancel(store.get(job(2).id), expires=time.time() + 60)
    for number in (1, 2):
        assert store.get(job(number).id).request == {"consent": True}
    store.clear_log()
    assert b"0.123456789" not in b"".join(file.read_bytes() for file in tmp_path.glob("jobs.sqlite*"))
    store.add(job(3, request=private))
    store.delete(job(3).id)
    store.clear_log()
    assert b"0.123456789" not in b"".join(file.read_bytes() for file in tmp_path.glob("jobs.sqlite*"))


def test_a_full_disk_is_an_error_of_ours_and_leaves_no_transaction(store: JobStore) -> None:
    store.add(job(1))
    claimed = store.claim(lease=60)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    large = {"files": [], "data": {"text": "x" * 10**6}}
    with pytest.raises(StoreUnavailable, match="full"):
        store.finish(claimed, large, expires=time.time() + 60)
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert store.finish(claimed, large, expires=time.time() + 60)
    store.close()
    for use in (store.counts, store.ids, store.expired, lambda: store.get(job(1).id), store.clear_log):
        with pytest.raises(StoreUnavailable):
            use()


def test_a_claim_leaves_out_what_the_caller_has(store: JobStore) -> None:
    store.add(job(1))
    assert store.claim(lease=-1).id == job(1).id
    assert store.claim(lease=60, besides=(job(1).id, "other")) is None
    assert store.claim(lease=60, besides=("other",)).tries == 2


def test_whoever_was_alone_when_the_process_died_has_fewer_tries(store: JobStore) -> None:
    store.add(job(1))
    store.add(job(2))
    store.claim(lease=60), store.claim(lease=60)
    assert store.release_all(tries_if_alone=6) == 2
    assert [store.get(job(number).id).tries for number in (1, 2)] == [1, 1]
    store.claim(lease=60)
    assert store.release_all(tries_if_alone=6) == 1
    assert sorted(store.get(job(number).id).tries for number in (1, 2)) == [1, 8]


def test_a_job_comes_back_as_it_went_in(store: JobStore) -> None:
    whole = job(1, uploads={"me.jpg": "0.jpg"}, request={"people": ["me.jpg"], "nested": [1, {"a": None}]})
    store.add(whole)
    assert store.get(whole.id) == whole
    done = replace(store.claim(lease=60))
    store.finish(done, {"files": [{"name": "0.png"}], "data": {}}, expires=1.0)
    [expired] = store.expired()
    assert json.loads(json.dumps(expired.result))["files"][0]["name"] == "0.png"
    store.delete(whole.id)
    assert store.get(whole.id) is None


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(BadData, match="no database"):
        JobStore(path, most_waiting=1)


def test_files_have_names_of_the_servers_making(tmp_path: Path) -> None:
    files = JobFiles(tmp_path / "jobs")
    others = {"smile.npy": b"1", "clip.M4V": b"2", "clip.avi": b"3"}
    assert [*files.put_uploads("b" * 32, others).values()] == ["0.npy", "1.m4v", "2.avi"]
    names = files.put_uploads("a" * 32, {"../../evil.png": b"1", "me.JPG": b"2", "x.sh": b"3", "y.png\0.sh": b"4"})
    for folder in (tmp_path / "jobs", *(tmp_path / "jobs").rglob("*")):
        assert not stat.S_IMODE(folder.stat().st_mode) & 0o077, folder
    assert names == {"../../evil.png": "0.png", "me.JPG": "1.jpg", "x.sh": "2", "y.png\0.sh": "3"}
    one = job(10, id="a" * 32, uploads=names, result={"files": [{"name": "0.png"}]})
    assert files.upload(one, "me.JPG").read_bytes() == b"2"
    for name in ("evil.png", "0.png", "/etc/passwd"):
        with pytest.raises(BadOption, match="no file of this request"):
            files.upload(one, name)
    for name in ("../uploads/0.png", "1.png"):
        with pytest.raises(BadOption):
            files.result(one, name)
    assert files.in_clients_words(one, f"{files.upload(one, 'me.JPG')} is no picture") == "me.JPG is no picture"
    files.sweep(known=set(), ended=set())
    assert not list((tmp_path / "jobs").iterdir())
