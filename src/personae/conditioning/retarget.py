"""An aligned face that is asked for another pose or expression: its numbers and its landmarks follow, its crop stays.

smiling = retarget(face, FaceModel.bundled(), blendshapes=blendshapes)
turned = retarget(face, FaceModel.bundled(), pose=Pose(yaw=20, pitch=0, roll=0))
"""

from dataclasses import replace

import numpy as np

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place
from personae.reading import face_regions
from personae.reading.aligned import Aligned
from personae.types import Array, Motion, Pose


def retarget(face: Aligned, model: FaceModel, *, pose: Pose | None = None, blendshapes: Array | None = None) -> Aligned:
    """What a task takes as giver of pose and expression. None: as the face does. Landmarks are the face's own, changed
    by what `model` says that the change moves, so that asking for nothing new changes nothing. Its regions are those of
    the landmarks, whatever a parser saw in the crop.

    pose: as seen in the crop. blendshapes: (52,), 0-1. Raises `BadData` for landmarks that are no face.
    """
    motion = Motion(landmarks=face.landmarks, pose=face.pose, blendshapes=face.blendshapes)
    wanted = face.pose if pose is None else pose
    making = face.blendshapes if blendshapes is None else blendshapes
    marks = landmarks(motion, model, wanted, making, face.template, face.size)
    return replace(face, pose=wanted, blendshapes=making, landmarks=marks, parts=None)


def changed_region(before: Motion | Aligned, after: Motion | Aligned, model: FaceModel, size: int) -> Array:
    """(size, size) bool: what a face's change of expression touches; empty if nothing changes. Of both, the landmarks
    are pixels of the crop."""
    touched = model.moving_landmarks(after.blendshapes - before.blendshapes)
    triangles = model.triangles[touched[model.triangles].all(1)]
    return face_regions.around([before.landmarks, after.landmarks], triangles, size)


def landmarks(motion: Motion, model: FaceModel, pose: Pose, blendshapes: Array, template: str, size: int) -> Array:
    """(K, 3) pixels of a `size` crop of `template`: those of `motion`, which lie in it, after the change to `pose` and
    `blendshapes` (52,). Raises `BadData` for landmarks that are no face."""
    shape = model.shape_of(motion)

    def lie(held: Pose, made: Array) -> Array:
        return place(model.posed(shape, made, held), held, template, size)

    turned, after = lie(pose, motion.blendshapes), lie(pose, blendshapes)
    rest = ~model.moving_landmarks(blendshapes - motion.blendshapes)
    if rest.any():
        after = _onto(after, turned, rest)
    change = after - lie(motion.pose, motion.blendshapes)
    return (motion.landmarks + change).astype(motion.landmarks.dtype)


def _onto(points: Array, goal: Array, which: Array) -> Array:
    """Points (K, 3), scaled and shifted so that those of `which` (K,) bool lie on `goal` (K, 3) in the least squares:
    placed by its five points, a face whose mouth opens would lift its eyes."""
    middle, wanted = points[which].mean(0), goal[which].mean(0)
    off = points[which] - middle
    scale = (off * (goal[which] - wanted)).sum() / (off**2).sum()
    return np.asarray((points - middle) * scale + wanted)
