"""An aligned face with another pose or expression: its numbers and landmarks change, its crop stays as it is.

smiling = retarget(face, FaceModel.bundled(), blendshapes=blendshapes)
turned = retarget(face, FaceModel.bundled(), pose=Pose(yaw=20, pitch=0, roll=0))
"""

from dataclasses import replace

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place
from personae.reading import face_regions
from personae.reading.aligned import Aligned
from personae.shapes import Bool, Float
from personae.types import Array, Motion, Pose


def retarget(
    face: Aligned, model: FaceModel, *, pose: Pose | None = None, blendshapes: Float[Array, " 52"] | None = None
) -> Aligned:
    """A face that a task can take pose and expression from.

    Arguments:
        face: its landmarks are changed by what `model` says that the change moves, so that no change of the numbers
            changes nothing. Its regions become those of the landmarks, whatever a parser found in the crop.
        model: of the mesh.
        pose: as measured in the crop; None: the face's own.
        blendshapes: (52,), 0-1; None: the face's own.

    Raises `BadData` for landmarks that are not a face.
    """
    motion = Motion(landmarks=face.landmarks, pose=face.pose, blendshapes=face.blendshapes)
    wanted = face.pose if pose is None else pose
    making = face.blendshapes if blendshapes is None else blendshapes
    marks = landmarks(motion, model, wanted, making, face.template, face.size)
    return replace(face, pose=wanted, blendshapes=making, landmarks=marks, parts=None)


def changed_region(
    before: Motion | Aligned, after: Motion | Aligned, model: FaceModel, size: int
) -> Bool[Array, "S S"]:
    """(size, size) bool: the part of a crop that a change of expression from `before` to `after` may change; nothing if
    they are equal. The landmarks of both are pixels of the crop."""
    touched = model.moving_landmarks(after.blendshapes - before.blendshapes)
    triangles = model.triangles[touched[model.triangles].all(1)]
    return face_regions.around([before.landmarks, after.landmarks], triangles, size)


def landmarks(
    motion: Motion, model: FaceModel, pose: Pose, blendshapes: Float[Array, " 52"], template: str, size: int
) -> Float[Array, "K 3"]:
    """The landmarks of `motion` after a change to `pose` and `blendshapes` (52,).

    Returns (K, 3) pixels of a `size` crop of `template`, in which those of `motion` lie, too. Raises `BadData` for
    landmarks that are not a face.
    """
    shape = model.shape_of(motion)

    def points_of(pose: Pose, blendshapes: Array) -> Array:
        return place(model.posed(shape, blendshapes, pose), pose, template, size)

    turned, after = points_of(pose, motion.blendshapes), points_of(pose, blendshapes)
    rest = ~model.moving_landmarks(blendshapes - motion.blendshapes)
    if rest.any():
        after = _onto(after, turned, rest)
    change = after - points_of(motion.pose, motion.blendshapes)
    return (motion.landmarks + change).astype(motion.landmarks.dtype)


def _onto(points: Float[Array, "K 3"], goal: Float[Array, "K 3"], which: Bool[Array, " K"]) -> Float[Array, "K 3"]:
    """Points (K, 3), scaled and shifted so that those of `which` (K,) bool lie on `goal` (K, 3) in the least squares:
    placed by its five points, a face whose mouth opens would lift its eyes."""
    middle, wanted = points[which].mean(0), goal[which].mean(0)
    off = points[which] - middle
    scale = (off * (goal[which] - wanted)).sum() / (off**2).sum()
    return np.asarray((points - middle) * scale + wanted)
