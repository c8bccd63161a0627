"""Head angles under a turn of the picture.

    turn(angles, 10)     # what the same head measures after its picture is turned 10 degrees clockwise

Angles are degrees (..., 3): yaw, pitch, roll as in `types.Pose`; the rotation is Ry @ Rx @ Rz (roll first).
A turn of the picture comes after all three, so for a head in half profile it moves pitch too: adding it to the
roll is right only for a head that looks into the camera.
"""

import numpy as np

from personae.shapes import Float, Num
from personae.types import Array


def rotation(angles: Num[Array, "*N 3"]) -> Float[Array, "*N 3 3"]:
    """(..., 3) degrees -> (..., 3, 3) matrices; x right, y up, z to the viewer."""
    yaw, pitch, roll = np.moveaxis(np.radians(np.asarray(angles, np.float64)), -1, 0)
    (sy, cy), (sp, cp), (sr, cr) = ((np.sin(a), np.cos(a)) for a in (yaw, -pitch, -roll))
    rows = (
        (cy * cr + sy * sp * sr, -cy * sr + sy * sp * cr, sy * cp),
        (cp * sr, cp * cr, -sp),
        (-sy * cr + cy * sp * sr, sy * sr + cy * sp * cr, cy * cp),
    )
    return np.stack([np.stack(np.broadcast_arrays(*row), -1) for row in rows], -2)


def angles(matrix: Float[Array, "*N 3 3"]) -> Float[Array, "*N 3"]:
    """(..., 3, 3) rotation matrices -> (..., 3) degrees; the inverse of `rotation` for |pitch| < 90."""
    yaw = np.arctan2(matrix[..., 0, 2], matrix[..., 2, 2])
    pitch = np.arcsin(np.clip(matrix[..., 1, 2], -1, 1))
    roll = np.arctan2(-matrix[..., 1, 0], matrix[..., 1, 1])
    return np.degrees(np.stack([yaw, pitch, roll], -1))


def turn(pose: Num[Array, "*N 3"], degrees: Float[Array, " ..."] | float) -> Float[Array, "*N 3"]:
    """(..., 3) angles after the picture is turned clockwise by `degrees` (...)."""
    zero = np.zeros_like(np.asarray(degrees, np.float64))
    return angles(rotation(np.stack([zero, zero, np.asarray(degrees, np.float64)], -1)) @ rotation(pose))


def image_turn(matrix: Float[Array, "2 3"]) -> float:
    """Degrees clockwise by which a (2, 3) similarity turns the picture."""
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
