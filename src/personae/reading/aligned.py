"""face = aligned(reader.read("me.jpg")[0], "portrait", 128)      # one face as it lies in its square crop

What an edit works on: the crop, where the face's landmarks lie in it, and what the face says besides, as seen there.
"""

from dataclasses import dataclass

import numpy as np

from personae.errors import BadData
from personae.reading import align, pose
from personae.reading.motion import marks_in_crop
from personae.types import Array, Face, Identity, Pose


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """One face in its crop of S x S pixels: `crop` (S, S, 3) RGB uint8 in template `template`, cut by `matrix` (2, 3)
    from the photo; `landmarks` (K, 3) float32 crop pixels (z in the same unit, smaller is nearer); `pose` as seen in
    the crop, which stands upright whatever the photo's tilt; `blendshapes` (52,); `identity`; `coverage` (S, S) bool,
    the crop's pixels that the photo shows (the others repeat its edge)."""

    crop: Array
    template: str
    matrix: Array
    landmarks: Array
    pose: Pose
    blendshapes: Array
    identity: Identity
    coverage: Array

    @property
    def size(self) -> int:
        """The side of the crop, pixels."""
        return int(self.crop.shape[0])


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


def _coverage(pixels: Array, matrix: Array, size: int) -> Array:
    """(size, size) bool: the crop's pixels whose centres lie in the photo (H, W, 3)."""
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    places = align.apply(align.invert(matrix), np.stack([across, down], -1).astype(np.float64))
    height, width = pixels.shape[:2]
    return np.asarray(((places >= -0.5) & (places < (width - 0.5, height - 0.5))).all(-1))
