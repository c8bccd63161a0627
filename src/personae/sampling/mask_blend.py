"""Latents of a known picture, kept at every step wherever nothing is to be repainted.

    blend = MaskBlend(clean=codec.encode(vae, image), mask=cells(mask, grid), strength=1.0)
    latents = denoise(predict, noise, scheduler, mask_blend=blend)  # outside the mask they end as `clean`, bit for bit

After each step, what lies outside the free cells becomes the known latents, noised with the picture's own first noise
to the level that the scheduler has reached, as in FaceX, RePaint (Lugmayr et al., CVPR 2022) and Blended Latent
Diffusion (Avrahami et al., SIGGRAPH 2023). Levels are read off the scheduler, so every one of them can be fused.

Legend: N images, (c, h, w) their latents, one cell of which stands for a square of pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.errors import BadOption
from personae.sampling import parameterisation
from personae.types import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskBlend:
    """`clean` (N, c, h, w) float32, the known latents; `mask` (N, h, w) bool, the cells that are repainted.

    strength: the share of the steps that is walked, above 0, at most 1. Below 1 the walk begins at the known latents,
    noised as far as the steps left out would have brought them: the less of it, the more shines through everywhere.
    """

    clean: Tensor
    mask: Tensor
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise BadOption(f"strength is a share of the steps, above 0 and at most 1, got {self.strength}")
        assert self.mask.shape == (len(self.clean), *self.clean.shape[2:]), (self.mask.shape, self.clean.shape)

    def first_step(self, scheduler: Any) -> int:
        """The number of the first step to make; a scheduler that counts its steps is told."""
        order = getattr(scheduler, "order", 1)  # of Heun's two a step, both or none are left out
        steps = (len(scheduler.timesteps) + order - 1) // order
        first = (steps - max(1, round(steps * self.strength))) * order
        if first > 0 and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        return first

    def begin(self, latents: Tensor, noise: Tensor, scheduler: Any, first: int) -> Tensor:
        """Where the walk begins, with step `first`: at `latents`, the scheduler's own beginning, or later."""
        known = self._known_latents(noise, scheduler, first)
        return self._blend(latents, known) if first == 0 else known

    def after_step(self, step: int, latents: Tensor, noise: Tensor, scheduler: Any) -> Tensor:
        """The latents (N, c, h, w) that step number `step` has made, fused. After the last one: with the clean."""
        last = step + 1 == len(scheduler.timesteps)
        return self.finish(latents) if last else self._blend(latents, self._known_latents(noise, scheduler, step + 1))

    def finish(self, latents: Tensor) -> Tensor:
        """Latents that no step follows, fused."""
        return self._blend(latents, self.clean)

    def _blend(self, latents: Tensor, known: Tensor) -> Tensor:
        return torch.where(self.mask[:, None], latents, known)

    def _known_latents(self, noise: Tensor, scheduler: Any, step: int) -> Tensor:
        """The known latents as the scheduler holds latents before it makes `step`."""
        signal, spread = parameterisation.signal_and_noise(scheduler, scheduler.timesteps[step])
        return signal * self.clean + spread * noise


def cells(mask: Array, grid: tuple[int, int]) -> Tensor:
    """(h, w) bool, the cells of `grid` in which any pixel of `mask` (H, W) bool lies; H, W whole multiples of h, w.

    So a region smaller than a cell is repainted all the same, and with it what else lies in its cell: the finer border
    is for whoever pastes the result.
    """
    height, width = grid
    tall, wide = mask.shape[0] // height, mask.shape[1] // width
    assert mask.shape == (height * tall, width * wide), (mask.shape, grid)
    return torch.from_numpy(np.ascontiguousarray(mask.reshape(height, tall, width, wide).any((1, 3))))
