"""The README's commands do what it says, in its order, on the bundled model. `make demo` and `make test` are what
`.ci/run` and the tests of the demo run."""

import re
import shlex
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from personae import catalog, cli
from personae.editing import video

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```(bash|python)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    words
    for kind, text in BLOCKS
    if kind == "bash"
    for line in text.splitlines()
    if (words := shlex.split(line, comments=True)) and words[0] != "make"
]

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
    video.write(folder / "talk.mp4", turning, fps=Fraction(25))
    return folder


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 10
    assert {words[0] for words in COMMANDS} == {"personae"}


def test_the_commands_run_in_their_order(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    for words in COMMANDS:
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code, (words, capsys.readouterr().err)
        assert capsys.readouterr().out, words
    assert {path.name for path in (home / "made").iterdir()} == {"between-seed7.png", "stranger0-0-seed8.png"}
    assert len(list((home / "personae-out").glob("*.html"))) == 1


def test_the_python_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    [code] = [text for kind, text in BLOCKS if kind == "python"]
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # the README's own code
    assert Image.open("again.png").size == (128, 128)
    assert names["out"].seeds == [0, 1]  # type: ignore[attr-defined]
