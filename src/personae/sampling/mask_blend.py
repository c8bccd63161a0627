"""Inpainting by blending latents: outside a mask, every step ends with those of a known picture.

    blend = MaskBlend(clean=codec.encode(vae, image), mask=cells(mask, grid), strength=1.0)
    latents = denoise(predict, noise, scheduler, mask_blend=blend)  # outside the mask they end as `clean`, bit for bit

After each step, the cells outside the mask become the known latents, noised with the image's own first noise to the
level that the scheduler has reached, as in FaceX, RePaint (Lugmayr et al., CVPR 2022) and Blended Latent Diffusion
(Avrahami et al., SIGGRAPH 2023). Levels are read off the scheduler, so that this works with each of them.

Legend: N images, (c, h, w) their latents, one cell of which stands for a square of pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.errors import BadOption
from personae.sampling import parameterisation
from personae.shapes import Bool, Float, Float32
from personae.types import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskBlend:
    """The known latents of N images, and where they are repainted.

    Attributes:
        clean: (N, c, h, w) float32, the known latents.
        mask: (N, h, w) bool, true in the cells that are repainted.
        strength: the share of the steps that is made, above 0, at most 1. Below 1 sampling begins at the known latents,
            noised to the level of the first step that is made: with less of it, more of the known picture remains
            everywhere.

    Raises `BadOption` for a strength outside its range.
    """

    clean: Float32[Tensor, "N c h w"]
    mask: Bool[Tensor, "N h w"]
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise BadOption(f"strength is a share of the steps, above 0 and at most 1, got {self.strength}")
        assert self.mask.shape == (len(self.clean), *self.clean.shape[2:]), (self.mask.shape, self.clean.shape)

    def first_step(self, scheduler: Any) -> int:
        """The number of the first step to make, which is set in a scheduler that counts its steps."""
        order = getattr(scheduler, "order", 1)  # of Heun's two a step, both or none are left out
        steps = (len(scheduler.timesteps) + order - 1) // order
        first = (steps - max(1, round(steps * self.strength))) * order
        if first > 0 and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        return first

    def begin(
        self, latents: Float[Tensor, "N c h w"], noise: Float[Tensor, "N c h w"], scheduler: Any, first: int
    ) -> Float[Tensor, "N c h w"]:
        """The latents (N, c, h, w) before step `first`: `latents`, the scheduler's own, if that is the very first; the
        known ones, noised, if it is a later one."""
        known = self._known_latents(noise, scheduler, first)
        return self._blend(latents, known) if first == 0 else known

    def after_step(
        self, step: int, latents: Float[Tensor, "N c h w"], noise: Float[Tensor, "N c h w"], scheduler: Any
    ) -> Float[Tensor, "N c h w"]:
        """The result of step number `step` (N, c, h, w), with the known latents outside the mask: noised to the
        scheduler's level, or clean after the last step."""
        last = step + 1 == len(scheduler.timesteps)
        return self.finish(latents) if last else self._blend(latents, self._known_latents(noise, scheduler, step + 1))

    def finish(self, latents: Float[Tensor, "N c h w"]) -> Float[Tensor, "N c h w"]:
        """Latents that no step follows, with the clean ones outside the mask."""
        return self._blend(latents, self.clean)

    def _blend(self, latents: Float[Tensor, "N c h w"], known: Float[Tensor, "N c h w"]) -> Float[Tensor, "N c h w"]:
        return torch.where(self.mask[:, None], latents, known)

    def _known_latents(self, noise: Float[Tensor, "N c h w"], scheduler: Any, step: int) -> Float[Tensor, "N c h w"]:
        """The known latents as the scheduler holds latents before it makes `step`."""
        signal, spread = parameterisation.signal_and_noise(scheduler, scheduler.timesteps[step])
        return signal * self.clean + spread * noise


def cells(mask: Bool[Array, "H W"], grid: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """(h, w) bool, the cells of `grid` in which any pixel of `mask` (H, W) bool lies; H, W whole multiples of h, w.

    So a region smaller than a cell is repainted all the same, and with it what else lies in its cell: the finer border
    is for whoever pastes the result.
    """
    height, width = grid
    tall, wide = mask.shape[0] // height, mask.shape[1] // width
    assert mask.shape == (height * tall, width * wide), (mask.shape, grid)
    return torch.from_numpy(np.ascontiguousarray(mask.reshape(height, tall, width, wide).any((1, 3))))
