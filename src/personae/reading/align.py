"""Alignment: from five points to a square crop in which every face sits alike, and back again.

A `Template` says where the five points go. `similarity` fits rotation, scale and shift in the least-squares
sense (Umeyama 1991), `crop` resamples, `paste` puts an edited crop back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt  # type: ignore[import-untyped]
from skimage.transform import SimilarityTransform

from personae.errors import BadData, unknown_name
from personae.shapes import Bool, Float, Float64, Num, Shaped, UInt8
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

_FFHQ_512 = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
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
        # FFHQ's own crop, as the five points lie in it on average (the 512-px template of GFPGAN and facexlib).
        Template(name="ffhq", points=tuple((x / 512, y / 512) for x, y in _FFHQ_512), size=512),
        # A head with its hair and neck: the eyes 0.30 of the width apart.
        Template(name="head", points=_arcface_scaled(0.3 / 0.3146, 0.5, 0.45), size=192),
        # The motion reader's own crop: wide enough to hold a chin and a forehead at any pose.
        Template(name="motion", points=_arcface_scaled(1.05, 0.5, 0.38), size=128),
    )
}


def template(name: str) -> Template:
    """A template by name; an unknown one is answered with the nearest."""
    if name not in TEMPLATES:
        raise unknown_name("crop template", name, TEMPLATES)
    return TEMPLATES[name]


def similarity(points: Float[Array, "5 2"], name: str, size: int | None = None) -> Float64[Array, "2 3"]:
    """The (2, 3) float64 matrix that takes photo pixels to crop pixels.

    Arguments:
        points: (5, 2) pixels of the photo, as of `types.Detection`.
        name: of the crop template.
        size: the side of the crop; None: the template's own.

    Raises `BadData` if the points coincide or are not finite, `BadOption` for an unknown template.
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


def invert(matrix: Float[Array, "2 3"]) -> Float[Array, "2 3"]:
    """The inverse of a (2, 3) affine matrix, (2, 3)."""
    return np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]


def apply(matrix: Float[Array, "2 3"], points: Num[Array, "*N 2"]) -> Float[Array, "*N 2"]:
    """Points (..., 2) through a (2, 3) affine matrix."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def crop(pixels: UInt8[Array, "H W 3"], matrix: Float[Array, "2 3"], size: int) -> UInt8[Array, "S S 3"]:
    """The (size, size, 3) uint8 crop of `pixels` (H, W, 3) under `matrix`; what lies outside repeats the edge.

    Bicubic; a crop that shrinks the photo is first reduced by averaging, so that nothing aliases.
    """
    return _warp(pixels, matrix, (size, size))


def _warp(pixels: Array, matrix: Array, shape: tuple[int, int]) -> Array:
    """`crop` to any `shape` (W, H), of (H, W, 3) or (H, W) uint8."""
    shrink = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    far_x, far_y = shape
    ring = np.array([(-1, -1), (far_x, -1), (far_x, far_y), (-1, far_y)], dtype=np.float64)
    corners = apply(invert(matrix), ring)
    height, width = pixels.shape[:2]
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 4, 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 5, (width, height))
    left, top = min(left, width - 1), min(top, height - 1)
    image = Image.fromarray(np.ascontiguousarray(pixels[top : max(bottom, top + 1), left : max(right, left + 1)]))
    factor = max(1, int(shrink))
    if factor > 1:
        image = image.reduce(factor)
    pad = 2 + int(np.ceil(np.abs(corners - np.clip(corners, 0, (width - 1, height - 1))).max() / factor))
    pad = min(pad, 4 * max(shape))
    around = ((pad, pad), (pad, pad), (0, 0))[: pixels.ndim]
    padded = Image.fromarray(np.pad(np.asarray(image), around, mode="edge"))
    # Pillow maps output pixel centres (x + 0.5) to input coordinates; ours put centres at integers.
    inverse = invert(matrix)
    linear = inverse[:, :2] / factor
    shift = (inverse[:, 2] - (left, top) + 0.5) / factor + pad - linear @ (0.5, 0.5)
    data = (*linear[0], shift[0], *linear[1], shift[1])
    return np.asarray(padded.transform(shape, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC))


def paste(
    pixels: UInt8[Array, "H W 3"],
    edited: UInt8[Array, "S S 3"],
    matrix: Float[Array, "2 3"],
    *,
    mask: Shaped[Array, "S S"] | None = None,
    feather: float = 8,
    recolour: bool = False,
    detail: Float[Array, "S S"] | None = None,
) -> UInt8[Array, "H W 3"]:
    """A copy of a photo with an edited crop back in its place.

    Arguments:
        pixels: (H, W, 3) RGB uint8, the photo.
        edited: (S, S, 3) RGB uint8, the crop.
        matrix: (2, 3), takes photo pixels to crop pixels.
        mask: (S, S), 0-1, how much of each crop pixel to take; None: all.
        feather: crop pixels over which the edit fades in, from the mask's border inwards, so that the photo outside the
            mask stays byte for byte.
        recolour: whether to give the edit the photo's own colours under the mask first (`match_colour`).
        detail: (S, S), 0-1, how much stays of what the photo shows too finely for a crop to hold; None: nothing.

    Raises `BadData` if the shapes do not fit.
    """
    size = edited.shape[0]
    weights = np.ones((size, size), np.float32) if mask is None else np.asarray(mask, dtype=np.float32)
    if edited.shape != (size, size, 3) or weights.shape != (size, size):
        raise BadData(f"a crop (S, S, 3) needs a mask (S, S), got {edited.shape} and {weights.shape}")
    taken = weights > 0
    weights = weights * np.clip(depth(taken) / (feather + 1), 0, 1)
    if recolour:
        edited = match_colour(edited, crop(pixels, matrix, size), weights)

    result = pixels.copy()
    (left, top, right, bottom), allowed = lying(taken, matrix, pixels.shape)
    if not allowed.any():
        return result
    to_patch = invert(matrix) - np.array([(0, 0, left), (0, 0, top)])
    shape = (right - left, bottom - top)
    patch = _warp(edited, to_patch, shape)
    # Resampling smears weights a little over the mask's border: what the mask leaves out is cut off again.
    alpha = _warp(np.round(weights * 255).astype(np.uint8), to_patch, shape) / 255 * allowed
    region = result[top:bottom, left:right]
    if detail is not None:
        coarse = _warp(crop(pixels, matrix, size), to_patch, shape).astype(np.float64)
        share = _warp(np.round(detail * 255).astype(np.uint8), to_patch, shape) / 255
        patch = patch + share[:, :, None] * (region - coarse)
    region[:] = np.round(region + (patch.astype(np.float64) - region) * alpha[:, :, None]).clip(0, 255)
    return result


def depth(mask: Bool[Array, "S S"]) -> Num[Array, "S S"]:
    """(S, S): how many pixels each pixel of a mask (S, S) bool is from its border, the crop's edge included."""
    return np.asarray(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1])


def widened(matrix: Float[Array, "2 3"], margin: int) -> Float[Array, "2 3"]:
    """The (2, 3) matrix that cuts the crop of `matrix` with `margin` more pixels on every side."""
    return np.asarray(matrix + np.array([(0, 0, margin), (0, 0, margin)]))


def lying(
    mask: Bool[Array, "S S"], matrix: Float[Array, "2 3"], shape: Sequence[int]
) -> tuple[tuple[int, int, int, int], Bool[Array, "h w"]]:
    """Where a mask (S, S) bool of a crop lies in a photo of `shape` (H, W, ...): the box (left, top, right, bottom)
    around the crop, and which of its pixels have their nearest crop pixel in the mask, (bottom - top, right - left)."""
    size = len(mask)
    ring = np.array([(-1, -1), (size, -1), (size, size), (-1, size)], dtype=np.float64)
    corners = apply(invert(matrix), ring)
    left, top = np.maximum(np.floor(corners.min(0)).astype(int), 0).tolist()
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 1, (shape[1], shape[0])).tolist()
    right, bottom = max(left, right), max(top, bottom)
    grid = np.stack(np.meshgrid(np.arange(left, right), np.arange(top, bottom)), -1).astype(np.float64)
    nearest = np.round(apply(matrix, grid)).astype(int)
    within = ((nearest >= 0) & (nearest < size)).all(-1)
    inside = within & mask[nearest[..., 1].clip(0, size - 1), nearest[..., 0].clip(0, size - 1)]
    return (left, top, right, bottom), inside


def match_colour(
    edited: UInt8[Array, "S S 3"], original: UInt8[Array, "S S 3"], weights: Shaped[Array, "S S"]
) -> UInt8[Array, "S S 3"]:
    """`edited` (S, S, 3) uint8 with the mean and spread of each channel that `original` has under `weights` (S, S).

    Reinhard et al. 2001, "Color Transfer between Images", per RGB channel; the spread changes at most twofold.
    """
    gain, shift = colour_change(edited, original, weights)
    return recoloured(edited, gain, shift)


def colour_change(
    edited: UInt8[Array, "S S 3"], original: UInt8[Array, "S S 3"], weights: Shaped[Array, "S S"]
) -> tuple[Float[Array, " 3"], Float[Array, " 3"]]:
    """What `match_colour` does to each channel: (3,) a gain and (3,) a shift, for `recoloured`."""
    total = float(weights.sum())
    if total < 1:
        return np.ones(3), np.zeros(3)
    share = weights[:, :, None] / total

    def moments(image: Array) -> tuple[Array, Array]:
        mean = (image * share).sum((0, 1))
        return mean, np.sqrt((np.square(image - mean) * share).sum((0, 1)))

    (mean, spread), (goal, goal_spread) = moments(edited), moments(original)
    gain = (goal_spread / spread.clip(1e-3)).clip(0.5, 2)
    return gain, goal - gain * mean


def recoloured(
    pixels: UInt8[Array, "*N 3"], gain: Float[Array, " 3"], shift: Float[Array, " 3"]
) -> UInt8[Array, "*N 3"]:
    """`pixels` (..., 3) uint8 with each channel scaled and shifted."""
    return np.round(pixels * gain + shift).clip(0, 255).astype(np.uint8)


def coverage(matrix: Float[Array, "2 3"], size: int, shape: tuple[int, ...]) -> Bool[Array, "S S"]:
    """(size, size) bool: which crop pixels come from inside the photo of `shape` (H, W, ...)."""
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float64)
    return covered(matrix, grid, shape)


def covered(
    matrix: Float[Array, "2 3"], points: Float[Array, "*shape 2"], shape: tuple[int, ...]
) -> Bool[Array, " *shape"]:
    """Whether points (..., 2) of the crop come from inside the photo of `shape` (H, W, ...)."""
    source = apply(invert(matrix), points)
    return np.asarray(((source >= -0.5) & (source <= np.array((shape[1], shape[0])) - 0.5)).all(-1))
