"""What an autoencoder learns from: pictures as they lie in labelled shards, whole heads and details.

    pictures = Pictures.load(["cache/people", "cache/faces"])
    pictures.heads(rng, 2)          # (2, 192, 192, 3) uint8: template `head`, of pictures that reach so far
    pictures.details(rng, 8)        # (8, 128, 128, 3): cut anywhere out of them, shrunk

    drawn = DrawnPictures(stream)   # the same of people who are drawn for every batch, on the stream's device

Shards are held in memory as they are encoded: 20,000 people are a gigabyte, decoded it would be twenty.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.data.people_stream import PeopleStream
from personae.errors import BadData
from personae.reading import align
from personae.reading.photo import load_photo
from personae.training.face_table import FaceTable
from personae.training.frame import HEAD
from personae.training.picture_kinds import worth_learning
from personae.types import Array

SIDE, DETAIL = HEAD.side, 128  # pixels
_HEM = 4  # pixels of a picture
# How far details are shrunk: a drawn face to about the size that it has in a head, a photo's until the blocks of JPEG
# are gone, which a discriminator would teach the decoder to draw.
_SHRUNK = (0.6, 0.85)
_DETAILS_OF_ONE = 4  # drawn heads cost more than their details
_HELD_OUT_SEED = 2**40  # of drawn people whom no batch shows: batches are seeded below it


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """`encoded`: the photos' bytes; `points` (N, 5, 2): where the face lies in each; `wide` (n,): the rows whose
    pictures hold a whole head."""

    encoded: list[bytes]
    points: Array
    wide: Array

    @classmethod
    def load(
        cls, caches: Sequence[str | Path], *, held_out: bool = False, limit: int | None = None, size: int = SIDE
    ) -> "Pictures":
        """Those of several caches' pictures, each at most `limit`, that are worth learning from (`picture_kinds`).
        Raises `BadData` if none holds a whole head."""
        tables = []
        for cache in caches:
            with suppress(BadData):  # one of them may hold nobody of these
                tables.append(FaceTable.load(cache, held_out=held_out, limit=limit))
        if not tables:
            raise BadData(f"no pictures in {', '.join(map(str, caches))}: run `personae prepare people` first")
        table = worth_learning(FaceTable.joined(tables))
        points = table.five_points
        wide = np.flatnonzero([_whole(photo, face, size) for photo, face in zip(table.photos, points, strict=True)])
        if not len(wide):
            raise BadData("none of these pictures holds a whole head: run `personae prepare people` first")
        return cls(encoded=table.photos, points=points, wide=wide)

    def __len__(self) -> int:
        return len(self.encoded)

    def head(self, row: int, size: int = SIDE) -> Array:
        """A row's head (size, size, 3) uint8."""
        matrix = align.similarity(self.points[row], "head", size)
        return align.crop(load_photo(self.encoded[row]).pixels, matrix, size)

    def heads(self, rng: np.random.Generator, count: int, size: int = SIDE) -> Array:
        """(count, size, size, 3) uint8, half of them mirrored."""
        return _many([self.head(row, size) for row in rng.choice(self.wide, count)], rng)

    def details(self, rng: np.random.Generator, count: int, size: int = DETAIL) -> Array:
        """(count, size, size, 3) uint8 cut anywhere out of any of the pictures, shrunk, half of them mirrored."""
        return _many([self._detail(rng, row, size) for row in rng.integers(len(self), size=count)], rng)

    def _detail(self, rng: np.random.Generator, row: int, size: int) -> Array:
        pixels = load_photo(self.encoded[row]).pixels
        part = min(round(size / rng.uniform(*_SHRUNK)), *pixels.shape[:2])
        top, left = (rng.integers(side - part + 1) for side in pixels.shape[:2])
        cut = pixels[top : top + part, left : left + part]
        return np.asarray(Image.fromarray(cut).resize((size, size), Image.Resampling.LANCZOS))


class DrawnPictures:
    """Heads of people who are drawn for every batch, and their details, as `Pictures` gives them: uint8 on the device
    of the stream, which draws heads of `SIDE` pixels."""

    def __init__(self, stream: PeopleStream) -> None:
        self.stream = stream

    def heads(self, rng: np.random.Generator, count: int) -> Tensor:
        """(count, SIDE, SIDE, 3) uint8, half of them mirrored."""
        return self._heads(int(rng.integers(_HELD_OUT_SEED)), count)

    def details(self, rng: np.random.Generator, count: int, size: int = DETAIL) -> Tensor:
        """(count, size, size, 3) uint8, several of each head."""
        heads = self.heads(rng, -(-count // _DETAILS_OF_ONE))
        corners = rng.integers(heads.shape[1] - size + 1, size=(count, 2)).tolist()
        parts = [heads[n // _DETAILS_OF_ONE, y : y + size, x : x + size] for n, (y, x) in enumerate(corners)]
        return torch.stack(parts)

    def held_out(self, count: int) -> Array:
        """(count, SIDE, SIDE, 3) uint8 of people whom no batch shows."""
        return self._heads(_HELD_OUT_SEED, count).cpu().numpy()

    def _heads(self, seed: int, count: int) -> Tensor:
        generator = torch.Generator(self.stream.mean.device).manual_seed(seed)
        images = self.stream.draw(-(-count // 2), 2, generator).images.flatten(0, 1)[:count]
        images[1::2] = images[1::2].flip(3)  # every second view of a person
        return ((images * 127.5 + 127.5).round().to(torch.uint8)).permute(0, 2, 3, 1)


def _many(parts: list[Array], rng: np.random.Generator) -> Array:
    return np.stack([part[:, ::-1] if rng.random() < 0.5 else part for part in parts])


def _whole(encoded: bytes, points: Array, size: int) -> bool:
    """Whether a head's crop lies inside its picture, but for a hem that repeats the edge."""
    with Image.open(io.BytesIO(encoded)) as header:  # its size alone: nothing is decoded
        extent = np.array(header.size)
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)]) - 0.5
    reached = align.apply(align.invert(align.similarity(points, "head", size)), corners)
    return bool(((reached >= -_HEM) & (reached <= extent - 1 + _HEM)).all())
