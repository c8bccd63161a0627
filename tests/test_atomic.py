"""Files and folders that appear whole or not at all, whatever stops the one who writes them."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.errors import BadOutput
from personae.io import atomic, process
from personae.io.process import Owner
from personae.io.tensors import save_tensors, to_bytes


def script(code: str, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
    """Python run as another process."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=check, timeout=240)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert atomic.write(path, b"one") == path
    with pytest.raises(BadOutput, match=r"a\.bin is already there"):
        atomic.write(path, b"two")
    assert path.read_bytes() == b"one"
    atomic.write(path, b"two", replace=True)
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["a.bin"]


def test_a_file_that_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with pytest.raises(BadOutput, match="already there"), atomic.file(path) as partial:  # noqa: PT012
        partial.write_bytes(b"mine")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("way", [atomic.file, atomic.folder])
def test_what_fails_on_the_way_leaves_nothing(tmp_path: Path, way) -> None:
    def fill(place: Path) -> None:
        (place / "x" if place.is_dir() else place).write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), way(tmp_path / "a") as partial:
        fill(partial)
    assert names(tmp_path) == []


def test_a_folder_appears_whole_and_replaces_another(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for content in (b"one", b"two"):
        with atomic.folder(target, replace=True) as partial:
            (partial / "deep").mkdir()
            (partial / "deep" / content.decode()).write_bytes(content)
            assert not target.exists() or names(target / "deep") == ["one"]
        assert names(target / "deep") == [content.decode()]
    with pytest.raises(BadOutput, match="already there"), atomic.folder(target):
        pass
    assert names(tmp_path) == ["model"]


def test_threads_that_write_one_file_write_one_of_theirs(tmp_path: Path) -> None:
    contents = [bytes([i]) * 100_000 for i in range(8)]
    threads = [
        threading.Thread(target=atomic.write, args=(tmp_path / "a", c), kwargs={"replace": True}) for c in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents
    assert names(tmp_path) == ["a"]


KILLED = """
import os, signal, sys
from pathlib import Path
from personae.io import atomic
with atomic.{way}(Path(sys.argv[1]) / "a") as partial:
    (partial / "b" if partial.is_dir() else partial).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["file", "folder"])
def test_the_next_to_write_removes_what_a_killed_process_left(tmp_path: Path, way: str) -> None:
    assert script(KILLED.format(way=way), tmp_path, check=False).returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.endswith(".partial")
    mine = tmp_path / f".b.{process.me().host}-{os.getpid()}-{process.me().started}-9.partial"
    elsewhere = tmp_path / ".c.another-box-1-1-0.partial"
    strange = tmp_path / ".d.partial"
    for path in (mine, elsewhere, strange):
        path.touch()
    atomic.write(tmp_path / "b", b"")
    assert names(tmp_path) == sorted(["b", mine.name, elsewhere.name, strange.name])


def test_a_number_that_the_system_gave_out_again_is_another_process() -> None:
    me = process.me()
    assert not process.is_gone(me)
    assert process.is_gone(Owner(host=me.host, pid=me.pid, started=me.started - 1))
    assert not process.is_gone(Owner(host="another-box", pid=me.pid, started=1))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    started = process._started(ended.pid)
    assert started is not None
    while process._started(ended.pid) is not None:  # ended, but not yet waited for: gone as well
        pass
    assert process.is_gone(Owner(host=me.host, pid=ended.pid, started=started))
    ended.wait()


def test_the_start_of_a_process_where_there_is_no_proc() -> None:
    assert process._started_elsewhere(os.getpid())
    assert process._started_elsewhere(2**22 + 1) is None


def test_it_is_on_the_disk_before_it_is_renamed(tmp_path: Path, monkeypatch) -> None:
    order: list[str] = []
    for name, function in (("fsync", os.fsync), ("link", os.link)):
        monkeypatch.setattr(os, name, lambda *a, name=name, call=function: (order.append(name), call(*a))[1])
    atomic.write(tmp_path / "a", b"content")
    assert order == ["fsync", "link", "fsync"]


FULL = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from personae.errors import BadOutput
from personae.io import atomic
from personae.io.tensors import save_tensors
target = Path(sys.argv[1]) / "a"
def by_file(save):
    with atomic.file(target) as partial:
        save(partial)
def by_folder(save):
    with atomic.folder(target) as partial:
        save(partial / "b")
big = torch.zeros(100_000)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for call in (
    lambda: atomic.write(target, bytes(100_000)),
    lambda: save_tensors(target, {"a": big}),
    lambda: by_file(lambda path: torch.save(big, path)),
    lambda: by_folder(lambda path: torch.save(big, path)),
    lambda: by_folder(lambda path: np.save(path.open("wb"), big.numpy())),
):
    try:
        call()
    except BadOutput as error:
        print(error)
"""


def test_a_full_disk_is_one_line_whoever_writes(tmp_path: Path) -> None:
    lines = script(FULL, tmp_path).stdout.splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"cannot write {tmp_path / 'a'}: ") for line in lines)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 256, "ü" * 128, "nowhere/a"])
def test_names_that_no_file_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadOutput, match="cannot write"):
        atomic.write(tmp_path / name, b"")
    with pytest.raises(BadOutput, match="cannot write"), atomic.file(tmp_path / name) as partial:
        partial.write_bytes(b"")


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, ".", "a b\n*"])
def test_names_that_a_file_can_have(tmp_path: Path, name: str) -> None:
    if name == ".":
        with pytest.raises(BadOutput):
            atomic.write(tmp_path / name, b"x", replace=True)
        return
    atomic.write(tmp_path / name, b"x")
    with atomic.file(tmp_path / name, replace=True) as partial:
        partial.write_bytes(b"y")
    assert (tmp_path / name).read_bytes() == b"y"
    assert len(names(tmp_path)) == 1


def test_a_file_that_cannot_be_read_is_not_one_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic.file(tmp_path / "b") as partial:
        partial.write_bytes(Path("/nowhere/at/all").read_bytes())


TENSORS = """
import hashlib, sys, numpy as np
from personae.io.tensors import to_bytes
facts = {f"fact {i}": "ü" * i for i in range(12)}
arrays = {name: np.arange(n, dtype=t) for name, n, t in (("b", 5, "f4"), ("a", 3, "f8"), ("c", 7, "i1"))}
print(hashlib.sha256(to_bytes(arrays, facts)).hexdigest())
"""


def test_the_same_tensors_are_the_same_bytes_in_every_run() -> None:
    assert len({script(TENSORS).stdout for _ in range(3)}) == 1


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=4), st.integers(0, 5))
def test_ordered_facts_are_still_safetensors(facts: dict[str, str], size: int) -> None:
    from safetensors import deserialize

    vector = np.arange(size, dtype="<f4")
    content = to_bytes({"v": vector}, facts)
    ((name, stored),) = deserialize(content)
    assert name == "v"
    assert bytes(stored["data"]) == vector.tobytes()
    assert content == to_bytes({"v": vector}, dict(reversed(facts.items())))


def test_tensors_are_saved_and_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    save_tensors(tmp_path / "a.safetensors", {"a": torch.arange(3)}, {"format": "pt"})
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [0, 1, 2]
    assert names(tmp_path) == ["a.safetensors"]


PACKAGE = Path(process.__file__).parents[1]
BY_HAND = re.compile(r"\.write_(bytes|text)\(|os\.(replace|rename)\(|\.rename\(|save_file\(|mkstemp|\.partial\b")


def test_nothing_else_in_the_package_writes_and_renames() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{number}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "io"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if BY_HAND.search(line)
    ]
    assert found == []


def test_folders_that_were_looked_through_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server writes into a new folder for every job, for months."""
    monkeypatch.setattr(atomic, "_MOST_SWEEPS", 3)
    for number in range(10):
        place = tmp_path / str(number)
        place.mkdir()
        atomic.write(place / "0.png", b"x")
    assert len(atomic._sweeps) == 3
    assert (os.getpid(), place) in atomic._sweeps
