"""What verbs read and where they write: many photos of which some will not do, `-`, files and folders, a full disk."""

import io
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import model_fixtures
from cli_fixtures import Run, fails
from model_fixtures import empty_photo, face_photo
from personae import cli, identity
from personae.cli import generate as generating
from personae.errors import BadOutput
from personae.io import video_file
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.provenance.recipe import read_recipe
from personae.types import Face, Identity, Photo

QUICK = ("--steps", 1, "--seed", 1)
INPAINT = ("--region", "mouth", "--likeness-guidance", 0, *QUICK)


model, photo = model_fixtures.model, model_fixtures.photo  # the fixtures


@pytest.fixture
def cut(tmp_path: Path, photo: Path) -> Path:
    """A photo whose first bytes are as they should be, and the last are missing."""
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:-200])
    return tmp_path / "cut.png"


# ---------------------------------------------------------------------- many inputs


def test_the_others_are_edited_and_what_failed_is_reported(run: Run, model: Path, photo: Path, cut: Path) -> None:
    other = face_photo(photo.with_name("ann.png"), left=40)
    done = run("edit", "inpaint", cut, photo, "nowhere.png", other, "-m", model, *INPAINT, "-o", "out")
    assert (done.code, done.lines) == (2, ["out/me-inpaint-seed2.png", "out/ann-inpaint-seed4.png"])
    missing, damaged = done.err.splitlines()  # in this order: what a look can tell is said before any work
    assert missing == "personae: nowhere.png: no such file"
    assert "cut.png is damaged" in damaged


def test_a_photo_too_large_for_the_format_is_one_of_those(run: Run, model: Path, photo: Path) -> None:
    Image.new("RGB", (20, 16_400)).save("tall.png")
    done = run("edit", "inpaint", "tall.png", photo, "-m", model, *INPAINT, "--format", "webp", "-o", "out")
    assert (done.code, done.lines) == (2, ["out/me-inpaint-seed2.webp"])
    assert "tall.png: a webp file holds at most 16383 pixels" in done.err


def test_json_says_of_each_input_its_path_or_its_error(run: Run, model: Path, photo: Path) -> None:
    done = run("edit", "inpaint", photo, "nowhere.png", "-m", model, *INPAINT, "-o", "out", "--json")
    failed, written = json.loads(done.out)
    assert (done.code, failed) == (2, {"photo": "nowhere.png", "error": "nowhere.png: no such file"})
    assert written["path"] == "out/me-inpaint-seed1.png"
    done = run("generate", "nowhere.png", photo, "-m", model, *QUICK, "-o", "out", "--json")
    failed, written = json.loads(done.out)
    assert (done.code, failed["photo"], written["path"]) == (2, "nowhere.png", "out/me-seed1.png")


def test_nothing_is_loaded_for_photos_that_are_not_there(run: Run, photo: Path) -> None:
    for words in (("generate", "a.png"), ("edit", "inpaint", "a.png", "--region", "mouth"), ("read", "a.png")):
        fails(run(*words, "-m", "no-such-model"), "a.png: no such file")
    fails(run("edit", "swap", "a.png", photo, "-m", "no-such-model"), "a.png: no such file")
    fails(run("generate", photo, "--pose", "b.png", "-m", "no-such-model"), "no such file: b.png")


def test_who_is_blended_is_needed(run: Run, model: Path, photo: Path) -> None:
    fails(run("generate", photo, "nowhere.png", "--blend", 0.5, "-m", model), "nowhere.png: no such file")
    done = run("identity", "mean", "a.png", photo, "b.png", "-m", model, "-o", "us.identity")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [f"personae: {name}.png: no such file" for name in "ab"]


def test_the_others_are_read(run: Run, model: Path, photo: Path, cut: Path) -> None:
    done = run("read", "nowhere.png", cut, photo, "-m", model)
    assert (done.code, done.lines[0]) == (2, f"{photo}: 1 face")
    assert [name in line for name, line in zip(("nowhere", "cut"), done.err.splitlines(), strict=True)] == [True] * 2
    answers = json.loads(run("read", "nowhere.png", photo, "-m", model, "--json").out)
    assert list(answers) == ["nowhere.png", str(photo)]
    assert set(answers["nowhere.png"]) == {"error"}
    assert len(answers[str(photo)]) == 1


def test_what_is_wrong_with_the_request_ends_the_batch(run: Run, model: Path, photo: Path) -> None:
    others = [face_photo(photo.with_name(f"{name}.png")) for name in "abc"]
    done = run("edit", "inpaint", photo, *others, "-m", model, "--region", "lips", "-n", 1, "-o", "out")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 2)
    assert not Path("out").exists()


def test_a_face_too_few_is_the_photos_own_fault(run: Run, model: Path, photo: Path) -> None:
    done = run("edit", "inpaint", photo, photo, "-m", model, *INPAINT, "--face", 2, "-o", "out")
    assert done.code == 2
    assert all("me.png shows 1 face" in line for line in done.err.splitlines())


# ---------------------------------------------------------------------- standard input and output


def _piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_a_photo_comes_through_stdin(run: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, path in (
        (("generate", "-", *QUICK), "out/photo-seed1.png"),
        (("edit", "inpaint", "-", *INPAINT), "out/photo-inpaint-seed1.png"),
    ):
        _piped(monkeypatch, photo.read_bytes())
        assert run(*words, "-m", model, "-o", "out").lines == [path]
    _piped(monkeypatch, photo.read_bytes())
    assert run("read", "-", "-m", model).lines[0] == "-: 1 face"
    for content in (b"", b"hello"):
        _piped(monkeypatch, content)
        fails(run("read", "-", "-m", model), "standard input")
    fails(run("generate", "-", "-", "-m", model), "name it once")


def _main_into(stdout: io.TextIOBase, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["personae", *map(str, words)])
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return int(stopped.value.code or 0)


@pytest.mark.usefixtures("unsigned")
def test_one_result_goes_to_stdout(
    run: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def sent(*words: object) -> bytes:
        stdout = io.TextIOWrapper(io.BytesIO())
        assert _main_into(stdout, monkeypatch, *words, "-m", model, "-o", "-") == 0
        return stdout.buffer.getvalue()  # type: ignore[attr-defined]

    [path] = run("generate", photo, *QUICK, "-m", model, "-o", "out").lines
    assert sent("generate", photo, *QUICK) == Path(path).read_bytes()
    assert sent("edit", "inpaint", photo, *INPAINT, "--format", "jpg")[:2] == b"\xff\xd8"
    (tmp_path / "me.identity").write_bytes(sent("identity", "mean", photo))
    assert identity.load("me.identity").vector.size == 128
    (tmp_path / "nobody.identity").write_bytes(sent("identity", "sample"))
    assert identity.load("nobody.identity").vector.size == 128
    assert not Path("-").exists()


def test_what_cannot_go_to_stdout_is_refused(run: Run, model: Path, photo: Path) -> None:
    one = ("generate", photo, "-m", model, "-o", "-")
    fails(run(*one, "-n", 2), "standard output holds one result, and 2")
    fails(run(*one, "--json"), "--json")
    fails(run(*one, "--sheet"), "--sheet")
    fails(run("identity", "sample", "-n", 2, "-m", model, "-o", "-"), "one result")
    fails(run("edit", "track", "talk.mp4", "-o", "-"), "standard output")
    fails(run("demo", "-o", "-"), "standard output")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_stdout_is_one_line_and_loses_nothing(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    lost = "personae: the answer cannot be written to standard output: No space left on device"
    for words, lines in (
        (("models",), [lost]),
        (("read", photo, "-m", model, "--json"), [lost]),
        (("generate", photo, *QUICK, "-m", model, "-o", "a"), ["personae: written: a/me-seed1.png", lost]),
        (("generate", photo, *QUICK, "-m", model, "-o", "b", "--json"), ["personae: written: b/me-seed1.png", lost]),
    ):
        full = Path("/dev/full").open("w")  # noqa: SIM115 - the program gives it up
        assert _main_into(full, monkeypatch, *words) == 2
        assert capsys.readouterr().err.splitlines() == lines


def test_a_closed_pipe_is_no_mistake(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    assert _main_into(Closed(), monkeypatch, "models") == 141
    assert capsys.readouterr().err == ""


# ---------------------------------------------------------------------- files and folders


def test_one_result_is_the_file_that_is_named(run: Run, model: Path, photo: Path) -> None:
    done = run("generate", photo, *QUICK, "-m", model, "-o", "new/again.jpg", "--sheet")
    assert done.lines == ["new/again.jpg", "new/again.html"]
    assert Image.open("new/again.jpg").format == "JPEG"
    assert run("edit", "inpaint", photo, *INPAINT, "-m", model, "-o", "edited.webp").lines == ["edited.webp"]
    assert Image.open("edited.webp").format == "WEBP"
    assert run("identity", "sample", "-m", model, "-o", "nobody.identity").lines == ["nobody.identity"]
    fails(run("generate", photo, *QUICK, "-m", model, "-o", "new/again.jpg"), "again.jpg already there", "--force")
    fails(run("edit", "inpaint", photo, *INPAINT, "-m", model, "-o", "edited.webp"), "edited.webp already there")
    Path("folder.png").mkdir()
    assert run("generate", photo, *QUICK, "-m", model, "-o", "folder.png").lines == ["folder.png/me-seed1.png"]


def test_a_file_is_not_for_several_results(run: Run, model: Path, photo: Path) -> None:
    for words in (
        ("generate", photo, "-n", 2),
        ("generate", photo, photo),
        ("edit", "inpaint", photo, "-n", 2, "--region", "nose"),
        ("edit", "inpaint", photo, photo, "--region", "nose"),
    ):
        fails(run(*words, "-m", model, "-o", "one.png"), "one.png names one result, and 2 are asked for", "folder")
    fails(run("identity", "sample", "-n", 2, "-m", model, "-o", "a.identity"), "a.identity names one result")
    fails(run("generate", photo, "-m", model, "-o", "one.gif"), "one.gif", ".webp")
    fails(run("generate", photo, "-m", model, "-o", "one.png", "--format", "jpg"), "--format says jpg")
    assert not [path for path in Path().iterdir() if path.name.startswith(("one", "a."))]


def test_a_folder_that_nothing_was_written_into_is_gone(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    empty = empty_photo(tmp_path / "empty.png")
    Path("mine").mkdir()
    for out in ("a/b/c", "mine/a", "mine"):
        fails(run("generate", empty, "-m", model, "-o", out), "no face")
        fails(run("edit", "inpaint", empty, *INPAINT, "-m", model, "-o", out), "no face")
    fails(run("identity", "sample", "-m", "no-such-model", "-o", "d"), "no-such-model")
    fails(run("demo", "-m", "no-such-model", "-o", "e/f"), "no-such-model")
    assert Path("mine").is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.png", "me.png", "mine"]


def test_what_was_written_before_the_disk_was_full_is_named(
    run: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plainly = writer.write

    def until_it_is_full(path: Path, content: bytes, *, force: bool = False) -> Path:
        if "seed2" in path.name:
            raise BadOutput(f"cannot write {path}: No space left on device")
        return plainly(path, content, force=force)

    monkeypatch.setattr(writer, "write", until_it_is_full)
    done = run("generate", photo, "-n", 3, *QUICK, "-m", model, "-o", "out")
    fails(done, "cannot write out/me-seed2.png: No space left", "written before it: out/me-seed1.png")


# ---------------------------------------------------------------------- names


def test_names_too_long_are_one_line(run: Run, model: Path, photo: Path) -> None:
    long = "x" * 300
    fails(run("generate", f"{long}.png", "-m", model), "File name too long")
    fails(run("generate", photo, "-m", long), "unknown model")
    fails(run("generate", photo, "-m", model, "-o", long), "File name too long")
    fails(run("generate", photo, "-m", model, "-o", f"{long}.png"), "File name too long")
    fails(run("identity", "mean", photo, "-m", model, "-o", f"{long}.identity"), "File name too long")
    nearly = photo.rename(photo.with_name("y" * 245 + ".png"))
    fails(run("generate", nearly, "-m", model, "-o", "out"), "File name too long")  # with its seed
    assert run("generate", nearly, *QUICK, "-m", model, "-o", "short.png").lines == ["short.png"]


def test_words_that_are_no_text_are_one_line(run: Run) -> None:
    for words in (("read", "caf\udce9.png"), ("generate", "me.png", "--prompt", "caf\udce9")):
        fails(run(*words), "b'caf\\xe9", "UTF-8")


# ---------------------------------------------------------------------- stops


def test_a_stop_in_a_batch_says_what_was_written(
    run: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = face_photo(photo.with_name("ann.png"), left=40)
    plainly = FacePipeline.edit

    def stopped(pipe: FacePipeline, task: str, **options: object) -> object:
        if options["target"] == other:
            raise KeyboardInterrupt
        return plainly(pipe, task, **options)

    monkeypatch.setattr(FacePipeline, "edit", stopped)
    words = ("edit", "inpaint", photo, other, photo, "-m", model, *INPAINT)
    done = run(*words, "-o", "out")
    assert (done.code, done.lines, done.err) == (130, ["out/me-inpaint-seed1.png"], "personae: stopped\n")
    done = run(*words, "-o", "json", "--json")
    assert (done.code, [row["path"] for row in json.loads(done.out)]) == (130, ["json/me-inpaint-seed1.png"])


@pytest.mark.parametrize("name", ["ann.jpeg", "ANN.PNG", "ann.webp"])
def test_a_page_shows_files_of_any_suffix(run: Run, model: Path, photo: Path, name: str) -> None:
    done = run("generate", photo, *QUICK, "-m", model, "-o", name, "--sheet")
    page = Path(name).with_suffix(".html")
    assert done.lines == [name, str(page)], done.err
    kind = "jpeg" if name.endswith("jpeg") else name[-4:].strip(".").lower()
    assert f"data:image/{kind};base64," in page.read_text()


def test_a_page_in_the_way_is_named_before_the_work(run: Run, model: Path, photo: Path) -> None:
    for out, page in (("ann.png", Path("ann.html")), ("out", Path("out/me-seed1.html"))):
        page.parent.mkdir(exist_ok=True)
        page.write_text("mine")
        fails(run("generate", photo, *QUICK, "-m", model, "-o", out, "--sheet"), f"{page} already there")
        assert page.read_text() == "mine"
        assert run("generate", photo, *QUICK, "-m", model, "-o", out).code == 0, "without a page nothing is in the way"
        assert run("generate", photo, *QUICK, "-m", model, "-o", out, "--sheet", "--force").code == 0


def test_photos_stay_in_memory_only_for_a_page(
    run: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Photo] = []
    plainly = generating._generated

    def look(pipe: FacePipeline, who: list[Face], **options: Any) -> Any:
        shown.extend(one.photo for one in who if one.photo is not None)
        return plainly(pipe, who, **options)

    monkeypatch.setattr(generating, "_generated", look)
    [path] = run("generate", photo, *QUICK, "-m", model, "-o", "out").lines
    other, _ = run("generate", photo, *QUICK, "-m", model, "-o", "page", "--sheet").lines
    assert [one.pixels.shape for one in shown] == [(0, 0, 3), (160, 320, 3)]
    assert read_recipe(path)["input"] == read_recipe(other)["input"]
    assert read_recipe(path)["inputs"] == read_recipe(other)["inputs"]


def test_what_a_video_lacks_is_said_before_a_model_is_loaded(
    run: Run, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    nothing = ("-m", "no-such-model")
    Path("nod.csv").write_text("yaw\n1\n")
    Path("out.json").write_text("{}")
    Path("talk.mp4").write_bytes(b"")
    animate = ("edit", "animate", photo)
    fails(run(*animate, "nowhere.mp4", "-o", "new.mp4", *nothing), "nowhere.mp4: no such file")
    fails(run(*animate, "nod.csv", "-o", "out.mp4", *nothing), "out.json already there")
    fails(run(*animate, "nod.csv", "-o", "new.mp4", "--max-gap", "nan", *nothing), "--max-gap")
    fails(run(*animate, "nod.csv", "-o", "new.mp4", *nothing), "no-such-model")
    monkeypatch.setattr(
        video_file, "probe", lambda path: video_file.Clip(fps=Fraction(25), size=(64, 64), sound="vorbis")
    )
    fails(run(*animate, "talk.mp4", "-o", "new.mp4", *nothing), "holds no vorbis sound")
    fails(run(*animate, "talk.mp4", "-o", "new.mp4", "--no-audio", *nothing), "no-such-model")
    fails(run("edit", "track", "nowhere.mp4", "-o", "a.csv", *nothing), "nowhere.mp4: no such file")
    fails(run("edit", "track", "talk.mp4", "-o", "a.csv", "--max-gap", "nan", *nothing), "--max-gap")


def test_a_seed_below_none_is_one_line(run: Run) -> None:
    done = run("demo", "--seed", -1)
    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


def test_a_place_for_an_identity_is_made_first_and_taken_back(run: Run, model: Path, photo: Path) -> None:
    mean = ("identity", "mean", photo, "-m", model)
    assert run(*mean, "-o", "new/folder/me.identity").lines == ["new/folder/me.identity"]
    fails(run("identity", "mean", "nowhere.png", "-m", model, "-o", "other/me.identity"), "nowhere.png: no such file")
    fails(run("edit", "track", "nowhere.mp4", "-m", model, "-o", "other/a.json"), "nowhere.mp4: no such file")
    fails(run("replay", "nowhere.png", "-o", "other/again.png"), "nowhere.png")
    assert not Path("other").exists()
    [path] = run("generate", photo, *QUICK, "-m", model, "-o", "out").lines
    assert run("replay", path, "-m", model, "-o", "other/again.png").code == 0
    assert Path("other/again.png").is_file()


def test_who_does_not_go_with_the_others_is_named(run: Run, model: Path, photo: Path) -> None:
    identity.save("far.identity", Identity(vector=np.eye(128)[0], space="another/arcface/0"))
    done = run("identity", "mean", photo, "far.identity", "-m", model, "-o", "us.identity")
    fails(done, "far.identity and", "me.png do not go together", "measured in space 'another/arcface/0', and in space")
