"""embedder.embed(crops (N, 112, 112, 3) RGB uint8) -> (N, D) float32, unit norm."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from personae.errors import BadData, WeightsCorrupt
from personae.reading import align
from personae.reading.box_crop import BOX_CROPS
from personae.reading.onnx_file import Network, OnnxPart, to_tensor
from personae.shapes import Float32, UInt8
from personae.types import Array, Detection

_BATCH = 32
POINTS = ("detector", "landmarks")


class Embedder(Protocol):
    """Measures whom a face belongs to.

    Attributes:
        space: the name of the vectors' space, as `Identity.space`.
        width: D, of a vector.
        template: of its crops: one of `align.TEMPLATES`, or one of `BOX_CROPS`, which do not turn a face upright.
        size: the side of its crops, pixels.
    """

    space: str
    width: int
    template: str
    size: int

    def embed(self, crops: UInt8[Array, "N S S 3"]) -> Float32[Array, "N D"]:
        """(N, D) float32 unit vectors of (N, size, size, 3) RGB uint8; N may be 0."""
        ...


def face_crop(embedder: Embedder, pixels: UInt8[Array, "H W 3"], found: Detection) -> UInt8[Array, "S S 3"]:
    """What an embedder reads of a face found in a photo (H, W, 3) RGB uint8: (size, size, 3) uint8."""
    if embedder.template in BOX_CROPS:
        return BOX_CROPS[embedder.template].cut(pixels, found.box)
    return align.crop(pixels, align.similarity(found.points, embedder.template, embedder.size), embedder.size)


def space_name(recogniser: str, template_name: str, sha256: str) -> str:
    """The name of the space of a recogniser's vectors: `recogniser/template/first 12 hex of its sha256`."""
    return f"{recogniser}/{template_name}/{sha256[:12]}"


@dataclass(frozen=True, kw_only=True)
class EmbedderConfig:
    """The identity network. `space` must end in the template and the hash, so that it cannot outlive a change."""

    file: str
    sha256: str
    space: str
    width: int
    template: str = "arcface"
    size: int = 112
    points: str = "detector"
    """Which five points cut its crops, and with them every crop of a face that was read: "detector", those found, or
    "landmarks", those of the motion reader, which are measured better and follow a tilted head."""

    def __post_init__(self) -> None:
        size = BOX_CROPS[self.template].size if self.template in BOX_CROPS else None
        if size is None:
            align.template(self.template)
        elif self.size != size:
            raise WeightsCorrupt(f"{self.file} reads crops of {self.size} pixels, those of {self.template} have {size}")
        if self.points not in POINTS:
            raise WeightsCorrupt(f"{self.file} is cut by {self.points!r} points: this version knows {list(POINTS)}")
        expected = space_name(self.space.partition("/")[0], self.template, self.sha256)
        if self.space != expected:
            raise WeightsCorrupt(f"identity space {self.space!r} does not belong to {self.file}: expected {expected!r}")


class OnnxEmbedder(OnnxPart):
    """An `Embedder` from an ONNX file, `path`: `crop` (N, 3, S, S) in [-1, 1] -> `identity` (N, D)."""

    def __init__(self, folder: Path, config: EmbedderConfig, *, threads: int | None = None) -> None:
        self.space, self.width, self.template, self.size = config.space, config.width, config.template, config.size
        self.path = folder / config.file
        self._network = Network(
            self.path, sha256=config.sha256, source="crop", results={"identity": (None,)}, threads=threads
        )

    def embed(self, crops: UInt8[Array, "N S S 3"]) -> Float32[Array, "N D"]:
        """(N, D) float32 unit vectors of (N, size, size, 3) RGB uint8. Raises `BadData` for other shapes."""
        check_crops(crops, self.size)
        vectors = np.zeros((len(crops), self.width), np.float32)
        for start in range(0, len(crops), _BATCH):
            (part,) = self._network(to_tensor(crops[start : start + _BATCH]))
            if part.shape[1:] != (self.width,):
                raise WeightsCorrupt(f"the identity network gives {part.shape[1:]} numbers, expected {self.width}")
            vectors[start : start + _BATCH] = part
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-8)


def check_crops(crops: Array, size: int) -> None:
    """Raise `BadData` unless `crops` is (N, size, size, 3) uint8."""
    if crops.dtype != np.uint8 or crops.shape[1:] != (size, size, 3):
        raise BadData(f"crops must be (N, {size}, {size}, 3) RGB uint8, got {crops.shape} {crops.dtype}")
