"""Regions of a face: they share out every pixel, lie where the landmarks say, and hold for any pose and framing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place
from personae.errors import BadData, BadOption
from personae.reading import face_regions
from personae.reading.face_regions import partition, region
from personae.reading.region_table import REGIONS
from personae.types import BLENDSHAPES, Pose

MODEL = FaceModel.bundled()


def marks(
    yaw: float = 0, pitch: float = 0, roll: float = 0, *, template: str = "motion", size: int = 64, **moves: float
) -> np.ndarray:
    """(K, 3) landmarks of the mean face in a crop; moves: blendshapes by name."""
    pose = Pose(yaw=yaw, pitch=pitch, roll=roll)
    shapes = np.array([moves.get(name, 0) for name in BLENDSHAPES], np.float32)
    return place(MODEL.posed(None, shapes, pose), pose, template, size)


def area(name: str, landmarks: np.ndarray) -> float:
    return float(partition(landmarks, 64)[REGIONS.index(name)].sum())


def pixel(landmarks: np.ndarray, index: int) -> tuple[int, int]:
    """Row and column of a landmark."""
    x, y = np.round(landmarks[index, :2]).astype(int)
    return int(y), int(x)


@settings(deadline=None, max_examples=40)
@given(st.floats(-80, 80), st.floats(-40, 40), st.floats(-180, 180), st.floats(0, 1), st.floats(-90, 90))
def test_every_pixel_is_shared_out(yaw: float, pitch: float, roll: float, jaw: float, shift: float) -> None:
    parts = partition(marks(yaw, pitch, roll, jawOpen=jaw) + np.array((shift, -shift, 0)), 64)
    assert parts.shape == (len(REGIONS), 64, 64)
    assert parts.dtype == np.float32
    assert parts.min() >= 0
    np.testing.assert_allclose(parts.sum(0), 1, atol=1e-6)


@pytest.mark.parametrize("yaw", [-45, 0, 45])
@pytest.mark.parametrize("roll", [0, 30])
def test_landmarks_lie_in_their_regions(yaw: float, roll: float) -> None:
    landmarks = marks(yaw, 0, roll, template="ffhq", size=128)
    near_eye, near_brow = (473, 334) if yaw < 0 else (468, 105)
    for index, name in ((near_eye, "eyes"), (near_brow, "brows"), (1, "nose"), (13, "mouth"), (199, "skin")):
        row, column = pixel(landmarks, index)
        around = partition(landmarks, 128)[REGIONS.index(name), row - 2 : row + 3, column - 2 : column + 3]
        assert around.max() == 1, f"landmark {index} is not in {name} at yaw {yaw}"


def test_left_and_right_contours_mirror_one_another() -> None:
    for right, left in (
        face_regions._FACE_SIDES,
        face_regions._NOSE_SIDES,
        face_regions._MOUTH_SIDES,
        face_regions._EYES,
        face_regions._BROWS,
    ):
        assert set(MODEL.mirror[list(right)]) == set(left)
    for midline in (face_regions._FACE_MIDLINE, face_regions._NOSE_MIDLINE, face_regions._MOUTH_MIDLINE):
        assert list(MODEL.mirror[list(midline)]) == list(midline)


def test_a_mirrored_face_has_mirrored_regions() -> None:
    landmarks = marks(30, 5, size=128)
    mirrored = landmarks[np.append(MODEL.mirror[:468], np.r_[473:478, 468:473])] * (-1, 1, 1) + (127, 0, 0)
    difference = np.abs(partition(mirrored, 128) - partition(landmarks, 128)[:, :, ::-1])
    assert difference.mean() < 0.005  # polygons are filled from the left: edges differ by part of a pixel


def test_an_opened_mouth_grows_and_a_closed_eye_stays() -> None:
    assert area("mouth", marks(jawOpen=1)) > 1.5 * area("mouth", marks())
    shut = marks(eyeBlinkLeft=1, eyeBlinkRight=1)
    assert area("eyes", shut) > 0.5 * area("eyes", marks())


def test_a_mouth_is_open_between_the_lips() -> None:
    shut, opened = (face_regions.opening(marks(jawOpen=jaw), 64) for jaw in (0, 1))
    assert opened.sum() > 5 * shut.sum()
    mouth = partition(marks(jawOpen=1), 64)[face_regions.REGIONS.index("mouth")]
    assert (opened[mouth < 0.05] < 0.05).all()


def test_what_a_contour_encloses_has_its_area() -> None:
    square = np.array([(10.0, 10.0), (29.5, 10.0), (29.5, 20.0), (10.0, 20.0)])
    assert face_regions.enclosed(square, 40).sum() == pytest.approx(195, rel=0.1)


def test_in_profile_the_far_eye_is_hidden_and_the_face_keeps_its_outline() -> None:
    profile = marks(75)
    assert area("eyes", profile) < 0.7 * area("eyes", marks())
    shape = region("face", profile, 64)
    tip = np.array(pixel(profile, 1))
    assert np.abs(np.argwhere(shape) - tip).max(1).min() <= 1
    # Between two rows of the face no row is empty, and along a row it has no gap: nothing folds over.
    rows = np.flatnonzero(shape.any(1))
    assert np.array_equal(rows, np.arange(rows[0], rows[-1] + 1))
    jumps = np.abs(np.diff(np.pad(shape, ((0, 0), (1, 1))).astype(int), axis=1)).sum(1)
    assert (jumps[rows] == 2).mean() > 0.9


def test_the_head_goes_up_and_behind() -> None:
    for yaw in (-60, 0, 60):
        landmarks = marks(yaw, template="ffhq")
        shape, whole = region("face", landmarks, 64), region("head", landmarks, 64)
        assert whole[shape].all()
        assert np.flatnonzero(whole.any(1))[0] < np.flatnonzero(shape.any(1))[0] - 5
        assert not whole[-1, [0, -1]].any()  # the neck's sides
    columns = [np.nonzero(region("hair", marks(yaw, template="ffhq"), 64))[1].mean() for yaw in (-60, 60)]
    # Turned to its left, a head shows its nose on the right of the picture, and its back on the left.
    assert columns[1] < 32 < columns[0]


def test_in_the_tight_crop_the_lower_corners_are_surroundings() -> None:
    around = region("surroundings", marks(template="portrait"), 64)
    assert around[-8:, [0, -1]].all()
    assert not region("head", marks(template="portrait") + 500, 64).any()


def test_face_and_head_are_made_of_regions() -> None:
    landmarks = marks(20)
    parts = partition(landmarks, 64)
    assert np.array_equal(face_regions.face(landmarks, 64), parts[:5].sum(0) >= 0.5)
    assert np.array_equal(face_regions.head(landmarks, 64), parts[:6].sum(0) >= 0.5)


@pytest.mark.untyped
def test_what_is_no_face_or_no_region_is_refused() -> None:
    with pytest.raises(BadOption, match="did you mean 'mouth'"):
        region("mouths", marks(), 64)
    for wrong in (np.zeros((478, 3)), np.full((478, 3), np.nan)):
        with pytest.raises(BadData, match="coincide or are not finite"):
            partition(wrong, 64)
    with pytest.raises(BadData, match=r"\(K, 3\).*got \(68, 2\)"):
        partition(np.zeros((68, 2)), 64)
