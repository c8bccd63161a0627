"""A face as a mesh that can be turned and can move: whose shape, which expression, which pose.

    model = FaceModel.bundled()
    shape = model.shape_of(motion)                            # (K, 3) the person, at rest, looking ahead
    vertices = model.posed(shape, motion.blendshapes, pose)   # (K, 3) the same person, moving and turned

Ours from end to end: the mean shape, what each blendshape moves and the triangles between the landmarks are fitted to
labelled photos by `training.face_mesh`. Nothing of a licensed head model is in it.

Legend: K landmarks (478, MediaPipe's order), B blendshapes (52), T triangles. Model coordinates: x right in the
image, y up, z to the viewer, the origin in the middle of the landmarks, their root mean square distance from it 1.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from personae.errors import BadData, WeightsCorrupt
from personae.io import atomic
from personae.io.tensors import to_bytes
from personae.reading.rotation import rotation
from personae.shapes import Bool, Float, Int
from personae.types import BLENDSHAPES, Array, Motion, Pose

# The landmarks that a detector's five points lie on: irises, nose tip (between two), mouth corners. On labelled photos
# the detector's points are, in the median, within 4 % of the distance between the eyes of these.
_FIVE = ((468,), (473,), (1, 4), (61,), (291,))
IRISES = slice(468, 478)
# What a change of blendshapes touches, by the first word of their names: heights in the mean face (lower lids .43,
# irises .62, brows .89 and up). Not read off `moves`: those are of whole faces, whose middle is always the origin.
_ZONES = {
    "brow": (0.72, np.inf),
    "eye": (0.25, 0.95),
    "nose": (-np.inf, 0.7),
    "cheek": (-np.inf, 0.55),
    "mouth": (-np.inf, 0.4),
    "jaw": (-np.inf, 0.4),
}
_STILL = 0.05  # of a blendshape: a change that nobody sees
_FLIP = (1, -1, -1)  # photo (y down, z away) <-> model (y up, z to the viewer)


@dataclass(frozen=True, kw_only=True)
class FaceModel:
    """A linear model of faces.

    Attributes:
        mean: (K, 3), the mean face at rest.
        moves: (B, K, 3), what each blendshape adds at 1.
        triangles: (T, 3) numbers of landmarks, counter-clockwise from outside.
        mirror: (K,), the landmark that takes each one's place in a mirror.
    """

    mean: Float[Array, "K 3"]
    moves: Float[Array, "B K 3"]
    triangles: Int[Array, "T 3"]
    mirror: Int[Array, " K"]

    @staticmethod
    @cache
    def bundled() -> "FaceModel":
        """The one in the package."""
        return FaceModel.load(Path(str(files("personae") / "weights" / "face_mesh.safetensors")))

    @classmethod
    def load(cls, path: Path) -> "FaceModel":
        """Raises `WeightsCorrupt`."""
        try:
            stored = load_file(path)
            moves = stored["factors"].astype(np.float32) @ stored["modes"].astype(np.float32)
            return cls(
                mean=stored["mean"].astype(np.float32),
                moves=moves.reshape(len(BLENDSHAPES), -1, 3),
                triangles=stored["triangles"].astype(np.int64),
                mirror=stored["mirror"].astype(np.int64),
            )
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise WeightsCorrupt(f"{path} is not a face model ({error!r}): install personae again") from error

    def save(self, path: Path, *, rank: int = 24) -> None:
        """Half precision; the moves of the blendshapes as `rank` common ones."""
        u, s, v = np.linalg.svd(self.moves.reshape(len(self.moves), -1), full_matrices=False)
        stored = {
            "mean": self.mean.astype(np.float16),
            "factors": (u[:, :rank] * s[:rank]).astype(np.float16),
            "modes": np.ascontiguousarray(v[:rank]).astype(np.float16),
            "triangles": self.triangles.astype(np.int16),
            "mirror": self.mirror.astype(np.int16),
        }
        atomic.write(path, to_bytes(stored, {}), replace=True)

    def shape_of(self, motion: Motion) -> Float[Array, "K 3"]:
        """The person's face at rest and looking ahead, (K, 3) model coordinates.

        The pose of `motion` is turned back, what its blendshapes moved is subtracted, and the two halves are averaged,
        since a photo from the side shows little of the far one. Raises `BadData` for landmarks that are not a face.
        """
        shape = upright(motion.landmarks, motion.pose) - np.tensordot(motion.blendshapes, self.moves, 1)
        return ((shape + shape[self.mirror] * (-1, 1, 1)) / 2).astype(np.float32)

    def posed(
        self, shape: Float[Array, "K 3"] | None, blendshapes: Float[Array, " B"] | None, pose: Pose
    ) -> Float[Array, "K 3"]:
        """A face with an expression and a pose, (K, 3) model coordinates.

        Arguments:
            shape: (K, 3), as `shape_of` gives it; None: the mean face.
            blendshapes: (B,), 0-1; None: at rest.
            pose: the head's rotation.
        """
        still = self.mean if shape is None else shape
        moved = still if blendshapes is None else still + np.tensordot(blendshapes, self.moves, 1)
        return np.asarray(moved @ rotation(np.array((pose.yaw, pose.pitch, pose.roll))).T)

    def moving_landmarks(self, change: Float[Array, " B"]) -> Bool[Array, " K"]:
        """(K,) bool: the landmarks that a change of blendshapes (B,) may move."""
        height, found = self.mean[:, 1], np.zeros(len(self.mean), bool)
        for name in np.array(BLENDSHAPES)[np.abs(change) > _STILL]:
            for word, (low, high) in _ZONES.items():
                if name.startswith(word):
                    found |= (height > low) & (height < high)
        return found


def upright(landmarks: Float[Array, "K 3"], pose: Pose) -> Float[Array, "K 3"]:
    """Landmarks (K, 3) of a photo as model coordinates (K, 3), their pose turned back.

    Raises `BadData` if they coincide or are not finite.
    """
    points = landmarks.astype(np.float64) * _FLIP
    points = points - points.mean(0)
    size = float(np.sqrt((points**2).sum(1).mean()))
    if not np.isfinite(size) or size < 1e-3:
        raise BadData("these landmarks are not a face: they coincide or are not finite")
    return np.asarray(points @ rotation(np.array((pose.yaw, pose.pitch, pose.roll))) / size)


def in_photo(vertices: Float[Array, "*N 3"]) -> Float[Array, "*N 3"]:
    """Model coordinates (..., 3) with the axes of a photo, and back: y and z change sign."""
    return vertices * np.array(_FLIP)


def five_points(vertices: Float[Array, "K 3"]) -> Float[Array, "5 2"]:
    """(5, 2) of (K, 3) in photo axes: where a detector would put its points (see `types.Detection`)."""
    return np.stack([vertices[list(marks), :2].mean(0) for marks in _FIVE])
