"""What happens to a picture on its way: compressed, reduced, cut, softened, lit.

after = CHANGES["jpeg70"](image, np.random.default_rng(0))      # PIL RGB -> PIL RGB
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def compressed(image: Image.Image, format: str, quality: int) -> Image.Image:  # noqa: A002
    """Through a file of a format of Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality)
    return Image.open(buffer).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Both sides `factor` times as long, bicubic."""
    sides = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(sides, Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """A window with `share` of each side, anywhere in it."""
    width, height = round(image.width * share), round(image.height * share)
    left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


CHANGES: Mapping[str, Change] = {
    "plain": lambda image, _: image,
    "jpeg90": lambda image, _: compressed(image, "JPEG", 90),
    "jpeg70": lambda image, _: compressed(image, "JPEG", 70),
    "jpeg50": lambda image, _: compressed(image, "JPEG", 50),
    "webp80": lambda image, _: compressed(image, "WEBP", 80),
    "half": lambda image, _: resized(image, 0.5),
    "double": lambda image, _: resized(image, 2),
    "crop80": lambda image, rng: cropped(image, 0.8, rng),
    "crop70": lambda image, rng: cropped(image, 0.7, rng),
    "blur": lambda image, _: image.filter(ImageFilter.GaussianBlur(1)),
    "brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image, _: ImageEnhance.Brightness(image).enhance(0.8),
    "harder": lambda image, _: ImageEnhance.Contrast(image).enhance(1.2),
    "softer": lambda image, _: ImageEnhance.Contrast(image).enhance(0.8),
    "screenshot": lambda image, rng: compressed(cropped(resized(image, 0.8), 0.9, rng), "JPEG", 75),
}
