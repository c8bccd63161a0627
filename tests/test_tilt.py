"""A head that leans is edited in a crop that leans with it."""

import warnings
from dataclasses import replace

import numpy as np
import pytest

from facex_fixtures import made_up_face
from personae.conditioning.facex.assembly import FaceRef
from personae.editing.scene import Scene
from personae.editing.tilt import followed, lean, leaning, turned, upright
from personae.models.limits import GEOMETRY, Limits
from personae.reading import align
from personae.reading.aligned import Aligned

NARROW = Limits(good=GEOMETRY, most={"yaw": 25.0, "pitch": 25.0, "roll": 10.0})


def face(seed: int = 0, tilt: float = 0, yaw: float = 0) -> Aligned:
    """In a crop that stands it upright, of a photo in which it leans by `tilt`."""
    found = made_up_face(seed, yaw=yaw)
    photo = np.random.default_rng(seed).integers(0, 255, (256, 256, 3), np.uint8)
    matrix = np.array([(1.0, 0, -64), (0, 1.0, -64)])
    return leaned_back(replace(found, photo=photo, matrix=matrix, crop=align.crop(photo, matrix, 128)), tilt)


def leaned_back(found: Aligned, tilt: float) -> Aligned:
    """The same numbers in a crop that leans."""
    return replace(leaning(found, tilt), landmarks=found.landmarks, pose=found.pose)


OWN, DRIVER = FaceRef("source"), FaceRef("target")


def scene_of(own: Aligned, ref: FaceRef, face: Aligned) -> Scene:
    """An edit of `own`, whose pose comes from another face."""
    return Scene(canvas=OWN, sources={"pose": ref}, faces={OWN: own, ref: face})


@pytest.mark.parametrize("tilt", [-170, -30, 0, 20, 90])
def test_a_lean_is_told_from_the_pose(tilt: float) -> None:
    """In whichever crop the face was read: one that stands it upright, or one that does not."""
    pose, found = upright(face(tilt=tilt, yaw=15))
    level, none = upright(face(yaw=15))
    assert found - none == pytest.approx(tilt)
    for name in ("yaw", "pitch", "roll"):
        assert getattr(pose, name) == pytest.approx(getattr(level, name), abs=1e-6)
    crooked = leaning(face(tilt=tilt, yaw=15), 0)
    assert lean(crooked) == pytest.approx(0)
    assert upright(crooked)[1] == pytest.approx(found)
    assert crooked.pose == turned(face(yaw=15).pose, tilt)


def test_what_leans_keeps_its_landmarks_on_the_same_pixels() -> None:
    one = face()
    other = leaning(one, 40)
    there = [align.apply(align.invert(each.matrix), each.landmarks[:, :2]) for each in (one, other)]
    np.testing.assert_allclose(*there, atol=1e-3)


def test_a_leaning_drivers_tilt_goes_into_the_crop_and_its_turn_to_the_model() -> None:
    still, driver = face(), face(1, tilt=30, yaw=10)
    before = scene_of(still, DRIVER, driver)
    after = followed(before, NARROW, leans=True, rolled=False)
    assert lean(after.place) == pytest.approx(lean(still) + 30, abs=3)
    assert after.upright == OWN
    assert after.source_face("hair") == still
    pose = after.source_face("pose").pose
    assert abs(pose.roll) < 3
    assert pose.yaw == pytest.approx(10, abs=2)
    level = followed(before, NARROW, leans=False, rolled=False)
    assert (level.canvas, level.upright) == (OWN, None)


def test_a_driver_is_held_to_what_the_model_can_hold_but_for_its_tilt() -> None:
    still = face()
    scene = scene_of(still, DRIVER, face(1, tilt=40, yaw=50))
    with pytest.warns(UserWarning, match="yaw is .* of which this model holds 25"):
        after = followed(scene, NARROW, leans=True, rolled=False)
    assert after.source_face("pose").pose.yaw == 25
    assert lean(after.place) == pytest.approx(40, abs=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        followed(scene_of(still, DRIVER, face(1, tilt=80)), NARROW, leans=True, rolled=False)


@pytest.mark.parametrize("roll", [-30, 45])
def test_a_roll_that_is_asked_for_is_the_crops(roll: float) -> None:
    still = face()
    rolled = replace(still, pose=replace(still.pose, roll=roll))
    before = scene_of(still, FaceRef("source", change="pose"), rolled)
    after = followed(before, NARROW, leans=True, rolled=True)
    assert lean(after.place) == pytest.approx(roll, abs=1)
    assert abs(after.source_face("pose").pose.roll) < 1
    assert followed(before, NARROW, leans=True, rolled=False) == before
