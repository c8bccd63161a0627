"""Alignment: from five points to a square crop in which every face sits alike, and back again.

A `Template` says where the five points go. `similarity` fits rotation, scale and shift in the least-squares
sense (Umeyama 1991), `crop` resamples, `paste` puts an edited crop back.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.transform import SimilarityTransform

from personae.errors import BadData, unknown_name
from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class Template:
    """Where the five points lie in a crop. `points` (5, 2) as fractions of the side, `size` the usual side."""

    name: str
    points: tuple[tuple[float, float], ...]
    size: int


# insightface's five points for 112 px: what ArcFace-like recognisers are trained on.
_ARCFACE_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


def _arcface_scaled(scale: float, centre: float, eyes_y: float) -> tuple[tuple[float, float], ...]:
    """ArcFace's points, scaled about the middle of the eyes and moved so that the eyes lie at height `eyes_y`."""
    points = np.array(_ARCFACE_112) / 112
    middle = points[:2].mean(0)
    return tuple((float(x), float(y)) for x, y in (points - middle) * scale + (centre, eyes_y))


TEMPLATES = {
    t.name: t
    for t in (
        Template(name="arcface", points=tuple((x / 112, y / 112) for x, y in _ARCFACE_112), size=112),
        # Tighter than FFHQ's, so that crops of the FairFace photos stay inside the picture.
        Template(name="portrait", points=_arcface_scaled(1.3, 0.5, 0.335), size=128),
        # The motion reader's own crop: wide enough to hold a chin and a forehead at any pose.
        Template(name="motion", points=_arcface_scaled(1.05, 0.5, 0.38), size=128),
    )
}


def template(name: str) -> Template:
    """A template by name; an unknown one is answered with the nearest."""
    if name not in TEMPLATES:
        raise unknown_name("crop template", name, TEMPLATES)
    return TEMPLATES[name]


def similarity(points: Array, name: str, size: int | None = None) -> Array:
    """The (2, 3) float64 matrix that takes photo pixels to pixels of a `size` crop in template `name`.

    points: (5, 2) pixels of the photo. Raises `BadData` if they coincide or are not finite.
    """
    goal = template(name)
    side = size or goal.size
    source = np.asarray(points, dtype=np.float64)
    if source.shape != (5, 2) or not np.isfinite(source).all() or np.ptp(source, axis=0).max() < 1e-3:
        raise BadData(f"alignment needs five distinct points (5, 2), got {source.tolist()}")
    fit = SimilarityTransform.from_estimate(source, np.array(goal.points) * side - 0.5)
    if not fit:
        raise BadData(f"these five points fit no similarity: {source.tolist()}")
    return np.asarray(fit.params[:2], dtype=np.float64)


def invert(matrix: Array) -> Array:
    """The inverse of a (2, 3) affine matrix, (2, 3)."""
    return np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]


def apply(matrix: Array, points: Array) -> Array:
    """Points (..., 2) through a (2, 3) affine matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def crop(pixels: Array, matrix: Array, size: int) -> Array:
    """The (size, size, 3) uint8 crop of `pixels` (H, W, 3) under `matrix`; what lies outside repeats the edge.

    Bicubic; a crop that shrinks the photo is first reduced by averaging, so that nothing aliases.
    """
    shrink = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    corners = apply(invert(matrix), np.array([(-1, -1), (size, -1), (size, size), (-1, size)], dtype=np.float64))
    height, width = pixels.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 4, 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 5, (width, height))
    left, top = min(left, width - 1), min(top, height - 1)
    image = Image.fromarray(np.ascontiguousarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)]))
    factor = max(1, int(shrink))
    if factor > 1:
        image = image.reduce(factor)
    pad = 2 + int(np.ceil(np.abs(corners - np.clip(corners, 0, (width - 1, height - 1))).max() / factor))
    pad = min(pad, 4 * size)
    padded = Image.fromarray(np.pad(np.asarray(image), ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
    # Pillow maps output pixel centres (x + 0.5) to input coordinates; ours put centres at integers.
    inverse = invert(matrix)
    linear = inverse[:, :2] / factor
    shift = (inverse[:, 2] - (left, top) + 0.5) / factor + pad - linear @ (0.5, 0.5)
    data = (*linear[0], shift[0], *linear[1], shift[1])
    return np.asarray(padded.transform((size, size), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC))


def coverage(matrix: Array, size: int, shape: tuple[int, ...]) -> Array:
    """(size, size) bool: which crop pixels come from inside the photo of `shape` (H, W, ...)."""
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float64)
    source = apply(invert(matrix), grid)
    return ((source >= -0.5) & (source <= np.array((shape[1], shape[0])) - 0.5)).all(-1)
