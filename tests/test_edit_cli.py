"""personae edit, as a user types it: every verb, one edit after another, and every bad input in one line."""

import json
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import typer
from PIL import Image

import model_fixtures
from cli_fixtures import Done, Run, fails
from conftest import WIDTH
from model_fixtures import empty_photo, face_photo, tiny_model_folder
from personae.cli import edit as edit_cli
from personae.conditioning.facex.representation import TOKENS
from personae.editing.tasks import TASKS
from personae.identity import directions
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.reading.reader import ReaderConfig
from reading_fixtures import white_face

photo = model_fixtures.photo  # the fixture
CHEAP = ("--steps", 2, "--likeness-guidance", 0, "--seed", 1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, with a direction."""
    folder = tiny_model_folder(tmp_path_factory.mktemp("model"))
    space = ReaderConfig.read(folder / "reader").embedder.space
    table = {"smile": directions.Direction(vector=np.eye(WIDTH)[0], spread=0.1, space=space)}
    directions.save(folder / directions.FILE, table, {"smile": {"less": "serious", "more": "smiling", "n": 0}})
    catalog.seal(folder)
    return folder


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A photo with a large "face" on the left and a smaller one on the right, on noise."""
    pixels = np.random.default_rng(0).integers(0, 180, (160, 320, 3), dtype=np.uint8)
    pixels = white_face(white_face(pixels, 30, 30, 110, 126), 220, 50, 270, 110)
    Image.fromarray(pixels).save(tmp_path / "group.png")
    return tmp_path / "group.png"


def changed(before: Path, after: str) -> np.ndarray:
    """(W,) bool: the columns in which the two differ."""
    pair = [np.asarray(Image.open(path).convert("RGB")) for path in (before, after)]
    return (pair[0] != pair[1]).any((0, 2))


def test_help_shows_an_example_of_every_edit(run: Run) -> None:
    listed = run("edit", "--help").out
    for verb in (*TASKS, "animate", "track"):
        assert f"  {verb} " in listed
        assert f"Example: personae edit {verb} " in run("edit", verb, "--help").out


def test_every_task_is_a_verb_and_every_token_an_option_of_mix() -> None:
    verbs = {command.name or command.callback.__name__ for command in edit_cli.edit.registered_commands}
    assert verbs == {*TASKS, "animate", "track"}
    named = {one.name for one in fields(edit_cli.Common)} | {"photos", "options"}
    assert set(get_type_hints(edit_cli.mix)) - named - {"return"} == set(TOKENS)


def test_every_option_of_an_edit_says_what_it_is() -> None:
    for name, hint in get_type_hints(edit_cli.Common, include_extras=True).items():
        [option] = [part for part in get_args(hint) if isinstance(part, typer.models.OptionInfo)]
        assert option.help, name


def test_the_face_that_is_named_changes_and_nothing_else(run: Run, model: Path, photo: Path, group: Path) -> None:
    done = run("edit", "swap", photo, group, "-m", model, *CHEAP, "--face", 2, "-n", 2, "-o", "out", "--json")
    rows = json.loads(done.out)
    assert [row["path"] for row in rows] == ["out/group-swap-seed1.png", "out/group-swap-seed2.png"]
    assert [row["seed"] for row in rows] == [1, 2]
    assert set(rows[0]) == {"path", "seed", "likeness"}
    for row in rows:
        columns = changed(group, row["path"])
        assert columns[200:290].any()
        assert not columns[:160].any()
    [both] = run("edit", "swap", photo, group, "-m", model, *CHEAP, "--all-faces", "-o", "both").lines
    columns = changed(group, both)
    assert columns[:160].any()
    assert columns[160:].any()


@pytest.mark.parametrize(
    ("words", "stem"),
    [
        (("inpaint", "{photo}", "--region", "mouth", "--region", "eyes"), "me-inpaint"),
        (("inpaint", "{photo}", "--mask", "{mask}"), "me-inpaint"),
        (("attribute", "{photo}", "--smile", 1.5, "--strength", 0.5), "me-attribute"),
        (("style", "{photo}", "--prompt", "a {{person}}, black and white"), "me-style"),
        (("mix", "{photo}", "--identity", "{other}"), "me-mix"),
    ],
)
def test_each_verb_writes_a_photo_of_the_same_size(
    run: Run, model: Path, photo: Path, tmp_path: Path, words: tuple[object, ...], stem: str
) -> None:
    other = face_photo(tmp_path / "ann.png", left=60)
    mask = np.zeros((160, 320), np.uint8)
    mask[60:90, 40:80] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    typed = [str(word).format(photo=photo, other=other, mask=tmp_path / "mask.png") for word in words]
    done = run("edit", *typed, "-m", model, *CHEAP, "-o", "out")
    assert done == Done(code=0, err="", out=f"out/{stem}-seed1.png\n")
    assert Image.open(done.lines[0]).size == (320, 160)
    assert changed(photo, done.lines[0]).any()


def test_one_edit_after_another_and_both_replayed(run: Run, model: Path, photo: Path, group: Path) -> None:
    [first] = run("edit", "swap", photo, group, "-m", model, *CHEAP, "-o", "out").lines
    [second] = run("edit", "inpaint", first, "--region", "nose", "-m", model, *CHEAP, "-o", "out").lines
    recipe = json.loads(run("inspect", second).out)
    assert recipe["edit"] == {"task": "inpaint", "region": ["nose"]}
    assert [one["edit"]["task"] for one in recipe["earlier"]] == ["swap"]
    given = ("--input", f"source={photo}", "--input", f"target={group}")
    same = {"mean": 0, "max": 0, "same_model": True}
    assert json.loads(run("replay", first, "-m", model, "--json", *given).out) == same
    assert json.loads(run("replay", second, "-m", model, "--json", "--input", f"target={first}").out) == same
    fails(run("replay", first, "-m", model), "source", "--input source=FILE --input target=FILE")
    fails(run("replay", first, "-m", model, *given[2:], "--input", "source=nowhere.png"), "nowhere.png: no such file")
    fails(run("replay", first, "-m", model, *given[:2], "--input", f"target={photo}"), "me.png", "sha256 is another")
    fails(run("replay", first, "-m", model, "--input", "source"), "--input", "target=me.jpg")
    fails(run("replay", first, "-m", model, *given, "--input", f"sauce={photo}"), "source")


def test_photos_without_a_face(run: Run, model: Path, photo: Path, group: Path, tmp_path: Path) -> None:
    empty = empty_photo(tmp_path / "empty.png")
    fails(run("edit", "swap", empty, photo, "-m", model), "no face", "empty.png")
    fails(run("edit", "swap", photo, empty, "-m", model), "no face", "empty.png")
    done = run("edit", "swap", photo, empty, group, "-m", model, *CHEAP, "-o", "most")
    assert (done.code, done.lines) == (2, ["most/group-swap-seed2.png"])  # the others all the same
    assert "no face" in done.err
    assert "empty.png" in done.err
    skipping = ("-m", model, *CHEAP, "--on-no-face", "skip", "-o", "out")
    done = run("edit", "swap", photo, empty, group, *skipping)
    assert done.lines == ["out/group-swap-seed2.png"]
    assert "empty.png" in done.err
    assert "skipped" in done.err
    assert run("edit", "swap", empty, photo, *skipping).code == 2  # nobody to put in
    left = run("edit", "swap", photo, empty, *skipping)
    assert (left.code, left.out) == (2, "")


def test_what_the_model_lacks_is_said_in_one_line(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    face_photo(tmp_path / "ann.png", left=60)
    done = run("edit", "head", photo, "ann.png", "-m", model, *CHEAP, "-n", 2, "-o", "out")
    assert done.code == 0, done.err
    assert done.err.startswith("personae: ")
    assert "facex" in done.err
    assert len(done.err.splitlines()) == 1


def test_bad_edits(run: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    other = face_photo(tmp_path / "ann.png", left=60)
    Image.fromarray(np.full((9, 9), 255, np.uint8)).resize((64, 64)).save(tmp_path / "small.png")
    to = ("-m", model, "--steps", 2)
    fails(run("edit", "swpa", photo, other), "swpa")
    fails(run("edit", "swap", photo, *to), "PHOTO")
    fails(run("edit", "swap", photo, other, *to, "--face", 3), "3", "1 face")
    fails(run("edit", "swap", photo, other, *to, "--face", 1, "--all-faces"), "--face 1", "--all-faces")
    fails(run("edit", "inpaint", photo, *to), "--region", "--mask")
    fails(run("edit", "inpaint", photo, *to, "--region", "mouht"), "did you mean 'mouth'")
    fails(run("edit", "inpaint", photo, *to, "--mask", tmp_path / "small.png"), "320 x 160", "64 x 64")
    fails(run("edit", "attribute", photo, *to), "--age", "--light")
    fails(run("edit", "attribute", photo, *to, "--pose", "left"), "--pose", "yaw,pitch,roll")
    fails(run("edit", "attribute", photo, *to, "--expression", "smlie=1"), "smile")
    fails(run("edit", "attribute", photo, *to, "--hair", other), "facex")
    fails(run("edit", "mix", photo, *to), "--identity", "--gaze")
    fails(run("edit", "mix", photo, *to, "--hiar", other), "--hiar")
    fails(run("edit", "style", photo, *to, "--strength", 2), "strength", "2")
    fails(run("edit", "style", photo, *to, "--lora", "ink.safetensors"), "ink.safetensors")
    fails(run("edit", "swap", photo, tmp_path / "nobody.jpg", *to), "no such file")
    assert not list(Path("personae-out").glob("*.png"))  # nothing half-written


def test_a_stop_ends_an_edit_of_all_faces(model: Path, group: Path) -> None:
    pipe = FacePipeline.from_pretrained(model)
    steps = []

    def stop(pipe: FacePipeline, step: int, t: object, tensors: dict) -> None:
        steps.append(step)
        pipe.interrupt = True

    asked = {"target": group, "region": "mouth", "all_faces": True, "seed": 1, "num_inference_steps": 3}
    done = pipe.edit("inpaint", **asked, likeness_guidance=0, callback_on_step_end=stop)
    assert steps == [0]  # of the first face, and none of the second
    assert done.recipe["inputs"]["target"]["faces"] == [1]
    assert done.after.shape[1] == 1


def test_nothing_is_overwritten(run: Run, model: Path, photo: Path) -> None:
    words = ("edit", "inpaint", photo, "--region", "mouth", "-m", model, *CHEAP, "-o", "out")
    [path] = run(*words).lines
    Path(path).write_bytes(b"mine")
    fails(run(*words), "already there", "--force")
    assert Path(path).read_bytes() == b"mine"
    assert run(*words, "--force", "--quiet").lines == [path]
    assert Image.open(path).size == (320, 160)


@pytest.mark.skipif(not catalog.present(catalog.MODELS["nano"]), reason="the bundled model is not in this checkout")
def test_people_who_were_made_up_are_edited_by_the_bundled_model(run: Run) -> None:
    assert run("identity", "sample", "-n", 2, "--seed", 4, "-o", "people").code == 0
    made = run("generate", *sorted(Path("people").iterdir()), "--seed", 0, "--steps", 8, "-o", "made").lines
    [row] = json.loads(run("edit", "swap", *made, "--seed", 0, "--steps", 4, "-o", "out", "--json").out)
    assert row["likeness"] > 0.2
    assert Image.open(row["path"]).size == (catalog.MODELS["nano"].size,) * 2
    done = run("edit", "reenact", row["path"], made[0], "--seed", 0, "--steps", 4, "-o", "out")
    assert done.code == 0, done.err
    recipe = json.loads(run("inspect", *done.lines).out)
    assert recipe["edit"]["task"] == "reenact"
    assert [one["task"] for one in recipe["earlier"]] == ["generate", "edit"]  # the whole story of the target's photo
    assert not any("identity" in one for one in recipe["earlier"])  # but nobody's identity
    assert "identity" in json.loads(run("inspect", made[0]).out)  # which the picture itself does hold
