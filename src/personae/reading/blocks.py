"""A large picture, some rows at a time: what is made of it lies in memory once, not once for every step on the way.

    pixels = array_of(image, lambda part: np.asarray(part.convert("RGB")))     # (H, W, 3)
    shown = image_of(image, "RGB", lambda part: part.convert("RGB"))

A file of ten kilobytes may hold eighty million pixels; Pillow alone would take five copies of them to make an array.
"""

from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from personae.shapes import Shaped
from personae.types import Array

BLOCK = 1 << 20  # pixels


def rows_of(height: int, width: int) -> Iterator[slice]:
    """All rows, about `BLOCK` pixels at a time, at least one row."""
    count = max(1, BLOCK // max(1, width))
    return (slice(top, min(top + count, height)) for top in range(0, height, count))


def array_of(
    image: Image.Image, convert: Callable[[Image.Image], Shaped[Array, "h w *C"]] = np.asarray
) -> Shaped[Array, "H W *C"]:
    """(H, W) or (H, W, C), of what `convert` makes of some rows, pixel for pixel."""
    whole: Array | None = None
    for rows, part in _parts(image):
        block = convert(part)
        if whole is None:
            whole = np.empty((image.height, *block.shape[1:]), block.dtype)
        whole[rows] = block
    assert whole is not None  # an image has rows
    return whole


def image_of(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """An image of `mode` of what `convert` makes of some rows, pixel for pixel."""
    whole = Image.new(mode, image.size)
    for rows, part in _parts(image):
        whole.paste(convert(part), (0, rows.start))
    return whole


def _parts(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    for rows in rows_of(image.height, image.width):
        yield rows, image.crop((0, rows.start, image.width, rows.stop))
