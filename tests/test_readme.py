"""The README's commands do what it says, in its order, on the bundled model, and nothing else: no socket is opened and
nothing is written but their results. `make demo` and `make test` are what `.ci/run` and the tests of the demo run."""

import json
import re
import shlex
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from personae.io import video_file
from personae.models import catalog
from watched import Record, needs_strace, plainly, watched

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    words
    for kind, text in BLOCKS
    if kind == "bash"
    for line in text.splitlines()
    if (words := shlex.split(line, comments=True)) and words[0] != "make"
]

# The commands in one process, as a shell would run them in many, to save nine seconds of imports for each.
RUN_ALL = """
import contextlib, io, json, sys
from personae import cli

for words in json.loads(sys.argv[1]):
    sys.argv, out, err = words, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main()
        except SystemExit as stopped:
            code = stopped.code
    print(json.dumps({"words": words, "code": code, "out": out.getvalue(), "err": err.getvalue()}))
"""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """`home`: where the commands ran; `answers`: what each left behind; `record`: what the kernel saw, if it could."""

    home: Path
    answers: list[dict[str, Any]]
    record: Record


pytestmark = pytest.mark.skipif(
    not catalog.present(catalog.MODELS["nano"]), reason="the bundled model is not in this checkout"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the photos and the video that the README speaks of, all cut from scikit-image's astronaut."""
    from personae.demo import portrait

    folder = tmp_path_factory.mktemp("home")
    photo: Image.Image = portrait()
    photo.save(folder / "me.jpg")
    photo.crop((40, 0, 340, 300)).save(folder / "me-too.jpg")
    ImageOps.mirror(photo).save(folder / "ann.jpg")
    turning = [np.asarray(photo.rotate(degrees)) for degrees in (0, 3, 6)]
    video_file.write(folder / "talk.mp4", turning, fps=Fraction(25))
    return folder


@pytest.fixture(scope="module")
def ran(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """All commands, in their order, with a home folder and a folder for temporary files of their own."""
    apart = tmp_path_factory.mktemp("apart")
    for name in ("user", "temporary", "log"):
        (apart / name).mkdir()
    env = {"HOME": str(apart / "user"), "TMPDIR": str(apart / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= dict.fromkeys(("PERSONAE_CONFIG", "PERSONAE_CACHE", "XDG_CONFIG_HOME"), "")  # the tests' own
    run = plainly if needs_strace.args[0] else watched
    record = run([sys.executable, "-c", RUN_ALL, json.dumps(COMMANDS)], apart / "log", cwd=home, env=env)
    assert record.done.returncode == 0, record.done.stderr
    return Ran(home=home, answers=[json.loads(line) for line in record.done.stdout.splitlines()], record=record)


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10
    assert {words[0] for words in COMMANDS} == {"personae"}


def test_the_commands_run_in_their_order(ran: Ran) -> None:
    assert [answer["words"] for answer in ran.answers] == COMMANDS
    for answer in ran.answers:
        assert not answer["code"], answer
        assert answer["out"], answer
    assert {path.name for path in (ran.home / "made").iterdir()} == {"between-seed7.png", "stranger0-0-seed8.png"}
    assert len(list((ran.home / "personae-out").glob("*.html"))) == 1


@needs_strace
def test_the_commands_open_no_socket_and_write_nothing_but_their_results(ran: Ran) -> None:
    assert not ran.record.sockets
    own = [ran.record.home / place / "personae" for place in (".cache", ".config")]  # docs/guides/safety.md
    allowed = (ran.home, *own, Path("/dev"), Path("/proc"))
    strays = {path for path in ran.record.written if not any(map(path.is_relative_to, allowed))}
    assert not strays - {parent for place in own for parent in place.parents}
    assert {path.name for path in ran.record.written if path.is_relative_to(own[1]) and path.is_file()} == {"local.pem"}


def test_the_python_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    [code] = [text for kind, text in BLOCKS if kind == "python"]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # the README's own code
    assert Image.open("again.png").size == (catalog.MODELS["nano"].size,) * 2
    assert names["out"].seeds == [0, 1]  # type: ignore[attr-defined]
