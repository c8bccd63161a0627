"""Between latents and pixels, for any of diffusers' image autoencoders (AutoencoderDC, AutoencoderKL).

images = decode(vae, latents)          # (N, 3, H, W) float32 in [-1, 1]
pixels = to_uint8(images)              # (N, H, W, 3) uint8
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.shapes import Float, Float32, UInt8
from personae.types import Array


def encode(vae: Any, images: Float[Tensor, "N 3 H W"], *, batch_size: int = 8) -> Float32[Tensor, "N c h w"]:
    """Images (N, 3, H, W) in [-1, 1] -> latents (N, c, h, w) float32, shifted and scaled as the UNet expects.

    vae: an AutoencoderDC or AutoencoderKL, of which the mode is taken, so that the result is always the same.
    batch_size: images encoded at once; changes no result.
    """
    parts = images.to(vae.dtype).split(batch_size)
    latents = torch.cat([_latents(vae.encode(part)) for part in parts]).float()
    return (latents - _shift(vae)) * vae.config.scaling_factor


def decode(vae: Any, latents: Float[Tensor, "N c h w"], *, batch_size: int = 8) -> Float32[Tensor, "N 3 H W"]:
    """Latents (N, c, h, w) of the UNet -> images (N, 3, H, W) float32, clamped to [-1, 1]. batch_size: as `encode`."""
    scaled = (latents / vae.config.scaling_factor + _shift(vae)).to(vae.dtype)
    # Each part leaves the decoder's own memory at once: a compiled one with CUDA graphs writes the next part there.
    parts = scaled.split(batch_size)
    return torch.cat([vae.decode(part, return_dict=False)[0].float().clamp(-1, 1) for part in parts])


def pixels_per_cell(vae: Any) -> int:
    """How many pixels of a side one cell of the latents stands for. Both kinds halve once between two widths."""
    widths = vae.config.get("encoder_block_out_channels") or vae.config.block_out_channels
    return int(2 ** (len(widths) - 1))


def to_uint8(images: Float[Tensor, "N 3 H W"]) -> UInt8[Array, "N H W 3"]:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) RGB uint8."""
    pixels = (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).cpu().numpy()


def to_tensor(pixels: UInt8[Array, "N H W 3"]) -> Float32[Tensor, "N 3 H W"]:
    """(N, H, W, 3) RGB uint8 -> (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 127.5 - 1


def _latents(encoded: Any) -> Tensor:
    # AutoencoderDC answers with a latent, AutoencoderKL with a distribution.
    return encoded.latent if hasattr(encoded, "latent") else encoded.latent_dist.mode()


def _shift(vae: Any) -> float:
    return vae.config.get("shift_factor") or 0.0
