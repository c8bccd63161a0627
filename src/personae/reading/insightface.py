"""reader = insightface_reader(detector="scrfd_10g_bnkps.onnx", recogniser="arcface.onnx", ...)

InsightFace's networks behind this package's protocols, for models conditioned on its recognisers. Needs the extra
`insightface`. Every file is named and hashed: nothing is picked by searching a folder. Its world is BGR; ours ends
at this file's border.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from personae.errors import PersonaeError, WeightsCorrupt
from personae.reading.detect import settle
from personae.reading.embed import check_crops, space_name
from personae.reading.motion import MotionReader
from personae.reading.network import session_options, verified
from personae.reading.reader import FaceReader
from personae.types import Array, Detection

_BATCH = 32


def insightface_reader(
    *,
    detector: str | Path,
    detector_sha256: str,
    recogniser: str | Path,
    recogniser_sha256: str,
    name: str,
    motion: MotionReader | None = None,
    threads: int | None = None,
) -> FaceReader:
    """A `FaceReader` on InsightFace's SCRFD and an ArcFace recogniser. `name` begins the identity space's name;
    `motion` may come from another reader, InsightFace measures no expression.

    Raises `WeightsMissing`, `WeightsCorrupt`, or `PersonaeError` without the extra.
    """
    return FaceReader(
        detector=InsightFaceDetector(Path(detector), sha256=detector_sha256, threads=threads),
        embedder=InsightFaceEmbedder(Path(recogniser), sha256=recogniser_sha256, name=name, threads=threads),
        motion=motion,
    )


def _open(path: Path, sha256: str, task: str, threads: int | None) -> Any:
    """InsightFace's wrapper of one ONNX file, which must do `task`."""
    verified(path, sha256)
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise PersonaeError("this model reads faces with InsightFace: pip install 'personae[insightface]'") from error
    try:
        model = get_model(str(path), providers=["CPUExecutionProvider"], sess_options=session_options(threads))
    except Exception as error:  # asserts, onnx and onnxruntime errors alike
        raise WeightsCorrupt(f"{path} is not a network that InsightFace can run: {error}") from error
    if model is None or model.taskname != task:
        raise WeightsCorrupt(f"{path} does {getattr(model, 'taskname', 'nothing known')}, expected {task}")
    return model


class InsightFaceDetector:
    """A `Detector` on SCRFD. `size` (W, H): one scale, as the published models were used; InsightFace's own default
    of two scales finds other boxes."""

    def __init__(
        self,
        path: Path,
        *,
        sha256: str,
        size: tuple[int, int] = (640, 640),
        score: float = 0.5,
        overlap: float = 0.4,
        threads: int | None = None,
    ) -> None:
        self._overlap = overlap
        self._model = _open(path, sha256, "detection", threads)
        self._model.prepare(-1, input_size=size, det_thresh=score, nms_thresh=overlap)

    def detect(self, pixels: Array) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first."""
        boxes, points = self._model.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        if points is None:
            raise WeightsCorrupt("this InsightFace detector gives no five points: use one whose name ends in _bnkps")
        rows = np.concatenate([boxes[:, :4], points.reshape(-1, 10), boxes[:, 4:5]], axis=1).astype(np.float32)
        return settle(rows, (pixels.shape[1], pixels.shape[0]), self._overlap)

    def detect_many(self, images: Sequence[Array]) -> list[list[Detection]]:
        """`detect` of each image, one by one: SCRFD's post-processing knows no batches."""
        return [self.detect(image) for image in images]


class InsightFaceEmbedder:
    """An `Embedder` on an ArcFace network; preprocessing is InsightFace's own."""

    template, size = "arcface", 112

    def __init__(self, path: Path, *, sha256: str, name: str, threads: int | None = None) -> None:
        self._model = _open(path, sha256, "recognition", threads)
        if tuple(self._model.input_size) != (self.size, self.size):
            raise WeightsCorrupt(f"{path} reads {self._model.input_size} crops, expected {self.size} pixels")
        self.space = space_name(name, self.template, sha256)
        self.width = int(self._model.output_shape[-1])

    def embed(self, crops: Array) -> Array:
        """(N, D) float32 unit vectors of (N, 112, 112, 3) RGB uint8."""
        check_crops(crops, self.size)
        vectors = np.zeros((len(crops), self.width), np.float32)
        for start in range(0, len(crops), _BATCH):
            bgr = [np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops[start : start + _BATCH]]
            vectors[start : start + _BATCH] = self._model.get_feat(bgr)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-8)
