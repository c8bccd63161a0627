"""The verbs about marks, and the marks of what other verbs write: images, edits, videos, replays."""

import json
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli_fixtures import Run
from conftest import made_up
from model_fixtures import face_photo, tiny_model_folder
from personae import identity
from personae.errors import BadImage, BadOption, BadOutput, BadVideo
from personae.io import video_file
from personae.pipeline import FacePipeline, load
from personae.provenance import credentials, frames, pixel_mark, signer, writer
from personae.provenance.detection import detect
from personae.provenance.marks import Marks
from personae.provenance.message import Message, message_of
from personae.provenance.recipe import read_recipe
from personae.reading.photo import load_photo
from personae.replay import remake
from personae.types import Array, Face, Photo
from personae.video.label import label_of

pytest.importorskip("c2pa")
RECIPE = {"format": "personae.recipe/2", "task": "generate", "model": {"name": "nano"}, "settings": {}, "seed": 7}


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of their own."""
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "config"))
    return tmp_path / "config"


class Toy:
    """A watermark that can be seen: the first row says the message, the rest is brighter."""

    threshold = 1.0

    def __init__(self, present: bool, message: Message | None) -> None:
        self.present, self.message, self.score = present, message, 2.0 * present

    @staticmethod
    def mark(pixels: Array, message: Message) -> Array:
        """As `pixel_mark.Mark`."""
        out = np.minimum(pixels.astype(int) + 4, 255).astype(np.uint8)
        for at, value in enumerate((90, message.model, *message.recipe)):
            out[:16, at * 8 : at * 8 + 8] = value
        return out

    @classmethod
    def detect(cls, pictures: list[Array]) -> "Toy":
        """As `pixel_mark.Detect`: of several, what most of them say."""
        heard = [[round(float(one[4:12, at * 8 + 2 : at * 8 + 6].mean())) for at in range(6)] for one in pictures]
        bytes_of = np.median(heard, axis=0).round().astype(int).tolist()
        if abs(bytes_of[0] - 90) > 3:
            return cls(False, None)
        return cls(True, Message(model=bytes_of[1], recipe=bytes(bytes_of[2:])))


@pytest.fixture
def with_a_watermark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_mark, "MARK", Toy.mark)
    monkeypatch.setattr(pixel_mark, "DETECT", Toy.detect)
    monkeypatch.setattr(pixel_mark, "FALSE_POSITIVES", "0 of 20,000")


def _picture(path: Path, size: int = 160, **options: object) -> Path:
    path.write_bytes(writer.encode(Image.new("RGB", (size, size), (60, 70, 80)), path.suffix[1:], RECIPE, **options))  # type: ignore[arg-type]
    return path


# ---------------------------------------------------------------------- the verbs


def test_detect_says_what_each_mark_proves(run: Run, tmp_path: Path) -> None:
    one, none = _picture(tmp_path / "a.png"), tmp_path / "b.png"
    Image.new("RGB", (64, 64)).save(none)
    done = run("detect", one, none)
    assert "which you trust" in done.lines[0]
    assert any("does not prove: that what the signature says is true" in line for line in done.lines)
    assert f"{none}: no mark found, which proves nothing" in done.lines
    rows = json.loads(run("detect", one, none, "--json").out)
    assert [row["marks"][0]["state"] for row in rows] == ["trusted", "absent"]


def test_detect_goes_on_after_a_file_that_is_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    done = run("detect", tmp_path / "notes.txt", _picture(tmp_path / "a.png"), "--json")
    assert done.code == 2
    rows = json.loads(done.out)
    assert "is no picture" in rows[0]["error"]
    assert rows[1]["marks"][0]["state"] == "trusted"


def test_whom_to_trust_is_an_option(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _picture(tmp_path / "a.png")
    run("provenance", "export-root", "-o", tmp_path / "root.pem")
    assert (tmp_path / "root.pem").read_text() == "\n".join(run("provenance", "export-root").lines) + "\n"
    monkeypatch.setenv("PERSONAE_CONFIG", str(tmp_path / "somebody-else"))
    assert "of a certificate you don't trust" in run("detect", one).lines[0]
    assert "which you trust" in run("detect", one, "--trust", tmp_path / "root.pem").lines[0]


def test_who_signs_is_chosen_and_said(run: Run, config: Path, tmp_path: Path) -> None:
    assert "nobody yet" in run("provenance", "show").lines[0]
    assert not config.exists()
    local = json.loads(run("provenance", "setup", "--json").out)
    assert (local["signs"], local["time_stamps"]) == ("local", None)
    assert json.loads(run("provenance", "setup", "--json").out) == local
    new = json.loads(run("provenance", "setup", "--new", "--json").out)
    assert new["sha256"] != local["sha256"]
    lines = (config / "provenance" / "local.pem").read_text()
    (tmp_path / "key.pem").write_text(lines[: lines.index("-----BEGIN CERT")])
    (tmp_path / "chain.pem").write_text(lines[lines.index("-----BEGIN CERT") :])
    own = json.loads(
        run("provenance", "setup", "--chain", tmp_path / "chain.pem", "--key", tmp_path / "key.pem", "--json").out
    )
    assert (own["signs"], own["sha256"]) == ("own", new["sha256"])
    both = ("--chain", tmp_path / "chain.pem", "--key", tmp_path / "key.pem")
    for words in (
        both[:2],
        ("--time-stamps", "https://example.org"),
        ("--algorithm", "es256"),
        (*both, "--algorithm", "rot13"),
        (*both, "--algorithm", "ps256"),
        (*both, "--local"),
        ("--new", "--local"),
    ):
        assert run("provenance", "setup", *words).code == 2, words
    (tmp_path / "key.pem").unlink()
    assert "--local" in run("provenance", "setup").err
    back = json.loads(run("provenance", "setup", "--local", "--json").out)
    assert (back["signs"], back["sha256"]) == ("local", new["sha256"])


@pytest.mark.parametrize("module", ["c2pa", "cryptography"])
@pytest.mark.parametrize("words", [("setup",), ("setup", "--new"), ("setup", "--local"), ("show",), ("export-root",)])
def test_without_the_extra_the_verbs_say_so(
    run: Run, config: Path, module: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = run("provenance", *words)
    assert done.code == 2
    assert "pip install 'personae[provenance]'" in done.err
    assert done.err.count("\n") == 1
    assert not config.exists()


@pytest.mark.parametrize("verb", ["generate", "edit", "demo", "replay", "animate", "serve", "page"])
def test_who_cannot_sign_is_told_before_a_model_is_loaded(
    verb: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verb == "animate":
        pytest.importorskip("av")
    folder = tiny_model_folder(tmp_path / "model")
    photo = face_photo(tmp_path / "photo.png")
    identity.save(tmp_path / "a.identity", made_up(load(folder), 1)[0])
    once = run("generate", tmp_path / "a.identity", "-m", folder, "--steps", 1, "--no-c2pa", "-o", tmp_path / "a.png")
    local = credentials.local()
    assert local.key is not None
    (tmp_path / "chain.pem").write_bytes(local.chain)
    (tmp_path / "key.pem").write_bytes(local.key)
    signer.choose(tmp_path / "chain.pem", tmp_path / "key.pem")
    (tmp_path / "key.pem").unlink()
    driver = tmp_path / "driver.csv"
    driver.write_text("yaw\n1\n")
    for module in ("generate", "edit", "inspect", "animate"):
        monkeypatch.setattr(f"personae.cli.{module}.load_model", lambda *_, **__: pytest.fail("a model was loaded"))
    for place in ("personae.serving.api.run.run", "personae.serving.Engine"):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("a server was started"))
    words = {
        "serve": ("serve", "--state", tmp_path / "state"),
        "page": ("page",),
        "generate": ("generate", tmp_path / "a.identity"),
        "edit": ("edit", "attribute", photo, "--expression", "smile=0.5"),
        "demo": ("demo",),
        "replay": ("replay", *once.lines),
        "animate": ("edit", "animate", photo, driver),
    }[verb]
    out = tmp_path / "out" / {"animate": "b.mp4", "demo": "b"}.get(verb, "b.png")
    done = run(*words, "-m", folder, *(() if verb in ("serve", "page") else ("-o", out)))
    assert done.code == 2
    assert "key.pem" in done.err
    assert not out.exists()


def test_inspect_says_whether_the_recipe_is_the_one_that_was_signed(run: Run, tmp_path: Path) -> None:
    one = _picture(tmp_path / "a.png")
    done = run("inspect", one)
    assert json.loads(done.out) == read_recipe(one)
    assert "it is the recipe that was signed with this file" in done.err
    one.write_bytes(one.read_bytes().replace(b'"seed":7', b'"seed":8'))
    assert "it is not the recipe that was signed" in run("inspect", one).err
    assert not run("inspect", _picture(tmp_path / "b.png", marks=Marks(c2pa=False))).err


def test_to_inspect_a_picture_looks_at_no_pixel(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _picture(tmp_path / "a.png")
    monkeypatch.setattr(pixel_mark, "DETECT", lambda pictures: pytest.fail("the watermark was looked for"))
    assert "it is the recipe that was signed with this file" in run("inspect", one).err


# ---------------------------------------------------------------------- what other verbs write


def test_a_switch_leaves_its_trace(run: Run, tmp_path: Path, nano_like: FacePipeline) -> None:
    folder = tiny_model_folder(tmp_path / "model")
    identity.save(tmp_path / "a.identity", made_up(load(folder), 1)[0])
    words = ("generate", tmp_path / "a.identity", "-m", folder, "--steps", 1, "--seed", 3)
    [on] = run(*words, "-o", tmp_path / "on.png").lines
    [off] = run(*words, "-o", tmp_path / "off.png", "--no-c2pa", "--no-watermark").lines
    assert detect(on)["c2pa"].state == "trusted"
    found = detect(off)
    assert (found["c2pa"].state, found.stripped) == ("absent", [])
    assert read_recipe(off)["marks"]["why"] == {"c2pa": "switched off", "watermark": "switched off"}


def test_one_line_says_that_nothing_is_signed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_model_folder(tmp_path / "model")
    identity.save(tmp_path / "a.identity", made_up(load(folder), 1)[0])
    monkeypatch.setitem(sys.modules, "c2pa", None)
    done = run("generate", tmp_path / "a.identity", "-m", folder, "--steps", 1, "-n", 2, "-o", "out")
    assert done.code == 0
    assert [line for line in done.err.splitlines() if "C2PA" in line] == [
        "personae: results are not signed (C2PA is off): pip install 'personae[provenance]', or --no-c2pa"
    ]
    for path in done.lines:
        assert read_recipe(path)["marks"]["why"]["c2pa"] == "the extra provenance is not installed"
    assert "personae[provenance]" in run("provenance", "show").err
    assert not run("generate", tmp_path / "a.identity", "-m", folder, "--steps", 1, "-o", "b.png", "--no-c2pa").err


def test_an_edit_of_a_signed_photo_says_so(tmp_path: Path) -> None:
    pipe = load(tiny_model_folder(tmp_path / "model"))
    plain = Image.open(face_photo(tmp_path / "photo.png"))
    signed = tmp_path / "signed.png"
    signed.write_bytes(writer.encode(plain, "png", RECIPE))
    done = pipe.edit("attribute", target=signed, expression={"jawOpen": 0.5}, seed=1, num_inference_steps=1)
    (path,) = writer.save_edit(done, tmp_path / "out")
    found = detect(path)
    assert (found["c2pa"].state, found["recipe"].state) == ("trusted", "holds")
    [parent] = [one for one in found.inputs if one["by"] == "c2pa"]
    assert (parent["title"], parent["relationship"], parent["state"]) == ("signed.png", "parentOf", "valid")
    [earlier] = [one for one in found.inputs if one["by"] == "recipe"]
    assert earlier["marks"]["c2pa"] is True
    again = pipe.edit("attribute", target=done, expression={"jawOpen": 0.1}, seed=2, num_inference_steps=1)
    (second,) = writer.save_edit(again, tmp_path / "again")
    [origin] = [one for one in detect(second).inputs if one["by"] == "c2pa"]
    assert (origin["relationship"], origin["state"]) == ("parentOf", "valid"), "also through an edit that was not saved"
    (nameless,) = writer.save_edit(done, tmp_path / "nameless", names=False)
    assert [one["title"] for one in detect(nameless).inputs if one["by"] == "c2pa"] == ["target"]
    assert b"signed.png" not in nameless.read_bytes()


def test_a_replay_of_an_edit_is_signed_as_one_and_says_nothing_of_the_picture_before(run: Run, tmp_path: Path) -> None:
    folder, signed = tiny_model_folder(tmp_path / "model"), tmp_path / "signed.png"
    signed.write_bytes(writer.encode(Image.open(face_photo(tmp_path / "photo.png")), "png", RECIPE))
    words = ("--expression", "jawOpen=0.5", "--steps", 1, "--seed", 1, "-m", folder)
    [path] = run("edit", "attribute", signed, *words, "-o", "out").lines
    before = read_recipe(path)
    assert "likeness" in before
    again = ("replay", path, "-m", folder, "--input", f"target={signed}")
    assert run(*again, "-o", "again.webp").code == 0
    found = detect("again.webp")
    assert (found.kind, found["c2pa"].state, found["recipe"].state) == ("image/webp", "trusted", "holds")
    assert [one["action"] for one in found["c2pa"].facts["actions"]][:2] == ["c2pa.opened", "c2pa.edited"]
    [parent] = [one for one in found.inputs if one["by"] == "c2pa"]
    assert (parent["title"], parent["relationship"], parent["state"]) == ("signed.png", "parentOf", "valid")
    now = read_recipe("again.webp")
    assert not now.keys() & {"likeness", "tries", "verified"}
    assert (now["software"], now["seed"], now["edit"]) == (f"personae {writer.__version__}", 1, before["edit"])


@pytest.mark.usefixtures("with_a_watermark")
def test_a_replay_compares_marked_with_marked(tmp_path: Path) -> None:
    pipe = load(tiny_model_folder(tmp_path / "model"))
    [person] = made_up(pipe, 1)
    out = pipe(person, seed=3, num_inference_steps=1, height=128, width=128)
    (path,) = writer.save(out, tmp_path, people=[person])
    assert detect(path)["watermark"].facts["names_this_recipe"] is True
    again = remake(path, pipe=pipe)
    assert again.drift.max <= 1, "the mark is in both"
    assert again.drift.mark is not None
    assert again.drift.mark > 1
    bare = writer.encode(out.images[0], "png", read_recipe(path), marks=Marks.of_environment(watermark=False))
    (tmp_path / "bare.png").write_bytes(bare)
    assert remake(tmp_path / "bare.png", pipe=pipe).drift.mark is None


# ---------------------------------------------------------------------- the watermark in detect


@pytest.mark.usefixtures("with_a_watermark")
def test_only_the_watermark_is_left_of_a_screenshot(tmp_path: Path, run: Run) -> None:
    one = _picture(tmp_path / "a.png")
    Image.open(one).save(tmp_path / "shot.png")
    found = detect(tmp_path / "shot.png")
    assert found["watermark"].state == "present"
    assert found.stripped == [
        "the recipe and the label of a file that personae wrote: only the watermark is left, as of a screenshot"
    ]
    assert found["watermark"].facts["recipe"] == message_of(read_recipe(one)).recipe.hex()
    lines = run("detect", tmp_path / "shot.png").lines
    [place] = [number for number, line in enumerate(lines) if line.split() == ["watermark", "present"]]
    assert "score 2.0, present from 1.0 on; false positives: 0 of 20,000" in lines[place + 1]
    signed = run("detect", one).lines
    [place] = [number for number, line in enumerate(signed) if line.split() == ["watermark", "present"]]
    assert "score 2.0" in signed[place + 1]  # once, among what the signature proves
    shot = Image.open(tmp_path / "shot.png")
    other = writer.encode(shot, "png", RECIPE | {"seed": 8}, marks=Marks(watermark=False, c2pa=False))
    (tmp_path / "other.png").write_bytes(other)
    found = detect(tmp_path / "other.png")
    assert found["watermark"].facts["names_this_recipe"] is False
    assert any("the one in the file is another picture's" in one for one in found.stripped)
    painted = np.zeros((160, 160, 3), np.uint8)
    (tmp_path / "painted.png").write_bytes(
        writer._file(Image.fromarray(painted), "png", json.dumps(read_recipe(one)), writer._BY_A_MODEL, quality=100)
    )
    assert (
        "the watermark: the recipe says that there was one, and it is not found in these pixels"
        in detect(tmp_path / "painted.png").stripped
    )


# ---------------------------------------------------------------------- videos


def _film(path: Path, marks: Marks, size: int = 160) -> Path:
    """A video as `video.animate` writes one."""
    photo = Photo(pixels=np.full((size, size, 3), 90, np.uint8))
    label = label_of(path, Face(photo=photo, detection=None, identity=None, motion=None), marks)  # type: ignore[arg-type]
    frames = [np.full((size, size, 3), 80 + number, np.uint8) for number in range(5)]
    label = label.fitting(frames[0])
    text = json.dumps(
        {"task": "animate", "model": {"name": "nano"}, "marks": label.marks.recorded(), "ai_generated": True}
    )
    return video_file.write(
        path,
        label.in_pixels(frames, text),
        fps=Fraction(25),
        notes={"description": "AI generated", "comment": text},
        finish=lambda partial: label.sign(partial, text),
    )


@pytest.mark.usefixtures("with_a_watermark")
@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_a_video_is_signed_and_marked_in_every_frame(tmp_path: Path, kind: str, run: Run) -> None:
    pytest.importorskip("av")
    path = _film(tmp_path / f"a.{kind}", Marks())
    assert len(list(video_file.frames(path))) == 5
    found = detect(path)
    with pytest.raises(BadImage, match="are a video, which is read from its file: give the path"):
        detect(path.read_bytes())
    assert (found["c2pa"].state, found["recipe"].state, found["label"].state) == ("trusted", "holds", "present")
    assert [one["watermark"] for one in found.frames] == [True] * 5
    assert found["watermark"].state == "present"
    assert any("in 5 of 5" in line for line in run("detect", path).lines)
    inspected = run("inspect", path)
    assert json.loads(inspected.out)["task"] == "animate"
    assert "it is the recipe that was signed with this file" in inspected.err
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert detect(path)["c2pa"].state in ("tampered", "damaged")


@pytest.mark.usefixtures("with_a_watermark")
def test_nothing_is_missed_in_a_video_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    path = _film(tmp_path / "a.mp4", Marks())
    plain = video_file.write(tmp_path / "b.mp4", [_grey(9)] * 2, fps=Fraction(25))

    def lacking(path: str) -> dict[str, str]:
        raise BadOption("videos need the extra video")

    monkeypatch.setattr(video_file, "notes", lacking)
    found = detect(path)
    states = [found[mark].state for mark in ("c2pa", "watermark", "recipe", "label")]
    assert states == ["trusted", "not looked for", "not looked for", "not looked for"]
    assert {found[mark].facts["reason"] for mark in ("watermark", "recipe", "label")} == {"videos need the extra video"}
    assert found.stripped == []
    assert detect(plain).verdict == "no mark found of those that could be looked for, which proves nothing"


def test_a_video_cut_short_that_was_never_signed_is_not_accused(tmp_path: Path) -> None:
    pytest.importorskip("av")
    content = video_file.write(tmp_path / "a.mp4", [_grey(9)] * 2, fps=Fraction(25)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: content.index(b"moov") + 40])
    found = detect(tmp_path / "cut.mp4")
    assert (found["c2pa"].state, found["recipe"].state, found.stripped) == ("absent", "not looked for", [])


@pytest.mark.parametrize("comment", [None, "filmed by me", '{"camera": "mine"}'])
def test_to_inspect_a_video_of_another_program_says_that_it_has_no_recipe(
    run: Run, tmp_path: Path, comment: str | None
) -> None:
    pytest.importorskip("av")
    black = iter([np.zeros((64, 64, 3), np.uint8)])
    notes = {} if comment is None else {"comment": comment}
    path = video_file.write(tmp_path / "theirs.mp4", black, fps=Fraction(25), notes=notes)
    done = run("inspect", path)
    assert done.code == 2
    assert "carries no recipe" in done.err


def test_the_signatures_of_a_videos_photo_and_driver_go_on(tmp_path: Path) -> None:
    pytest.importorskip("av")
    driver = _film(tmp_path / "driver.mp4", Marks())
    photo = load_photo(_picture(tmp_path / "me.png"))
    face = Face(photo=photo, detection=None, identity=None, motion=None)  # type: ignore[arg-type]
    label = label_of(tmp_path / "a.mp4", face, Marks(), driver)
    black = [np.zeros((64, 64, 3), np.uint8)] * 2
    video_file.write(tmp_path / "a.mp4", black, fps=Fraction(25), finish=lambda path: label.sign(path, "{}"))
    inputs = {one["title"]: one for one in detect(tmp_path / "a.mp4").inputs}
    assert (inputs["source"]["relationship"], inputs["source"]["state"]) == ("parentOf", "valid")
    assert (inputs["driver"]["relationship"], inputs["driver"]["state"]) == ("inputTo", "valid")
    unsigned = video_file.write(tmp_path / "plain.mp4", black, fps=Fraction(25))
    assert [one.encoded for one in label_of(tmp_path / "b.mp4", face, Marks(), unsigned).ingredients][1] is None


@pytest.mark.usefixtures("with_a_watermark")
def test_a_video_that_cannot_be_signed_says_so(tmp_path: Path) -> None:
    pytest.importorskip("av")
    found = detect(_film(tmp_path / "a.mkv", Marks(), size=96))
    assert (found["c2pa"].state, found["recipe"].state) == ("absent", "unsigned")
    assert found["recipe"].facts["marks"]["why"] == {
        "c2pa": "a mkv file holds none",
        "watermark": "the changed region is 96 x 96 pixels, it needs 128 a side",
    }
    assert found.stripped == []


def test_a_video_that_fails_to_be_signed_is_not_there(tmp_path: Path, config: Path) -> None:
    pytest.importorskip("av")
    from personae.provenance import credentials

    own = credentials.local()

    def refuse(content: bytes) -> bytes:
        raise RuntimeError("locked")

    with pytest.raises(BadOutput, match="cannot be signed"):
        _film(tmp_path / "a.mp4", Marks(credentials=credentials.Credentials(chain=own.chain, sign=refuse)))
    assert not (tmp_path / "a.mp4").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


def test_frames_are_looked_at_all_over_a_video() -> None:
    some, _ = frames.spread((number, np.zeros((4, 4, 3), np.uint8)) for number in range(1000))
    numbers = [number for number, _ in some]
    assert frames.FRAMES // 2 <= len(numbers) <= frames.FRAMES
    assert numbers[0] == 0
    assert numbers[-1] >= 900
    assert len(set(np.diff(numbers))) == 1


def _grey(value: int) -> Array:
    return np.full((64, 64, 3), value, np.uint8)


def test_a_glance_at_a_long_video_decodes_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    monkeypatch.setitem(video_file.ENCODERS, "libx264", video_file.ENCODERS["libx264"] | {"g": "5"})
    path = video_file.write(tmp_path / "a.mp4", (_grey(20 + at) for at in range(200)), fps=Fraction(25))
    every = list(video_file.glance(path, 8))
    assert [number for number, _ in every] == list(range(200)), "of a short one all"
    monkeypatch.setattr(video_file, "_MOST_GLANCED", 64 * 64 * 40)
    looked: list[int] = []
    pixels_of = video_file._pixels
    monkeypatch.setattr(video_file, "_pixels", lambda frame: (looked.append(1), pixels_of(frame))[1])
    some = list(video_file.glance(path, 8))
    assert len(some) == len(looked) == 8
    assert all(abs(number - 25 * (at + 0.5)) <= 6 for at, (number, _) in enumerate(some))
    assert all(abs(pixels.mean() - 20 - number) < 3 for number, pixels in some), "the numbers are right"


@pytest.mark.usefixtures("with_a_watermark")
def test_of_a_video_that_breaks_off_what_was_read_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    path = _film(tmp_path / "a.mp4", Marks())
    whole = list(video_file.frames(path))

    def broken(path: str, most: int) -> Iterator[tuple[int, Array]]:
        yield from enumerate(whole[:3])
        yield 3, whole[3][:100]  # of another size
        raise BadVideo("a.mp4 is damaged")

    monkeypatch.setattr(video_file, "glance", broken)
    found = detect(path)
    assert [one["watermark"] for one in found.frames] == [True, True, True, True]
    assert (found["watermark"].state, found["watermark"].facts["reason"]) == ("present", "a.mp4 is damaged")


def test_only_the_very_words_label_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    for notes, state in (
        ({"description": "This was NOT AI generated"}, "absent"),
        ({"comment": "vid:v12044gd0000c"}, "absent"),
        ({"comment": '{"device": "GoPro", "note": "ai_generated\\": true"}'}, "absent"),
        ({"description": "AI generated"}, "present"),
        ({"comment": '{"task": "animate", "ai_generated": true}'}, "present"),
    ):
        path = video_file.write(tmp_path / "a.mp4", [_grey(9)] * 2, fps=Fraction(25), notes=notes, force=True)
        found = detect(path)
        assert found["label"].state == state, notes
        assert found["recipe"].state == ("unsigned" if "task" in str(notes) else "absent")
