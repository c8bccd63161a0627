"""The labellers: published networks that mark up training photos and measure results. Never shipped.

A teachers folder holds `yunet.onnx` (detector, OpenCV zoo, MIT), `face_landmarker.task` (MediaPipe, Apache-2.0)
and `mobilefacenet.onnx` (recogniser, foamliu/MobileFaceNet). Needs the extra `train`.
"""

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from PIL import Image

from personae.errors import PersonaeError, WeightsMissing
from personae.reading import align
from personae.reading.onnx_file import content_of
from personae.shapes import Float, Float32, UInt8
from personae.types import Array, Detection, Motion, Pose

TEACHER_SPACE = "mobilefacenet-teacher"


def teacher_input(crop: Array) -> Array:
    """(1, 3, 112, 112) float32 for MobileFaceNet of a (112, 112, 3) RGB uint8 crop."""
    return (crop.astype(np.float32).transpose(2, 0, 1)[None] - 127.5) / 128


def pose_from_matrix(matrix: Array) -> Pose:
    """Angles of MediaPipe's (4, 4) facial transformation (x right, y up, z to the viewer), as Ry @ Rx @ Rz."""
    rotation = matrix[:3, :3]
    yaw = np.degrees(np.arctan2(rotation[0, 2], rotation[2, 2]))
    pitch = np.degrees(np.arcsin(np.clip(rotation[1, 2], -1, 1)))
    roll = np.degrees(np.arctan2(-rotation[1, 0], rotation[1, 1]))
    return Pose(yaw=float(yaw), pitch=float(pitch), roll=float(roll))


FILES = ("yunet.onnx", "face_landmarker.task", "mobilefacenet.onnx")


def framed(image: UInt8[Array, "H W 3"]) -> UInt8[Array, "h w 3"]:
    """Twice as large and in a grey frame: so the landmarker finds a face in 60 of 60 real crops of 128 px, as they are
    in 55, and reads from them what it does (yaw 1.6 degrees off its reading of the whole photo, before 1.5)."""
    height, width = image.shape[:2]
    large = np.asarray(Image.fromarray(image).resize((2 * width, 2 * height), Image.Resampling.BICUBIC))
    return np.pad(large, ((height // 2, height // 2), (width // 2, width // 2), (0, 0)), constant_values=127)


class Teachers:
    """The three labellers of one folder, each loaded on first use, one thread each."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        missing = [name for name in FILES if not (self.folder / name).is_file()]
        if missing:
            raise WeightsMissing(f"{self.folder} lacks {', '.join(missing)}: name the teachers folder with --teachers")

    @cached_property
    def _yunet(self) -> Any:
        import cv2

        content_of(self.folder / "yunet.onnx")  # no weights from elsewhere
        cv2.setNumThreads(1)
        return cv2.FaceDetectorYN.create(str(self.folder / "yunet.onnx"), "", (320, 320), 0.5)

    @cached_property
    def _landmarker(self) -> Any:
        os.environ.setdefault("GLOG_minloglevel", "2")
        try:
            from mediapipe.tasks.python import BaseOptions, vision
        except ImportError as error:
            raise PersonaeError("labelling needs mediapipe: pip install 'personae[train]'") from error
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self.folder / "face_landmarker.task")),
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        landmarker = vision.FaceLandmarker.create_from_options(options)
        # Closed with this object, or before Python takes its modules apart: its own `__del__` comes too late then.
        finalize(self, landmarker.close)
        return landmarker

    @cached_property
    def _recogniser(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        content = content_of(self.folder / "mobilefacenet.onnx")
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def detect(self, pixels: Array) -> list[Detection]:
        """Faces of (H, W, 3) RGB uint8, largest first."""
        self._yunet.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, rows = self._yunet.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        found = [] if rows is None else list(rows)
        found.sort(key=lambda row: -float(row[2] * row[3]))
        return [
            Detection(
                box=np.array([r[0], r[1], r[0] + r[2], r[1] + r[3]], np.float32),
                points=r[4:14].reshape(5, 2).astype(np.float32),
                score=float(r[14]),
            )
            for r in found
        ]

    def motion(self, pixels: Array) -> Motion | None:
        """Landmarks, pose and blendshapes of the main face of (H, W, 3) RGB uint8, or None."""
        import mediapipe

        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        result = self._landmarker.detect(image)
        if not result.face_landmarks:
            return None
        height, width = pixels.shape[:2]
        marks = np.array([(p.x, p.y, p.z) for p in result.face_landmarks[0]], np.float32)
        return Motion(
            landmarks=marks * np.array((width, height, width), np.float32) - np.array((0.5, 0.5, 0), np.float32),
            pose=pose_from_matrix(np.asarray(result.facial_transformation_matrixes[0])),
            blendshapes=np.array([c.score for c in result.face_blendshapes[0]], np.float32),
        )

    def motion_in_crop(self, crop: Array) -> Motion | None:
        """`motion` of a small crop (S, S, 3) that a face fills, read `framed`; landmarks in the crop's own pixels."""
        framed_motion = self.motion(framed(crop))
        if framed_motion is None:
            return None
        height, width = crop.shape[:2]
        frame, half = (np.array(xyz, np.float32) for xyz in ((width // 2, height // 2, 0), (0.5, 0.5, 0)))
        marks = (framed_motion.landmarks - frame + half) / 2 - half
        return replace(framed_motion, landmarks=marks)

    def embed_crop(self, crop: Array) -> Array:
        """(128,) float32 unit vector of a (112, 112, 3) RGB uint8 crop in the `arcface` template."""
        vector = self._recogniser.run(None, {"input": teacher_input(crop)})[0][0]
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def embed(self, pixels: UInt8[Array, "H W 3"], points: Float[Array, "5 2"]) -> Float32[Array, " D"]:
        """(128,) float32 unit vector of the face at `points` (5, 2) in a photo."""
        return self.embed_crop(align.crop(pixels, align.similarity(points, "arcface"), 112))
