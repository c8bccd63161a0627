"""Images carry how they were made, appear whole or not at all, and can be made again."""

import base64
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import made_up
from model_fixtures import face_photo, tiny_model_folder
from personae.errors import BadIdentity, BadImage, BadOption, BadOutput
from personae.pipeline import FacePipeline, load
from personae.provenance import writer
from personae.provenance.recipe import read_recipe, recipe_identity
from personae.replay import replay
from personae.types import Generation, Identity

MARKER = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.fixture(scope="module")
def person(nano_like: FacePipeline) -> Identity:
    return made_up(nano_like, 1)[0]


@pytest.fixture(scope="module")
def made(nano_like: FacePipeline, person: Identity) -> Generation:
    return nano_like(person, num_images_per_prompt=2, seed=7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    return load(tiny_model_folder(tmp_path_factory.mktemp("model")))


@pytest.mark.usefixtures("unsigned")
@pytest.mark.parametrize("kind", writer.FORMATS)
def test_every_format_carries_recipe_and_marker(made: Generation, person: Identity, tmp_path: Path, kind: str) -> None:
    paths = writer.save(made, tmp_path, people=[person], stems=["me"], format=kind)
    assert [path.name for path in paths] == [f"me-seed7.{kind}", f"me-seed8.{kind}"]
    for path, seed in zip(paths, (7, 8), strict=True):
        recipe = read_recipe(path)
        assert (recipe["seed"], recipe["ai_generated"], recipe["settings"]["num_inference_steps"]) == (seed, True, 4)
        np.testing.assert_array_equal(recipe_identity(recipe).vector, person.vector)
        assert MARKER in path.read_bytes()
    saved = np.asarray(Image.open(paths[0]).convert("RGB"))
    assert saved.shape == np.asarray(made.images[0]).shape
    if kind == "png":
        np.testing.assert_array_equal(saved, np.asarray(made.images[0]))


def test_a_recipe_names_no_one_else(nano_like: FacePipeline, tmp_path: Path) -> None:
    people = made_up(nano_like, 2)
    both = nano_like(people, seed=1)
    hashes = [entry["identity_sha256"] for entry in both.recipe["inputs"]]
    paths = writer.save(both, tmp_path, people=people)
    assert [read_recipe(path)["inputs"][0]["identity_sha256"] for path in paths] == hashes
    assert all(len(read_recipe(path)["inputs"]) == 1 for path in paths)


def test_the_identity_can_be_left_out(made: Generation, person: Identity, tmp_path: Path) -> None:
    path = writer.save(made, tmp_path, people=[person], identity=False)[0]
    assert recipe_identity(read_recipe(path)) is None
    vector = base64.b64encode(person.vector.tobytes())
    assert vector not in path.read_bytes()


def test_nothing_is_replaced_silently(made: Generation, person: Identity, tmp_path: Path) -> None:
    second = tmp_path / "me-seed8.png"
    second.write_bytes(b"precious")
    with pytest.raises(BadOutput, match=r"me-seed8.png already there.*--force"):
        writer.save(made, tmp_path, people=[person], stems=["me"])
    assert [path.name for path in tmp_path.iterdir()] == ["me-seed8.png"]
    assert second.read_bytes() == b"precious"
    writer.save(made, tmp_path, people=[person], stems=["me"], force=True)
    assert read_recipe(second)["seed"] == 8


@contextmanager
def _no_room_beyond(size: int) -> Iterator[None]:
    """A disk that is full after `size` bytes of a file: the operating system refuses the rest."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    old = tmp_path / "old.bin"
    old.write_bytes(b"old")
    with _no_room_beyond(1000):
        for path in (tmp_path / "new.bin", old):
            with pytest.raises(BadOutput, match=f"cannot write {path}"):
                writer.write(path, bytes(5000), force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"old.bin": b"old"}


def test_unwritable_folders_are_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/personae")):
        with pytest.raises(BadOutput, match="cannot write to folder"):
            writer.prepare(folder)
    with pytest.raises(BadOutput, match="cannot write"):
        writer.write(tmp_path / "file" / "a.png", b"")


def test_an_unknown_format_is_answered(made: Generation, person: Identity, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="unknown image format 'jpeg': did you mean 'jpg'"):
        writer.save(made, tmp_path, people=[person], format="jpeg")


def test_files_without_a_recipe(made: Generation, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    made.images[0].save(plain)
    with pytest.raises(BadImage, match="carries no recipe"):
        read_recipe(plain)
    (tmp_path / "noise.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    for bad in ("noise.png", "nowhere.png"):
        with pytest.raises(BadImage, match=bad):
            read_recipe(tmp_path / bad)


def test_damaged_recipes_are_said_to_be_so(made: Generation, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(writer.encode(made.images[0], "png", {"seed": 7}))
    with pytest.raises(BadImage, match="damaged"):
        read_recipe(path)
    for stored in ({"space": "a/b/c", "vector": "*"}, {"space": "a/b/c"}, "text"):
        with pytest.raises(BadIdentity, match="damaged"):
            recipe_identity({"identity": stored})


@pytest.mark.parametrize("kind", writer.FORMATS)
def test_a_replay_makes_the_image_again(model: FacePipeline, tmp_path: Path, kind: str) -> None:
    face = model.read(face_photo(tmp_path / "photo.png"))[0]
    out = model(face, seed=3, num_images_per_prompt=3, guidance_scale=2.0, num_inference_steps=3)
    path = writer.save(out, tmp_path, people=[face], format=kind)[2]
    image, drift = replay(path, pipe=model)
    assert drift.same_model
    first = np.asarray(out.images[2], int)
    assert np.abs(np.asarray(image, int) - first).max() <= 1
    # What is left is what the format lost: nothing for PNG, a lot for a picture of noise in the others.
    lost = np.abs(np.asarray(Image.open(path).convert("RGB"), int) - first)
    assert drift.max == pytest.approx(lost.max(), abs=1)
    assert kind != "png" or lost.max() == 0


def test_a_replay_without_identity_needs_the_very_photo(model: FacePipeline, tmp_path: Path) -> None:
    photo = face_photo(tmp_path / "photo.png")
    face = model.read(photo)[0]
    path = writer.save(model(face, seed=3), tmp_path, people=[face], identity=False)[0]
    assert str(tmp_path) not in json.dumps(read_recipe(path))  # no paths of the maker's machine
    with pytest.raises(BadOption, match="--input photo=FILE"):
        replay(path, pipe=model)
    with pytest.raises(BadOption, match="is not the photo file"):
        replay(path, pipe=model, photo=face_photo(tmp_path / "other.png", left=30))
    assert replay(path, pipe=model, photo=photo)[1].max <= 1


def test_a_recipe_never_chooses_a_folder(model: FacePipeline, tmp_path: Path) -> None:
    face = model.read(face_photo(tmp_path / "photo.png"))[0]
    path = writer.save(model(face, seed=3), tmp_path, people=[face])[0]
    with pytest.raises(BadOption, match="--model"):
        replay(path)
