"""What the stages hand to one another: small frozen records, absence declared as None.

Legend: H, W pixels; D identity width; K landmarks (478, MediaPipe's order); N people or images.
Photos are RGB uint8 (H, W, 3). Coordinates are pixels of the photo, (x, y), pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from personae.errors import BadIdentity, SpaceMismatch
from personae.shapes import Bool, Float32, UInt, UInt8

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """How a photo's file holds its colours.

    Attributes:
        mode: Pillow's L, LA, RGB, RGBA or I;16.
        values: (H, W) or (H, W, C) uint8 or uint16 in that mode, upright.
        profile: an ICC profile; None: sRGB.
        loss: what an edit of this photo cannot preserve, in words; None: nothing.
    """

    mode: str
    values: UInt[Array, "H W *C"]
    profile: bytes | None = None
    loss: str | None = None


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A decoded photo.

    Attributes:
        pixels: (H, W, 3) RGB uint8, sRGB, upright; transparent parts are white.
        source: the path of its file; None: it came from memory.
        sha256: of the encoded bytes; None: it came as pixels.
        original: its values as the file holds them; None: these very pixels, without a profile.
        encoded: its file, if that seems to carry a signed manifest (C2PA), which an edit carries on; else None.
    """

    pixels: UInt8[Array, "H W 3"]
    source: str | None = None
    sha256: str | None = None
    original: Original | None = field(default=None, repr=False)
    encoded: bytes | None = field(default=None, repr=False)

    def bare(self) -> Photo:
        """What a recipe says of it, its source and hash, without a pixel: (0, 0, 3)."""
        return replace(self, pixels=np.empty((0, 0, 3), np.uint8), original=None, encoded=None)


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Where a face is in a photo, in the photo's pixels.

    Attributes:
        box: (4,) float32, left, top, right, bottom.
        points: (5, 2) float32, the subject's right eye, left eye, nose tip, right and left mouth corner (left to right
            in the image).
        score: the detector's, 0-1.
    """

    box: Float32[Array, " 4"]
    points: Float32[Array, "5 2"]
    score: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """The rotation of a head, in degrees.

    Attributes:
        yaw: positive if the subject turns to its left.
        pitch: positive if it looks up.
        roll: positive if the head tilts clockwise in the image.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The pose and expression of a face in a photo.

    Attributes:
        landmarks: (K, 3) float32 pixels; z is in the same unit, smaller is nearer.
        pose: the head's rotation.
        blendshapes: (52,) float32 in `BLENDSHAPES` order, 0-1.
    """

    landmarks: Float32[Array, "K 3"]
    pose: Pose
    blendshapes: Float32[Array, " 52"]


_UNIT = 2.0**-20  # how far from 1 the norm of a unit vector may lie: eight roundings of float32


def _unit(values: Any) -> Float32[Array, " D"]:
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


# The spaces of the bundled encoder, and the releases that it came with.
RELEASED_SPACES = {"personae-nano/arcface/c5ae8380603f": "0.1"}
_READ_AGAIN = "`personae identity mean PHOTO -o NAME.identity`"


def described_space(space: str) -> str:
    """For a message: a space, and the release that came with its encoder, if it is a bundled one."""
    release = RELEASED_SPACES.get(space)
    return f"space {space!r}" + ("" if release is None else f", that of the model in personae {release}")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a face belongs to, as a recogniser measures it.

    Attributes:
        vector: (D,) float32 of unit norm. Any finite non-zero vector is accepted and normalised, once: a float32 one of
            unit norm stays as it is, to the last bit, so that an identity that was saved and loaded is the same.
        space: what it was measured with: `recogniser/crop template/sha256 prefix`.

    Raises `BadIdentity` for a vector that has no direction.
    """

    vector: Float32[Array, " D"]
    space: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", _unit(self.vector))

    def require(self, space: str) -> None:
        """Raise `SpaceMismatch` unless this identity was measured in `space`, a model's."""
        if self.space != space:
            raise SpaceMismatch(
                f"this identity was measured in {described_space(self.space)}, the model reads {space!r}: "
                f"read the photo again with this model's reader ({_READ_AGAIN})"
            )

    def require_alike(self, other: Identity) -> None:
        """Raise `SpaceMismatch` unless another identity was measured in the space of this one."""
        if self.space != other.space:
            raise SpaceMismatch(
                f"these identities were measured in {described_space(self.space)}, and in "
                f"{described_space(other.space)}: read both photos with one model's reader ({_READ_AGAIN})"
            )


@dataclass(frozen=True, kw_only=True)
class Face:
    """One face of a photo, as a reader measures it.

    Attributes:
        detection: where it is.
        motion: its pose and expression; None: not measured.
        identity: who it is; None: not measured.
        photo: the photo it was found in; None: not stored.
    """

    detection: Detection
    motion: Motion | None = None
    identity: Identity | None = None
    photo: Photo | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The N images of one call of a pipeline.

    Attributes:
        images: N Pillow images. With another `output_type`, an array or tensor: "np" (N, H, W, 3) float32 0-1, "pt"
            (N, 3, H, W) float32 0-1, "latent" (N, c, h, w).
        seeds: the seed of each image.
        people: the number of the person that each image shows.
        likeness: of each image, the cosine between the requested identity and the one read back from it, -1 to 1; NaN:
            no face was found in it; None: not measured.
        recipe: what is needed to make the images again.
        tries: of each image, how many seeds were tried in its place; None: the images were not verified.
    """

    images: list[Image.Image] | Any
    seeds: list[int]
    people: list[int]
    likeness: list[float] | None
    recipe: dict[str, Any]
    tries: list[int] | None = None


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A file that something was made of, for the signature of what was made.

    Attributes:
        role: what the recipe calls it.
        canvas: whether the result is this very picture, changed.
        mime: the kind of file, e.g. "image/png"; None: not known.
        encoded: the file, if it carries a signed manifest (C2PA), which goes on in the result's; else None.
    """

    role: str
    canvas: bool
    mime: str | None = None
    encoded: bytes | None = field(default=None, repr=False)

    def bare(self) -> Ingredient:
        """The same without its file."""
        return replace(self, encoded=None)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """The N images of one edit, whole photos, in the photo's own mode and with its profile (`info["icc_profile"]`):
    `images[i]` was made from `seeds[i]`; `likeness[i]` is the cosine between
    the identity asked for and the one read back from it, of several faces the lowest (None: not measured, NaN: no face
    was found). Of the F faces that were edited, in the model's own crop of S x S pixels: `before` (F, S, S, 3) uint8 as
    the photo showed them, `after` (N, F, S, S, 3) uint8 as the images do, `edit_masks` (F, S, S) bool what was painted
    anew.
    `mask` (H, W) bool: no pixel of the photo outside it has changed. `ingredients`: the photos that it was made of."""

    images: list[Image.Image]
    seeds: list[int]
    likeness: list[float] | None
    before: UInt8[Array, "F S S 3"]
    after: UInt8[Array, "N F S S 3"]
    edit_masks: Bool[Array, "F S S"]
    mask: Bool[Array, "H W"]
    recipe: dict[str, Any]
    ingredients: Sequence[Ingredient] = ()
