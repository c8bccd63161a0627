"""The benchmark of edits, rehearsed on a tiny model: what counts as kept and as changed, and a report that documents
can draw."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from PIL import Image

import personae
from controlnet_fixtures import random_controlnet
from personae.evaluation import edit_bench, estimate, tables
from personae.evaluation.edit_bench import Readings
from personae.evaluation.judge import Judge, JudgeSpec
from personae.evaluation.measures import EDITING
from personae.evaluation.people import Person
from personae.evaluation.subjects import Subject
from personae.evaluation.suites import editing
from personae.models import catalog
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.types import BLENDSHAPES, Array, Edit, Motion, Photo, Pose
from reading_fixtures import LANDMARKS, white_face
from test_evaluation_report import judge_file

POINTS = np.array([[60, 70], [90, 70], [75, 85], [65, 100], [85, 100]], np.float32)
COUNT = 3


def readings(count: int = 2, **changed: Array) -> Readings:
    vectors = np.eye(4)[:count]
    plain = {"angles": np.zeros((count, 2)), "shapes": np.zeros((count, 52)), "outline": np.ones(count)}
    return Readings(**({"vectors": vectors} | plain | changed))


def motion(image: Array) -> Motion | None:
    """Read off the picture's brightness, so that different pictures are read differently."""
    light = float(image.mean() / 255)
    shapes = np.full(52, light, np.float32)
    return Motion(landmarks=LANDMARKS, pose=Pose(yaw=90 * light, pitch=5, roll=0), blendshapes=shapes)


@pytest.fixture(scope="module")
def bench(nano_like: FacePipeline, tmp_path_factory: pytest.TempPathFactory) -> edit_bench.Bench:
    """A tiny model that can hold poses, three photos of "faces", and a random judge."""
    folder = tmp_path_factory.mktemp("editing")
    nano_like.save_pretrained(folder / "tiny")
    random_controlnet(nano_like.unet).save_pretrained(folder / "tiny" / "controlnet")
    catalog.seal(folder / "tiny")
    pipe = personae.load(folder / "tiny", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    people = []
    for seed in range(COUNT):
        pixels = np.random.default_rng(seed).integers(0, 180, (160, 160, 3), dtype=np.uint8)
        photo = Photo(pixels=white_face(pixels, 40 + 5 * seed, 40, 100 + 5 * seed, 120))
        people.append(Subject(person=Person(key=str(seed), photo=photo, groups={}), face=pipe.read(photo)[0]))
    return edit_bench.Bench(
        pipe=pipe,
        people=people,
        judge=Judge(JudgeSpec(path=str(judge_file(folder / "judge.onnx")))),
        find=lambda _: POINTS,
        motion=motion,
        options={"num_inference_steps": 2, "likeness_guidance": 0},
    )


def test_edits_stay_within_their_masks(bench: edit_bench.Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    done = bench.edit("inpaint", COUNT, region="mouth")
    assert all((image != photo).any() for image, photo in zip(done.images, bench.photos, strict=True))
    assert done.strayed.tolist() == [0] * COUNT
    whole = type(bench.pipe).edit

    def spoiled(*args: Any, **options: Any) -> Edit:
        edit = whole(*args, **options)
        picture = np.array(edit.images[0])
        picture[0, :7] ^= 1
        return dataclasses.replace(edit, images=[Image.fromarray(picture)])

    monkeypatch.setattr(type(bench.pipe), "edit", spoiled)
    assert bench.edit("inpaint", COUNT, region="mouth").strayed.tolist() == [7] * COUNT


def test_no_face_is_no_likeness_and_no_motion() -> None:
    lost = readings(vectors=np.array([[1, 0, 0, 0], [np.nan] * 4]), angles=np.array([[3, 4], [np.nan] * 2]))
    assert edit_bench.likeness_to(lost, readings()).tolist() == [1, 0]
    assert edit_bench.motion_errors(lost, readings())["pitch"][0] == 4
    assert estimate.mean_of_finite(edit_bench.motion_errors(lost, readings())["yaw"]).n == 1
    assert estimate.mean_of_finite(np.array([np.nan])) == estimate.UNKNOWN


def test_a_share_of_nothing_clears_no_bar() -> None:
    share = estimate.ratio(np.array([1.0, 2.0, np.nan]), np.array([2.0, 4.0, 1.0]))
    assert (share.value, share.n) == (0.5, 2)
    backwards = estimate.ratio(np.array([0.1, 0.1]), np.array([-1.0, -1.0])).as_json()["value"]
    assert backwards is None
    assert "not met" in EDITING["attribute_smile"].promise(backwards)


def test_a_crop_put_back_is_where_the_edit_was(bench: edit_bench.Bench) -> None:
    done = bench.edit("inpaint", COUNT, region="face")
    for image, photo, place, free in zip(
        bench.re_encoded(done.masks), bench.photos, bench.places, done.masks, strict=True
    ):
        assert (image != photo).any()
        (left, top, right, bottom), inside = align.lying(free, place.matrix, photo.shape)
        there = np.zeros(photo.shape[:2], bool)
        there[top:bottom, left:right] = inside
        assert not (image != photo).any(-1)[~there].any()


def test_a_shape_is_what_pose_and_jaw_leave_of_an_outline() -> None:
    rng = np.random.default_rng(0)
    angles, blendshapes, own = rng.normal(0, 20, (60, 2)), rng.random((60, 52)) * 0.5, rng.normal(0, 0.01, 60)
    jaw = blendshapes[:, BLENDSHAPES.index("jawOpen")]
    outline = 0.9 - 0.03 * np.abs(angles[:, 0] / 20) - 0.2 * jaw + own
    outline[0] = np.nan
    real = Readings(vectors=np.eye(60), angles=angles, shapes=blendshapes, outline=outline)
    left = real.outline - editing._usual_outline(real)(real)
    assert np.isnan(left[0])
    assert np.corrcoef(left[1:], own[1:])[0, 1] > 0.9


def test_hair_that_was_carried_over_is_the_source_s(bench: edit_bench.Bench) -> None:
    source, target, _ = bench.places
    free = np.ones(source.crop.shape[:2], bool)
    for made, nearer in ((source.crop, 0), (target.crop, 1)):
        found = editing._hair(made, source, target, free)
        assert found[nearer] == pytest.approx([1, 1])
        assert (found[nearer] > found[1 - nearer]).all()
    assert np.isnan(editing._hair(source.crop, source, target, ~free)).all()


@pytest.mark.filterwarnings("ignore:.*has no facex/")
def test_the_report_is_made_and_drawn(bench: edit_bench.Bench) -> None:
    report = editing.measure(bench, pairs=COUNT, others=2)
    assert report["figures"]["strayed"] | {"low": None, "high": None} == report["figures"]["strayed"]
    assert report["figures"]["strayed"]["value"] == 0
    assert report["figures"]["strayed"]["n"] == COUNT + 2 * (1 + len(editing.REGIONS) + 1 + len(editing.REQUESTS) + 1)
    copied = report["groups"]["swap"]["copy-paste"]
    assert copied["found"]["value"] == 1
    photo = report["groups"]["two edits in a row"]["the photo"]
    assert photo["to_source"]["value"] == pytest.approx(1)
    text = tables.markdown(report)
    assert "**swap_top1**" in text
    assert "| undriven: the photo | 2 |" in text
