"""Pictures without a face, of photos that show one; and the masks by which pictures are pasted."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from personae.shapes import Num
from personae.training.textures import colour, texture
from personae.types import Array


def paste_mask(size: tuple[int, int], inner: Num[Array, " 4"], edge: str) -> Image.Image:
    """(size) L: 255 within `inner`, 0 outside; "sharp", "soft" or "oval"."""
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    left, top, right, bottom = inner
    if edge == "sharp":
        draw.rectangle((left, top, right - 1, bottom - 1), fill=255)
        return mask
    blur = 0.05 * min(right - left, bottom - top)
    shape = (left + 2 * blur, top + 2 * blur, right - 1 - 2 * blur, bottom - 1 - 2 * blur)
    if edge == "oval":
        draw.ellipse(shape, fill=255)
    else:
        draw.rectangle(shape, fill=255)
    return mask.filter(ImageFilter.BoxBlur(float(blur)))


def flipped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """As it is, mirrored, upside down or on its side."""
    turns = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90)
    turn = turns[rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))]
    return image if turn is None else image.transpose(turn)


def beside(size: tuple[int, int], box: Num[Array, " 4"], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A strip of a picture beside, above or below `box`; a few pixels at least."""
    width, height = size
    left, top, right, bottom = box
    strips = [(0, 0, left, height), (right, 0, width, height), (0, 0, width, top), (0, bottom, width, height)]
    spare = np.array([max(0.0, s[2] - s[0]) * max(0.0, s[3] - s[1]) for s in strips]) + 1.0
    x0, y0, x1, y1 = strips[rng.choice(4, p=spare / spare.sum())]
    x0, y0 = min(max(0, int(x0)), width - 4), min(max(0, int(y0)), height - 4)
    return x0, y0, max(x0 + 4, min(width, int(x1))), max(y0 + 4, min(height, int(y1)))


def painted_out(image: Image.Image, box: Num[Array, " 4"], rng: np.random.Generator) -> Image.Image:
    """The picture with its face gone: smeared, flat, under a texture, scrambled, or covered by what is beside it."""
    width, height = box[2:] - box[:2]
    grown = box + rng.uniform(0.0, 0.12, 4) * (-width, -height, width, height)
    left, top = (int(v) for v in np.maximum(grown[:2], 0))
    right, bottom = int(min(grown[2], image.size[0])), int(min(grown[3], image.size[1]))
    size = (max(1, right - left), max(1, bottom - top))
    face = image.crop((left, top, left + size[0], top + size[1]))
    kind = rng.integers(5)
    if kind == 0:
        few = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        cover = face.resize(few, Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    elif kind == 1:
        cover = Image.new("RGB", size, colour(rng))
    elif kind == 2:
        cover = texture(rng, 64).resize(size)
    elif kind == 3:
        side = int(rng.integers(4, 9))
        tiles = np.asarray(face.resize((side * 12, side * 12))).reshape(side, 12, side, 12, 3).swapaxes(1, 2)
        mixed = tiles.reshape(-1, 12, 12, 3)[rng.permutation(side * side)].reshape(side, side, 12, 12, 3)
        cover = Image.fromarray(np.ascontiguousarray(mixed.swapaxes(1, 2)).reshape(side * 12, side * 12, 3)).resize(
            size
        )
    else:
        cover = image.crop(beside(image.size, box, rng)).resize(size)
    painted = image.copy()
    mask = Image.new("L", size, 255)
    if rng.random() < 0.4:
        mask = paste_mask((48, 48), np.array((0.0, 0.0, 48.0, 48.0)), "soft").resize(size)
        cover_under = face.resize((2, 2), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
        painted.paste(cover_under, (left, top))
    painted.paste(cover, (left, top), mask)
    return painted
