"""faces = DrawnFaces([photos, people])      # any face of any folder, as somebody may show it or as nobody would

crop = faces.spoilt(faces.row(rng), rng)
crop = faces.odd(rng)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from personae.shapes import UInt8
from personae.training.methods.embedder.data import SIZE, FaceCrops, Jitter, degraded
from personae.types import Array

_STRETCHED = Jitter(points=0.05, shift=0.025, turn=7, scale=0.08)
Row = tuple[int, int, bool]  # folder, face, whether it is mirrored


class DrawnFaces:
    """caches: labelled photos, and after them, if there are any, people who do not exist, who are drawn as often as
    photos once there are as many, before that more rarely."""

    def __init__(self, caches: Sequence[Path]) -> None:
        self.kinds = [FaceCrops.load([cache]) for cache in caches]
        sizes = np.array([len(kind) for kind in self.kinds])
        self._shares = np.minimum(sizes, sizes[0]) / np.minimum(sizes, sizes[0]).sum()

    def row(self, rng: np.random.Generator) -> Row:
        kind = int(rng.choice(len(self.kinds), p=self._shares))
        return kind, int(rng.integers(len(self.kinds[kind]))), bool(rng.random() < 0.5)

    def clean(self, row: Row) -> UInt8[Array, "S S 3"]:
        """The face as a recogniser reads it."""
        kind, face, mirrored = row
        return self.kinds[kind].cut(face, mirrored=mirrored)

    def spoilt(self, row: Row, rng: np.random.Generator) -> UInt8[Array, "S S 3"]:
        """The face as somebody may show it: a little off, in any quality."""
        kind, face, mirrored = row
        return degraded(self.kinds[kind].cut(face, mirrored=mirrored, jitter=Jitter(), rng=rng), rng)

    def odd(self, rng: np.random.Generator) -> UInt8[Array, "S S 3"]:
        """A picture that no photo shows: stretched, more often than not of two faces, at times spoilt, too."""

        def cut() -> Array:
            kind, face, mirrored = self.row(rng)
            return self.kinds[kind].cut(face, mirrored=mirrored, jitter=_STRETCHED, rng=rng)

        image = _fused(cut(), cut(), rng) if rng.random() < 0.6 else cut()
        return degraded(image, rng) if rng.random() < 0.4 else image


def _fused(one: Array, other: Array, rng: np.random.Generator) -> Array:
    """A face that nobody has: two aligned faces blended, or cut together along a soft line."""
    if rng.random() < 0.5:
        share: Any = rng.uniform(0.2, 0.8)
    else:
        y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        share = (1 / (1 + np.exp(-12 * (np.cos(angle) * x + np.sin(angle) * y - rng.uniform(-0.3, 0.3)))))[..., None]
    return np.clip(one * share + other * (1 - share), 0, 255).astype(np.uint8)
