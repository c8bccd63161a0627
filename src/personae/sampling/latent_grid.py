"""The size of a picture in cells of the latents, and the noise that it begins from.

grid = latent_grid(pipe.vae, pipe.unet, height=512, width=768)        # (64, 96)
own_side(pipe.vae, pipe.unet)                                         # 512
noise = starting_noise(None, generators, (4, *grid))                  # (N, 4, 64, 96)
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from personae.errors import BadOption
from personae.sampling import codec
from personae.sampling.loop import draw_noise
from personae.shapes import Float, Float32


def latent_grid(vae: Any, unet: Any, *, height: int | None, width: int | None) -> tuple[int, int]:
    """(h, w) of the latents of a picture of `height` x `width` pixels; None: of the UNet's own size.

    Raises `BadOption` unless both are whole numbers of cells.
    """
    cell, own = codec.pixels_per_cell(vae), unet.config.sample_size
    for name, side in (("height", height), ("width", width)):
        fits = side is None or (isinstance(side, Integral) and side > 0 and side % cell == 0)
        if not fits:
            raise BadOption(
                f"{name} must be a multiple of {cell} pixels, got {side!r}: the model's own is {own_side(vae, unet)}"
            )
    return (own if height is None else height // cell), (own if width is None else width // cell)


def own_side(vae: Any, unet: Any) -> int:
    """Pixels along a side of a picture of the UNet's own size."""
    return int(unet.config.sample_size) * codec.pixels_per_cell(vae)


def starting_noise(
    latents: Float[Tensor, " ..."] | None, generators: Sequence[torch.Generator], shape: tuple[int, int, int]
) -> Float32[Tensor, "N c h w"]:
    """(N, c, h, w) float32: the caller's `latents`, or noise from one generator for each image.

    shape: (c, h, w). Raises `BadOption` for latents of another shape.
    """
    if latents is None:
        return draw_noise(shape, generators)
    expected = (len(generators), *shape)
    if tuple(latents.shape) != expected:
        raise BadOption(f"latents must be {expected}, got {tuple(latents.shape)}")
    return latents.float()
