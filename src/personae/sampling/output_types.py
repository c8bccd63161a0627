"""The forms in which a call returns its images.

as_type(images, "pil")      # [PIL.Image, ...]
"""

from typing import Any

from PIL import Image
from torch import Tensor

from personae.errors import unknown_name
from personae.sampling import codec
from personae.shapes import Float

OUTPUT_TYPES = ("latent", "np", "pil", "pt")


def require(output_type: str) -> None:
    """Raise `BadOption`, naming the nearest, unless `output_type` is one of `OUTPUT_TYPES`."""
    if output_type not in OUTPUT_TYPES:
        raise unknown_name("output_type", output_type, OUTPUT_TYPES)


def as_type(images: Float[Tensor, "N c h w"], output_type: str) -> Any:
    """Images (N, 3, H, W) in [-1, 1], or latents (N, c, h, w), as the caller wants them.

    Arguments:
        output_type: "pil": a list of N PIL images. "np": (N, H, W, 3) float32 in 0-1. "pt": (N, 3, H, W) float32 in
            0-1, on the CPU. "latent": the latents as they are, on the CPU.
    """
    if output_type == "latent":
        return images.cpu()
    if output_type == "pil":
        return [Image.fromarray(pixels) for pixels in codec.to_uint8(images)]
    unit = (images / 2 + 0.5).cpu()
    return unit if output_type == "pt" else unit.permute(0, 2, 3, 1).numpy()
