"""face = aligned(reader.read("me.jpg")[0], "portrait", 128)      # one face as it lies in its square crop

What an edit works on: the crop, and everything else that was measured of the face, as it lies in that crop.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from personae.errors import BadData
from personae.reading import align, face_regions
from personae.reading import rotation as pose
from personae.reading.face_motion import marks_in_crop
from personae.shapes import Bool, Float, Float32, UInt8
from personae.types import Array, Face, Identity, Pose


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """One face in its crop of S x S pixels.

    Attributes:
        crop: (S, S, 3) RGB uint8.
        template: the name of its crop template (`align.TEMPLATES`).
        matrix: (2, 3), takes photo pixels to crop pixels.
        landmarks: (K, 3) float32 crop pixels; z is in the same unit, smaller is nearer.
        pose: as measured in the crop, which stands upright whatever the photo's tilt.
        blendshapes: (52,) float32, 0-1.
        identity: of the face.
        coverage: (S, S) bool, the crop's pixels that the photo shows; the others repeat its edge.
        parts: (R, S, S) float32, the share of each pixel in each of `face_regions.REGIONS`, by a parser; None: by the
            landmarks.
        photo: (H, W, 3) RGB uint8 that the crop was cut from; None: nothing is known beyond the crop.
    """

    crop: UInt8[Array, "S S 3"]
    template: str
    matrix: Float[Array, "2 3"]
    landmarks: Float32[Array, "K 3"]
    pose: Pose
    blendshapes: Float32[Array, " 52"]
    identity: Identity
    coverage: Bool[Array, "S S"]
    parts: Float32[Array, "R S S"] | None = None
    photo: UInt8[Array, "H W 3"] | None = field(default=None, repr=False)

    @property
    def size(self) -> int:
        """The side of the crop, pixels."""
        return int(self.crop.shape[0])

    def shares(self, side: int) -> Float32[Array, "R s s"]:
        """(R, side, side) float32: the share of each pixel of the crop, reduced to `side` pixels, in each region; sums
        to 1 over R. side: the crop's own, or one that divides it."""
        if self.parts is None:
            return face_regions.partition(resized(self.landmarks, self.size, side), side)
        cell = self.size // side
        return self.parts.reshape(len(self.parts), side, cell, side, cell).mean((2, 4))

    def region(self, name: str) -> Bool[Array, "S S"]:
        """(S, S) bool: the pixels of which at least half lies in a region.

        name: one of `face_regions.REGIONS`, or "face" or "head", which consist of several. Raises `BadOption` for
        another one.
        """
        return face_regions.named(name, self.shares(self.size))

    def region_around(self, name: str, margin: int) -> Bool[Array, "W W"]:
        """(S + 2 margin, S + 2 margin) bool: `widened(margin).region(name)`, for which no crop need be cut."""
        marks, size = self._marks_around(margin), self.size + 2 * margin
        return face_regions.named(name, face_regions.partition(resized(marks, size, size), size))

    def _marks_around(self, margin: int) -> Float32[Array, "K 3"]:
        return self.landmarks + np.array((margin, margin, 0), self.landmarks.dtype)

    def widened(self, margin: int) -> "Aligned":
        """The same face in a crop with `margin` more pixels on every side, which show the photo as far as it is known.
        Regions are then those of the landmarks, since a parser's end at the crop's border."""
        matrix, size = align.widened(self.matrix, margin), self.size + 2 * margin
        around = ((margin, margin), (margin, margin))
        return replace(
            self,
            crop=np.pad(self.crop, (*around, (0, 0)), "edge")
            if self.photo is None
            else align.crop(self.photo, matrix, size),
            matrix=matrix,
            landmarks=self._marks_around(margin),
            coverage=np.pad(self.coverage, around)
            if self.photo is None
            else align.coverage(matrix, size, self.photo.shape),
            parts=None,
        )


def aligned(face: Face, template: str, size: int) -> Aligned:
    """A face in a square crop.

    Arguments:
        face: with its photo, motion and identity.
        template: of the crop, one of `align.TEMPLATES`.
        size: the side of the crop, pixels.

    Raises `BadData` if one of these is missing or the five points fit no crop, `BadOption` for an unknown template.
    """
    photo, motion, identity = face.photo, face.motion, face.identity
    if photo is None or motion is None or identity is None:
        missing = [name for name in ("photo", "motion", "identity") if getattr(face, name) is None]
        raise BadData(
            f"an edit needs a face with its photo, motion and identity, this one has no {' and no '.join(missing)}: "
            "read the photo with a reader of all three (pipe.read)"
        )
    matrix = align.similarity(face.detection.points, template, size)
    held = motion.pose
    yaw, pitch, roll = pose.turn(np.array((held.yaw, held.pitch, held.roll)), pose.image_turn(matrix))
    return Aligned(
        crop=align.crop(photo.pixels, matrix, size),
        template=template,
        matrix=matrix,
        landmarks=marks_in_crop(motion.landmarks, matrix),
        pose=Pose(yaw=float(yaw), pitch=float(pitch), roll=float(roll)),
        blendshapes=motion.blendshapes,
        identity=identity,
        coverage=align.coverage(matrix, size, photo.pixels.shape),
        photo=photo.pixels,
    )


def resized(landmarks: Float[Array, "K 3"], size: int, goal: int) -> Float[Array, "K 3"]:
    """Landmarks (K, 3) of a crop `size` pixels wide in the same crop `goal` pixels wide; centres lie at integers."""
    scale = goal / size
    return landmarks * scale + np.array((0.5, 0.5, 0)) * (scale - 1)
