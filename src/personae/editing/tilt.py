"""A head that leans is edited in a crop that leans with it: what a model paints there stands upright, as it learnt it.

pose, tilt = upright(driver)                      # of a head as its photo shows it: the tilt, and what remains
canvas = leaning(still, tilt)                     # in which a face that stands upright leans so in the photo
canvas, told = followed(still, told, limits, leans=True, rolled=False)
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import tilt_of
from personae.conditioning.retarget import retarget
from personae.models.limits import GEOMETRY, Limits
from personae.reading import align
from personae.reading.aligned import Aligned
from personae.reading.rotation import image_turn, turn
from personae.types import Pose

_LEVEL = 1.0  # degree: crops that lean by less than that towards each other are the same


def lean(place: Aligned) -> float:
    """Degrees clockwise by which what stands upright in a crop leans in the photo."""
    return -image_turn(place.matrix)


def upright(face: Aligned) -> tuple[Pose, float]:
    """The pose of a face in a crop that stands it upright, whatever its own crop does; and by how many degrees,
    clockwise, that one leans in the face's photo."""
    seen = turned(face.pose, lean(face))
    tilt = tilt_of(FaceModel.bundled(), seen, face.blendshapes, face.template)
    return turned(seen, -tilt), tilt


def leaning(still: Aligned, tilt: float) -> Aligned:
    """A photo's face in its crop turned about the crop's middle, so that a face upright in the crop leans by `tilt`
    degrees in the photo; without what a parser saw. The photo must be known."""
    assert still.photo is not None
    middle, degrees = (still.size - 1) / 2, lean(still) - tilt
    angle = math.radians(degrees)
    spin = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    matrix = np.column_stack([spin @ still.matrix[:, :2], spin @ (still.matrix[:, 2] - middle) + middle])
    marks = still.landmarks.copy()
    marks[:, :2] = (still.landmarks[:, :2] - middle) @ spin.T + middle
    return replace(
        still,
        crop=align.crop(still.photo, matrix, still.size),
        matrix=matrix,
        landmarks=marks,
        pose=turned(still.pose, degrees),
        coverage=align.coverage(matrix, still.size, still.photo.shape),
        parts=None,
    )


def followed(
    still: Aligned, told: Mapping[str, Aligned], limits: Limits, *, leans: bool, rolled: bool
) -> tuple[Aligned, dict[str, Aligned]]:
    """The canvas, and who gives what in it, for a head that holds another's pose, or (`rolled`) another roll: where its
    crop `leans` along, only yaw and pitch are left for the model. Another photo's are held to the model's limits.

    still: the face that is edited, in its upright crop. told: by token.
    """
    giver, result = told.get("pose"), dict(told)
    another = giver is not None and giver.crop is not still.crop
    if giver is None or not (another or rolled):
        return still, result
    pose, canvas = giver.pose, still
    if leans and still.photo is not None:
        level, tilt = upright(giver)
        if abs((tilt - lean(still) + 180) % 360 - 180) > _LEVEL:
            pose, canvas = level, leaning(still, tilt)
    if another:
        held = {name: getattr(pose, name) for name in GEOMETRY if name != "roll" or not leans}
        pose = Pose(**(asdict(pose) | limits.within(held)))
    if pose != giver.pose:
        result["pose"] = retarget(giver, FaceModel.bundled(), pose=pose)
    return canvas, result


def turned(pose: Pose, degrees: float) -> Pose:
    """A head's pose after its picture is turned clockwise."""
    yaw, pitch, roll = turn(np.array((pose.yaw, pose.pitch, pose.roll)), degrees).tolist()
    return Pose(yaw=yaw, pitch=pitch, roll=roll)
