"""reader = FaceReader.from_folder("src/personae/weights/nano/reader"); reader.read("me.jpg")[0].identity

A reader is three parts behind three protocols: a detector, a motion reader, an embedder. A folder holds the bundled
ones: `reader.json`, which promises their hashes, and three ONNX files. Whose five points cut a face's crops, the
detector's or those among the landmarks, is a property of the reader (`EmbedderConfig.points`).
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from personae.errors import BadOutput, WeightsCorrupt, WeightsMissing
from personae.io import atomic, fields, regular
from personae.reading.detect import Detector, DetectorConfig, OnnxDetector
from personae.reading.embed import Embedder, EmbedderConfig, OnnxEmbedder, face_crop, space_name
from personae.reading.face_motion import MotionConfig, MotionReader, OnnxMotionReader
from personae.reading.onnx_file import file_sha256, verified
from personae.reading.photo import PhotoSource, load_photo
from personae.reading.upright import Finder, Sight
from personae.shapes import UInt8
from personae.types import Array, Detection, Face, Identity, Motion

CONFIG_NAME = "reader.json"
_SIDES = (16, 2048)  # pixels
_WIDEST = 65536
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ReaderConfig:
    """What `reader.json` says: one entry per network."""

    detector: DetectorConfig
    motion: MotionConfig
    embedder: EmbedderConfig

    def __post_init__(self) -> None:
        # A config may come from a stranger: its names must not lead out of its folder, its sizes not fill the memory.
        strays = [file for file in self.files if Path(file).name != file or file in ("", "..")]
        if strays:
            raise WeightsCorrupt(f"a reader's files lie beside its {CONFIG_NAME}, got {strays}")
        for part in (self.detector, self.motion, self.embedder):
            if not _SIDES[0] <= part.size <= _SIDES[1]:
                raise WeightsCorrupt(f"{part.file} reads {_SIDES[0]} to {_SIDES[1]} pixels a side, got {part.size}")
        if not 1 <= self.embedder.width <= _WIDEST:
            raise WeightsCorrupt(f"an identity has 1 to {_WIDEST} numbers, got {self.embedder.width}")

    @classmethod
    def read(cls, folder: Path) -> "ReaderConfig":
        """The config of a reader folder. Raises `WeightsMissing` or `WeightsCorrupt`."""
        path = folder / CONFIG_NAME
        parts = regular.read_object(path, WeightsCorrupt, missing=WeightsMissing)

        def part(name: str, kind: type[T]) -> T:
            return fields.build(kind, parts.get(name), WeightsCorrupt, f"the {name} in {path}")

        return cls(
            detector=part("detector", DetectorConfig),
            motion=part("motion", MotionConfig),
            embedder=part("embedder", EmbedderConfig),
        )

    def write(self, folder: Path) -> None:
        """Write `reader.json` into `folder`."""
        atomic.write_json(folder / CONFIG_NAME, asdict(self))

    @property
    def files(self) -> dict[str, str]:
        """The weight files and their sha256."""
        return {part.file: part.sha256 for part in (self.detector, self.motion, self.embedder)}


@runtime_checkable
class Movable(Protocol):
    """A part of a reader that can compute on another device."""

    def to(self, device: str) -> None:
        """Compute on `device` from now on; see `FaceReader.to`."""
        ...


class FaceReader:
    """Finds the faces of a photo and measures them.

    Arguments:
        detector: finds faces.
        embedder: measures identities.
        motion: measures pose and expression; None: faces come without them.
        finder: finds faces at any tilt, and sets their five points by their landmarks; None: the detector's points.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        embedder: Embedder,
        motion: MotionReader | None = None,
        finder: Finder | None = None,
    ) -> None:
        self.detector, self.embedder, self.motion = detector, embedder, motion
        self._finder = finder
        self._folder: Path | None = None

    @classmethod
    def from_folder(cls, folder: str | Path, *, threads: int | None = None) -> "FaceReader":
        """The reader of a folder, every file checked against its promised hash.

        threads: per network; None = all cores, at most 4. Raises `WeightsMissing` or `WeightsCorrupt`.
        """
        path = Path(folder)
        config = ReaderConfig.read(path)
        detector = OnnxDetector(path, config.detector, threads=threads)
        motion = OnnxMotionReader(path, config.motion, threads=threads)
        reader = cls(
            detector=detector,
            embedder=OnnxEmbedder(path, config.embedder, threads=threads),
            motion=motion,
            finder=Finder(detector, motion) if config.embedder.points == "landmarks" else None,
        )
        reader._folder = path
        return reader

    def to(self, device: str) -> "FaceReader":
        """Compute on `device` from now on: on a CUDA device if onnxruntime offers it, otherwise on the CPU.

        Arguments:
            device: as torch writes it: "cpu", "cuda", "cuda:1". Parts that were put together in code and cannot be
                moved stay where they are.

        Returns the reader itself.
        """
        for part in (self.detector, self.embedder, self.motion):
            if isinstance(part, Movable):
                part.to(device)
        return self

    def save(self, folder: str | Path) -> None:
        """Copy this reader's folder to `folder`. Raises `BadOutput`, also if the reader came from no folder."""
        if self._folder is None:
            raise BadOutput("this reader was put together in code: only one opened from a folder can be saved")
        target = Path(folder)
        config = ReaderConfig.read(self._folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            for name, sha256 in config.files.items():
                if not (target / name).exists() or file_sha256(target / name) != sha256:
                    atomic.write(target / name, verified(self._folder / name, sha256), replace=True)
            config.write(target)
        except OSError as error:
            raise BadOutput(f"the reader cannot be saved to {target}: {error.strerror or error}") from error

    @property
    def space(self) -> str:
        """The space of the identities that this reader measures."""
        return self.embedder.space

    @property
    def width(self) -> int:
        """The width D of its identities."""
        return self.embedder.width

    def read(self, photo: PhotoSource, *, motion: bool = True, identity: bool = True) -> list[Face]:
        """The faces of a photo, largest first; an empty list if there are none.

        Arguments:
            photo: anything that `load_photo` takes.
            motion: whether to measure pose and expression.
            identity: whether to measure identities.

        Raises `BadImage`.
        """
        loaded = load_photo(photo)
        (found,) = self.find([loaded.pixels])
        identities = self.identities([(loaded.pixels, one.detection) for one in found]) if identity else []
        return [
            Face(
                detection=one.detection,
                motion=self._motion_of(loaded.pixels, one) if motion else None,
                identity=identities[i] if identity else None,
                photo=loaded,
            )
            for i, one in enumerate(found)
        ]

    def identify(self, images: Array | Sequence[PhotoSource]) -> list[Identity | None]:
        """The identity of the largest face in each of many images; None where no face is found.

        images: (N, H, W, 3) RGB uint8, or a list of anything that `load_photo` takes.
        """
        pixels = [load_photo(image).pixels for image in images]
        found = self.find(pixels)
        with_face = [i for i, faces in enumerate(found) if faces]
        identities = self.identities([(pixels[i], found[i][0].detection) for i in with_face])
        known = dict(zip(with_face, identities, strict=True))
        return [known.get(i) for i in range(len(pixels))]

    def detect(self, pixels: UInt8[Array, "H W 3"]) -> list[Detection]:
        """The faces of one image (H, W, 3) RGB uint8, largest first, with the points by which this reader cuts them."""
        (found,) = self.find([pixels])
        return [one.detection for one in found]

    def find(self, images: Sequence[UInt8[Array, "_ _ 3"]]) -> list[list[Sight]]:
        """The faces of each image (H, W, 3) RGB uint8, largest first, with the points by which they are cut; their
        motion as far as finding them took measuring it."""
        if self._finder is not None:
            return self._finder.find(images)
        return [[Sight(detection=one) for one in found] for found in self.detector.detect_many(images)]

    def _motion_of(self, pixels: UInt8[Array, "H W 3"], one: Sight) -> Motion | None:
        if one.motion is not None or self.motion is None:
            return one.motion
        return self.motion.read(pixels, one.detection.points)

    def identities(self, faces: Sequence[tuple[UInt8[Array, "_ _ 3"], Detection]]) -> list[Identity]:
        """Of faces found already, by `find` or a reading, each with its photo (H, W, 3) RGB uint8."""
        size = self.embedder.size
        crops = [face_crop(self.embedder, pixels, found) for pixels, found in faces]
        stacked = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
        return [Identity(vector=vector, space=self.space) for vector in self.embedder.embed(stacked)]


def pack(
    folder: str | Path,
    *,
    detector: Path,
    motion: Path,
    embedder: Path,
    recogniser: str,
    width: int,
    template: str = EmbedderConfig.template,
    size: int = EmbedderConfig.size,
    points: str = EmbedderConfig.points,
    **thresholds: Any,
) -> ReaderConfig:
    """Make a reader folder of three ONNX files: copy them, take their hashes, write `reader.json`.

    recogniser: the first part of the identity space's name. width, template, size, points: of the embedder's vectors
    and crops. thresholds: `score`, `second_score`, `overlap`.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)

    def adopt(source: Path, file: str) -> dict[str, Any]:
        if source.resolve() != (target / file).resolve():
            shutil.copyfile(source, target / file)
        return {"file": file, "sha256": file_sha256(target / file)}

    embedder_file = adopt(embedder, "embedder.onnx")
    space = space_name(recogniser, template, embedder_file["sha256"])
    config = ReaderConfig(
        detector=DetectorConfig(**adopt(detector, "detector.onnx"), **thresholds),
        motion=MotionConfig(**adopt(motion, "motion.onnx")),
        embedder=EmbedderConfig(**embedder_file, space=space, width=width, template=template, size=size, points=points),
    )
    config.write(target)
    return config
