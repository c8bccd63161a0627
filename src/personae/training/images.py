"""Pictures as the networks take them, and how close two are."""

import numpy as np
import torch
from torch import Tensor

from personae.shapes import Float
from personae.types import Array


def psnr(images: Float[Tensor, "N 3 H W"], originals: Float[Tensor, "N 3 H W"]) -> Float[Tensor, ""]:
    """Peak signal-to-noise ratio in dB of images in [-1, 1], averaged over the batch."""
    error = (images.clamp(-1, 1) - originals).pow(2).mean(dim=(1, 2, 3))
    return (10 * torch.log10(4 / error)).mean()


def to_tensor(images: Array | Tensor) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1], channels last in memory."""
    return torch.as_tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: Tensor) -> Array:
    """(N, 3, H, W) in [-1, 1] -> (N, H, W, 3) uint8."""
    return np.asarray((images.clamp(-1, 1) * 127.5 + 127.5).round().byte().permute(0, 2, 3, 1).cpu())
