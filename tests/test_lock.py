"""One process at a time, however the one before it ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from personae.errors import BadOutput
from personae.io import lock, process

OWN = """
import sys, time
from personae.io import lock
with lock.own(sys.argv[1], "the work"):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path: Path):
    """A second process that owns `tmp_path / ".lock"`."""
    with subprocess.Popen(
        [sys.executable, "-c", OWN, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "mine\n"
        yield running
        running.kill()


def test_a_second_process_is_refused_by_name_and_the_first_one_death_frees(tmp_path: Path, other) -> None:
    path = tmp_path / ".lock"
    with (
        pytest.raises(BadOutput, match=rf"process {other.pid} on .* is already at work on the work: wait"),
        lock.own(path, "the work"),
    ):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert path.exists()  # it could not clean up
    with lock.own(path, "the work"):
        assert lock.owner(path) == process.me()
    assert not path.exists()


def test_a_place_in_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with lock.own(tmp_path / ".lock", "the work"):
        with (
            pytest.raises(BadOutput, match=f"process {os.getpid()} on .* is already at work"),
            lock.own(tmp_path / ".lock", "the work"),
        ):
            pass
        assert (tmp_path / ".lock").exists()


def test_the_files_word_counts_where_there_are_no_locks(tmp_path: Path, other, monkeypatch) -> None:
    path = tmp_path / ".lock"
    monkeypatch.setattr(lock, "fcntl", None)
    with pytest.raises(BadOutput, match=f"process {other.pid} on"), lock.own(path, "the work"):
        pass
    other.kill()
    other.wait()
    with lock.own(path, "the work"):
        pass


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff" * 9, b'{"host": 1, "pid": "x", "started": 0}'])
def test_a_damaged_lock_of_nobody_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".lock"
    path.write_bytes(content)
    with lock.own(path, "the work"):
        assert lock.owner(path) == process.me()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(BadOutput, match="cannot write"), lock.own(tmp_path / "no" / ".lock", "the work"):
        pass
    (tmp_path / "link").symlink_to("/etc/hostname")
    with pytest.raises(BadOutput, match="cannot write"), lock.own(tmp_path / "link", "the work"):
        pass


FORK = """
import os, sys, time
from personae.io import lock
with lock.own(sys.argv[1], "the work"):
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
    os._exit(1)
"""


def test_a_child_that_outlives_its_parent_does_not_keep_its_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", FORK, str(path)], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        child = int(running.stdout.readline())
        running.wait()
        with lock.own(path, "the work"):
            pass
        os.kill(child, signal.SIGKILL)


RACE = """
import sys, time
from pathlib import Path
from personae.errors import BadOutput
from personae.io import lock
folder, until = Path(sys.argv[1]), time.monotonic() + 1
while time.monotonic() < until:
    try:
        with lock.own(folder / ".lock", "the work"):
            inside = folder / "inside"
            inside.touch(exist_ok=False)  # FileExistsError if two are
            inside.unlink()
    except BadOutput:
        pass
"""


def test_never_two_at_once(tmp_path: Path) -> None:
    some = [subprocess.Popen([sys.executable, "-c", RACE, str(tmp_path)]) for _ in range(3)]
    assert [one.wait(timeout=60) for one in some] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
