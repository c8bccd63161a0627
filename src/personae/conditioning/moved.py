"""An aligned face that is asked for another pose or expression: its numbers and its landmarks follow, its crop stays.

smiling = moved(face, FaceModel.bundled(), blendshapes=blendshapes)
turned = moved(face, FaceModel.bundled(), pose=Pose(yaw=20, pitch=0, roll=0))
"""

from dataclasses import replace

from personae.conditioning.mesh import FaceModel
from personae.conditioning.pose_map import place
from personae.reading.aligned import Aligned
from personae.types import Array, Motion, Pose


def moved(face: Aligned, model: FaceModel, *, pose: Pose | None = None, blendshapes: Array | None = None) -> Aligned:
    """What a task takes as giver of pose and expression. None: as the face does. Landmarks are the face's own, changed
    by what `model` says that the change moves, so that asking for nothing new changes nothing.

    pose: as seen in the crop. blendshapes: (52,), 0-1. Raises `BadData` for landmarks that are no face.
    """
    wanted = face.pose if pose is None else pose
    making = face.blendshapes if blendshapes is None else blendshapes
    motion = Motion(landmarks=face.landmarks, pose=face.pose, blendshapes=face.blendshapes)
    shape = model.shape_of(motion)

    def landmarks(held: Pose, made: Array) -> Array:
        return place(model.posed(shape, made, held), held, face.template, len(face.crop))

    change = landmarks(wanted, making) - landmarks(face.pose, face.blendshapes)
    return replace(
        face, pose=wanted, blendshapes=making, landmarks=(face.landmarks + change).astype(face.landmarks.dtype)
    )
