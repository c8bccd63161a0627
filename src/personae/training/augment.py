"""Changes of light, colour and sharpness that leave a face where it is and what it is.

image = photometric(image, rng)      # PIL RGB -> PIL RGB, about a millisecond at 320 px
"""

import io

import numpy as np
from PIL import Image, ImageFilter

_RAMP = np.arange(256, dtype=np.float32) / 255


def tone_curves(rng: np.random.Generator, strength: float = 1.0) -> list[int]:
    """A lookup table (768 entries, for `Image.point`): gamma, contrast, brightness and a colour cast."""
    gamma = np.exp(rng.normal(0, 0.2 * strength))
    contrast, light = np.exp(rng.normal(0, 0.2 * strength)), rng.normal(0, 0.06 * strength)
    curves = [
        (_RAMP ** (gamma * np.exp(rng.normal(0, 0.06 * strength))) - 0.5) * contrast + 0.5 + light for _ in range(3)
    ]
    return [int(v) for v in np.clip(np.concatenate(curves) * 255 + 0.5, 0, 255)]


def photometric(image: Image.Image, rng: np.random.Generator, strength: float = 1.0) -> Image.Image:
    """One random mixture of tone, grey, blur, low resolution, noise and JPEG artefacts."""
    if rng.random() < 0.8:
        image = image.point(tone_curves(rng, strength))
    if rng.random() < 0.15:
        image = image.convert("L").convert("RGB")
    softness = rng.random()
    if softness < 0.12:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 2.0)) * strength))
    elif softness < 0.24:
        width, height = image.size
        share = float(rng.uniform(0.35, 0.8))
        small = image.resize((max(8, int(width * share)), max(8, int(height * share))), Image.Resampling.BILINEAR)
        image = small.resize((width, height), Image.Resampling.BILINEAR)
    if rng.random() < 0.2:
        image = _noisy(image, rng, strength)
    if rng.random() < 0.12:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=int(rng.integers(25, 80)))
        image = Image.open(buffer).convert("RGB")
    return image


def _noisy(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """Uniform noise from raw random bytes: thirty times quicker than normal deviates."""
    pixels = np.asarray(image)
    noise = np.frombuffer(rng.bytes(pixels.size), np.int8).reshape(pixels.shape)
    width = rng.integers(4, 1 + max(5, int(40 * strength)))
    noisy = pixels + ((noise * np.int16(width)) >> 7)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
