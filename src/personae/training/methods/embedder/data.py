"""crops = FaceCrops.load([cache, people])               # the faces of labelled pictures, cut when they are asked for
clean = crops.cut(row, mirrored=True)                   # (112, 112, 3), as a recogniser reads them
spoilt = degraded(crops.cut(row, jitter=jitter, rng=rng), rng)

A recogniser's crops, cut by the dense landmarks (irises, nose tip, mouth corners) as a reader cuts them, in every
position and quality that it may meet: a little off, leaning, at the picture's edge; blurred, small, noisy, compressed,
dark, grey, half in shade.
"""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from personae.data import shards
from personae.errors import BadData
from personae.reading import align
from personae.reading.steady import FIVE
from personae.shapes import UInt8
from personae.training.augment import photometric
from personae.types import Array

SIZE = 112
_EDGES = 0.12  # share of crops that are cut off at a side, as at a picture's edge


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How far a crop may lie off, in standard deviations: `points` each by itself, of the eye distance (a motion
    reader's error is 0.04); the whole crop by `shift` of its side, `turn` degrees, `scale` (log)."""

    points: float = 0.035
    shift: float = 0.012
    turn: float = 4.0
    scale: float = 0.05


@dataclass(frozen=True, kw_only=True)
class FaceCrops:
    """N faces: `photos` encoded as they came; `points` (N, 5, 2) of `FIVE`, photo pixels; `vectors` (N, 128), the
    labelling teacher's; `people`: whose each is."""

    photos: list[bytes] = field(repr=False)
    points: Array
    vectors: Array
    people: list[str]

    def __len__(self) -> int:
        return len(self.photos)

    @classmethod
    def load(cls, caches: Iterable[Path], *, held_out: bool = False, limit: int | None = None) -> "FaceCrops":
        """The faces of all shards of these folders, those kept out of training or all others; of each folder at most
        `limit`. Raises `BadData` if there are none."""
        photos: list[bytes] = []
        points: list[Array] = []
        vectors: list[Array] = []
        people: list[str] = []
        folders = list(caches)
        for folder in folders:
            end = None if limit is None else len(photos) + limit
            for key, parts in _records(folder, held_out):
                if end is not None and len(photos) >= end:
                    break
                photos.append(parts["photo.jpg"])
                labels = shards.unpack_arrays(parts["labels.npz"])
                points.append(labels["landmarks"][list(FIVE), :2])
                vectors.append(labels["identity"][0])
                people.append(shards.person(key))
        if not photos:
            raise BadData(f"no labelled faces in {', '.join(map(str, folders))}: run `personae prepare` first")
        return cls(
            photos=photos,
            points=np.stack(points).astype(np.float32),
            vectors=np.stack(vectors).astype(np.float32),
            people=people,
        )

    def cut(
        self,
        row: int,
        *,
        mirrored: bool = False,
        jitter: Jitter | None = None,
        rng: np.random.Generator | None = None,
        size: int = SIZE,
    ) -> Array:
        """(size, size, 3) uint8 RGB in template `arcface`. jitter: how far it may lie off, needs `rng`."""
        photo = np.asarray(Image.open(io.BytesIO(self.photos[row])).convert("RGB"))
        points = self.points[row]
        if jitter is None or rng is None:
            crop = align.crop(photo, align.similarity(points, "arcface", size), size)
        else:
            crop = align.crop(photo, _jittered(points, jitter, rng, size), size)
        return np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop


def _records(folder: Path, held_out: bool) -> Iterator[tuple[str, shards.Record]]:
    for tar in sorted(folder.glob("*.tar")):
        for key, parts in shards.read(tar):
            if shards.held_out(key) == held_out:
                yield key, parts


def _jittered(points: Array, jitter: Jitter, rng: np.random.Generator, size: int) -> Array:
    """The (2, 3) matrix that cuts a crop a little off."""
    apart = float(np.linalg.norm(points[0] - points[1]))
    moved = points + rng.normal(0, jitter.points * apart, points.shape)
    matrix = align.similarity(moved, "arcface", size)
    angle, scale = np.radians(rng.normal(0, jitter.turn)), np.exp(rng.normal(0, jitter.scale))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turn, middle = np.array([[cosine, -sine], [sine, cosine]]), np.full(2, (size - 1) / 2)
    shift = middle - turn @ middle + rng.normal(0, jitter.shift * size, 2)
    return np.column_stack([turn @ matrix[:, :2], turn @ matrix[:, 2] + shift])


def degraded(crop: UInt8[Array, "S S 3"], rng: np.random.Generator) -> UInt8[Array, "S S 3"]:
    """A crop (S, S, 3) uint8 as a worse camera, a smaller picture or less light would have it: one in five is hardly
    touched, most are a little spoilt, some badly."""
    strength = float(rng.choice((0.3, 1.0, 1.5), p=(0.2, 0.5, 0.3)))
    image = Image.fromarray(crop)
    if rng.random() < 0.3 * strength:
        image = _small(image, rng)
    if rng.random() < 0.15 * strength:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.5))))
    pixels = np.asarray(photometric(image, rng, strength))
    if rng.random() < 0.2 * strength:
        pixels = _shaded(pixels, rng)
    if rng.random() < _EDGES * strength:
        pixels = _cut_off(pixels, rng)
    return pixels


def _small(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A face that was 16 to 72 px wide in its photo, compressed there or not, and enlarged."""
    width, height = image.size
    share = np.exp(rng.uniform(np.log(16), np.log(72))) / width
    reduced = image.resize((max(8, round(width * share)), max(8, round(height * share))), Image.Resampling.BOX)
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        reduced.save(buffer, "JPEG", quality=int(rng.integers(30, 90)))
        reduced = Image.open(buffer).convert("RGB")
    way = Image.Resampling.BICUBIC if rng.random() < 0.7 else Image.Resampling.BILINEAR
    return reduced.resize((width, height), way)


def _shaded(pixels: Array, rng: np.random.Generator) -> Array:
    """Darker towards one side, as far as to a fifth."""
    side = pixels.shape[0]
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    angle, dark = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8)
    lit = 1 / (1 + np.exp(-rng.uniform(2, 6) * (np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.4, 0.4))))
    return np.round(pixels * (dark + (1 - dark) * lit)[..., None]).astype(np.uint8)


def _cut_off(pixels: Array, rng: np.random.Generator) -> Array:
    """Up to a third missing at one side: the last row or column repeated, as where a photo ends."""
    turned = int(rng.integers(4))
    pixels = np.rot90(pixels, turned).copy()
    line = int(rng.uniform(0.03, 0.33) * len(pixels))
    pixels[:line] = pixels[line]
    return np.rot90(pixels, -turned).copy()
