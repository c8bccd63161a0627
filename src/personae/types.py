"""What the stages hand to one another: small frozen records, absence declared as None.

Legend: H, W pixels; D identity width; K landmarks (478, MediaPipe's order); N people or images.
Photos are RGB uint8 (H, W, 3). Coordinates are pixels of the photo, (x, y), pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from personae.errors import BadIdentity, SpaceMismatch

if TYPE_CHECKING:
    from PIL import Image

Array = np.ndarray

# MediaPipe's 52 in its order: `_neutral`, then ARKit's coefficients (but its `tongueOut`).
BLENDSHAPES: tuple[str, ...] = tuple(
    """_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
    cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
    eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft
    eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight
    mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft
    mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper
    mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
    noseSneerLeft noseSneerRight""".split()  # noqa: SIM905 (52 quoted names are no easier to read)
)


@dataclass(frozen=True, kw_only=True)
class Original:
    """How a photo's file holds its colours. `mode`: Pillow's L, LA, RGB, RGBA or I;16; `values` (H, W) or (H, W, C)
    uint8 or uint16 in it, upright; `profile`: ICC, None: sRGB; `loss`: what no edit can keep of it, in words."""

    mode: str
    values: Array
    profile: bytes | None = None
    loss: str | None = None


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo. `pixels` (H, W, 3) RGB uint8, sRGB, upright, what is transparent white; `sha256` of the encoded
    bytes as given; `original`: its values as the file holds them, None: these very pixels, without a profile."""

    pixels: Array
    source: str | None = None
    sha256: str | None = None
    original: Original | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One face found. `box` (4,) float32 left, top, right, bottom; `points` (5, 2) float32: the subject's
    right eye, left eye, nose tip, right and left mouth corner (left to right in the image); `score` 0-1."""

    box: Array
    points: Array
    score: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Head rotation in degrees. yaw +: the subject turns to its left; pitch +: up; roll +: clockwise in the
    image."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, kw_only=True)
class Motion:
    """What a face does. `landmarks` (K, 3) float32 pixels (z in the same unit, smaller is nearer);
    `blendshapes` (52,) float32 in `BLENDSHAPES` order, 0-1."""

    landmarks: Array
    pose: Pose
    blendshapes: Array


_UNIT = 2.0**-20  # how far from 1 the norm of a unit vector may lie: eight roundings of float32


def _unit(values: Any) -> Array:
    """(D,) float32, unit norm. Raises `BadIdentity` for anything that has no direction."""
    try:
        vector = np.asarray(values)
        exact = np.asarray(vector, dtype=np.float64 if vector.dtype.kind in "fiub" else None)
        if exact.dtype != np.float64:
            raise TypeError(f"they are {vector.dtype}")
    except (TypeError, ValueError) as error:
        raise BadIdentity(f"an identity is one vector (D,) of numbers: {error}") from error
    if exact.ndim != 1 or exact.size == 0:
        raise BadIdentity(f"an identity is one vector (D,), got shape {exact.shape}")
    largest = float(np.abs(exact).max())
    if not np.isfinite(largest) or largest == 0:
        raise BadIdentity(f"an identity must be finite and not zero, got a largest number of {largest}: read it again")
    if largest < 2 and abs(float(exact @ exact) - 1) < 2 * _UNIT:
        single = exact.astype(np.float32)
        if (single == exact).all():
            return single
    exact = exact / largest  # first: squares of numbers near the ends of the range are infinite, or nothing
    return (exact / np.sqrt(exact @ exact)).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a face belongs to: `vector` (D,) float32 of unit norm, `space` the recogniser + crop + sha256 prefix
    that it was measured with. Any finite non-zero vector is accepted and normalised, once: a float32 one of unit norm
    stays as it is, to the last bit, so that what was saved and loaded, or passed on, is the same identity."""

    vector: Array
    space: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", _unit(self.vector))

    def require(self, space: str) -> None:
        """Raise `SpaceMismatch` unless this identity was measured in `space`."""
        if self.space != space:
            raise SpaceMismatch(
                f"this identity was measured in space {self.space!r}, the model reads {space!r}: "
                "read the photo again with this model's reader"
            )


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face of a photo, as read. `motion` and `identity` are None if the reader was asked to skip them."""

    detection: Detection
    motion: Motion | None = None
    identity: Identity | None = None
    photo: Photo | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The images of one call: `images[i]` was made from `seeds[i]` for person `people[i]`; `likeness[i]` is the
    cosine between the identity asked for and the one read back from the image (None: not measured, NaN: no face
    was found in it); `tries[i]`, of verified images, how many seeds were tried in its place (None: not verified)."""

    images: list[Image.Image]
    seeds: list[int]
    people: list[int]
    likeness: list[float] | None
    recipe: dict[str, Any]
    tries: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Edit:
    """The N images of one edit, whole photos, in the photo's own mode and with its profile (`info["icc_profile"]`):
    `images[i]` was made from `seeds[i]`; `likeness[i]` is the cosine between
    the identity asked for and the one read back from it, of several faces the lowest (None: not measured, NaN: no face
    was found). Of the F faces that were edited, in the model's own crop of S x S pixels: `before` (F, S, S, 3) uint8 as
    the photo showed them, `after` (N, F, S, S, 3) uint8 as the images do, `edit_masks` (F, S, S) bool what was painted
    anew.
    `mask` (H, W) bool: no pixel of the photo outside it has changed."""

    images: list[Image.Image]
    seeds: list[int]
    likeness: list[float] | None
    before: Array
    after: Array
    edit_masks: Array
    mask: Array
    recipe: dict[str, Any]
