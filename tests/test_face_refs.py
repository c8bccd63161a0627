"""Who gives what in an edit is a matter of keys: equal photos and scenes give equal results, in whatever objects."""

import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from personae.conditioning.facex.assembly import FaceRef
from personae.editing import face_edit
from personae.editing.scene import Scene
from personae.pipeline import FacePipeline
from personae.reading.aligned import Aligned

CHEAP = {"num_inference_steps": 1, "likeness_guidance": 0, "motion_guidance": 0, "measure_likeness": False}


def apart(value: Any) -> Any:
    """A copy that shares nothing with the original."""
    return pickle.loads(pickle.dumps(value))


def in_pieces(face: Aligned) -> Aligned:
    """A face whose parts were pickled one by one, as through a queue that takes single arrays."""
    return Aligned(**{one.name: apart(getattr(face, one.name)) for one in fields(face)})


def scene_in_pieces(scene: Scene) -> Scene:
    """The same for a scene: no face and no array is shared among its pieces any more."""
    return replace(
        scene,
        canvas=apart(scene.canvas),
        upright=apart(scene.upright),
        sources={token: apart(ref) for token, ref in scene.sources.items()},
        faces={apart(ref): in_pieces(face) for ref, face in scene.faces.items()},
    )


EDITS: dict[str, dict[str, Any]] = {
    "swap": {"source": 0, "target": 1},
    "reenact": {"source": 0, "target": 1},
    "attribute": {"target": 1, "pose": {"roll": 30}, "expression": {"jawOpen": 0.8}},
    "mix": {"target": 1, "tokens": {"hair": 0, "light": 0}},
}


def arguments(task: str, photo: Callable[[int], Any]) -> dict[str, Any]:
    """Of an edit, each number replaced by that photo."""
    given = EDITS[task] | {role: photo(EDITS[task][role]) for role in ("source", "target") if role in EDITS[task]}
    if "tokens" in given:
        given["tokens"] = {token: photo(number) for token, number in given["tokens"].items()}
    return given | CHEAP | {"seed": 0}


@pytest.mark.parametrize("task", EDITS)
def test_a_scene_that_was_pickled_piece_by_piece_makes_the_same_pixels(
    nano: FacePipeline, two_photos: list[np.ndarray], task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = arguments(task, lambda number: two_photos[number])
    whole = nano.edit(task, **options)
    build, built = face_edit.build_scene, []

    def in_between(*parts: Any) -> Scene:
        built.append(scene_in_pieces(build(*parts)))
        return built[-1]

    monkeypatch.setattr(face_edit, "build_scene", in_between)
    pieces = nano.edit(task, **options)
    assert len(built) == 1
    np.testing.assert_array_equal(np.asarray(pieces.images[0]), np.asarray(whole.images[0]))
    np.testing.assert_array_equal(pieces.mask, whole.mask)
    assert (np.asarray(whole.images[0]) != two_photos[0 if task == "reenact" else 1]).any()


@pytest.mark.parametrize("task", ["swap", "mix"])
def test_equal_photos_are_one_photo(
    nano: FacePipeline, two_photos: list[np.ndarray], task: str, tmp_path: Path
) -> None:
    """In every role the same photo: one object, copies of its pixels, a file that is read twice, a face, its copies."""
    photo = two_photos[1]
    Image.fromarray(photo).save(tmp_path / "me.png")
    face = nano.read(photo)[0]
    ways: dict[str, Callable[[int], Any]] = {
        "one object": lambda number: photo,
        "copies": lambda number: photo.copy(),
        "a file": lambda number: tmp_path / "me.png",
        "one face": lambda number: face,
        "copies of a face": lambda number: apart(face),
    }
    images = {way: np.asarray(nano.edit(task, **arguments(task, give)).images[0]) for way, give in ways.items()}
    for way, image in images.items():
        np.testing.assert_array_equal(image, images["one object"], err_msg=way)


def test_keys_are_values() -> None:
    one = FaceRef("target", change="pose", image=3)
    assert apart(one) == one
    assert len({one, apart(one), replace(one, image=4), FaceRef("target")}) == 3
