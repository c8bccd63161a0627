"""Labelled faces as nano's UNet sees them: latents, identities, what captions may say; and the people held out.

    faces = LatentFaces.of(TrainingFaces.of(files.caches, files.frame), networks)
    faces.photos(rng, sides, rows)                 # {"latents", "vectors", "inside"}
    test = HeldOut.of(files, networks)

Legend: N faces; V views of each; D numbers of an identity; c, h, w of latents.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from personae.data import shards
from personae.errors import BadData
from personae.io import atomic
from personae.shapes import Float, Float32, Int, Shaped, UInt8
from personae.training import captions
from personae.training.face_table import FaceTable
from personae.training.frame import HEAD, PORTRAIT, Frame
from personae.training.images import to_tensor
from personae.training.losses import Noised
from personae.training.methods.base.frozen import FrozenNetworks
from personae.training.picture_kinds import COVERED, Kinds, measures, sharpness, worth_learning
from personae.types import Array

VIEWS = 3  # of each face: its plain crop's identity, and those of jittered ones
_BLURRED = 0.1  # the share of the least sharp photos, which are left out
_HELD_OUT = 128  # pictures in reports
_ROWS = 1024  # pictures that are stored in one file
_AT_ONCE = 32  # pictures that are encoded together


@dataclass(frozen=True, kw_only=True)
class BaseFiles:
    """What a training on a base's latents stands on. caches: labelled shards, photos first. vae: a folder in diffusers'
    layout. embedder: an `embedder.onnx`. start: the export of the base; None: a fresh one. frame: of its pictures.
    small: the `SmallDecoder` through which judges look, if there is one."""

    caches: Sequence[Path]
    vae: Path
    embedder: Path
    start: Path | None = None
    frame: Frame = PORTRAIT
    small: Path | None = None

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


@dataclass(frozen=True, kw_only=True)
class TrainingFaces:
    """Labelled pictures to learn from. frame: in which a base shows them. caches, tables: their folders, and what is
    worth learning of each, as it was prepared. measures: what captions may say, table by table."""

    frame: Frame
    caches: Sequence[Path]
    tables: Sequence[FaceTable]
    measures: Sequence[list[captions.Measures]]

    @classmethod
    def of(
        cls, caches: Sequence[Path], frame: Frame, *, held_out: bool = False, limit: int | None = None
    ) -> "TrainingFaces":
        """For a base of heads, what `picture_kinds` chooses; for others, the photos that fill the crop that was
        prepared, and are not the most blurred. limit: of each cache.

        Raises `BadData` for no cache at all, a cache without shards, one in which nobody is held out if these are
        wanted, and one that holds nothing worth it.
        """
        if not caches:
            raise BadData("there are no labelled pictures to learn from: run `personae prepare` first")
        worth = worth_learning if frame == HEAD else _not_blurred
        tables = [worth(FaceTable.load(cache, held_out=held_out, limit=limit)) for cache in caches]
        for cache, table in zip(caches, tables, strict=True):
            if not len(table):
                raise BadData(f"none of the photos in {cache} shows a face whole: prepare others")
        plain = [(measures if frame == HEAD else captions.measure)(table) for table in tables]
        return cls(frame=frame, caches=caches, tables=tables, measures=plain)

    @cached_property
    def table(self) -> FaceTable:
        """All of them, cut as the base shows them."""
        return FaceTable.joined(self.tables).framed(self.frame, self.caches[0])


def _not_blurred(table: FaceTable) -> FaceTable:
    sharp = sharpness(table.crops)
    return table.where((table.coverage > COVERED) & (sharp > np.quantile(sharp, _BLURRED)))


@dataclass(frozen=True, kw_only=True)
class LatentFaces:
    """N faces, plain [0] and mirrored [1]."""

    latents: Float[Array, "2 N c h w"]  # (2, N, c, h, w) float16, unit spread
    vectors: Float32[Array, "2 N V D"]  # (2, N, V, D) float32: V views of each face
    inside: UInt8[Array, "2 N h w"]  # (2, N, h, w) uint8: latent cells whose pixels lie in the photo
    person: Int[Array, " N"]  # (N,) int64, equal for pictures of one person
    measures: tuple[list[captions.Measures], list[captions.Measures]]  # what captions may say, by side and row

    def __len__(self) -> int:
        return self.latents.shape[1]

    @classmethod
    def of(cls, faces: TrainingFaces, networks: FrozenNetworks, views: int = VIEWS) -> "LatentFaces":
        """What the networks make of pictures, stored beside each cache (`stored_rows`)."""
        parts = zip(faces.caches, faces.tables, faces.measures, strict=True)
        return cls.joined([cls._of_table(*part, faces.frame, networks, views) for part in parts])

    @classmethod
    def _of_table(
        cls,
        cache: Path,
        table: FaceTable,
        plain: list[captions.Measures],
        frame: Frame,
        networks: FrozenNetworks,
        views: int,
    ) -> "LatentFaces":
        places = table.places(frame)

        def digest(rows: range) -> str:
            pictures = hashlib.sha256()
            for row in rows:
                pictures.update(table.photos[row] + places[row].tobytes())
            return hashlib.sha256(f"{networks.key}{pictures.hexdigest()}{frame}{views}".encode()).hexdigest()

        def encode(rows: range) -> dict[str, Array]:
            some = (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))
            batches = (to_tensor(np.ascontiguousarray(table.cut(frame, part))) for part in some)
            latents, vectors = networks.both_sides(batches, views, seed=rows.start)
            return {"latents": latents, "vectors": vectors}

        arrays = stored_rows(cache, "latents", len(table), digest, encode)
        inside = np.stack([frame.inside(place, table.shape(row)) for row, place in enumerate(places)])
        return cls(
            **arrays,
            inside=np.stack([inside, inside[:, :, ::-1]]),
            person=people_of(table.keys),
            measures=(plain, [captions.mirrored(one) for one in plain]),
        )

    @classmethod
    def joined(cls, parts: Sequence["LatentFaces"]) -> "LatentFaces":
        """All of them; nobody of one part is anybody of another."""
        first, person = 0, []
        for part in parts:
            person.append(part.person + first)
            first += int(part.person.max()) + 1
        rows = {
            name: np.concatenate([getattr(part, name) for part in parts], 1)
            for name in ("latents", "vectors", "inside")
        }
        plain, mirrored = ([one for part in parts for one in part.measures[side]] for side in (0, 1))
        return cls(**rows, person=np.concatenate(person), measures=(plain, mirrored))

    @cached_property
    def kinds(self) -> Kinds:
        """Which of the pictures are photos, if captions say so."""
        return Kinds.of(self.measures[0])

    @cached_property
    def others(self) -> "OtherViews":
        """Other pictures of the same people."""
        return OtherViews(self.person)

    def photos(
        self, rng: np.random.Generator, sides: Int[Array, " M"], rows: Int[Array, " M"]
    ) -> dict[str, Shaped[Array, "M ..."]]:
        """`latents` and `inside` of rows (M,), each on its side (M,), 0 or 1, and `vectors`, their `identities`."""
        return {
            "latents": self.latents[sides, rows],
            "vectors": self.identities(rng, rows),
            "inside": self.inside[sides, rows],
        }

    def identities(self, rng: np.random.Generator, rows: Int[Array, " M"]) -> Float32[Array, "M D"]:
        """(M, D): of each row's person, from another picture of them on either side, in any view; from the same one, if
        there is no other. What is to be learnt is who it is, not what the picture looks like."""
        sources = self.others.draw(rng, rows, 1.0)
        sides, views = rng.integers(2, size=len(rows)), rng.integers(self.vectors.shape[2], size=len(rows))
        return self.vectors[sides, sources, views]

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w) of a face's latents."""
        return self.latents.shape[2:]


def stored_rows(
    folder: Path,
    name: str,
    count: int,
    digest: Callable[[range], str],
    encode: Callable[[range], dict[str, Shaped[Array, "2 n ..."]]],
) -> dict[str, Shaped[Array, "2 N ..."]]:
    """Arrays of `count` rows N, made by `encode` so many rows at a time and stored in `folder`, under names
    that depend on the rows' `digest`: what is prepared later is all that has to be encoded then."""
    parts = []
    for start in range(0, count, _ROWS):
        rows = range(start, min(start + _ROWS, count))
        path = folder / f"{name}-{digest(rows)[:16]}.npz"
        if not path.is_file():
            atomic.write(path, shards.pack_arrays(encode(rows)), replace=True)
        parts.append(shards.unpack_arrays(path.read_bytes()))
    return {key: np.concatenate([part[key] for part in parts], 1) for key in parts[0]}


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """People whom no training sees: their photos, identities (N, D), latents (N, c, h, w), and the cells (N, h, w) that
    lie in the photo."""

    table: FaceTable
    vectors: Array
    latents: Array
    inside: Array

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def of(cls, files: BaseFiles, networks: FrozenNetworks) -> "HeldOut":
        """At most 128, as many of each cache as it holds. Raises `BadData` if nobody is held out."""
        tables = []
        for cache in files.caches:
            with suppress(BadData):  # among the first few hundred people perhaps none is held out
                tables.append(FaceTable.load(cache, held_out=True, limit=_HELD_OUT // len(files.caches)))
        if not tables:
            raise BadData(f"nobody is held out in {', '.join(map(str, files.caches))}: prepare more photos")
        table = FaceTable.joined(tables).framed(files.frame, files.cache)
        batches = (to_tensor(table.crops[start : start + _AT_ONCE]) for start in range(0, len(table), _AT_ONCE))
        latents, vectors = networks.one_side(batches)
        inside = np.stack([files.frame.inside(place, table.shape(row)) for row, place in enumerate(table.matrix)])
        return cls(table=table, vectors=vectors, latents=latents, inside=inside)

    def noised(self, home: torch.device) -> "HeldOutNoised":
        """On their way to noise; the same on every call."""
        clean, vectors, inside = (
            torch.from_numpy(part).float().to(home) for part in (self.latents, self.vectors, self.inside)
        )
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        return HeldOutNoised(
            noisy=(1 - t) * clean + t * noise,
            times=times,
            velocity=noise - clean,
            inside=inside,
            vectors=vectors,
            noise=noise,
        )


@dataclass(frozen=True, kw_only=True)
class HeldOutNoised(Noised):
    """Held-out photos at fixed times and noise."""

    vectors: Float[Tensor, "N D"]  # (N, D)
    noise: Float[Tensor, "N c h w"]  # (N, c, h, w)

    def error(self, prediction: Float[Tensor, "N c h w"]) -> float:
        """`loss`, as a number."""
        return float(self.loss(prediction))
