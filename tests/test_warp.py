"""What an edit begins with: a face's own pixels go where its landmarks go, and nothing else does."""

from dataclasses import replace

import numpy as np
import pytest

from facex_fixtures import made_up_face
from personae.conditioning.facex.assembly import FaceRef
from personae.conditioning.facex.representation import TOKENS
from personae.editing import warp
from personae.editing.masks import EDIT_MASKS, edit_mask_of
from personae.editing.scene import Scene
from personae.editing.tasks import TASKS
from personae.editing.tilt import lean, leaning
from personae.errors import BadData
from personae.reading import align, face_regions
from personae.reading.aligned import Aligned
from personae.types import BLENDSHAPES, Pose

AHEAD = Pose(yaw=0, pitch=0, roll=0)


def shapes(**named: float) -> np.ndarray:
    """(52,) of a face that does this and nothing else."""
    return np.float32([named.get(name, 0) for name in BLENDSHAPES])


def person(seed: int = 0, scale: int = 1, **pose: float) -> Aligned:
    """A resting face that looks ahead, in the middle of a photo of smooth colours, 320 x `scale` pixels wide."""
    face = warp.doing(replace(made_up_face(seed), blendshapes=shapes()), AHEAD, shapes())
    side, (red, green, blue) = 320 * scale, np.random.default_rng(seed).permutation(3)
    down, across = np.mgrid[0:side, 0:side] / side
    photo = np.stack([255 * down, 255 * across, 127 + 120 * np.sin(40 * across * down)], -1)[..., [red, green, blue]]
    photo = np.uint8(photo)
    matrix = np.array([(1 / scale, 0, -96), (0, 1 / scale, -96)])
    found = replace(face, photo=photo, matrix=matrix, crop=align.crop(photo, matrix, 128))
    turned = Pose(yaw=pose.get("yaw", 0), pitch=pose.get("pitch", 0), roll=0)
    return replace(warp.doing(found, turned, shapes()), pose=turned)


def whole(face: Aligned) -> np.ndarray:
    side = face.size + 2 * warp.margin_of(face.size)
    return np.ones((side, side), bool)


def scene_of(task: str, **faces: Aligned) -> Scene:
    row, refs = TASKS[task], {role: FaceRef(role) for role in faces}
    return Scene(
        canvas=refs[row.canvas],
        sources={token: refs[role] for token, role in row.token_roles.items()},
        faces={refs[role]: face for role, face in faces.items()},
    )


def warp_of(task: str, scene: Scene) -> warp.Warp | None:
    row = TASKS[task]
    return warp.warp_of(scene, edit_mask_of(row.edit_mask, scene), row=row.edit_mask, recolour=row.recolour)


# ---------------------------------------------------------------------- where everything goes


def test_who_does_nothing_new_stays() -> None:
    face = person()
    shift, inside = warp.displacement(face.landmarks, face.landmarks, 128, unit=128)
    np.testing.assert_allclose(shift, 0, atol=1e-3)
    assert 0.2 < inside.mean() < 0.9
    assert (inside <= face_regions.head(face.landmarks, 128)).mean() > 0.99
    rough = warp.within(face, face, whole(face))
    np.testing.assert_array_equal(rough.onto(face.photo, face.matrix), face.photo)


def test_the_texture_follows_the_landmarks() -> None:
    face = person()
    turned = warp.doing(face, Pose(yaw=25, pitch=0, roll=0), shapes(jawOpen=0.5))
    shift, inside = warp.displacement(face.landmarks, turned.landmarks, 128, unit=128)
    for mark in (1, 168, 61, 17, 70, 55, 205):  # nose, its root, a corner of the mouth, below it, a brow, a cheek
        x, y = np.round(turned.landmarks[mark, :2]).astype(int)
        assert inside[y, x]
        np.testing.assert_allclose((x, y) + shift[y, x], face.landmarks[mark, :2], atol=1.5)
    # Far from the face nothing moves; at its border it moves with it.
    assert np.abs(shift[0]).max() < np.abs(shift).max() / 2
    right = face.landmarks[454, :2].round().astype(int)
    assert np.abs(shift[right[1], min(right[0] + 3, 127)]).max() > 1


@pytest.mark.parametrize("tilt", [-50, 30])
def test_in_a_crop_that_leans_the_face_is_carried_upright(tilt: float) -> None:
    """Whole and unchanged: what its upright crop shows, the crop that leans then shows, too."""
    still = person()
    scene, tilted = scene_of("attribute", target=still), FaceRef("target", change="lean")
    faces = {**scene.faces, tilted: leaning(still, tilt)}
    scene = replace(scene, canvas=tilted, faces=faces, upright=scene.canvas)
    rough = warp_of("attribute", scene)
    assert rough is not None
    assert rough.turn == 0
    made = align.crop(rough.onto(still.photo, scene.place.matrix), scene.place.matrix, 128)
    middle = still.region("face") & (align.depth(still.region("face")) > 4)
    assert middle.sum() > 2000
    apart = np.abs(made.astype(int) - still.crop)[middle].mean()
    assert apart < 2 < np.abs(scene.place.crop.astype(int) - still.crop)[middle].mean() / 5
    assert lean(scene.place) == pytest.approx(lean(still) + tilt)


def test_of_what_lies_over_each_other_the_nearest_counts() -> None:
    ahead, aside = person(), person(yaw=55)
    shift, inside = warp.displacement(ahead.landmarks, aside.landmarks, 128, unit=128)
    tip = aside.landmarks[1, :2].round().astype(int)
    np.testing.assert_allclose(tip + shift[tip[1], tip[0]], ahead.landmarks[1, :2], atol=2)
    assert inside[tip[1], tip[0]]


@pytest.mark.parametrize("way", ["In", "Out"])
def test_an_iris_goes_where_it_looks(way: str) -> None:
    face = person()
    looking = warp.doing(face, AHEAD, shapes(**{f"eyeLook{way}Left": 0.3}))
    shift, _ = warp.displacement(face.landmarks, looking.landmarks, 128, unit=128)
    x, y = looking.landmarks[473, :2].round().astype(int)
    moved = looking.landmarks[473, 0] - face.landmarks[473, 0]
    assert abs(moved) > 1
    np.testing.assert_allclose(-shift[y, x, 0], moved, atol=0.6)


def test_landmarks_that_are_no_face_are_refused() -> None:
    with pytest.raises(BadData, match="not a face"):
        warp.displacement(np.zeros((478, 3)), np.zeros((478, 3)), 128, unit=128)


# ---------------------------------------------------------------------- what it looks like there


@pytest.mark.parametrize("scale", [1, 3])
def test_outside_the_mask_every_byte_stays_and_inside_it_moves(scale: int) -> None:
    face = person(scale=scale)
    mask = whole(face)
    mask[: len(mask) // 2] = False
    opened = warp.doing(face, AHEAD, shapes(jawOpen=0.8))
    rough = warp.within(face, opened, mask)
    made = rough.onto(face.photo, face.matrix)
    changed = (made != face.photo).any(-1)
    assert changed.any()
    assert not changed[: changed.shape[0] // 2 - 1].any()
    # A lip has gone down, in the photo's own pixels: what is there now was above.
    x, y = align.apply(align.invert(face.matrix), opened.landmarks[18, :2].astype(np.float64)).round().astype(int)
    was = align.apply(align.invert(face.matrix), face.landmarks[18, :2].astype(np.float64)).round().astype(int)
    assert y > was[1] + 4 * scale
    np.testing.assert_allclose(made[y, x].astype(int), face.photo[was[1], was[0]].astype(int), atol=12)


def test_a_mouth_that_opens_is_dark_inside() -> None:
    face = person()
    opened = warp.doing(face, AHEAD, shapes(jawOpen=0.8))
    made = warp.within(face, opened, whole(face)).onto(face.photo, face.matrix)
    x, y = ((opened.landmarks[13] + opened.landmarks[14]) / 2)[:2].round().astype(int) + 96
    assert made[y, x].sum() < 0.6 * face.photo[y, x].sum()
    shut = warp.within(opened, face, whole(face))
    assert not shut.shade.any()


def test_another_face_comes_in_the_photos_light_and_as_fine_as_the_photo() -> None:
    source, target = person(0), person(1, scale=3)
    scene = scene_of("swap", source=source, target=target)
    rough = warp_of("swap", scene)
    made = rough.onto(target.photo, target.matrix)
    crop = align.crop(made, target.matrix, 128)
    face = target.region("face")
    assert np.abs(crop[face].mean(0) - target.crop[face].mean(0)).max() < 12
    assert np.corrcoef(crop[face].ravel(), target.crop[face].ravel())[0, 1] < 0.9
    assert (made == target.photo).all(-1)[:200].all()  # hair and background are the target's


def test_a_head_takes_its_hair_along_and_what_lay_there_is_covered() -> None:
    source, target = person(0), person(1)
    hairy = replace(target, crop=target.crop.copy(), photo=target.photo.copy())
    hair = target.widened(48).region("hair")
    (left, top, right, bottom), inside = align.lying(hair, target.widened(48).matrix, target.photo.shape)
    hairy.photo[top:bottom, left:right][inside] = 255
    rough = warp_of("head", scene_of("head", source=source, target=hairy))
    made = rough.onto(hairy.photo, target.matrix)[top:bottom, left:right][inside]
    assert (made == 255).all(-1).mean() < 0.1


def cut(face: Aligned, top: int) -> Aligned:
    """The same photo without its first rows."""
    matrix = face.matrix + np.array([(0, 0, 0), (0, 0, top * face.matrix[1, 1])])
    photo = face.photo[top:]
    crop, inside = align.crop(photo, matrix, face.size), align.coverage(matrix, face.size, photo.shape)
    return replace(face, photo=photo, matrix=matrix, crop=crop, coverage=inside)


@pytest.mark.parametrize("task", ["swap", "head"])
def test_beyond_a_photos_edge_nothing_is_carried(task: str) -> None:
    """What a source is cut off at is left to the model, not smeared: only two feathers' width away does the row at the
    edge have a say. What the photo does show, up to its edge, is carried."""
    source, target = person(0), person(1)
    short = cut(source, 140)  # through the forehead
    assert not short.coverage.all()
    other = replace(short, photo=short.photo.copy())
    other.photo[:2] = 255 - other.photo[:2]
    other = replace(other, crop=align.crop(other.photo, other.matrix, other.size))
    made = [warp_of(task, scene_of(task, source=one, target=target)) for one in (source, short, other)]
    whole_one, rough, bright = made
    assert not whole_one.missing.any()
    assert rough.missing.any()
    assert np.flatnonzero(rough.missing.any(1)).max() < rough.margin + 60  # the forehead and above it
    assert rough.share[rough.missing].max() < 1
    carried_all, first, second = (
        replace(one, change=None).onto(target.photo, target.matrix).astype(int) for one in (whole_one, rough, bright)
    )
    rows = np.flatnonzero((np.abs(first - second) > 2).any((1, 2)))
    edge = np.flatnonzero(short.coverage.all(1))[0] + 96  # in the target's photo; heads lie alike in both
    assert edge - 2 * 6 - 4 <= rows.min() < rows.max() <= edge + 4  # two feathers of 6 pixels, and what moves
    assert np.abs(carried_all - first)[edge + 4 :].max() < 3


def test_a_face_that_moves_in_from_beyond_the_edge_is_the_models_to_fill() -> None:
    face = cut(person(), 140)
    lowered = warp.doing(face, Pose(yaw=0, pitch=-25, roll=0), shapes())
    rough = warp.within(face, lowered, whole(face))
    assert rough.missing.any()
    assert not warp.within(
        person(), warp.doing(person(), Pose(yaw=0, pitch=-25, roll=0), shapes()), whole(face)
    ).missing.any()
    still = warp.within(face, face, whole(face))
    assert not still.missing.any()


def test_how_many_steps_are_walked_from_here() -> None:
    assert warp.angle(AHEAD, AHEAD) == pytest.approx(0, abs=1e-3)
    assert warp.angle(AHEAD, Pose(yaw=30, pitch=0, roll=0)) == pytest.approx(30)
    assert warp.strength(0, 0.3, 0.6) == 0.3
    assert 0.3 < warp.strength(20, 0.3, 0.6) < warp.strength(90, 0.3, 0.6) == 0.6


# ---------------------------------------------------------------------- who is carried


def test_what_tasks_carry() -> None:
    source, target = person(0), person(1, yaw=20)
    swap = warp_of("swap", scene_of("swap", source=source, target=target))
    np.testing.assert_array_equal(swap.source.crop, source.crop)
    assert swap.turn == pytest.approx(20)
    assert swap.under is None
    head = warp_of("head", scene_of("head", source=source, target=target))
    assert head.under is not None
    assert head.mask.sum() > swap.mask.sum()
    reenact = warp_of("reenact", scene_of("reenact", source=source, target=target))
    assert reenact.source is None
    assert reenact.turn == pytest.approx(20)


def test_nothing_is_carried_where_nothing_moves_or_looks_are_not_one_persons() -> None:
    target, other, third = person(0), person(1), person(2)
    row = TASKS["attribute"]
    same = scene_of("attribute", target=target)
    opened = warp.doing(target, AHEAD, shapes(jawOpen=1))
    moving = same.with_source("expression", FaceRef("target", change="expression"), opened)
    edit_mask = EDIT_MASKS["face"](same)

    def found(scene: Scene) -> warp.Warp | None:
        return warp.warp_of(scene, edit_mask, row=row.edit_mask, recolour=row.recolour)

    assert found(same) is None
    assert found(moving) is not None
    assert found(replace(moving, shifted=True)) is None  # older, or somebody else
    assert found(moving.with_source("identity", FaceRef("identity"), other)) is None
    assert found(moving.with_source("light", FaceRef("light"), other)) is None
    assert found(moving.with_source("gaze", FaceRef("gaze"), other)) is not None
    swap = scene_of("swap", source=other, target=target)
    assert warp_of("swap", swap.with_source("mouth", FaceRef("mouth"), third)) is None
    sources = dict.fromkeys(set(TOKENS) - {"skin"}, FaceRef("target"))
    assert warp_of("inpaint", replace(same, sources=sources, region=("face",))) is None


def test_a_region_of_ones_own_is_kept_to() -> None:
    face = person()
    opened = warp.doing(face, AHEAD, shapes(jawOpen=1))
    scene = scene_of("attribute", target=face).with_source("expression", FaceRef("target", "expression"), opened)
    scene, edit_mask = replace(scene, region=("mouth",)), face.region("mouth")
    rough = warp.warp_of(scene, edit_mask, row=TASKS["attribute"].edit_mask, recolour="region")
    assert rough.mask.sum() == edit_mask.sum()
