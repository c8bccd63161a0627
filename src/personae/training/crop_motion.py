"""Landmarks and poses as the table's crops show them."""

import numpy as np

from personae.reading.face_motion import marks_in_crop
from personae.reading.rotation import image_turn, turn
from personae.training.face_table import FaceTable
from personae.types import Array


def marks_in_crops(table: FaceTable) -> Array:
    """(N, 478, 3) float32 landmarks in the pixels of the table's crops."""
    rows = zip(table.landmarks, table.matrix, strict=True)
    return np.stack([marks_in_crop(landmarks, matrix) for landmarks, matrix in rows]).astype(np.float32)


def crop_poses(table: FaceTable) -> Array:
    """(N, 3) degrees in the table's crops, which are turned upright."""
    return turn(table.pose, np.array([image_turn(matrix) for matrix in table.matrix]))
