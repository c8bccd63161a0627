"""reader = insightface_reader(detector="scrfd_10g_bnkps.onnx", recogniser="arcface.onnx", ...)

InsightFace's networks behind this package's protocols, for models conditioned on its recognisers. Needs the extra
`insightface`. Every file is named and hashed: nothing is picked by searching a folder. What it measures is what
InsightFace's own `FaceAnalysis` measures, alignment included. Its world is BGR; ours ends at this file's border.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from personae.errors import BadOutput, PersonaeError, WeightsCorrupt, WeightsMissing
from personae.io import atomic, regular
from personae.io.boundary import errors_as
from personae.reading.detect import settle
from personae.reading.embed import check_crops, space_name
from personae.reading.face_motion import MotionConfig, OnnxMotionReader
from personae.reading.onnx_file import session_options, verified
from personae.reading.reader import CONFIG_NAME, FaceReader, ReaderConfig
from personae.reading.session import CPU, Provider, Session
from personae.shapes import Float, Float32, UInt8
from personae.types import Array, Detection, Identity

LIBRARY = "insightface"
_BATCH = 32
# Of the longer side, on every side: each look shows a face that fills its photo smaller, and with surroundings.
_MARGINS = (0.25, 0.5, 1.0)


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file and what it must contain."""

    path: Path
    sha256: str


def insightface_reader(
    *,
    detector: str | Path,
    detector_sha256: str,
    recogniser: str | Path,
    recogniser_sha256: str,
    name: str,
    motion: str | Path | None = None,
    threads: int | None = None,
) -> "InsightFaceReader":
    """A `FaceReader` on InsightFace's SCRFD and an ArcFace recogniser. `name` begins the identity space's name;
    `motion`: a reader's folder to take the motion reader from, InsightFace measures no expression.

    Raises `WeightsMissing`, `WeightsCorrupt`, or `PersonaeError` without the extra.
    """
    return InsightFaceReader(
        detector=WeightFile(path=Path(detector), sha256=detector_sha256),
        recogniser=WeightFile(path=Path(recogniser), sha256=recogniser_sha256),
        name=name,
        motion=None if motion is None else _motion_of(Path(motion)),
        threads=threads,
    )


class InsightFaceReader(FaceReader):
    """A `FaceReader` whose identities are cut and measured as InsightFace does."""

    def __init__(
        self,
        *,
        detector: WeightFile,
        recogniser: WeightFile,
        name: str,
        motion: WeightFile | None = None,
        threads: int | None = None,
    ) -> None:
        self._files, self._name = {"detector": detector, "recogniser": recogniser, "motion": motion}, name
        self._insightface = InsightFaceEmbedder(recogniser.path, sha256=recogniser.sha256, name=name, threads=threads)
        super().__init__(
            detector=InsightFaceDetector(detector.path, sha256=detector.sha256, threads=threads),
            embedder=self._insightface,
            motion=None if motion is None else _motion_reader(motion, threads),
        )

    @classmethod
    def from_folder(cls, folder: str | Path, *, threads: int | None = None) -> "InsightFaceReader":
        """The reader of a folder written by `save`. Raises `WeightsMissing` or `WeightsCorrupt`."""
        path = Path(folder) / CONFIG_NAME
        config = regular.read_object(path, WeightsCorrupt, missing=WeightsMissing)
        with errors_as(WeightsCorrupt, f"{path} is not a reader's config"):
            # By its last part only: a config may come from a stranger and must not lead out of its folder.
            files = {
                part: WeightFile(path=path.parent / Path(config[part]["file"]).name, sha256=str(config[part]["sha256"]))
                for part in ("detector", "recogniser", "motion")
                if config[part] is not None
            }
            detector, recogniser, name = files["detector"], files["recogniser"], str(config["name"])
        return cls(detector=detector, recogniser=recogniser, name=name, motion=files.get("motion"), threads=threads)

    def save(self, folder: str | Path) -> None:
        """Copy the networks and write `reader.json`. Raises `BadOutput`."""
        target = Path(folder)
        config: dict[str, Any] = {"library": LIBRARY, "name": self._name}
        try:
            target.mkdir(parents=True, exist_ok=True)
            for part, file in self._files.items():
                config[part] = None if file is None else {"file": f"{part}.onnx", "sha256": file.sha256}
                if file is not None and file.path.resolve() != (target / f"{part}.onnx").resolve():
                    atomic.write(target / f"{part}.onnx", file.path.read_bytes(), replace=True)
            atomic.write_json(target / CONFIG_NAME, config)
        except OSError as error:
            raise BadOutput(f"the reader cannot be saved to {target}: {error.strerror or error}") from error

    def identities(self, faces: Sequence[tuple[UInt8[Array, "_ _ 3"], Detection]]) -> list[Identity]:
        """See `FaceReader`."""
        # Not through this package's own alignment: it cuts half a pixel beside InsightFace's, and bicubically.
        crops = [self._insightface.crop(pixels, face.points) for pixels, face in faces]
        size = self.embedder.size
        stacked = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
        return [Identity(vector=vector, space=self.space) for vector in self.embedder.embed(stacked)]


def _motion_of(folder: Path) -> WeightFile:
    config = ReaderConfig.read(folder).motion
    return WeightFile(path=folder / config.file, sha256=config.sha256)


def _motion_reader(file: WeightFile, threads: int | None) -> OnnxMotionReader:
    config = MotionConfig(file=file.path.name, sha256=file.sha256)
    return OnnxMotionReader(file.path.parent, config, threads=threads)


def _open(path: Path, sha256: str, task: str, threads: int | None) -> Any:
    """InsightFace's wrapper of one ONNX file, which must do `task`; its session survives a fork."""
    verified(path, sha256)
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        raise PersonaeError("this model reads faces with InsightFace: pip install 'personae[insightface]'") from error

    def opened(providers: list[Provider]) -> Any:
        return get_model(str(path), providers=providers, sess_options=session_options(threads))

    with errors_as(WeightsCorrupt, f"{path} is not a network that InsightFace can run"):
        model = opened([CPU])
    if model is None or model.taskname != task:
        raise WeightsCorrupt(f"{path} does {getattr(model, 'taskname', 'nothing known')}, expected {task}")
    first = [model.session]
    model.session = Session(lambda providers: first.pop() if first else opened(providers).session)
    return model


class _InsightFacePart:
    """A part of a reader that is one of InsightFace's networks."""

    _model: Any

    def to(self, device: str) -> None:
        """Compute on `device`, as `session.Session.to`."""
        self._model.session.to(device)


class InsightFaceDetector(_InsightFacePart):
    """A `Detector` on SCRFD. `size` (W, H): one scale, as the published models were used; InsightFace's own default
    of two scales finds other boxes. Only where that shows nothing, the photo is looked at again within margins."""

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

    def detect(self, pixels: UInt8[Array, "H W 3"]) -> list[Detection]:
        """The faces of (H, W, 3) RGB uint8, largest first."""
        size = (pixels.shape[1], pixels.shape[0])
        rows = self._look(pixels)
        for margin in _MARGINS:
            if len(rows):
                break
            pad = round(margin * max(size))
            rows = self._look(np.pad(pixels, ((pad, pad), (pad, pad), (0, 0))))
            rows[:, :14] -= pad
        return settle(rows, size, self._overlap)

    def _look(self, pixels: UInt8[Array, "H W 3"]) -> Float32[Array, "n 15"]:
        """(n, 15) float32 rows: box, points, score."""
        boxes, points = self._model.detect(np.ascontiguousarray(pixels[:, :, ::-1]))
        if points is None:
            raise WeightsCorrupt("this InsightFace detector gives no five points: use one whose name ends in _bnkps")
        return np.concatenate([boxes[:, :4], points.reshape(-1, 10), boxes[:, 4:5]], axis=1).astype(np.float32)

    def detect_many(self, images: Sequence[UInt8[Array, "_ _ 3"]]) -> list[list[Detection]]:
        """`detect` of each image, one by one: SCRFD's post-processing knows no batches."""
        return [self.detect(image) for image in images]


class InsightFaceEmbedder(_InsightFacePart):
    """An `Embedder` on an ArcFace network, `path`; preprocessing is InsightFace's own."""

    template, size = "arcface", 112

    def __init__(self, path: Path, *, sha256: str, name: str, threads: int | None = None) -> None:
        self._model = _open(path, sha256, "recognition", threads)
        if tuple(self._model.input_size) != (self.size, self.size):
            raise WeightsCorrupt(f"{path} reads {self._model.input_size} crops, expected {self.size} pixels")
        self.path, self.space = path, space_name(name, self.template, sha256)
        self.width = int(self._model.output_shape[-1])

    @property
    def reads_units(self) -> bool:
        """Whether the network itself reads RGB in [-1, 1]; some of InsightFace's scale their crops inside."""
        return (self._model.input_mean, self._model.input_std) == (127.5, 127.5)

    def crop(self, pixels: UInt8[Array, "H W 3"], points: Float[Array, "5 2"]) -> UInt8[Array, "112 112 3"]:
        """The (112, 112, 3) RGB uint8 crop of (H, W, 3) at `points` (5, 2), cut by InsightFace."""
        from insightface.utils import face_align

        return np.asarray(face_align.norm_crop(np.ascontiguousarray(pixels), points, image_size=self.size))

    def embed(self, crops: UInt8[Array, "N 112 112 3"]) -> Float32[Array, "N D"]:
        """(N, D) float32 unit vectors of (N, 112, 112, 3) RGB uint8."""
        check_crops(crops, self.size)
        vectors = np.zeros((len(crops), self.width), np.float32)
        for start in range(0, len(crops), _BATCH):
            bgr = [np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops[start : start + _BATCH]]
            vectors[start : start + _BATCH] = self._model.get_feat(bgr)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-8)
