"""Edits of whole photos: what changes lies where it should, all else stays byte for byte; who gives what; every bad
input is one clear line."""

import copy
import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import personae
from conftest import made_up, sd15_parts
from model_fixtures import empty_photo
from personae.conditioning.facex.assembly import Assembly, FaceRef
from personae.conditioning.facex.controller import widths_of
from personae.conditioning.facex.network import SIZES, FaceX
from personae.conditioning.facex.representation import TOKENS
from personae.editing import conditioning, face_edit
from personae.editing.changes import Changes, retargeted
from personae.editing.inputs import in_crop
from personae.editing.masks import EDIT_MASKS, REFERENCES, edit_mask_of
from personae.editing.paste import RECOLOURS, Patch
from personae.editing.scene import Scene
from personae.editing.tasks import ROLES, TASKS, Task, find_task, recorded_task
from personae.errors import BadImage, BadOption, NoFaceFound, SpaceMismatch, WeightsMissing
from personae.pipeline import FacePipeline
from personae.provenance import writer
from personae.provenance.recipe import read_recipe
from personae.reading import align, face_regions
from personae.reading.aligned import Aligned
from personae.reading.insightface import InsightFaceEmbedder
from personae.replay import replay
from personae.types import BLENDSHAPES, Edit
from reading_fixtures import white_face

CHEAP = {"num_inference_steps": 2, "likeness_guidance": 0}


@pytest.fixture(scope="module", params=["nano_like", "sd15_like"])
def model(request: pytest.FixtureRequest, nano_like: FacePipeline) -> FacePipeline:
    """Each family with a reader of its own identities."""
    if request.param == "nano_like":
        return nano_like
    pipe = FacePipeline(**sd15_parts(), reader=nano_like.reader, crop_template="ffhq", steps=4)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def portrait(two_photos: list[np.ndarray]) -> np.ndarray:
    """A photo with room around a made-up face: three quarters of its side on each."""
    side = len(two_photos[0])
    room = side * 3 // 4
    ground = np.random.default_rng(3).integers(0, 40, (side + 2 * room, side + 2 * room, 3), dtype=np.uint8)
    ground[room : room + side, room : room + side] = two_photos[0]
    return ground


def group(height: int = 160, width: int = 320) -> np.ndarray:
    """A photo with two "faces", the larger one on the left, on a background that changes everywhere."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 180, (height, width, 3), dtype=np.uint8)
    photo = white_face(photo, width // 16, height // 5, width // 16 + height // 2, height - height // 5)
    return white_face(photo, width // 2 + width // 16, height // 3, width // 2 + width // 4, height - height // 3)


def solo(left: int = 40, seed: int = 1) -> np.ndarray:
    photo = np.random.default_rng(seed).integers(0, 180, (160, 160, 3), dtype=np.uint8)
    return white_face(photo, left, 40, left + 60, 120)


def differs(edit: Edit, photo: np.ndarray, index: int = 0) -> np.ndarray:
    """(H, W) bool."""
    return (np.asarray(edit.images[index]) != photo).any(-1)


def square(face: object, pipe: FacePipeline, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: where the photo lies in the crop of a face."""
    place = in_crop(pipe, face)
    across, down = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    points = align.apply(place.matrix, np.stack([across, down], -1).astype(float))
    return ((points > -1) & (points < place.size)).all(-1)


# ---------------------------------------------------------------------- where it changes


def test_a_swap_changes_the_face_alone(model: FacePipeline) -> None:
    photo = group()
    edit = model.edit("swap", source=solo(), target=photo, seed=1, num_images=2, **CHEAP)
    faces = model.read(photo)
    assert [image.size for image in edit.images] == [(320, 160)] * 2
    for index in range(2):
        changed = differs(edit, photo, index)
        assert changed.sum() > 500
        assert not changed[~square(faces[0], model, photo.shape)].any()
    assert edit.seeds == [1, 2]
    assert (np.asarray(edit.images[0]) != np.asarray(edit.images[1])).any()
    assert edit.before.shape == (1, 32, 32, 3)
    assert edit.after.shape == (2, 1, 32, 32, 3)
    assert len(edit.likeness) == 2


def test_nothing_changes_outside_the_free_region(model: FacePipeline) -> None:
    photo = group()
    face = model.read(photo)[0]
    place = in_crop(model, face)
    edit = model.edit("inpaint", target=photo, region="mouth", seed=0, **CHEAP)
    free = face_regions.region("mouth", place.landmarks, place.size)
    np.testing.assert_array_equal(edit.edit_masks[0], free)
    across, down = np.meshgrid(np.arange(320), np.arange(160))
    nearest = np.round(align.apply(place.matrix, np.stack([across, down], -1).astype(float))).astype(int)
    within = ((nearest >= 0) & (nearest < place.size)).all(-1)
    free_there = within & free[nearest[..., 1].clip(0, 31), nearest[..., 0].clip(0, 31)]
    changed = differs(edit, photo)
    assert changed.any()
    assert not changed[~free_there].any()


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("swap", {}),
        ("head", {}),
        ("reenact", {}),
        ("attribute", {"expression": {"jawOpen": 0.9}}),
        ("attribute", {"pose": {"yaw": 25}}),
        ("attribute", {"expression": {"jawOpen": 0.9}, "region": "mouth"}),
        ("mix", {"region": "nose"}),
    ],
)
def test_outside_an_edits_mask_every_byte_stays(
    nano: FacePipeline, task: str, asked: dict, portrait: np.ndarray
) -> None:
    other = np.ascontiguousarray(portrait[:, ::-1])
    roles = {"source": portrait, "target": other} if TASKS[task].roles == ROLES else {"target": portrait}
    photo = portrait if TASKS[task].canvas == "source" else roles["target"]
    edit = nano.edit(task, **roles, **asked, seed=0, **CHEAP)
    assert edit.mask.shape == photo.shape[:2]
    changed = differs(edit, photo)
    assert changed[edit.mask].mean() > 0.3
    assert not changed[~edit.mask].any()
    if asked == {"expression": {"jawOpen": 0.9}}:  # a chin drops out of the crop, and nothing above the eyes moves
        [face] = nano.read(photo)
        assert (changed & ~square(face, nano, photo.shape)).any()
        (left, eye), (right, _) = face.detection.points[:2]
        assert not edit.mask[: round(eye - (right - left) / 2)].any()
    if "region" in asked:
        place = in_crop(nano, nano.read(photo)[0])
        assert edit.mask.sum() <= 1.5 * place.region(asked["region"]).sum() / abs(np.linalg.det(place.matrix[:, :2]))


def test_a_mask_is_kept_to_the_pixel(model: FacePipeline) -> None:
    photo, mask = group(), np.zeros((160, 320), bool)
    mask[71:90, 41:79] = True
    for given in (mask, np.uint8(mask) * 255, Image.fromarray(np.uint8(mask) * 255)):
        edit = model.edit("inpaint", target=photo, mask=given, seed=0, **CHEAP)
        assert differs(edit, photo)[mask].mean() > 0.5
        assert not differs(edit, photo)[~mask].any()
    with pytest.warns(UserWarning, match="part of the mask lies outside the square"):
        wide = model.edit("inpaint", target=photo, mask=np.ones((160, 320), bool), seed=0, **CHEAP)
    assert not differs(wide, photo)[~square(model.read(photo)[0], model, photo.shape)].any()


def test_a_mask_of_ones_may_be_of_any_dtype(nano_like: FacePipeline) -> None:
    photo, mask = group(), np.zeros((160, 320), bool)
    mask[71:90, 41:79] = True
    first, *others = (
        nano_like.edit("inpaint", target=photo, mask=mask.astype(kind), seed=0, **CHEAP)
        for kind in (bool, np.uint8, np.int64, np.float32)
    )
    for edit in others:
        np.testing.assert_array_equal(np.asarray(edit.images[0]), np.asarray(first.images[0]))
        assert edit.recipe["inputs"]["mask"] == first.recipe["inputs"]["mask"]


def test_a_masks_file_is_read_once(nano_like: FacePipeline, tmp_path: Path) -> None:
    path, white = tmp_path / "mask.png", np.zeros((160, 320), np.uint8)
    white[71:90, 41:79] = 255
    Image.fromarray(white).save(path)
    away = lambda *_: path.unlink(missing_ok=True)  # noqa: E731
    edit = nano_like.edit("inpaint", target=group(), mask=path, seed=0, callback_on_step_end=away, **CHEAP)
    assert not path.exists()
    assert edit.recipe["inputs"]["mask"]["name"] == "mask.png"


def test_region_and_mask_are_both_made_anew(nano_like: FacePipeline) -> None:
    photo, mask = group(), np.zeros((160, 320), bool)
    mask[60:80, 40:80] = True  # the eyes
    place = in_crop(nano_like, nano_like.read(photo)[0])
    mouth = np.zeros_like(mask)
    (left, top, right, bottom), inside = align.lying(place.region("mouth"), place.matrix, photo.shape)
    mouth[top:bottom, left:right] = inside
    edit = nano_like.edit("inpaint", target=photo, region="mouth", mask=mask, seed=0, **CHEAP)
    changed = differs(edit, photo)
    assert changed[mask].mean() > 0.3
    assert changed[mouth & ~mask].mean() > 0.3
    assert edit.mask[mouth].all()
    assert edit.mask[mask].mean() > 0.9
    assert not edit.mask[~(mask | mouth)].any()
    assert not changed[~edit.mask].any()


def test_a_mask_leaves_out_faces_that_it_does_not_touch(nano_like: FacePipeline) -> None:
    photo, mask = group(), np.zeros((160, 320), bool)
    mask[75:90, 200:220] = True  # in the second face
    options = {"target": photo, "mask": mask, "seed": 0, **CHEAP}
    with pytest.warns(UserWarning, match="outside the square"):
        every = nano_like.edit("inpaint", all_faces=True, **options)
    second = nano_like.edit("inpaint", face=2, **options)
    np.testing.assert_array_equal(np.asarray(every.images[0]), np.asarray(second.images[0]))
    assert differs(every, photo)[mask].any()
    assert every.recipe["inputs"]["target"]["faces"] == [2]
    with (
        pytest.warns(UserWarning, match="outside the square"),
        pytest.raises(BadOption, match="give another region or mask"),
    ):
        nano_like.edit("inpaint", face=1, **options)


def test_any_face_or_all_of_them(model: FacePipeline) -> None:
    photo = group()
    squares = [square(face, model, photo.shape) for face in model.read(photo)]
    second = model.edit("inpaint", target=photo, region="nose", face=2, seed=0, **CHEAP)
    assert differs(second, photo)[squares[1]].any()
    assert not differs(second, photo)[~squares[1]].any()
    both = model.edit("inpaint", target=photo, region="nose", all_faces=True, seed=0, **CHEAP)
    assert all(differs(both, photo)[one].any() for one in squares)
    assert both.before.shape[0] == both.after.shape[1] == both.edit_masks.shape[0] == 2
    # One after the other: the first as if alone, the second on what the first left.
    first = model.edit("inpaint", target=photo, region="nose", face=1, seed=0, **CHEAP)
    then = model.edit("inpaint", target=model.read(first.images[0])[1], region="nose", seed=0, **CHEAP)
    np.testing.assert_array_equal(np.asarray(both.images[0]), np.asarray(then.images[0]))


@pytest.mark.parametrize("where", [(0, 0), (95, 95), (-1, 60)])
def test_a_face_at_the_photos_edge(model: FacePipeline, where: tuple[int, int]) -> None:
    left, top = where
    photo = np.random.default_rng(0).integers(0, 180, (160, 160, 3), dtype=np.uint8)
    photo = white_face(photo, max(left, 0), max(top, 0), left + 60, top + 64)
    edit = model.edit("swap", source=solo(), target=photo, seed=0, **CHEAP)
    assert edit.images[0].size == (160, 160)
    assert differs(edit, photo).any()


def test_the_same_seed_is_the_same_edit_in_any_company(model: FacePipeline) -> None:
    three = model.edit("swap", source=solo(), target=group(), seed=5, num_images=3, **CHEAP)
    one = model.edit("swap", source=solo(), target=group(), seed=7, **CHEAP)
    apart = np.asarray(three.images[2], int) - np.asarray(one.images[0], int)
    assert np.abs(apart).max() <= 2  # batches change the order of sums


def test_seeds_are_whole_numbers_of_any_kind() -> None:
    """NumPy's would overflow where a hole is filled with noise of its own."""
    seeds = face_edit._seeds(np.int64(2**62), 2)
    assert seeds == [2**62, 2**62 + 1]
    assert [type(one) for one in (*seeds, *face_edit._seeds(np.arange(2), 2))] == [int] * 4


def test_colours_are_matched_in_the_region_or_around_it(model: FacePipeline) -> None:
    place = in_crop(model, model.read(group())[0])
    free = np.zeros((32, 32), bool)
    free[10:20, 10:20] = True
    grown = np.zeros((32, 32), bool)
    grown[8:24, 8:24] = True
    patch = Patch(place=place, edit_mask=free, cells=grown)
    shown = np.random.default_rng(0).integers(60, 120, (32, 32, 3), dtype=np.uint8)
    made = shown + np.uint8([40, 0, 10])
    made[free] = 200  # the edit itself: a border says nothing of it
    made[8:10, 8:12] = 0  # a contour that moved
    border = RECOLOURS["border"](made, shown, patch)
    np.testing.assert_array_equal(border.added, [-40, 0, -10])
    assert np.abs(border.on(made).astype(int) - shown)[10:22, 21:22].max() == 0
    moved = RECOLOURS["region"](255 - shown, shown, patch).on(255 - shown)
    np.testing.assert_allclose(moved[free].mean(0), shown[free].mean(0), atol=8)  # medians of noise; 80 before
    small = dataclasses.replace(patch, cells=free)
    for row, where in (("border", small), ("none", patch)):
        np.testing.assert_array_equal(RECOLOURS[row](made, shown, where).on(made), made)


# ---------------------------------------------------------------------- who gives what


def test_the_table_is_whole() -> None:
    assert list(TASKS) == ["swap", "head", "reenact", "inpaint", "attribute", "style", "mix"]
    for name, task in TASKS.items():
        assert task.name == name
        assert task.summary.endswith(".")
        assert "identity" in task.token_roles
        assert task.token_roles["identity"] == task.person
    assert TASKS["reenact"].token_roles["hair"] == TASKS["reenact"].canvas == "source"
    assert {token for token, role in TASKS["reenact"].token_roles.items() if role == "target"} == {
        "pose",
        "expression",
        "gaze",
    }
    assert find_task({"name": "x", "summary": "y", "givers": {"eyes": "target"}}).edit_mask == "face"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"givers": {"nos": "target"}}, "did you mean 'nose'"),
        ({"givers": {"nose": "targt"}}, "unknown role 'targt'"),
        ({"givers": {"nose": "source"}}, "needs something of a source photo"),
        ({"givers": {}, "free": "fac"}, "did you mean 'face'"),
        ({"givers": {}, "reference": "holes"}, "did you mean 'hole'"),
        ({"givers": {}, "recolour": "borders"}, "did you mean 'border'"),
        ({"givers": {}, "canvass": "target"}, "did you mean 'canvas'"),
    ],
)
def test_a_row_that_cannot_work_is_refused(row: dict[str, object], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        find_task({"name": "mine", "summary": "", **row})


TARGET, SOURCE = FaceRef("target"), FaceRef("source")


def scene_of(own: Aligned, other: Aligned | None = None, sources: dict[str, FaceRef] | None = None, **more) -> Scene:
    """An edit of `own`, every token its own but for some of `sources`."""
    faces = {TARGET: own} | ({} if other is None else {SOURCE: other})
    return Scene(canvas=TARGET, sources=dict.fromkeys(TOKENS, TARGET) | (sources or {}), faces=faces, **more)


def test_edit_masks(model: FacePipeline) -> None:
    own, other = (in_crop(model, model.read(photo)[0]) for photo in (group(), solo(70)))
    face, head, mouth, nose = (own.region(name) for name in ("face", "head", "mouth", "nose"))
    scene = scene_of(own, other, {"hair": SOURCE})
    np.testing.assert_array_equal(EDIT_MASKS["face"](scene), face)
    assert (EDIT_MASKS["heads"](scene) >= head).all()
    np.testing.assert_array_equal(EDIT_MASKS["moved"](scene_of(own)), face)
    more = EDIT_MASKS["moved"](retargeted(scene_of(own), Changes(pose={"yaw": 40})))
    assert (more >= head).all()
    assert more.sum() > head.sum()

    opening = retargeted(scene_of(own, other), Changes(expression={"jawOpen": 1}))
    opened = EDIT_MASKS["moved"](opening)
    assert opened[mouth].all()
    forehead = own.landmarks[151, :2].round().astype(int)
    assert not opened[forehead[1], forehead[0]]
    assert (opened & ~face).any()  # where the chin goes
    as_face = (
        dataclasses.replace(opening, shifted=True),
        opening.with_source("light", SOURCE, other),
        scene_of(own, other, {"expression": SOURCE}),
        retargeted(scene_of(own), Changes(expression={})),
    )
    for one in as_face:
        np.testing.assert_array_equal(EDIT_MASKS["moved"](one), face)

    with pytest.raises(BadOption, match="give region, one of face, head, skin"):
        EDIT_MASKS["asked"](scene)
    np.testing.assert_array_equal(edit_mask_of("asked", scene_of(own, region=("mouth", "nose"))), mouth | nose)


def test_region_images(model: FacePipeline) -> None:
    own, other = (in_crop(model, model.read(photo)[0]) for photo in (group(), solo(70)))
    scene, face = scene_of(own, other, {"hair": SOURCE}), own.region("face")
    hole = REFERENCES["hole"](scene, face)
    assert (hole[face] == 128).all()
    np.testing.assert_array_equal(hole[~face], own.crop[~face])
    np.testing.assert_array_equal(REFERENCES["whole"](scene, face), own.crop)
    ring = REFERENCES["head"](scene, np.ones_like(face))
    brought = other.region("head") & other.coverage
    assert (ring[~brought] == 255).all()
    assert np.ptp(ring[brought].astype(int), axis=-1).max() == 0
    np.testing.assert_allclose(ring[brought][:, 0], other.crop[brought].mean(-1), atol=0.51)
    np.testing.assert_array_equal(REFERENCES["head"](scene, face)[~(face | brought)], own.crop[~(face | brought)])


def test_an_assembly_is_made_of_the_tasks_sources(model: FacePipeline) -> None:
    own, other = (in_crop(model, model.read(photo)[0]) for photo in (group(), solo()))
    task = TASKS["swap"]
    refs = {"source": SOURCE, "target": TARGET}
    sources = {token: refs[role] for token, role in task.token_roles.items()}
    scene = Scene(canvas=TARGET, sources=sources, faces={SOURCE: other, TARGET: own})
    edit_mask = edit_mask_of(task.edit_mask, scene)
    crop = 255 - own.crop
    _, assembly = conditioning.with_facex(task, scene, edit_mask, [own.crop, crop])["assembly"]
    assert isinstance(assembly, Assembly)
    assert assembly.sources["identity"] == assembly.sources["nose"] == SOURCE
    assert assembly.sources["hair"] == assembly.sources["pose"] == FaceRef("target", image=1)
    np.testing.assert_array_equal(assembly.face("hair").crop, crop)  # the canvas as it is by now
    np.testing.assert_array_equal(assembly.face("nose").crop, other.crop)
    np.testing.assert_array_equal(assembly.reference[~edit_mask], crop[~edit_mask])
    assert set(assembly.sources) == set(task.token_roles)


def test_changes_keep_what_they_do_not_name(model: FacePipeline) -> None:
    own = in_crop(model, model.read(group())[0])
    changes = Changes(pose={"yaw": 30}, expression={"smile": 0.9, "eyeBlink": 0})
    scene = retargeted(scene_of(own), changes)
    pose = scene.source_face("pose").pose
    shapes = dict(zip(BLENDSHAPES, scene.source_face("expression").blendshapes, strict=True))
    assert (pose.yaw, pose.pitch) == (30, own.pose.pitch)
    assert shapes["mouthSmileLeft"] == pytest.approx(0.9)
    assert shapes["eyeBlinkLeft"] == shapes["eyeBlinkRight"] == 0
    assert shapes["jawOpen"] == own.blendshapes[BLENDSHAPES.index("jawOpen")]
    assert scene.source("hair") == TARGET
    assert scene.is_own(scene.source("pose"))
    assert len({scene.source(token) for token in ("pose", "expression", "hair")}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pose": {"jaw": 3}}, "unknown angle of a pose 'jaw': did you mean 'yaw'"),
        ({"pose": (1, 2)}, "yaw, pitch, roll in degrees"),
        ({"pose": {"yaw": 90}}, "within 75 degrees"),
        ({"pose": "someone.jpg"}, "tokens="),
        ({"expression": "someone.jpg"}, "tokens="),
        ({"expression": {"smyle": 1}}, "did you mean 'smile'"),
        ({"expression": {"smile": 2}}, "from 0 to 1"),
    ],
)
def test_impossible_changes_are_refused(model: FacePipeline, changes: dict[str, object], message: str) -> None:
    with pytest.raises(BadOption, match=message):
        model.edit("attribute", target=group(), seed=0, **changes)


# ---------------------------------------------------------------------- the bundled model, without facex/


def test_the_options_of_a_model_without_facex(nano: FacePipeline, two_photos: list[np.ndarray]) -> None:
    source, target = (in_crop(nano, nano.read(photo)[0]) for photo in two_photos)
    task = TASKS["reenact"]
    refs = {"source": SOURCE, "target": TARGET}
    sources = {token: refs[role] for token, role in task.token_roles.items()}
    scene = Scene(canvas=SOURCE, sources=sources, faces={SOURCE: source, TARGET: target})
    options = conditioning.without_facex(nano, task, scene, ())
    assert options["pose"]["yaw"] == pytest.approx(target.pose.yaw, abs=0.01)
    jaw = float(target.blendshapes[BLENDSHAPES.index("browDownLeft")])
    assert options["expression"].get("browDownLeft", 0) == pytest.approx(jaw, abs=0.011)
    json.dumps(options)


def test_a_task_is_led_by_any_recogniser_with_a_gradient(
    nano_like: FacePipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, own = TASKS["swap"], nano_like.reader.embedder
    assert conditioning.guidance_of(nano_like, task) == {"likeness_guidance": task.likeness}
    units, scaled = (object.__new__(InsightFaceEmbedder) for _ in range(2))
    units._model = SimpleNamespace(input_mean=127.5, input_std=127.5)
    scaled._model = SimpleNamespace(input_mean=0.0, input_std=1.0)
    scaled.space = "scaled"
    box = copy.copy(own)
    box.template = "face0"  # whose crops no fixed similarity cuts out
    for embedder, led in ((units, True), (scaled, False), (box, False)):
        monkeypatch.setattr(nano_like.reader, "embedder", embedder)
        assert ("likeness_guidance" in conditioning.guidance_of(nano_like, task)) == led


@pytest.mark.parametrize("task", ["swap", "reenact"])
def test_two_photos_with_the_bundled_model(nano: FacePipeline, two_photos: list[np.ndarray], task: str) -> None:
    edit = nano.edit(task, source=two_photos[0], target=two_photos[1], seed=0, num_inference_steps=4)
    assert edit.images[0].size == two_photos[0].shape[1::-1]
    assert len(edit.likeness) == 1
    assert differs(edit, two_photos[0] if task == "reenact" else two_photos[1]).mean() > 0.1


def test_a_reenacted_head_leans_as_its_driver_does(
    nano: FacePipeline, two_photos: list[np.ndarray], portrait: np.ndarray
) -> None:
    driver = Image.fromarray(portrait).rotate(-30, Image.Resampling.BICUBIC)
    edit = nano.edit("reenact", source=two_photos[1], target=driver, seed=0, num_inference_steps=4)
    [asked], [found] = nano.read(driver), nano.read(edit.images[0])
    assert asked.motion.pose.roll == pytest.approx(30, abs=8)
    assert found.motion.pose.roll == pytest.approx(asked.motion.pose.roll, abs=8)
    [place] = nano.read(edit.after[0, 0])  # in its own crop it stands upright
    assert abs(place.motion.pose.roll) < 8


def test_a_head_leans_further_than_the_model_could_hold_it(nano: FacePipeline, portrait: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*this model.*")
        edit = nano.edit("attribute", target=portrait, pose={"roll": 40}, seed=0, num_inference_steps=4)
    (before,), (after,) = nano.read(portrait), nano.read(edit.images[0])
    assert after.motion.pose.roll - before.motion.pose.roll == pytest.approx(40, abs=8)
    assert edit.likeness[0] > 0.6


def test_a_swap_is_of_the_source(nano: FacePipeline, two_photos: list[np.ndarray]) -> None:
    edit = nano.edit("swap", source=two_photos[0], target=two_photos[1], seed=0, num_inference_steps=8)
    (seen,) = nano.reader.identify([edit.after[0, 0]])
    to_source, to_target = (float(seen.vector @ nano.read(one)[0].identity.vector) for one in two_photos)
    assert edit.likeness[0] == pytest.approx(to_source, abs=1e-4)
    assert to_source > to_target


def test_attributes_shift_the_identity(nano: FacePipeline, two_photos: list[np.ndarray]) -> None:
    face = nano.read(two_photos[0])[0]
    table = personae.identity.directions.of_model(nano.folder)
    options = {"target": two_photos[0], "seed": 0, "num_inference_steps": 8}
    plain = nano.edit("attribute", expression={}, **options)
    older = nano.edit("attribute", shift={"age": 2}, **options)
    seen = nano.reader.identify([plain.after[0, 0], older.after[0, 0]])
    along = [float(one.vector @ table["age"].vector) for one in seen]
    assert along[1] > along[0]
    wanted = personae.identity.directions.shift(face.identity, table, {"age": 2})
    assert older.likeness[0] == pytest.approx(float(seen[1].vector @ wanted.vector), abs=1e-4)
    with pytest.raises(BadOption, match="did you mean 'age'"):
        nano.edit("attribute", target=two_photos[0], shift={"agee": 1})


def test_what_only_facex_can_do_is_refused(
    without_facex: FacePipeline, model: FacePipeline, two_photos: list[np.ndarray]
) -> None:
    with pytest.raises(WeightsMissing, match=r"no facex/.*but no hair"):
        without_facex.edit("mix", target=two_photos[0], tokens={"hair": two_photos[1]}, seed=0)
    with pytest.warns(UserWarning, match="make up its own"):
        without_facex.edit("head", source=two_photos[0], target=two_photos[1], seed=0, **CHEAP)
    with pytest.raises(WeightsMissing, match=r"neither facex/ nor controlnet/.*reenact needs"):
        model.edit("reenact", source=solo(), target=group(), seed=0, **CHEAP)


def test_a_row_of_ones_own_and_a_mix(nano: FacePipeline, two_photos: list[np.ndarray]) -> None:
    mine = Task(name="mine", summary="Mine.", token_roles={"identity": "source"}, roles=ROLES, person="source")
    edit = nano.edit(mine, source=two_photos[0], target=two_photos[1], seed=0, **CHEAP)
    assert edit.recipe["edit"]["task"] == recorded_task(mine)
    assert find_task(edit.recipe["edit"]["task"]) == mine
    mixed = nano.edit("mix", target=two_photos[1], tokens={"identity": two_photos[0]}, seed=0, **CHEAP)
    assert mixed.recipe["inputs"].keys() == {"target", "identity"}
    assert mixed.recipe["inputs"]["identity"]["identity_sha256"] == edit.recipe["inputs"]["source"]["identity_sha256"]


# ---------------------------------------------------------------------- with facex/


@pytest.fixture(scope="module")
def without_facex(nano: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """The bundled model without its `facex/`."""
    folder = tmp_path_factory.mktemp("models") / "nano-bare"
    shutil.copytree(nano.folder, folder, ignore=shutil.ignore_patterns("facex", "sha256.json"))
    pipe = personae.load(folder, device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def with_facex(nano: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> FacePipeline:
    """The bundled model with a `facex/` beside it that says something: its zero-initialised ends are not zero."""
    folder = tmp_path_factory.mktemp("models") / "nano-facex"
    shutil.copytree(nano.folder, folder, ignore=shutil.ignore_patterns("facex", "sha256.json"))
    torch.manual_seed(0)
    facex = FaceX(SIZES["facex-nano"], widths_of(nano.unet), nano.reader.space)
    for block in facex.controller.attentions():
        for weight in block.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight, std=0.3)
    facex.save(folder / "facex")
    pipe = personae.load(folder, device="cpu", torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_facex_is_told_of_every_piece(with_facex: FacePipeline, two_photos: list[np.ndarray]) -> None:
    options = {"source": two_photos[0], "target": two_photos[1], "seed": 0, **CHEAP}
    swap = with_facex.edit("swap", **options)
    least, most = TASKS["swap"].warp_strength
    assert least < swap.recipe["settings"]["strength"] < most  # made-up people hold their heads a little differently
    assert with_facex.edit("swap", **options, strength=1).recipe["settings"]["strength"] == 1
    assert not {"assembly", "pose", "expression", "image"} & swap.recipe["settings"].keys()
    head = with_facex.edit("head", **options)
    assert head.edit_masks.sum() > swap.edit_masks.sum()
    # Another giver of one token is another picture, with nothing else changed.
    plain = with_facex.edit("mix", target=two_photos[1], region="head", seed=0, **CHEAP)
    hair = with_facex.edit("mix", target=two_photos[1], region="head", tokens={"hair": two_photos[0]}, seed=0, **CHEAP)
    assert (plain.after != hair.after).any()


def test_facex_edits_several_images_and_replays(
    with_facex: FacePipeline, two_photos: list[np.ndarray], tmp_path: Path
) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, photo in zip(paths, two_photos, strict=True):
        Image.fromarray(photo).save(path)
    options = {"source": paths[0], "target": paths[1], **CHEAP}
    two = with_facex.edit("reenact", seed=3, num_images=2, **options)
    alone = with_facex.edit("reenact", seed=4, **options)
    assert np.abs(two.after[1].astype(int) - alone.after[0]).max() <= 2  # batches change the order of sums
    given = {"source": paths[0], "target": paths[1]}
    assert replay(writer.save_edit(two, tmp_path)[1], pipe=with_facex, inputs=given)[1].max <= 2


# ---------------------------------------------------------------------- stopped


def test_a_stop_inside_a_face_ends_the_edit(nano: FacePipeline, two_photos: list[np.ndarray]) -> None:
    """What the edge of the source's photo leaves empty is filled by a call of its own: a stop in it ends the edit."""
    options = {"source": two_photos[0][20:], "target": two_photos[1], "seed": 3, "num_inference_steps": 4}
    options |= {"likeness_guidance": 0, "measure_likeness": False}
    steps: list[int] = []

    def count(pipe: FacePipeline, step: int, t: object, tensors: dict) -> None:
        steps.append(step)

    def stop(pipe: FacePipeline, step: int, t: object, tensors: dict) -> None:
        steps.append(step)
        pipe.interrupt = True

    nano.edit("head", **options, callback_on_step_end=count)
    assert steps[:4] == [0, 1, 2, 3]  # the fill
    assert len(steps) > 4  # the face
    steps.clear()
    done = nano.edit("head", **options, callback_on_step_end=stop)
    assert steps == [0]
    assert done.seeds == [3]
    assert differs(done, two_photos[1]).any()


# ---------------------------------------------------------------------- files


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    paths = {"source": tmp_path / "source.png", "target": tmp_path / "target.png"}
    for path, photo in zip(paths.values(), (solo(), group()), strict=True):
        Image.fromarray(photo).save(path)
    return paths


@pytest.mark.usefixtures("unsigned")
def test_a_saved_edit_is_replayed(model: FacePipeline, photos: dict[str, Path], tmp_path: Path) -> None:
    edit = model.edit("swap", **photos, seed=3, num_images=2, face=2, **CHEAP)
    paths = writer.save_edit(edit, tmp_path / "out", stem="both")
    assert [path.name for path in paths] == ["both-seed3.png", "both-seed4.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(paths[1])), np.asarray(edit.images[1]))
    recipe = read_recipe(paths[1])
    assert recipe["inputs"]["target"]["name"] == "target.png"
    assert str(photos["target"].parent) not in json.dumps(recipe)  # a folder is its owner's business
    assert recipe["inputs"]["target"]["faces"] == [2]
    assert b"compositeWithTrainedAlgorithmicMedia" in paths[1].read_bytes()
    assert replay(paths[1], pipe=model, inputs=photos)[1].max <= 1
    with pytest.raises(BadOption, match=r"no recipe opens a file.*--input source=FILE --input target=FILE"):
        replay(paths[0], pipe=model)
    moved = photos | {"target": photos["target"].rename(tmp_path / "moved.png")}
    assert replay(paths[0], pipe=model, photos=moved)[1].max <= 1
    with pytest.raises(BadOption, match=r"source\.png is not the target file.*\(target\.png\): its sha256"):
        replay(paths[0], pipe=model, inputs=photos | {"target": photos["source"]})
    with pytest.raises(BadOption, match="did you mean 'target'"):
        replay(paths[0], pipe=model, inputs=moved | {"targe": moved["target"]})
    (anonymous,) = writer.save_edit(edit, tmp_path / "anonymous", names=False)[:1]
    assert "target.png" not in json.dumps(read_recipe(anonymous))
    assert replay(anonymous, pipe=model, inputs=moved)[1].max <= 1


def test_a_replay_knows_changes_masks_and_all_faces(nano_like: FacePipeline, photos: dict[str, Path], tmp_path) -> None:
    mask = tmp_path / "mask.png"
    white = np.zeros((160, 320), np.uint8)
    white[80:100, 40:80] = 255
    Image.fromarray(white).save(mask)
    edits = {
        "masked": nano_like.edit("inpaint", target=photos["target"], mask=mask, seed=1, **CHEAP),
        "all": nano_like.edit("swap", **photos, all_faces=True, seed=1, strength=0.5, **CHEAP),
        "smile": nano_like.edit("attribute", target=photos["target"], expression={"smile": 1}, seed=1, **CHEAP),
        "given": nano_like.edit("swap", source=solo(), target=nano_like.read(photos["target"])[1], seed=1, **CHEAP),
    }
    for stem, edit in edits.items():
        (path,) = writer.save_edit(edit, tmp_path, stem=stem)
        inputs = read_recipe(path)["inputs"]
        here = {**photos, "mask": mask} | ({"source": Image.fromarray(solo())} if stem == "given" else {})
        given = {name: here[name] for name in inputs}
        assert replay(path, pipe=nano_like, inputs=given)[1].max <= 1, stem


def test_edits_in_a_row_hold_the_chain(model: FacePipeline, photos: dict[str, Path], tmp_path: Path) -> None:
    first = model.edit("swap", **photos, seed=3, **CHEAP)
    (saved,) = writer.save_edit(first, tmp_path, stem="first")
    second = model.edit("inpaint", target=saved, region="mouth", seed=4, **CHEAP)
    (again,) = writer.save_edit(second, tmp_path, stem="second")
    third = model.edit("inpaint", target=again, region="nose", seed=5, **CHEAP)
    chain = third.recipe["earlier"]
    assert [one["edit"]["task"] for one in chain] == ["swap", "inpaint"]
    assert [one["seed"] for one in chain] == [3, 4]
    (last,) = writer.save_edit(third, tmp_path, stem="third")
    assert replay(last, pipe=model, inputs={"target": again})[1].max <= 1
    in_memory = model.edit("inpaint", target=first, region="mouth", seed=4, **CHEAP)
    assert [one["seed"] for one in in_memory.recipe["earlier"]] == [3]
    np.testing.assert_array_equal(np.asarray(in_memory.images[0]), np.asarray(second.images[0]))


# ---------------------------------------------------------------------- bad input


def test_bad_input_is_one_clear_line(model: FacePipeline, photos: dict[str, Path], tmp_path: Path) -> None:
    empty = empty_photo(tmp_path / "empty.png")
    for role in ("source", "target"):
        with pytest.raises(NoFaceFound, match=rf"no face was found in the {role} photo .*empty\.png"):
            model.edit("swap", **photos | {role: empty})
    with pytest.raises(BadImage, match="no such file"):
        model.edit("swap", source=tmp_path / "nobody.png", target=photos["target"])
    target = {"target": photos["target"]}
    cases = {
        "unknown task 'swop': did you mean 'swap'": ("swop", photos),
        "there is no source: give source=": ("swap", target),
        "inpaint takes no source": ("inpaint", photos | {"region": "mouth"}),
        "unknown token 'hairs': did you mean 'hair'": ("mix", target | {"tokens": {"hairs": photos["source"]}}),
        "unknown region 'mouht': did you mean 'mouth'": ("inpaint", target | {"region": "mouht"}),
        "give region, one of": ("inpaint", target),
        r"shows 2 faces, .*no face 3": ("inpaint", target | {"region": "nose", "face": 3}),
        "there is no face 0": ("inpaint", target | {"region": "nose", "face": 0}),
        "320 x 160 pixels, got 160 x 320": ("inpaint", target | {"mask": np.ones((320, 160), bool)}),
        "the mask is black": ("inpaint", target | {"mask": np.zeros((160, 320), bool)}),
        "an edit sets image itself": ("swap", photos | {"image": solo()}),
        "unknown option 'likenes_guidance'": ("swap", photos | {"likenes_guidance": 1}),
        "num_images": ("swap", photos | {"num_images": 0}),
    }
    for message, (task, given) in cases.items():
        with pytest.raises(BadOption, match=message):
            model.edit(task, **given)
    far = np.zeros((160, 320), bool)
    far[0, 319] = True
    with (
        pytest.warns(UserWarning, match="outside the square"),
        pytest.raises(BadOption, match="nothing of what is to be made anew lies in the square"),
    ):
        model.edit("inpaint", target=photos["target"], mask=far)
    face = dataclasses.replace(model.read(photos["source"])[0], photo=None)
    with pytest.raises(BadOption, match="a face without its photo"):
        model.edit("swap", source=face, target=photos["target"])
    with pytest.raises(BadImage, match="a photo is a path"):
        model.edit("swap", source=made_up(model, 1)[0], target=photos["target"])


def test_a_face_of_another_reader_is_refused(nano: FacePipeline, photos: dict[str, Path], model: FacePipeline) -> None:
    stranger = model.read(photos["source"])[0]
    with pytest.raises(SpaceMismatch):
        nano.edit("swap", source=stranger, target=np.asarray(nano_portrait(nano)), seed=0)


def nano_portrait(nano: FacePipeline) -> np.ndarray:
    made = nano(made_up(nano, 1), seed=0, num_inference_steps=4, measure_likeness=False)
    return np.asarray(made.images[0])


def test_a_model_without_a_reader_says_so(sd15_like: FacePipeline, photos: dict[str, Path]) -> None:
    with pytest.raises(WeightsMissing, match="without a reader"):
        sd15_like.edit("swap", **photos)


# ---------------------------------------------------------------------- large photos


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read as Linux tells it")
def test_a_photo_of_12_megapixels_takes_little_memory(
    nano: FacePipeline, two_photos: list[np.ndarray], tmp_path: Path
) -> None:
    """Photo, result and what lies between: less than 1.5 GiB above the loaded model; only the mask changes."""
    target = tmp_path / "large.jpg"
    large = Image.new("RGB", (4000, 3000), (90, 120, 60))
    large.paste(Image.fromarray(two_photos[1]).resize((1500, 1500), Image.Resampling.BICUBIC), (1200, 700))
    large.save(target, quality=95)
    before = np.asarray(Image.open(target))
    edits = {
        "head": {"source": target},
        "attribute": {"pose": {"yaw": 20}, "expression": {"jawOpen": 0.8}},
    }
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    resting = memory("VmRSS")
    for task, changes in edits.items():
        done = nano.edit(task, target=target, **changes, seed=0, num_inference_steps=1, likeness_guidance=0)
        assert done.images[0].size == (4000, 3000)
        same = ~np.bitwise_or.reduce(np.asarray(done.images[0]) ^ before, axis=-1).astype(bool)
        assert same.mean() > 0.7
        assert same[~done.mask].all()
        assert same[done.mask].mean() < 0.5
        del done, same
    assert memory("VmHWM") - resting < 1.5 * 2**30


def memory(row: str) -> int:
    """Bytes of this process, by a row of its status: `VmRSS` now, `VmHWM` at its peak."""
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024 * int(rows[row].split()[0])
