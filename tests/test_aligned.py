"""A face in its crop: what is seen there is what was measured in the photo."""

from dataclasses import replace

import numpy as np
import pytest

from personae.errors import BadData
from personae.pipeline import FacePipeline
from personae.reading import align
from personae.reading.aligned import aligned
from personae.types import Face
from reading_fixtures import LANDMARKS, POSE, SMILE, white_face


def read(pipe: FacePipeline, left: int = 60, top: int = 60) -> Face:
    photo = np.full((320, 320, 3), 90, np.uint8)
    return pipe.reader.read(white_face(photo, left, top, left + 70, top + 84))[0]


@pytest.mark.parametrize("template", ["portrait", "ffhq"])
@pytest.mark.parametrize("size", [32, 128])
def test_a_face_in_its_crop(nano_like: FacePipeline, template: str, size: int) -> None:
    face = read(nano_like)
    found = aligned(face, template, size)
    assert found.crop.shape == (size, size, 3)
    assert found.crop.dtype == np.uint8
    assert found.size == size
    assert found.template == template
    assert np.array_equal(found.crop, align.crop(face.photo.pixels, found.matrix, size))
    expected = align.apply(found.matrix, face.motion.landmarks[:, :2])
    np.testing.assert_allclose(found.landmarks[:, :2], expected, atol=1e-3)
    # The motion reader's crop shows the same face at another scale, depth included.
    ratio = np.ptp(found.landmarks[:, 0]) / np.ptp(LANDMARKS[:, 0])
    np.testing.assert_allclose(np.ptp(found.landmarks[:, 2]), ratio * np.ptp(LANDMARKS[:, 2]), rtol=1e-2)
    assert found.identity is face.identity
    assert np.allclose(found.blendshapes, SMILE)


def test_pose_is_as_seen_in_the_crop(nano_like: FacePipeline) -> None:
    face = read(nano_like)
    found = aligned(face, "motion", 128).pose
    # The motion network measured it in this very crop.
    np.testing.assert_allclose((found.yaw, found.pitch, found.roll), POSE, atol=1e-3)


def test_coverage_is_the_part_inside_the_photo(nano_like: FacePipeline) -> None:
    assert aligned(read(nano_like, 120, 120), "motion", 64).coverage.all()
    at_edge = aligned(read(nano_like, 0, 100), "ffhq", 64)
    assert 0.3 < at_edge.coverage.mean() < 0.95
    assert not at_edge.coverage[:, 0].any()
    assert at_edge.coverage[:, -1].all()
    # One photo pixel further in on every side, the whole crop lies outside or inside as the matrix says.
    corner = align.apply(at_edge.matrix, np.array([(0.0, 150.0)]))[0]
    row, column = int(corner[1]), int(np.ceil(corner[0]))
    assert at_edge.coverage[row, column + 1]
    assert not at_edge.coverage[row, column - 2]


@pytest.mark.parametrize("known", [True, False])
def test_a_wider_crop_shows_the_same_and_more(nano_like: FacePipeline, known: bool) -> None:
    found = aligned(read(nano_like), "portrait", 32)
    wide = (found if known else replace(found, photo=None)).widened(6)
    inner = slice(6, 38)
    assert wide.size == 44
    np.testing.assert_array_equal(wide.crop[inner, inner], found.crop)
    np.testing.assert_array_equal(wide.coverage[inner, inner], found.coverage)
    assert wide.coverage.all() == known
    np.testing.assert_allclose(wide.landmarks, found.landmarks + np.array((6, 6, 0)), atol=1e-4)
    back = align.apply(align.invert(wide.matrix), wide.landmarks[:, :2].astype(np.float64))
    np.testing.assert_allclose(back, read(nano_like).motion.landmarks[:, :2], atol=1e-2)


@pytest.mark.parametrize("name", ["head", "face", "mouth"])
def test_a_region_around_the_crop_is_that_of_the_wider_crop(nano_like: FacePipeline, name: str) -> None:
    found = aligned(read(nano_like), "portrait", 32)
    around = found.region_around(name, 12)
    assert around.any()
    np.testing.assert_array_equal(around, found.widened(12).region(name))


@pytest.mark.parametrize("name", ["photo", "motion", "identity"])
def test_a_face_that_was_not_read_whole_is_refused(nano_like: FacePipeline, name: str) -> None:
    with pytest.raises(BadData, match=f"this one has no {name}: read the photo"):
        aligned(replace(read(nano_like), **{name: None}), "portrait", 64)
