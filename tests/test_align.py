"""Alignment: there and back again, and an edit pasted back leaves everything else alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut

from personae.errors import BadData, PersonaeError
from personae.reading import align

# The astronaut's eyes, nose tip and mouth corners, as OpenCV's YuNet finds them.
EILEEN = np.array(((200.1, 101.8), (247.1, 102.6), (220.4, 124.5), (198.6, 142.8), (239.7, 143.6)))

shifts = st.floats(-200, 200)
turns = st.floats(-180, 180)
scales = st.floats(0.1, 10)


def placed(name: str, scale: float, turn: float, shift: tuple[float, float]) -> np.ndarray:
    """The template's points, scaled, turned (degrees, clockwise in the image) and shifted into a photo."""
    angle = np.radians(turn)
    rotation = np.array(((np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))))
    return (np.array(align.template(name).points) * 100) @ (scale * rotation).T + shift


def smooth(height: int, width: int) -> np.ndarray:
    """A colourful picture without detail finer than eight pixels."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / 17 + 1) * np.cos(y / 23), np.sin((x + y) / 29), np.cos(x / 31 - y / 13)]
    return np.round(127 + 120 * np.stack(waves, -1)).astype(np.uint8)


@given(
    st.sampled_from(sorted(align.TEMPLATES)), scales, turns, st.tuples(shifts, shifts), st.sampled_from([64, 112, 256])
)
def test_points_land_on_the_template_and_come_back(
    name: str, scale: float, turn: float, shift: tuple[float, float], size: int
) -> None:
    points = placed(name, scale, turn, shift)
    matrix = align.similarity(points, name, size)
    assert np.allclose(align.apply(matrix, points), np.array(align.template(name).points) * size - 0.5, atol=1e-6)
    assert np.allclose(align.apply(align.invert(matrix), align.apply(matrix, points)), points, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_apply_takes_any_leading_shape(count: int) -> None:
    matrix = align.similarity(EILEEN, "portrait")
    many = np.repeat(EILEEN[None], count, 0)
    assert align.apply(matrix, many).shape == (count, 5, 2)
    assert np.allclose(align.apply(matrix, many)[-1], align.apply(matrix, EILEEN))


@pytest.mark.parametrize("name", sorted(align.TEMPLATES))
def test_a_crop_shows_what_the_matrix_says(name: str) -> None:
    photo = np.zeros((300, 300, 3), np.uint8)
    points = placed(name, 1.0, 20, (120, 90))
    for x, y in np.round(points).astype(int):
        photo[y - 1 : y + 2, x - 1 : x + 2] = 255
    size = align.template(name).size
    crop = align.crop(photo, align.similarity(points, name), size)
    assert crop.shape == (size, size, 3)
    for x, y in np.round(np.array(align.template(name).points) * size - 0.5).astype(int):
        assert crop[y, x, 0] > 150


@settings(deadline=None, max_examples=30)
@given(st.floats(0.9, 1.3), turns, st.tuples(st.floats(100, 140), st.floats(100, 140)))
def test_a_crop_pasted_back_unchanged_changes_little(scale: float, turn: float, shift: tuple[float, float]) -> None:
    photo = smooth(320, 320)
    matrix = align.similarity(placed("portrait", scale, turn, shift), "portrait")
    back = align.paste(photo, align.crop(photo, matrix, 128), matrix)
    error = np.abs(back.astype(int) - photo)
    assert error.max() <= 4
    assert error.mean() < 0.3


@settings(deadline=None, max_examples=30)
@given(st.floats(0.3, 3), turns, st.tuples(st.floats(-50, 250), st.floats(-50, 250)), st.floats(0, 20), st.booleans())
def test_outside_the_mask_every_byte_stays(
    scale: float, turn: float, shift: tuple[float, float], feather: float, recolour: bool
) -> None:
    photo = smooth(200, 240)
    matrix = align.similarity(placed("portrait", scale, turn, shift), "portrait")
    mask = np.zeros((128, 128), np.float32)
    mask[30:90, 40:100] = 1
    edited = np.full((128, 128, 3), 255, np.uint8)
    before = photo.copy()
    result = align.paste(photo, edited, matrix, mask=mask, feather=feather, recolour=recolour)
    assert np.array_equal(photo, before)
    grid = np.stack(np.meshgrid(np.arange(240), np.arange(200)), -1).astype(float)
    x, y = np.moveaxis(align.apply(matrix, grid), -1, 0)
    outside = (x < 39.4) | (x > 99.6) | (y < 29.4) | (y > 89.6)
    assert np.array_equal(result[outside], photo[outside])


def test_the_edit_arrives_whole_in_the_middle_and_fades_in() -> None:
    photo = smooth(200, 240)
    matrix = align.similarity(placed("portrait", 1, 0, (60, 50)), "portrait")
    result = align.paste(photo, np.full((128, 128, 3), 255, np.uint8), matrix, feather=10)
    centre = np.round(align.apply(align.invert(matrix), np.array((64.0, 64.0)))).astype(int)
    assert (result[centre[1], centre[0]] == 255).all()
    row = np.abs(result[centre[1]].astype(int) - photo[centre[1]]).sum(1)
    left = int(np.argmax(row > 0))
    assert row[left] < row[left + 6]


def test_what_a_crop_cannot_hold_stays_where_it_is_asked_to() -> None:
    photo = np.random.default_rng(0).integers(60, 190, (400, 400, 3), dtype=np.uint8)  # all of it too fine for a crop
    matrix = np.array([(0.25, 0, -18), (0, 0.25, -18)])  # the middle, four pixels to one
    crop = align.crop(photo, matrix, 64)
    inside = slice(150, 250)
    without = align.paste(photo, crop + np.uint8(20), matrix)[inside, inside]
    assert without.std() < 0.5 * photo.std()
    detail = np.ones((64, 64))
    detail[:, 32:] = 0
    made = align.paste(photo, crop + np.uint8(20), matrix, detail=detail)[inside, inside]
    left, right = made[:, :40].astype(int), made[:, 60:]
    np.testing.assert_allclose(left, photo[inside, 150:190].astype(int) + 20, atol=2)
    np.testing.assert_array_equal(right, without[:, 60:])


def test_lying_says_which_pixels_of_a_photo_a_mask_means() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:4, 5:9] = True
    (left, top, right, bottom), inside = align.lying(mask, np.array([(0.5, 0, -3.1), (0, 0.5, 1.1)]), (40, 50, 3))
    assert inside.shape == (bottom - top, right - left)
    down, across = np.nonzero(inside)
    assert (across.min() + left, across.max() + left) == (16, 23)  # x / 2 - 3.1 rounds to 5 ... 8
    assert (down.min() + top, down.max() + top) == (1, 4)
    assert not align.lying(mask, np.array([(1.0, 0, -500), (0, 1, 0)]), (40, 50, 3))[1].any()


def test_recolouring_brings_back_the_photos_light() -> None:
    photo = astronaut()
    matrix = align.similarity(EILEEN, "portrait")
    crop = align.crop(photo, matrix, 128)
    cold = np.round(crop * np.array((0.6, 0.8, 1.0))).astype(np.uint8)
    plain = align.paste(photo, cold, matrix)
    matched = align.paste(photo, cold, matrix, recolour=True)
    assert np.abs(matched.astype(int) - photo).mean() < 0.2 * np.abs(plain.astype(int) - photo).mean()


def test_a_crop_beyond_the_photo_pastes_nothing() -> None:
    photo = smooth(100, 100)
    matrix = align.similarity(placed("portrait", 1, 0, (1000, 1000)), "portrait")
    assert np.array_equal(align.paste(photo, np.zeros((128, 128, 3), np.uint8), matrix), photo)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(np.zeros((5, 2)), id="coincide"),
        pytest.param(np.full((5, 2), np.nan), id="nan"),
        pytest.param(np.full((5, 2), np.inf), id="infinite"),
        pytest.param(np.zeros((4, 2)), id="four", marks=pytest.mark.untyped),
    ],
)
def test_points_that_fit_no_face_are_refused(points: np.ndarray) -> None:
    with pytest.raises(BadData, match="five distinct points"):
        align.similarity(points, "arcface")


def test_an_unknown_template_is_answered_with_the_nearest() -> None:
    with pytest.raises(PersonaeError, match="did you mean 'portrait'"):
        align.similarity(EILEEN, "potrait")


@pytest.mark.untyped
def test_a_mask_of_another_size_is_refused() -> None:
    matrix = align.similarity(EILEEN, "portrait")
    with pytest.raises(BadData, match="needs a mask"):
        align.paste(astronaut(), np.zeros((128, 128, 3), np.uint8), matrix, mask=np.ones((64, 64)))


def test_coverage_knows_the_photos_border() -> None:
    inside = align.coverage(align.similarity(EILEEN, "portrait"), 128, (512, 512, 3))
    assert inside.all()
    moved = align.coverage(align.similarity(EILEEN - (220, 0), "portrait"), 128, (512, 512, 3))
    assert moved.dtype == bool
    assert 0.2 < moved.mean() < 0.8
