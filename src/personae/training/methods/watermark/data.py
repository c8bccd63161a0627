"""photos = PhotoCrops.load([cache])                 # the photos of labelled shards
pixels = photos.draw(rng, 128)                       # (128, 128, 3) uint8: a piece of a picture, as it may be marked
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from personae.data import shards
from personae.errors import BadData
from personae.training.textures import texture
from personae.types import Array

_TEXTURES = 0.12  # share of pictures that are drawn from nothing
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True, kw_only=True)
class PhotoCrops:
    """`photos`: encoded as they came."""

    photos: list[bytes] = field(repr=False)

    def __len__(self) -> int:
        return len(self.photos)

    @classmethod
    def load(cls, caches: Iterable[Path], *, held_out: bool = False, limit: int | None = None) -> "PhotoCrops":
        """The photos of all shards of these folders, those kept out of training or all others; at most `limit`. Raises
        `BadData` if there are none."""
        folders = list(caches)
        photos = [
            parts["photo.jpg"]
            for folder in folders
            for tar in sorted(folder.glob("*.tar"))
            for key, parts in shards.read(tar)
            if shards.held_out(key) == held_out and "photo.jpg" in parts
        ][:limit]
        if not photos:
            raise BadData(f"no photos in {', '.join(map(str, folders))}: run `personae prepare` first")
        return cls(photos=photos)

    def draw(self, rng: np.random.Generator, size: int) -> Array:
        """(size, size, 3) uint8: a piece of a photo, coarser or finer than it came, or a texture; at times mirrored."""
        if rng.random() < _TEXTURES:
            image = texture(rng, size)
        else:
            image = Image.open(io.BytesIO(self.photos[int(rng.integers(len(self.photos)))])).convert("RGB")
            shorter = min(image.size)
            # Blown up where the piece is smaller than it is wanted: the canonical picture of a small one is.
            side = min(shorter, round(size * np.exp(rng.uniform(np.log(0.5), np.log(2.0)))))
            left, top = (int(rng.integers(length - side + 1)) for length in image.size)
            box = (left, top, left + side, top + side)
            image = image.resize((size, size), _FILTERS[int(rng.integers(len(_FILTERS)))], box=box)
        pixels = np.asarray(image)
        return np.ascontiguousarray(pixels[:, ::-1] if rng.random() < 0.5 else pixels)
