"""look = steady(reader.motion, pixels, points) -> Look: a face measured in a crop that its own landmarks cut

A detector's five points are a first guess: they lie some 8 % of the eye distance off, and stay level however a head is
tilted. The motion reader sees more, so its landmarks cut the next crop, and so on until they hold still. Of what is no
face, or is seen upside down, it says something else at every look: how far the landmarks still move tells both apart.
"""

from dataclasses import dataclass, replace

import numpy as np

from personae.errors import BadData
from personae.reading.face_motion import MotionReader
from personae.shapes import Float, Float32, UInt8
from personae.types import Array, Detection, Motion

# What the five points of `types.Detection` are among the 478 landmarks: irises, nose tip, mouth corners.
FIVE = (468, 473, 4, 61, 291)
# How far the landmarks may move on average from one look to the next, of the eye distance, by the looks made: settled.
# 41 held-out photos, turned by every 15 degrees: nine in ten of the right readings move less, of the wrong ones (of a
# head on its side or upside down, read as if it stood) one in a hundred.
_STILL = (0.02, 0.0125, 0.0125)
STILL = _STILL[-1]
# What moves more than this in the last look is hardly a face: 40 of the 41 upright ones move less than .0135, the last
# one .023; a cat's face .022, a retina .029, coins .043.
LIMIT = 0.02


@dataclass(frozen=True, kw_only=True)
class Look:
    """`motion` of a face, its `points` (5, 2) float32 among the landmarks, how far they `moved` in the last look, of
    the eye distance, and whether they hold still (`settled`)."""

    motion: Motion
    points: Float32[Array, "5 2"]
    moved: float
    settled: bool

    @property
    def tilt(self) -> float:
        """Degrees clockwise by which the line between the eyes is turned."""
        return tilt_of(self.points)

    def of(self, found: Detection) -> Detection:
        """`found` with these points, which are measured better than a detector's."""
        return replace(found, points=self.points)


def tilt_of(points: Float[Array, "5 2"]) -> float:
    """Degrees clockwise by which the line between the eyes of five points (5, 2) is turned."""
    x, y = points[1].astype(np.float64) - points[0]
    return float(np.degrees(np.arctan2(y, x)))


def steady(reader: MotionReader, pixels: UInt8[Array, "H W 3"], points: Float[Array, "5 2"]) -> Look | None:
    """Look at the face at `points` (5, 2) of a photo (H, W, 3) until its landmarks hold still, at most four times.

    None: the points, or the landmarks seen there, fit no crop.
    """
    try:
        motion = reader.read(pixels, points)
        for limit in _STILL:
            before, motion = motion, reader.read(pixels, five_points(motion))
            moved = _moved(before, motion)
            if moved < limit:
                break
    except BadData:
        return None
    return Look(motion=motion, points=five_points(motion), moved=moved, settled=moved < limit)


def five_points(motion: Motion) -> Float32[Array, "5 2"]:
    """(5, 2) float32: a detector's five points, as the landmarks say them."""
    return np.asarray(motion.landmarks[list(FIVE), :2], np.float32)


def _moved(before: Motion, after: Motion) -> float:
    """The mean distance of the landmarks of two looks, of the eye distance."""
    right, left = five_points(after)[:2].astype(np.float64)
    off = np.linalg.norm(before.landmarks[:, :2].astype(np.float64) - after.landmarks[:, :2], axis=1).mean()
    return float(off / max(np.linalg.norm(left - right), 1e-6))
