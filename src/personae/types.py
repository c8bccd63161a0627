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


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a face belongs to: `vector` (D,) float32 of unit norm, `space` the recogniser + crop + sha256 prefix
    that it was measured with. Any finite non-zero vector is accepted and normalised."""

    vector: Array
    space: str

    def __post_init__(self) -> None:
        vector = np.asarray(self.vector, dtype=np.float32)
        if vector.ndim != 1 or vector.size == 0:
            raise BadIdentity(f"an identity is one vector (D,), got shape {vector.shape}")
        norm = float(np.linalg.norm(vector.astype(np.float64)))
        if not np.isfinite(norm) or norm < 1e-8:
            raise BadIdentity(f"an identity must be finite and not zero, got norm {norm}: read the photo again")
        object.__setattr__(self, "vector", (vector / norm).astype(np.float32))

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
    the photo showed them, `after` (N, F, S, S, 3) uint8 as the images do, `free` (F, S, S) bool what was made anew.
    `mask` (H, W) bool: no pixel of the photo outside it has changed."""

    images: list[Image.Image]
    seeds: list[int]
    likeness: list[float] | None
    before: Array
    after: Array
    free: Array
    mask: Array
    recipe: dict[str, Any]
