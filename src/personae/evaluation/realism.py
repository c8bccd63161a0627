"""realism.measure(generated, reference, floor) -> {"frechet": ..., "frechet_floor": ..., "kernel": ...}

Do the pictures, taken together, look like photographs? Distances between sets of features, by a backbone that
can be exchanged and is named beside every figure. The floor is what as many *real* people score against the same
reference: a distance near it is as good as this sample can tell.

Images are equal-sized (H, W, 3) RGB uint8, aligned in the model's crop template; features (N, D).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from personae.errors import BadData, WeightsCorrupt, WeightsMissing, unknown_name
from personae.evaluation import estimate
from personae.evaluation.estimate import Estimate
from personae.evaluation.judge import Judge
from personae.reading import align
from personae.reading.onnx_file import file_sha256
from personae.reading.reader import FaceReader
from personae.shapes import Float, UInt8
from personae.types import Array

BACKBONES = ("judge", "reader")
_SUBSETS = 100


class Backbone(Protocol):
    """What a distance is measured in. `name` and `caveat` are printed beside the figure."""

    name: str
    caveat: str

    def features(self, images: Sequence[Array]) -> Array:
        """(N, D) float features of N images (H, W, 3) RGB uint8."""
        ...


class RecogniserFeatures:
    """A face recogniser's vectors as features: always at hand, blind to background and colour cast."""

    def __init__(
        self,
        name: str,
        embed: Callable[[UInt8[Array, "N S S 3"]], Float[Array, "N D"]],
        *,
        crop_template: str,
        template: str,
        size: int,
    ) -> None:
        self.name = name
        self.caveat = "a recogniser's features, not Inception's: comparable only with figures made the same way"
        self._embed, self._from, self._to, self._size = embed, crop_template, template, size

    def features(self, images: Sequence[UInt8[Array, "H W 3"]]) -> Float[Array, "N D"]:
        """(N, D). The five points are taken from the crop template itself, so that no image is left out."""
        places = np.array(align.template(self._from).points)
        crops = []
        for image in images:
            matrix = align.similarity(places * image.shape[0] - 0.5, self._to, self._size)
            crops.append(align.crop(image, matrix, self._size))
        return self._embed(np.stack(crops))


class TorchScriptFeatures:
    """A network of the user's own, a TorchScript file. With NVIDIA's `inception-2015-12-05.pt` (published with
    StyleGAN2-ADA and EDM) the distances are FID and KID (Heusel 2017, Binkowski 2018).

    It takes (N, 3, H, W) uint8 RGB and returns (N, D); one whose `forward` has `return_features` is asked for those.
    """

    def __init__(self, path: Path) -> None:
        """Raises `WeightsMissing`, `WeightsCorrupt`."""
        import torch

        if not path.is_file():
            raise WeightsMissing(f"there is no TorchScript file {path} to measure distances with")
        try:
            self._network = torch.jit.load(str(path), map_location="cpu").eval()
        except Exception as error:  # torch raises RuntimeError, and whatever a damaged archive makes it raise
            raise WeightsCorrupt(f"{path} is not a TorchScript network: {error}") from error
        takes = [argument.name for argument in self._network.forward.schema.arguments]
        self._options = {"return_features": True} if "return_features" in takes else {}
        self.name = f"TorchScript {path.name} {file_sha256(path)[:12]}"
        self.caveat = "small samples raise Fréchet distances: see the floor"

    def features(self, images: Sequence[UInt8[Array, "H W 3"]]) -> Float[Array, "N D"]:
        """(N, D) float."""
        import torch

        with torch.no_grad():
            stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
            parts = [self._network(part, **self._options).flatten(1) for part in stacked.split(32)]
        return np.asarray(torch.cat(parts).float().numpy())


def backbone(name: str, reader: FaceReader, crop_template: str, judge: Judge | None = None) -> Backbone:
    """The features that `name` stands for: one of `BACKBONES`, or the path of a TorchScript file (.pt, .ts).

    Raises `BadOption`, `WeightsMissing`, `WeightsCorrupt`."""
    if Path(name).suffix in (".pt", ".ts"):
        return TorchScriptFeatures(Path(name))
    if name not in BACKBONES:
        raise unknown_name("backbone", name, (*BACKBONES, "FILE.pt, a TorchScript network such as Inception"))
    if name == "judge":
        if judge is None:
            raise WeightsMissing("the backbone is the judge, but no network of ONNX judges here: name one with --judge")
        spec = judge.spec
        title = f"judge {spec.name}"
        return RecogniserFeatures(
            title, judge.embed, crop_template=crop_template, template=spec.template, size=spec.size
        )
    own = reader.embedder
    title = f"bundled identity network {own.space}"
    return RecogniserFeatures(title, own.embed, crop_template=crop_template, template=own.template, size=own.size)


def frechet(a: Array, b: Array) -> float:
    """Fréchet distance of the Gaussians fitted to features (N, D) and (M, D) (Dowson and Landau 1982; FID)."""
    _check(a, b)
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    cov_a, cov_b = np.atleast_2d(np.cov(a, rowvar=False)), np.atleast_2d(np.cov(b, rowvar=False))
    # tr (A B)^(1/2) = tr (A^(1/2) B A^(1/2))^(1/2), which is symmetric: no complex roots to explain away.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov_b @ root).clip(0)).sum()
    shift = a.mean(0) - b.mean(0)
    return float(shift @ shift + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def kernel(a: Array, b: Array) -> float:
    """Kernel distance of features (N, D) and (M, D): unbiased squared MMD with (x.y / D + 1)^3 (Binkowski 2018)."""
    _check(a, b)
    return _within(a) + _within(b) - 2 * float(_cube(a, b).mean())


def _cube(a: Array, b: Array) -> Array:
    return (np.asarray(a, dtype=np.float64) @ np.asarray(b, dtype=np.float64).T / a.shape[1] + 1) ** 3


def _within(a: Array) -> float:
    """The mean kernel between different images of one set."""
    table = _cube(a, a)
    return float((table.sum() - np.trace(table)) / (len(a) * (len(a) - 1)))


def measure(generated: Array, reference: Array, floor: Array, *, seed: int = 0) -> dict[str, Estimate]:
    """Distances of generated features (P, M, D) and of P real people (P, D) to a reference of others (R, D).

    Every draw takes one image of each person, so that both distances rest on P pictures. The interval is the
    spread over draws of images and, for the kernel distance, over random halves of the people.
    """
    draws = [frechet(generated[:, image], reference) for image in range(generated.shape[1])]
    count = len(generated)
    rng = np.random.default_rng(seed)
    halves = [rng.choice(count, max(2, count // 2), replace=False) for _ in range(_SUBSETS)]
    images = rng.integers(0, generated.shape[1], _SUBSETS)
    apart = _within(reference)  # the dear part of the kernel distance, the same for every half

    def to_reference(part: Array) -> float:
        return _within(part) + apart - 2 * float(_cube(part, reference).mean())

    distances = [to_reference(generated[half, image]) for half, image in zip(halves, images, strict=True)]
    real = [to_reference(floor[half]) for half in halves]
    alone = frechet(floor, reference)
    return {
        "frechet": Estimate(value=float(np.mean(draws)), low=min(draws), high=max(draws), n=count),
        "frechet_floor": estimate.plain(alone, count),
        "kernel": _spread(distances, count),
        "kernel_floor": _spread(real, count),
    }


def _spread(values: list[float], n: int) -> Estimate:
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(value=float(np.mean(values)), low=float(low), high=float(high), n=n)


def _check(a: Array, b: Array) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise BadData(f"a distance needs features (N, D) and (M, D) of at least two images, got {a.shape}, {b.shape}")
