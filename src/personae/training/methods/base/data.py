"""Labelled faces as nano's UNet sees them: latents, identities, what captions may say; and the people held out.

    table = training_faces(cache)
    faces = LatentFaces.of(table, cache, networks)
    faces.photos(sides, rows, views)               # {"latents", "vectors", "inside"}
    test = HeldOut.of(cache, networks)

Legend: N faces; V views of each; D numbers of an identity; c, h, w of latents.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personae.data import shards
from personae.io import atomic
from personae.reading import align
from personae.shapes import Float, Float32, Int, Shaped, UInt8
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.methods.base.frozen import FrozenNetworks
from personae.types import Array

VIEWS = 3  # of each face: its plain crop's identity, and those of jittered ones
_BLURRED = 0.1  # the share of the least sharp photos, which are left out
_COVERED = 0.93  # the share of a crop that must lie inside its photo
_HELD_OUT = 128  # people in reports
_PHOTO = 224  # pixels: sides of FairFace's padded crops


def training_faces(cache: Path) -> FaceTable:
    """The labelled photos to learn from: those that fill their crop and are not the most blurred."""
    table = FaceTable.load(cache)
    sharp = sharpness(table.crops)
    return table.where((table.coverage > _COVERED) & (sharp > np.quantile(sharp, _BLURRED)))


@dataclass(frozen=True, kw_only=True)
class LatentFaces:
    """N faces, plain [0] and mirrored [1]."""

    latents: Float[Array, "2 N c h w"]  # (2, N, c, h, w) float16, unit spread
    vectors: Float32[Array, "2 N V D"]  # (2, N, V, D) float32: V views of each face
    inside: UInt8[Array, "2 N h w"]  # (2, N, h, w) uint8: latent cells whose pixels lie in the photo
    measures: tuple[list[captions.Measures], list[captions.Measures]]  # what captions may say

    def __len__(self) -> int:
        return self.latents.shape[1]

    @classmethod
    def of(cls, table: FaceTable, cache: Path, networks: FrozenNetworks) -> "LatentFaces":
        """Those of a table of `training_faces`; stored beside the cache, under a name that depends on the networks."""
        key = hashlib.sha256(f"{networks.key}{_BLURRED}{VIEWS}".encode())
        path = cache / f"latents-{key.hexdigest()[:12]}.npz"
        if not path.is_file():
            atomic.write(path, shards.pack_arrays(_encoded(table, networks)), replace=True)
        plain = captions.measure(table)
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        return cls(**arrays, measures=(plain, [captions.mirrored(m) for m in plain]))

    def photos(
        self, sides: Int[Array, " M"], rows: Int[Array, " M"], views: Int[Array, " M"]
    ) -> dict[str, Shaped[Array, "M ..."]]:
        """`latents`, `vectors` and `inside` of rows (M,), each on its side (M,), 0 or 1, in its view (M,)."""
        return {
            "latents": self.latents[sides, rows],
            "vectors": self.vectors[sides, rows, views],
            "inside": self.inside[sides, rows],
        }

    @property
    def view_count(self) -> int:
        """V"""
        return int(self.vectors.shape[2])

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w) of a face's latents."""
        return self.latents.shape[2:]


def _encoded(table: FaceTable, networks: FrozenNetworks) -> dict[str, Array]:
    sides = (table.crops, table.crops[:, :, ::-1])
    cells = _inside(table, table.crops.shape[1])
    return {
        "latents": np.stack([networks.encode(side) for side in sides]),
        "vectors": np.stack([networks.views(side, VIEWS, i) for i, side in enumerate(sides)]),
        "inside": np.stack([cells, cells[:, :, ::-1]]),
    }


def _inside(table: FaceTable, size: int) -> Array:
    """(N, 16, 16) uint8: cells of 8 x 8 crop pixels that lie wholly inside the photo."""
    cells = []
    for row in range(len(table)):
        covered = align.coverage(table.matrix[row], size, (_PHOTO, _PHOTO))
        cells.append(covered.reshape(16, size // 16, 16, size // 16).all((1, 3)))
    return np.stack(cells).astype(np.uint8)


def sharpness(crops: UInt8[Array, "N S S 3"]) -> Float[Array, " N"]:
    """(N,) variance of the Laplacian of the grey crop, on its middle half: low means blurred."""
    grey = crops.mean(-1, dtype=np.float32)[:, 24:104, 24:104]
    laplacian = (
        -4 * grey[:, 1:-1, 1:-1] + grey[:, 2:, 1:-1] + grey[:, :-2, 1:-1] + grey[:, 1:-1, 2:] + grey[:, 1:-1, :-2]
    )
    return laplacian.var(axis=(1, 2))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """People whom no training sees: their photos, identities (N, D) and latents (N, c, h, w)."""

    table: FaceTable
    vectors: Array
    latents: Array

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, cache: Path, networks: FrozenNetworks) -> "HeldOut":
        """At most 128 of a cache."""
        table = FaceTable.load(cache, held_out=True, limit=_HELD_OUT)
        vectors = networks.views(table.crops, 1, 0)[:, 0]
        return cls(table=table, vectors=vectors, latents=networks.encode(table.crops))

    def noised(self, home: torch.device) -> "HeldOutNoised":
        """On their way to noise; the same on every call."""
        clean, vectors = (torch.from_numpy(part).float().to(home) for part in (self.latents, self.vectors))
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        return HeldOutNoised(
            noisy=(1 - t) * clean + t * noise, times=times, vectors=vectors, noise=noise, velocity=noise - clean
        )


@dataclass(frozen=True, kw_only=True)
class HeldOutNoised:
    """Held-out photos at fixed times and noise."""

    noisy: Float[Tensor, "N c h w"]  # (N, c, h, w)
    times: Float[Tensor, " N"]  # (N,)
    vectors: Float[Tensor, "N D"]  # (N, D)
    noise: Float[Tensor, "N c h w"]  # (N, c, h, w)
    velocity: Float[Tensor, "N c h w"]  # (N, c, h, w) what is to be predicted

    def loss(self, prediction: Float[Tensor, "N c h w"]) -> float:
        """The mean squared error of a predicted velocity."""
        return float((prediction.float() - self.velocity).pow(2).mean())
