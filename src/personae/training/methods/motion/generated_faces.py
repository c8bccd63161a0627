"""Pictures that FaceX makes as it practises, with what the teacher reads off each.

faces = GeneratedFaces.load_or_make(runs / "nano-motion-made" / "made.npz", lambda: FaceXTask(...), teachers, 6000)

They are what `facex-nano` has its readers judge: pairs, sampled in few steps and cut short, some half finished.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from personae.data import shards
from personae.data.teachers import Teachers
from personae.io import atomic
from personae.sampling.fast import modes
from personae.training.frame import of_side
from personae.types import Array

_AT_ONCE = 16


class Practice(Protocol):
    """A training that makes pictures as it learns: `FaceXTask`."""

    @property
    def model(self) -> nn.Module:
        """What it trains, where it computes."""

    def batch(self, rng: np.random.Generator, size: int) -> Any:
        """`size` edits to practise; depends on `rng` only."""

    def pictures(self, batch: Any, generator: torch.Generator) -> Array:
        """(N, S, S, 3) uint8: their results."""


@dataclass(frozen=True, kw_only=True)
class GeneratedFaces:
    """N pictures in which the teacher sees a face. `crops` (N, S, S, 3) uint8; in their pixels, `landmarks`
    (N, 478, 3); `pose` (N, 3) degrees; `blendshapes` (N, 52)."""

    crops: Array
    landmarks: Array
    pose: Array
    blendshapes: Array

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def points(self) -> Array:
        """(N, 5, 2) where the five points of a face lie if it lies as its template says."""
        place = of_side(self.crops.shape[1]).points()
        return np.broadcast_to(place, (len(self), *place.shape))

    def photo(self, row: int) -> Array:
        """(S, S, 3)"""
        return np.asarray(self.crops[row])

    def rows(self, first: int, end: int) -> "GeneratedFaces":
        """Some of them."""
        return GeneratedFaces(**{field.name: getattr(self, field.name)[first:end] for field in fields(self)})

    @classmethod
    def load_or_make(cls, path: Path, task: Callable[[], Practice], teachers: Teachers, count: int) -> "GeneratedFaces":
        """Those of a file; if it is not there, a FaceX at practice generates `count`, which are stored in it."""
        if path.is_file():
            return cls(**shards.unpack_arrays(path.read_bytes()))
        generated = cls.read(list(_pictures(task(), count)), teachers)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = shards.pack_arrays({field.name: getattr(generated, field.name) for field in fields(generated)})
        atomic.write(path, content, replace=True)
        return generated

    @classmethod
    def read(cls, crops: list[Array], teachers: Teachers) -> "GeneratedFaces":
        """Those of `crops` (S, S, 3) in which the teacher sees a face."""
        readable = [(crop, motion) for crop in crops if (motion := teachers.motion_in_crop(crop)) is not None]
        angles = [(motion.pose.yaw, motion.pose.pitch, motion.pose.roll) for _, motion in readable]
        return cls(
            crops=np.stack([crop for crop, _ in readable]),
            landmarks=np.stack([motion.landmarks for _, motion in readable]),
            pose=np.array(angles, np.float32),
            blendshapes=np.stack([motion.blendshapes for _, motion in readable]),
        )


def _pictures(task: Practice, count: int) -> Iterator[Array]:
    """`count` crops (S, S, 3) uint8."""
    home = modes.device_for(None)  # as in a training, whose loop would bring the model there
    task.model.to(home)
    generator = torch.Generator(home).manual_seed(0)
    for start in range(0, count, _AT_ONCE):
        batch = task.batch(np.random.default_rng(start), min(_AT_ONCE, count - start))
        yield from task.pictures(batch, generator)
