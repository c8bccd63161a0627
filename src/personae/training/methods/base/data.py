"""Labelled faces as nano's UNet sees them: latents, identities, what captions may say; and the people held out.

    table = training_faces(files)
    faces = LatentFaces.of(table, files, networks)
    faces.photos(sides, rows, views)               # {"latents", "vectors", "inside"}
    test = HeldOut.of(files, networks)

Legend: N faces; V views of each; D numbers of an identity; c, h, w of latents.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personae.data import shards
from personae.io import atomic
from personae.shapes import Float, Float32, Int, Shaped, UInt8
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.frame import PORTRAIT, Frame, of_side
from personae.training.methods.base.frozen import FrozenNetworks
from personae.types import Array

VIEWS = 3  # of each face: its plain crop's identity, and those of jittered ones
_BLURRED = 0.1  # the share of the least sharp photos, which are left out
COVERED = 0.93  # the share of a crop that must lie inside its photo
_HELD_OUT = 128  # people in reports
_AT_ONCE = 512  # crops


@dataclass(frozen=True, kw_only=True)
class BaseFiles:
    """What a training on a base's latents stands on. caches: labelled shards, photos first. vae: a folder in diffusers'
    layout. embedder: an `embedder.onnx`. start: the export of the base; None: a fresh one. frame: of its pictures."""

    caches: Sequence[Path]
    vae: Path
    embedder: Path
    start: Path | None = None
    frame: Frame = PORTRAIT

    def part(self, name: str) -> Path | None:
        """A folder of what the training begins with, if it is there."""
        folder = None if self.start is None else self.start / name
        return folder if folder is not None and folder.is_dir() else None

    @property
    def cache(self) -> Path:
        """Where what is computed of all caches is stored."""
        return self.caches[0]


def people_of(keys: Sequence[str]) -> Int[Array, " N"]:
    """(N,) int64 numbers of the people whose pictures the keys of a table name, from 0 on."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(map(shards.person, keys)))}
    return np.array([numbers[shards.person(key)] for key in keys], np.int64)


def other_pictures(person: Int[Array, " N"]) -> list[Int[Array, " m"]]:
    """For each row, the other rows of the same person (N,); itself alone, if there is no other."""
    order = np.argsort(person, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(person[order])) + 1)
    rows: list[Array] = [np.empty(0, np.int64)] * len(person)
    for group in groups:
        for row in group:
            rest = group[group != row]
            rows[row] = rest if len(rest) else group
    return rows


class OtherViews:
    """Other pictures of the people of a table; `any`: whether anybody has one."""

    def __init__(self, person: Int[Array, " N"]) -> None:
        self._rows = other_pictures(person)
        self.any = any(row not in rest for row, rest in enumerate(self._rows))

    def draw(self, rng: np.random.Generator, rows: Int[Array, " M"], share: float) -> Int[Array, " M"]:
        """(M,) rows: of about `share` of `rows` (M,) another picture of the same person, if there is one."""
        if not self.any:
            return rows
        drawn = np.array([rng.choice(self._rows[row]) for row in rows])
        return np.where(rng.random(len(rows)) < share, drawn, rows)


def training_faces(files: BaseFiles) -> FaceTable:
    """The labelled photos to learn from, cut as the base shows faces: those that fill the crop that was prepared, and
    are not the most blurred."""
    table = FaceTable.load(files.caches)
    sharp = sharpness(table.crops)
    table = table.where((table.coverage > COVERED) & (sharp > np.quantile(sharp, _BLURRED)))
    return table.framed(files.frame, files.cache)


@dataclass(frozen=True, kw_only=True)
class LatentFaces:
    """N faces, plain [0] and mirrored [1]."""

    latents: Float[Array, "2 N c h w"]  # (2, N, c, h, w) float16, unit spread
    vectors: Float32[Array, "2 N V D"]  # (2, N, V, D) float32: V views of each face
    inside: UInt8[Array, "2 N h w"]  # (2, N, h, w) uint8: latent cells whose pixels lie in the photo
    person: Int[Array, " N"]  # (N,) int64, equal for pictures of one person
    measures: tuple[list[captions.Measures], list[captions.Measures]]  # what captions may say

    def __len__(self) -> int:
        return self.latents.shape[1]

    @classmethod
    def of(cls, table: FaceTable, files: BaseFiles, networks: FrozenNetworks) -> "LatentFaces":
        """Those of a table of `training_faces`; stored beside the cache, under a name that depends on the networks and
        on the photos."""
        key = hashlib.sha256(f"{networks.key}{VIEWS}{files.frame}{''.join(table.keys)}".encode())
        key.update(table.matrix.tobytes())
        path = files.cache / f"latents-{key.hexdigest()[:12]}.npz"
        if not path.is_file():
            atomic.write(path, shards.pack_arrays(_encoded(table, networks)), replace=True)
        plain = captions.measure(table)
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        mirrored = [captions.mirrored(measures) for measures in plain]
        return cls(**arrays, person=people_of(table.keys), measures=(plain, mirrored))

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
    frame = of_side(table.crops.shape[1])
    cells = np.stack([frame.inside(table.matrix[row], table.shape(row)) for row in range(len(table))])
    return {
        "latents": np.stack([networks.encode(side) for side in sides]),
        "vectors": np.stack([networks.views(side, VIEWS, i) for i, side in enumerate(sides)]),
        "inside": np.stack([cells, cells[:, :, ::-1]]),
    }


def sharpness(crops: UInt8[Array, "N S S 3"]) -> Float[Array, " N"]:
    """(N,) variance of the Laplacian of the grey crop, on its middle half: low means blurred."""
    starts = range(0, len(crops), _AT_ONCE)  # all at once, 80,000 crops would take ten gigabytes
    return np.concatenate([np.empty(0, np.float32), *(_sharpness(crops[at : at + _AT_ONCE]) for at in starts)])


def _sharpness(crops: Array) -> Array:
    grey = crops[:, 24:104, 24:104].mean(-1, dtype=np.float32)
    laplacian = (
        -4 * grey[:, 1:-1, 1:-1] + grey[:, 2:, 1:-1] + grey[:, :-2, 1:-1] + grey[:, 1:-1, 2:] + grey[:, 1:-1, :-2]
    )
    return np.asarray(laplacian.var(axis=(1, 2)))


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """People whom no training sees: their photos, identities (N, D) and latents (N, c, h, w)."""

    table: FaceTable
    vectors: Array
    latents: Array

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, files: BaseFiles, networks: FrozenNetworks) -> "HeldOut":
        """At most 128."""
        table = FaceTable.load(files.caches, held_out=True, limit=_HELD_OUT).framed(files.frame, files.cache)
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
