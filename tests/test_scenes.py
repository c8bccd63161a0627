"""Detector scenes: drawn faces with a bright dot on each of the five points, so that labels can be seen."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from personae.data import shards
from personae.training.augment import photometric
from personae.training.face_table import FaceTable
from personae.training.methods.detector.bodies import draw_body, outlines, roll
from personae.training.methods.detector.data import Scene, Stage
from personae.training.networks import CANVAS
from personae.training.textures import texture
from personae.types import BLENDSHAPES

POINTS = np.array([(70, 80), (130, 80), (102, 115), (75, 145), (127, 145)], np.float32)


def drawn_cache(folder: Path, photos: int = 24) -> Path:
    """A cache of drawn photos, 200 px: a grey oval with white dots on its five points. A third are held out."""
    rng = np.random.default_rng(0)
    keys = (f"{i:06d}" for i in range(10_000))
    chosen = [next(k for k in keys if shards.held_out(k) == (i % 3 == 0)) for i in range(photos)]
    records = []
    for key in chosen:
        shift = rng.integers(-15, 15, 2).astype(np.float32)
        image = Image.new("RGB", (200, 200), (40, 60, 90))
        draw = ImageDraw.Draw(image)
        box = np.array((45, 35, 155, 180), np.float32) + np.tile(shift, 2)
        draw.ellipse(box.tolist(), fill=(90, 80, 70))
        for x, y in POINTS + shift:
            draw.ellipse((x - 7, y - 7, x + 7, y + 7), fill=(255, 255, 255))
        photo, crop = io.BytesIO(), io.BytesIO()
        image.save(photo, "JPEG", quality=92)
        image.resize((128, 128)).save(crop, "WEBP")
        landmarks = np.concatenate([np.resize(POINTS + shift, (478, 2)), np.zeros((478, 1))], 1)
        arrays = {
            "box": box,
            "points": POINTS + shift,
            "landmarks": landmarks.astype(np.float32),
            "blendshapes": rng.random(len(BLENDSHAPES)).astype(np.float32),
            "pose": np.zeros(3, np.float32),
            "identity": np.ones((2, 128), np.float32),
            "matrix": np.eye(2, 3),
        }
        facts = {"key": key, "coverage": 1.0, "faces": 1, "score": 0.9}
        records.append(
            (
                key,
                {
                    "crop.webp": crop.getvalue(),
                    "photo.jpg": photo.getvalue(),
                    "labels.npz": shards.pack_arrays(arrays),
                    "json": shards.pack_json(facts),
                },
            )
        )
    shards.write(folder / "train-00.tar", records)
    return folder


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(FaceTable.load(drawn_cache(tmp_path_factory.mktemp("cache"))))


def dots_shine(scene: Scene) -> list[bool]:
    """For each point of each face that lies in the picture: is it brighter than the face around it?"""
    grey = scene.pixels.astype(np.float32).mean(-1)
    found = []
    for box, points in zip(scene.boxes, scene.points, strict=True):
        left, top = np.maximum(box[:2], 0).astype(int)
        around = np.median(grey[top : int(box[3]) + 1, left : int(box[2]) + 1])
        for x, y in points.round().astype(int):
            if 0 <= x < CANVAS and 0 <= y < CANVAS and box[2] - box[0] > 40:
                found.append(bool(grey[y, x] > around))
    return found


@pytest.mark.parametrize("layout", [name for name, _ in Stage.LAYOUTS])
def test_layout(stage: Stage, layout: str) -> None:
    shine = []
    for seed in range(12):
        scene = getattr(stage, layout)(np.random.default_rng(seed))
        assert scene.pixels.shape == (CANVAS, CANVAS, 3)
        assert scene.pixels.dtype == np.uint8
        assert scene.boxes.shape == (len(scene.points), 4)
        assert scene.points.shape[1:] == (5, 2)
        assert scene.ignored.shape[1:] == (4,)
        inside = (scene.points >= scene.boxes[:, None, :2]) & (scene.points <= scene.boxes[:, None, 2:])
        assert inside.all()
        # Mirrored faces too, whichever way up: seen from the eyes with the mouth below, the right one is on the left.
        across = scene.points[:, 1] - scene.points[:, 0]
        down = scene.points[:, 3:].mean(1) - scene.points[:, :2].mean(1)
        assert (across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0] > 0).all()
        assert ((scene.points[:, 4] - scene.points[:, 3]) * across > 0).any(1).all()
        shine += dots_shine(scene)
    if layout == "empty":
        assert not shine
    else:
        assert np.mean(shine) > 0.95  # a dot at the very edge of a cut-out may be gone


def test_heads_are_turned_every_way_and_small_ones_come_down_to_16_pixels(stage: Stage) -> None:
    turns = np.array([roll(np.random.default_rng(seed)) for seed in range(2000)])
    assert 0.1 < (np.abs(turns) > 45).mean() < 0.2
    assert 0.25 < ((np.abs(turns) > 20) & (np.abs(turns) <= 45)).mean() < 0.4
    scenes = [stage.crowd(np.random.default_rng(seed)) for seed in range(12)]
    widths = np.concatenate([scene.boxes[:, 2] - scene.boxes[:, 0] for scene in scenes])
    assert widths.min() < 18
    assert widths.max() < 100
    assert len(widths) > 36


def test_a_body_hangs_below_its_face() -> None:
    image, box = Image.new("RGB", (200, 300), (1, 2, 3)), np.array((80.0, 20.0, 120.0, 70.0))
    extent = draw_body(image, np.array([(1.0, 0, 0), (0, 1.0, 0)]), box, np.random.default_rng(0))
    painted = (np.asarray(image) != (1, 2, 3)).any(-1)
    assert painted[100:200].any(1).all()
    assert not painted[:40].any()
    assert extent[1] > 40
    assert extent[3] - extent[1] > 200
    assert len(outlines(box, np.random.default_rng(1))) == 6


def test_shares_of_layouts_are_whole() -> None:
    assert sum(share for _, share in Stage.LAYOUTS) == pytest.approx(1)


def test_same_seed_same_scene(stage: Stage) -> None:
    for seed in range(6):
        one, other = (stage.compose(np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.boxes, other.boxes)


@pytest.mark.parametrize("count", [2, 4, 6])
def test_counts(stage: Stage, count: int) -> None:
    sheet = stage.sheet(np.random.default_rng(count), count)
    assert len(sheet.boxes) + len(sheet.ignored) == count
    group = stage.group(np.random.default_rng(count), count)
    assert 1 <= len(group.boxes) <= count


def test_photos_with_several_faces_stay_off_the_stage(tmp_path: Path) -> None:
    table = FaceTable.load(drawn_cache(tmp_path))
    table.faces[:5] = 2
    assert len(Stage(table).table) == len(table) - 5


def test_textures_and_light_keep_size_and_mode() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        image = photometric(texture(rng, 64), rng)
        assert (image.size, image.mode) == ((64, 64), "RGB")
