"""Which pixels of a face are skin, brows, eyes, nose, mouth, hair or surroundings, as far as its landmarks say.

    parts = partition(landmarks, 128)           # (7, 128, 128) in the order of REGIONS, sums to 1 at every pixel
    mouth = region("mouth", landmarks, 128)     # (128, 128) bool; also "face" and "head"

No network and no labelled pixels: polygons between MediaPipe's landmarks. That makes `hair` a guess of geometry: the
ellipse of a skull with short hair, less the face. Long hair, a beard, glasses or a hand before the face are not seen.
`eyes` are the openings with their lids, so that a closed eye is still one; `face` ends where the landmarks do, about
at the hairline.

Legend: K landmarks (468 or more, MediaPipe's order), S the side of the crop; left and right are the subject's.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from personae.errors import BadData, unknown_name
from personae.reading.region_table import GROUPS, REGIONS
from personae.shapes import Bool, Float, Float32, Float64, Int
from personae.types import Array

# Contours by landmark, from top to bottom. Everything that the midline crosses is drawn as two halves that share it:
# a head in profile hides half of itself, and the contour of the whole would fold over.
_NOSE_MIDLINE = (168, 6, 197, 195, 5, 4, 1, 19, 94, 2)
_MOUTH_MIDLINE = (0, 11, 12, 13, 14, 15, 16, 17)
_FACE_MIDLINE = (10, 151, 9, 8, *_NOSE_MIDLINE, 164, *_MOUTH_MIDLINE, 18, 200, 199, 175, 152)
_FACE_SIDES = (
    (109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148),
    (338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
)
_NOSE_SIDES = (
    (193, 245, 114, 126, 49, 64, 98, 97),
    (417, 465, 343, 355, 279, 294, 327, 326),
)
# The lids' edges, by eye: what lies between them is the eye itself.
EYES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
_MOUTH_SIDES = (
    (37, 39, 40, 185, 61, 146, 91, 181, 84),
    (267, 269, 270, 409, 291, 375, 321, 405, 314),
)
_EYES = (  # the ring around the lids
    (130, 247, 30, 29, 27, 28, 56, 190, 243, 112, 26, 22, 23, 24, 110, 25),
    (359, 467, 260, 259, 257, 258, 286, 414, 463, 341, 256, 252, 253, 254, 339, 255),
)
_BROWS = (
    (70, 63, 105, 66, 107, 55, 65, 52, 53, 46),
    (300, 293, 334, 296, 336, 285, 295, 282, 283, 276),
)


def _halves(midline: tuple[int, ...], sides: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    return [[*midline, *reversed(side)] for side in sides]


_SILHOUETTE = _halves(_FACE_MIDLINE, _FACE_SIDES)
# Painted one over the other: in profile the nose hides the far eye.
_PAINTED = {
    "eyes": [list(ring) for ring in _EYES],
    "brows": [list(ring) for ring in _BROWS],
    "nose": _halves(_NOSE_MIDLINE, _NOSE_SIDES),
    "mouth": _halves(_MOUTH_MIDLINE, _MOUTH_SIDES),
}

# The head as an ellipsoid behind the face: an adult's skull with short hair around it, fitted by eye. It hangs on the
# temples; widths and depths are shares of the face's width between the ears, heights of its height, hairline to chin.
_EARS, _TEMPLES, _TOP_CHIN = (234, 454), (127, 356), (10, 152)
_HEAD_RADII = (0.62, 0.63, 0.68)  # across, up, back
_HEAD_RISE, _HEAD_BACK = 0.17, 0.22  # of its centre, above and behind the temples

_FINE = 3  # sub-pixels per pixel and direction: a mask's edge has 9 steps
_FULL = 252  # of a uint8: a multiple of those steps, so that averages are exact
_ONE_OF = [[_FULL * (label == index) for label in range(256)] for index in range(len(REGIONS))]  # tables, one a region
_LANDMARKS = 468
_MARGIN = 0.02  # of the crop's side, by which what lies `around` is grown


def partition(landmarks: Float[Array, "K 3"], size: int) -> Float32[Array, "7 S S"]:
    """(7, size, size) float32 0-1: how much of each pixel belongs to each of `REGIONS`; sums to 1 at every pixel.

    landmarks: (K, 3) pixels of the crop. They may lie outside the crop: a region that is out of view is 0 everywhere.
    Raises `BadData` for landmarks that are no face.
    """
    painted = _paint(checked(landmarks), size)
    shares = [np.asarray(painted.point(table).reduce(_FINE)) for table in _ONE_OF]
    return np.stack(shares) / np.float32(_FULL)


def region(name: str, landmarks: Float[Array, "K 3"], size: int) -> Bool[Array, "S S"]:
    """(size, size) bool: the pixels at least half in one of `REGIONS`, or in the "face" or "head" that they make up.

    Raises `BadOption` for another name, `BadData` for landmarks that are no face.
    """
    return named(name, partition(landmarks, size))


def named(name: str, parts: Float[Array, "7 S S"]) -> Bool[Array, "S S"]:
    """(size, size) bool: the same of shares (7, size, size). Raises `BadOption` for another name."""
    if name not in REGIONS and name not in GROUPS:
        raise unknown_name("region", name, (*REGIONS, *GROUPS))
    return np.asarray(sum(parts[REGIONS.index(part)] for part in GROUPS.get(name, (name,))) >= 0.5)


def face(landmarks: Float[Array, "K 3"], size: int) -> Bool[Array, "S S"]:
    """(size, size) bool: the face from chin to where the landmarks end on the forehead, ears left out."""
    return region("face", landmarks, size)


def head(landmarks: Float[Array, "K 3"], size: int) -> Bool[Array, "S S"]:
    """(size, size) bool: the face and an estimate of the head with short hair around it."""
    return region("head", landmarks, size)


def around(landmarks: Sequence[Float[Array, "_ 3"]], triangles: Int[Array, "T 3"], size: int) -> Bool[Array, "S S"]:
    """(size, size) bool: where a part of a face lies, by triangles (T, 3) of landmarks, a little grown.

    landmarks: (K, 3) each, pixels of the crop; the part is covered wherever any of them has it.
    """
    image = Image.new("L", (size, size))
    for points in landmarks:
        for corners in checked(points)[triangles, :2]:
            _polygon(image, corners, 255)
    return np.asarray(image.filter(ImageFilter.MaxFilter(2 * round(_MARGIN * size) + 1))) > 0


def opening(landmarks: Float[Array, "K 3"], size: int) -> Float32[Array, "S S"]:
    """(size, size) float32 0-1: how much of each pixel lies between the lips."""
    return enclosed(checked(landmarks)[list(_INNER_LIPS)], size)


def enclosed(contour: Float[Array, "M _"], size: int) -> Float32[Array, "S S"]:
    """(size, size) float32 0-1: how much of each pixel lies inside a contour (M, 2 or 3), in pixels."""
    image = Image.new("L", (size * _FINE, size * _FINE))
    _polygon(image, (contour[:, :2] + 0.5) * _FINE - 0.5, _FULL)
    return np.asarray(image.reduce(_FINE), np.float32) / np.float32(_FULL)


def checked(landmarks: Float[Array, "K 3"]) -> Float64[Array, "K 3"]:
    """Landmarks (K, 3) as float64. Raises `BadData` for those that are no face."""
    points = np.asarray(landmarks, np.float64)
    if points.ndim != 2 or points.shape[0] < _LANDMARKS or points.shape[1] != 3:
        raise BadData(f"regions need landmarks (K, 3), K at least {_LANDMARKS}, got {points.shape}")
    if not np.isfinite(points).all() or np.ptp(points[:_LANDMARKS], axis=0).max() < 1e-3:
        raise BadData("these landmarks are not a face: they coincide or are not finite")
    return points


def _paint(points: Array, size: int) -> Image.Image:
    """A label per sub-pixel, the index in `REGIONS`."""
    flat = (points[:, :2] + 0.5) * _FINE - 0.5
    side = size * _FINE
    labels = Image.new("L", (side, side), REGIONS.index("surroundings"))
    _polygon(labels, (_head_outline(points) + 0.5) * _FINE - 0.5, REGIONS.index("hair"))
    inside, within = Image.new("L", (side, side), REGIONS.index("skin")), Image.new("L", (side, side))
    for contour in _SILHOUETTE:
        _polygon(within, flat[contour], 255)
    for name, contours in _PAINTED.items():
        for contour in contours:
            _polygon(inside, flat[contour], REGIONS.index(name))
    labels.paste(inside, mask=within)
    return labels


def _polygon(image: Image.Image, corners: Array, value: int) -> None:
    ImageDraw.Draw(image).polygon(corners.ravel().tolist(), fill=value)


def _head_outline(points: Float[Array, "K 3"]) -> Float[Array, "64 2"]:
    """(64, 2) pixels: the outline of the head's ellipsoid, an ellipse (the projection of its three axes)."""
    right, left = points[list(_EARS)]
    top, chin = points[list(_TOP_CHIN)]
    width, height = np.linalg.norm(left - right), np.linalg.norm(chin - top)
    across = (left - right) / width
    down = (chin - top) / height
    back = np.cross(across, down)
    centre = points[list(_TEMPLES)].mean(0) - down * _HEAD_RISE * height + back * _HEAD_BACK * width
    axes = np.stack([across * width, down * height, back * width]) * np.reshape(_HEAD_RADII, (3, 1))
    # The outline of a projected ellipsoid is that of a Gaussian whose covariance is the sum over its projected axes.
    spread = axes[:, :2].T @ axes[:, :2]
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    values, vectors = np.linalg.eigh(spread)
    circle = np.stack([np.cos(angle), np.sin(angle)], -1) * np.sqrt(values.clip(0))
    return np.asarray(centre[:2] + circle @ vectors.T)
