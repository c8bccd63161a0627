"""A head that leans is edited in a crop that leans with it: what a model paints there stands upright, as it learnt it.

pose, tilt = upright(driver)                      # of a head as its photo shows it: the tilt, and what remains
canvas = leaning(face, tilt)                      # in which a face that stands upright leans so in the photo
scene = followed(scene, limits, leans=True, rolled=False)
"""

import math
from dataclasses import asdict, replace

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import tilt_of
from personae.conditioning.retarget import retarget
from personae.editing.scene import Scene
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
    clockwise, that crop leans in the face's photo."""
    in_photo = turned(face.pose, lean(face))
    tilt = tilt_of(FaceModel.bundled(), in_photo, face.blendshapes, face.template)
    return turned(in_photo, -tilt), tilt


def leaning(face: Aligned, tilt: float) -> Aligned:
    """A face in its crop turned about the crop's middle, so that a face upright in the crop leans by `tilt` degrees in
    the photo; without what a parser saw. The photo must be known."""
    assert face.photo is not None
    middle, degrees = (face.size - 1) / 2, lean(face) - tilt
    angle = math.radians(degrees)
    spin = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    matrix = np.column_stack([spin @ face.matrix[:, :2], spin @ (face.matrix[:, 2] - middle) + middle])
    marks = face.landmarks.copy()
    marks[:, :2] = (face.landmarks[:, :2] - middle) @ spin.T + middle
    return replace(
        face,
        crop=align.crop(face.photo, matrix, face.size),
        matrix=matrix,
        landmarks=marks,
        pose=turned(face.pose, degrees),
        coverage=align.coverage(matrix, face.size, face.photo.shape),
        parts=None,
    )


def followed(scene: Scene, limits: Limits, *, leans: bool, rolled: bool) -> Scene:
    """The scene for a head that takes another photo's pose, or (`rolled`) another roll.

    Where the crop may lean along (`leans`), it takes the tilt, and only yaw and pitch are left for the model. A pose
    from another photo is kept within `limits`, the model's. The scene's canvas must be upright.
    """
    if "pose" not in scene.sources:
        return scene
    ref, canvas = scene.sources["pose"], scene.place
    another, source = not scene.is_own(ref), scene.faces[ref]
    if not (another or rolled):
        return scene
    pose = source.pose
    if leans and canvas.photo is not None:
        level, tilt = upright(source)
        if abs((tilt - lean(canvas) + 180) % 360 - 180) > _LEVEL:
            pose, tilted = level, replace(scene.canvas, change="lean")
            faces = {**scene.faces, tilted: leaning(canvas, tilt)}
            scene = replace(scene, canvas=tilted, upright=scene.canvas, faces=faces)
    if another:
        angles = {name: getattr(pose, name) for name in GEOMETRY if name != "roll" or not leans}
        pose = Pose(**(asdict(pose) | limits.within(angles)))
    if pose != source.pose:
        scene = scene.with_source("pose", replace(ref, change="pose"), retarget(source, FaceModel.bundled(), pose=pose))
    return scene


def turned(pose: Pose, degrees: float) -> Pose:
    """A head's pose after its picture is turned clockwise."""
    yaw, pitch, roll = turn(np.array((pose.yaw, pose.pitch, pose.roll)), degrees).tolist()
    return Pose(yaw=yaw, pitch=pitch, roll=roll)
