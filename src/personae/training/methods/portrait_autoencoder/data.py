"""What an autoencoder learns from: pictures as they lie in labelled shards, whole heads and details at native size.

    pictures = Pictures.load(["cache/people", "cache/faces"])
    pictures.heads(rng, 2)          # (2, 256, 256, 3) uint8: template `head`, of pictures that reach so far
    pictures.details(rng, 8)        # (8, 128, 128, 3): not enlarged, not shrunk

    drawn = DrawnPictures(stream)   # the same of people who are drawn for every batch, on the stream's device

Shards are held in memory as they are encoded: 20,000 people are a gigabyte, decoded it would be twenty.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.data import shards
from personae.data.people_stream import PeopleStream
from personae.errors import BadData
from personae.reading import align
from personae.reading.photo import load_photo
from personae.reading.steady import FIVE
from personae.types import Array

SIDE, DETAIL = 256, 128  # pixels
_HEM = 4  # pixels of a picture
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
        """The pictures of several caches, each at most `limit`. Raises `BadData` if none holds a whole head."""
        records = [record for cache in caches for record in _some(Path(cache), held_out, limit)]
        if not records:
            raise BadData(f"no pictures in {', '.join(map(str, caches))}: run `personae prepare people` first")
        encoded = [photo for photo, _ in records]
        points = np.stack([points for _, points in records])
        wide = np.flatnonzero([_whole(photo, face, size) for photo, face in records])
        if not len(wide):
            raise BadData("none of these pictures holds a whole head: run `personae prepare people` first")
        return cls(encoded=encoded, points=points, wide=wide)

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
        """(count, size, size, 3) uint8 cut anywhere out of any of the pictures, half of them mirrored."""
        parts = []
        for row in rng.integers(len(self), size=count):
            pixels = load_photo(self.encoded[row]).pixels
            top, left = (rng.integers(side - size + 1) for side in pixels.shape[:2])
            parts.append(pixels[top : top + size, left : left + size])
        return _many(parts, rng)


class DrawnPictures:
    """Heads of people who are drawn for every batch, and their details, as `Pictures` gives them: uint8 on the device
    of the stream, which draws heads of `SIDE` pixels."""

    def __init__(self, stream: PeopleStream) -> None:
        self.stream = stream

    def heads(self, rng: np.random.Generator, count: int) -> Tensor:
        """(count, 256, 256, 3) uint8, half of them mirrored."""
        return self._heads(int(rng.integers(_HELD_OUT_SEED)), count)

    def details(self, rng: np.random.Generator, count: int, size: int = DETAIL) -> Tensor:
        """(count, size, size, 3) uint8, several of each head."""
        heads = self.heads(rng, -(-count // _DETAILS_OF_ONE))
        corners = rng.integers(heads.shape[1] - size + 1, size=(count, 2)).tolist()
        parts = [heads[n // _DETAILS_OF_ONE, y : y + size, x : x + size] for n, (y, x) in enumerate(corners)]
        return torch.stack(parts)

    def held_out(self, count: int) -> Array:
        """(count, 256, 256, 3) uint8 of people whom no batch shows."""
        return self._heads(_HELD_OUT_SEED, count).cpu().numpy()

    def _heads(self, seed: int, count: int) -> Tensor:
        generator = torch.Generator(self.stream.mean.device).manual_seed(seed)
        images = self.stream.draw(-(-count // 2), 2, generator).images.flatten(0, 1)[:count]
        images[1::2] = images[1::2].flip(3)  # every second view of a person
        return ((images * 127.5 + 127.5).round().to(torch.uint8)).permute(0, 2, 3, 1)


def _many(parts: list[Array], rng: np.random.Generator) -> Array:
    return np.stack([part[:, ::-1] if rng.random() < 0.5 else part for part in parts])


def _some(cache: Path, held_out: bool, limit: int | None) -> Iterator[tuple[bytes, Array]]:
    left = limit
    for tar in sorted(cache.glob("*.tar")):
        for key, parts in shards.read(tar):
            if left == 0:
                return
            if shards.held_out(key) == held_out:
                left = None if left is None else left - 1
                yield parts["photo.jpg"], shards.unpack_arrays(parts["labels.npz"])["landmarks"][list(FIVE), :2]


def _whole(encoded: bytes, points: Array, size: int) -> bool:
    """Whether a head's crop lies inside its picture, but for a hem that repeats the edge."""
    with Image.open(io.BytesIO(encoded)) as header:  # its size alone: nothing is decoded
        extent = np.array(header.size)
    corners = np.array([(0, 0), (size, 0), (0, size), (size, size)]) - 0.5
    reached = align.apply(align.invert(align.similarity(points, "head", size)), corners)
    return bool(((reached >= -_HEM) & (reached <= extent - 1 + _HEM)).all())
