"""A look at an image that is not finished."""

from typing import Any

from PIL import Image

from personae.sampling import codec


def preview_of(pipe: Any, latents: Any) -> Image.Image:
    """The first of latents (N, c, h, w), decoded: by the model's small decoder if it is loaded. Noise shines through
    until the last steps."""
    decoder = pipe.taesd if pipe.taesd is not None else pipe.vae
    pixels = codec.to_uint8(codec.decode(decoder, latents[:1], batch_size=1))
    return Image.fromarray(pixels[0])


def steps_with_preview(steps: int, previews: int) -> set[int]:
    """After which of `steps` steps (1 the first) a preview is made: evenly, never after the last."""
    wanted = min(previews, max(steps - 1, 0))
    return {round((number + 1) * steps / (wanted + 1)) for number in range(wanted)}
