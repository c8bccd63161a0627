"""What captions say of a face, as bounds on what is read off it: to tell what holds, and how far off the rest is.

    read = readings(pose, blendshapes, images)                     # (N, Q)
    PHRASES["mouth open"].holds(read)                              # (N,) bool
    names = drawn(rng, 2)                                          # two that do not contradict each other
    low, high = bounds(names)                                      # (Q,) each, infinite where there is no bound
    loss = short(read, low, high).mean()

Legend: N images; Q numbers of `READINGS`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from personae.shapes import Float
from personae.types import BLENDSHAPES, Array

# By name, the difference that counts as one: about the spread over FairFace. light, colour: of pixels in 0-255, their
# mean and the mean over pixels of the spread between their channels.
READINGS = {
    "smile": 0.3,
    "jaw": 0.1,
    "blink": 0.2,
    "brows down": 0.15,
    "brows up": 0.2,
    "yaw": 15.0,
    "pitch": 10.0,
    "tilt": 6.0,
    "light": 35.0,
    "colour": 10.0,
}
_SHAPES = {
    "smile": "mouthSmile",
    "jaw": "jawOpen",
    "blink": "eyeBlink",
    "brows down": "browDown",
    "brows up": "browInnerUp",
}
_NAMES = tuple(READINGS)
_COLUMNS = [
    [index for index, name in enumerate(BLENDSHAPES) if name in (shape, shape + "Left", shape + "Right")]
    for shape in _SHAPES.values()
]


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """Bounds (lowest, highest) on readings, by name; None: no bound."""

    bounds: Mapping[str, tuple[float | None, float | None]]

    def limits(self) -> Array:
        """(2, Q): lowest and highest."""
        found = np.stack([np.full(len(_NAMES), -np.inf), np.full(len(_NAMES), np.inf)])
        for name, pair in self.bounds.items():
            for side, bound in enumerate(pair):
                if bound is not None:
                    found[side, _NAMES.index(name)] = bound
        return found.astype(np.float32)

    def holds(self, read: Tensor) -> Tensor:
        """(N,) bool, of readings (N, Q)."""
        low, high = torch.from_numpy(self.limits())
        return ((read > low) & (read < high)).all(1)


def _phrase(**bounds: tuple[float | None, float | None]) -> Phrase:
    return Phrase(bounds={name.replace("_", " "): pair for name, pair in bounds.items()})


PHRASES = {
    "smiling": _phrase(smile=(0.5, None)),
    "serious": _phrase(smile=(None, 0.05), jaw=(None, 0.1)),
    "mouth open": _phrase(jaw=(0.3, None)),
    "mouth closed": _phrase(jaw=(None, 0.02)),
    "eyes closed": _phrase(blink=(0.55, None)),
    "frowning": _phrase(brows_down=(0.5, None)),
    "raised eyebrows": _phrase(brows_up=(0.5, None)),
    "looking left": _phrase(yaw=(18, None)),
    "looking right": _phrase(yaw=(None, -18)),
    "looking at the camera": _phrase(yaw=(-6, 6), pitch=(-8, 8)),
    "looking up": _phrase(pitch=(14, None)),
    "looking down": _phrase(pitch=(None, -14)),
    "head tilted": _phrase(tilt=(12, None)),
    "black and white": _phrase(colour=(None, 2.5)),
    "dark": _phrase(light=(None, 70)),
    "bright": _phrase(light=(165, None)),
}


def readings(pose: Tensor, blendshapes: Tensor, images: Tensor) -> Tensor:
    """(N, Q) of pose (N, 3) degrees, blendshapes (N, 52), and images (N, 3, S, S) in [-1, 1]."""
    pixels = (images.float() + 1) * 127.5
    shapes = [blendshapes[:, columns].mean(1) for columns in _COLUMNS]
    light, colour = pixels.mean((1, 2, 3)), (pixels.var(1, unbiased=False) + 1e-3).sqrt().mean((1, 2))
    return torch.stack([*shapes, pose[:, 0], pose[:, 1], pose[:, 2].abs(), light, colour], 1).float()


def drawn(rng: np.random.Generator, count: int) -> tuple[str, ...]:
    """At most `count` phrases, each as likely as any other, none of which contradicts another."""
    names: list[str] = []
    for name in rng.permutation(list(PHRASES)).tolist():
        low, high = bounds([*names, name])
        if len(names) < count and (low < high).all():
            names.append(name)
    return tuple(names)


def bounds(names: Sequence[str]) -> Array:
    """(2, Q): the lowest and highest that phrases leave to every reading."""
    limits = np.stack([PHRASES[name].limits() for name in names] or [_phrase().limits()])
    return np.stack([limits[:, 0].max(0), limits[:, 1].min(0)])


def short(
    read: Float[Tensor, "N Q"], low: Float[Tensor, "N Q"], high: Float[Tensor, "N Q"], margin: float = 0.4
) -> Float[Tensor, " N"]:
    """(N,) how far readings (N, Q) are from lying in bounds with a margin, in spreads (Huber's), the mean over those
    that are bounded."""
    spread = torch.tensor(list(READINGS.values()), device=read.device)
    beyond = torch.maximum(low - read, read - high) / spread + margin
    bounded = (torch.isfinite(low) | torch.isfinite(high)).float()
    far = beyond.clamp(min=0)
    each = F.smooth_l1_loss(far, torch.zeros_like(far), reduction="none") * bounded
    return each.sum(1) / bounded.sum(1).clamp(min=1)
