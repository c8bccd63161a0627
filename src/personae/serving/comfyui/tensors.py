"""ComfyUI's pictures and ours: IMAGE is (B, H, W, C) float 0-1, MASK (B, H, W) float 0-1."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.errors import BadImage
from personae.shapes import Float, UInt8
from personae.types import Array


def photos(images: Tensor) -> list[Array]:
    """(B, H, W, 3 or 4) or (H, W, 3 or 4) in 0-1 -> B photos (H, W, 3) RGB uint8; alpha is dropped, as ComfyUI does.

    Raises `BadImage` for another shape."""
    batch = images[None] if images.dim() == 3 else images
    if batch.dim() != 4 or batch.shape[-1] not in (3, 4) or 0 in batch.shape:
        raise BadImage(f"an image of ComfyUI is (B, H, W, 3), got {tuple(images.shape)}")
    return list((batch[..., :3].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())


def photo(images: Float[Tensor, "... H W C"], name: str) -> UInt8[Array, "H W 3"]:
    """The only photo of a batch, (H, W, 3) RGB uint8. Raises `BadImage`, naming the input, for several."""
    found = photos(images)
    if len(found) != 1:
        raise BadImage(f"{name} takes one image, got a batch of {len(found)}: pick one with ComfyUI's ImageFromBatch")
    return found[0]


def mask(masks: Tensor) -> Array:
    """(1, H, W) or (H, W) in 0-1 -> a picture (H, W) uint8, white where it is to be repainted. Raises `BadImage`."""
    batch = masks[None] if masks.dim() == 2 else masks
    if batch.dim() != 3 or len(batch) != 1:
        raise BadImage(f"a mask is (1, H, W), got {tuple(masks.shape)}")
    return (batch[0].float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def images(pictures: Sequence[Image.Image]) -> Tensor:
    """Pictures of one size -> (B, H, W, 3) float 0-1."""
    stack = np.stack([np.asarray(one.convert("RGB")) for one in pictures])
    return torch.from_numpy(stack).float() / 255
