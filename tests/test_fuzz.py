"""The fuzzer runs, finds what it is there to find, and a few inputs of every target find nothing."""

import gc
import random
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from fuzz import __main__ as fuzz  # noqa: E402
from fuzz.mutate import changed_json, mutated  # noqa: E402
from fuzz.targets import TARGETS, Target  # noqa: E402

from personae.errors import BadData  # noqa: E402


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> fuzz.Driver:
    return fuzz.Driver(tmp_path_factory.mktemp("findings"))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_no_input_is_answered_with_anything_but_our_errors(name: str, driver: fuzz.Driver, seed: int) -> None:
    assert driver.run(name, seed) is None


def target_that(read: object) -> Target:
    return Target(once=lambda rng: rng.randbytes(8), read=read)  # type: ignore[arg-type]


def hang(content: bytes) -> None:
    while True:
        time.process_time()


def swell(content: bytes) -> None:
    bytearray(256 << 20)  # its zeros are written


def ask(content: bytes) -> None:
    sys.audit("socket.getaddrinfo", "example.org", 80, 0, 0, 0)


def refuse(content: bytes) -> None:
    raise BadData("no")


def crash(content: bytes) -> None:
    raise KeyError("a")


@pytest.mark.parametrize(
    ("read", "wrong"),
    [(hang, "TooLong"), (swell, "GiB"), (ask, "asked the network"), (crash, "KeyError"), (refuse, None), (len, None)],
)
def test_what_is_a_finding(read: object, wrong: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if read is hang:
        monkeypatch.setattr(fuzz, "SECONDS", 0.1)
    monkeypatch.setattr(fuzz, "GROWTH", 32 << 20)
    gc.collect()  # what earlier tests left goes now: the process may not shrink while it is measured
    monkeypatch.setitem(fuzz.TARGETS, "it", lambda folder: target_that(read))
    driver = fuzz.Driver(tmp_path / "findings")
    found = driver.run("it", 7)
    if wrong is None:
        assert found is None
        assert not (tmp_path / "findings").exists()
        return
    assert found is not None
    assert wrong in found
    assert (tmp_path / "findings" / "it-7.input").read_bytes() == random.Random("it 7").randbytes(8)
    assert "python -m fuzz --only it --seed 7" in (tmp_path / "findings" / "it-7.txt").read_text()


def test_an_input_depends_on_its_seed_alone() -> None:
    for change in (mutated, changed_json):
        made = [[change(b'{"a": [1, 2], "b": "c"}', random.Random(seed)) for seed in range(50)] for _ in range(2)]
        assert made[0] == made[1]
        assert len(set(made[0])) > 25
