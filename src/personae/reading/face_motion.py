"""reader.read(pixels (H, W, 3) RGB uint8, points (5, 2)) -> Motion: landmarks, pose and expression of one face."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from personae.errors import WeightsCorrupt
from personae.reading import align, rotation
from personae.reading.onnx_file import Network, OnnxPart, to_tensor
from personae.shapes import Float, Float32, UInt8
from personae.types import BLENDSHAPES, Array, Motion, Pose


class MotionReader(Protocol):
    """Measures the pose and expression of a face."""

    def read(self, pixels: UInt8[Array, "H W 3"], points: Float[Array, "5 2"]) -> Motion:
        """`Motion` in photo pixels of the face at `points` (5, 2) of `pixels` (H, W, 3) RGB uint8."""
        ...


@dataclass(frozen=True, kw_only=True)
class MotionConfig:
    """The motion network and the crop that it reads."""

    file: str
    sha256: str
    template: str = "motion"
    size: int = 128

    def __post_init__(self) -> None:
        align.template(self.template)


class OnnxMotionReader(OnnxPart):
    """A `MotionReader` from an ONNX file, `path`: `crop` (N, 3, S, S) in [-1, 1] -> `landmarks` (N, 478, 3) in crop
    pixels, `pose` (N, 3) degrees as seen in the crop, `blendshapes` (N, B) in 0-1, B = len(BLENDSHAPES)."""

    def __init__(self, folder: Path, config: MotionConfig, *, threads: int | None = None) -> None:
        self.template, self.size, self.path = config.template, config.size, folder / config.file
        self._network = Network(
            self.path,
            sha256=config.sha256,
            source="crop",
            results={"landmarks": (None, 3), "pose": (3,), "blendshapes": (None,)},
            threads=threads,
        )

    def read(self, pixels: UInt8[Array, "H W 3"], points: Float[Array, "5 2"]) -> Motion:
        """`Motion` in photo pixels of the face at `points` (5, 2). Raises `BadData` if they fit no crop."""
        matrix = align.similarity(points, self.template, self.size)
        crop = align.crop(pixels, matrix, self.size)
        landmarks, angles, blendshapes = (output[0] for output in self._network(to_tensor(crop[None])))
        if blendshapes.shape != (len(BLENDSHAPES),):
            raise WeightsCorrupt(
                f"the motion network gives {blendshapes.shape} blendshapes, expected {len(BLENDSHAPES)}"
            )
        return Motion(
            landmarks=marks_in_photo(landmarks, matrix),
            pose=pose_in_photo(angles, matrix),
            blendshapes=blendshapes.clip(0, 1),
        )


def marks_in_photo(landmarks: Float[Array, "K 3"], matrix: Float[Array, "2 3"]) -> Float32[Array, "K 3"]:
    """Landmarks (K, 3) of a crop in photo pixels, float32; `matrix` took the photo to the crop."""
    inverse = align.invert(matrix)
    depth = landmarks[:, 2:] * np.sqrt(abs(np.linalg.det(inverse[:, :2])))
    return np.concatenate([align.apply(inverse, landmarks[:, :2]), depth], axis=1).astype(np.float32)


def marks_in_crop(landmarks: Float[Array, "K 3"], matrix: Float[Array, "2 3"]) -> Float32[Array, "K 3"]:
    """Landmarks (K, 3) of a photo in the pixels of the crop that `matrix` cuts, float32; the way back of
    `marks_in_photo`."""
    return marks_in_photo(landmarks, align.invert(matrix))


def pose_in_photo(angles: Float[Array, " 3"], matrix: Float[Array, "2 3"]) -> Pose:
    """The `Pose` in the photo of (3,) yaw, pitch, roll read from a crop; `matrix` took the photo to the crop, and an
    upright crop of a tilted face hides the tilt."""
    yaw, pitch, roll = (float(angle) for angle in rotation.turn(angles, -rotation.image_turn(matrix)))
    return Pose(yaw=yaw, pitch=pitch, roll=roll)
