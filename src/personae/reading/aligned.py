"""face = aligned(reader.read("me.jpg")[0], "portrait", 128)      # one face as it lies in its square crop

What an edit works on: the crop, where the face's landmarks lie in it, and what the face says besides, as seen there.
"""

from dataclasses import dataclass

import numpy as np

from personae.errors import BadData
from personae.reading import align, pose, regions
from personae.reading.motion import marks_in_crop
from personae.types import Array, Face, Identity, Pose


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """One face in its crop of S x S pixels: `crop` (S, S, 3) RGB uint8 in template `template`, cut by `matrix` (2, 3)
    from the photo; `landmarks` (K, 3) float32 crop pixels (z in the same unit, smaller is nearer); `pose` as seen in
    the crop, which stands upright whatever the photo's tilt; `blendshapes` (52,); `identity`; `coverage` (S, S) bool,
    the crop's pixels that the photo shows (the others repeat its edge); `parts` (R, S, S) float32, how much of each
    pixel belongs to each of `regions.REGIONS` as a parser sees it, None: as the landmarks say."""

    crop: Array
    template: str
    matrix: Array
    landmarks: Array
    pose: Pose
    blendshapes: Array
    identity: Identity
    coverage: Array
    parts: Array | None = None

    @property
    def size(self) -> int:
        """The side of the crop, pixels."""
        return int(self.crop.shape[0])

    def shares(self, side: int) -> Array:
        """(R, side, side) float32: how much of each pixel of the crop, `side` pixels wide, belongs to each region; sums
        to 1. side: the crop's, or a whole part of it."""
        if self.parts is None:
            return regions.partition(resized(self.landmarks, self.size, side), side)
        cell = self.size // side
        return self.parts.reshape(len(self.parts), side, cell, side, cell).mean((2, 4))

    def region(self, name: str) -> Array:
        """(S, S) bool: the pixels at least half in one of `regions.REGIONS`, or in the "face" or "head" that they make
        up. Raises `BadOption` for another name."""
        return regions.named(name, self.shares(self.size))


def aligned(face: Face, template: str, size: int) -> Aligned:
    """`face` in a `size` crop of `template`. Its photo, motion and identity must have been kept.

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
        coverage=_coverage(photo.pixels, matrix, size),
    )


def resized(landmarks: Array, size: int, goal: int) -> Array:
    """Landmarks (K, 3) of a crop `size` pixels wide in the same crop `goal` pixels wide; centres lie at integers."""
    scale = goal / size
    return landmarks * scale + np.array((0.5, 0.5, 0)) * (scale - 1)


def _coverage(pixels: Array, matrix: Array, size: int) -> Array:
    """(size, size) bool: the crop's pixels whose centres lie in the photo (H, W, 3)."""
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    places = align.apply(align.invert(matrix), np.stack([across, down], -1).astype(np.float64))
    height, width = pixels.shape[:2]
    return np.asarray(((places >= -0.5) & (places < (width - 0.5, height - 0.5))).all(-1))
