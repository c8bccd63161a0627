"""Pictures without faces, drawn from nothing: what a detector must learn to leave alone.

image = texture(rng, 320)      # PIL RGB, one to two milliseconds
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]


def colour(rng: np.random.Generator) -> Colour:
    """Any colour; a third of them grey, a third of them of skin, wood and sand."""
    kind = rng.random()
    if kind < 0.33:
        return (int(rng.integers(256)),) * 3
    if kind < 0.66:
        light = rng.uniform(0.25, 1.0)
        return int(light * rng.uniform(190, 255)), int(light * rng.uniform(130, 215)), int(light * rng.uniform(90, 190))
    red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
    return red, green, blue


def _noise(rng: np.random.Generator, size: int) -> Image.Image:
    """Noise at several scales, each blown up smoothly: clouds, bark, fabric, grain."""
    image = Image.new("RGB", (size, size), colour(rng))
    for side in (2, 5, 12, 32, 90, size):
        if rng.random() < 0.55:
            grain = np.frombuffer(rng.bytes(side * side * 3), np.uint8).reshape(side, side, 3)
            if rng.random() < 0.5:
                grain = np.repeat(grain[:, :, :1], 3, axis=2)
            layer = Image.fromarray(grain).resize((size, size), Image.Resampling.BICUBIC)
            image = Image.blend(image, layer, float(rng.uniform(0.15, 0.6)))
    return image


def _waves(rng: np.random.Generator, size: int) -> Image.Image:
    """Stripes, rings or a chequered pattern between two colours."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    angle, pitch = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(120)))
    along = np.cos(angle) * x + np.sin(angle) * y
    kind = rng.random()
    if kind < 0.3:
        along = np.hypot(x - rng.uniform(-1, 1), y - rng.uniform(-1, 1))
    share = 0.5 + 0.5 * np.sin(along * np.float32(pitch))
    if kind > 0.7:
        share = share * (0.5 + 0.5 * np.sin((np.sin(angle) * x - np.cos(angle) * y) * np.float32(pitch)))
    if rng.random() < 0.5:
        share = (share > 0.5).astype(np.float32)
    one, other = (Image.new("RGB", (size, size), colour(rng)) for _ in range(2))
    return Image.composite(one, other, Image.fromarray((share * 255).astype(np.uint8)))


def _shapes(rng: np.random.Generator, size: int) -> Image.Image:
    """Ellipses, boxes, polygons and lines; now and then an oval with dark blobs in it, which is no face."""
    image = Image.new("RGB", (size, size), colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 30))):
        x, y = rng.uniform(-0.1, 1, 2) * size
        w, h = np.exp(rng.uniform(np.log(0.02), np.log(0.6), 2)) * size
        kind = rng.integers(6)
        if kind == 0:
            draw.ellipse((x, y, x + w, y + h), colour(rng))
        elif kind == 1:
            draw.rectangle((x, y, x + w, y + h), colour(rng))
        elif kind == 2:
            draw.polygon([tuple(p) for p in rng.uniform(-0.2, 1.2, (4, 2)) * (w, h) + (x, y)], colour(rng))
        elif kind == 3:
            draw.line((x, y, *(rng.uniform(0, size, 2))), colour(rng), int(rng.integers(1, 8)))
        elif kind == 4:
            draw.ellipse((x, y, x + w, y + h), outline=colour(rng), width=int(rng.integers(1, 8)))
        else:
            draw.ellipse((x, y, x + w, y + 1.2 * w), colour(rng))
            for _ in range(int(rng.integers(1, 6))):
                u, v, r = x + rng.random() * w, y + rng.random() * 1.2 * w, w * rng.uniform(0.04, 0.15)
                draw.ellipse((u - r, v - r, u + r, v + r), colour(rng))
    return image


def _writing(rng: np.random.Generator, size: int) -> Image.Image:
    """Lines of short strokes, as a page of print looks from afar."""
    image = Image.new("RGB", (size, size), colour(rng))
    draw, ink = ImageDraw.Draw(image), colour(rng)
    height = float(np.exp(rng.uniform(np.log(5), np.log(40))))
    y = rng.uniform(0, height)
    while y < size:
        x = rng.uniform(0, 2 * height)
        while x < size:
            if rng.random() < 0.82:
                a, b, c, d = rng.uniform(0, height * 0.6, 4)
                draw.line((x + a * 0.7, y + b, x + c * 0.7, y + d), ink, max(1, int(height / 8)))
                draw.line((x + a * 0.7, y, x + a * 0.7, y + height * 0.6), ink, max(1, int(height / 8)))
            x += height * 0.6
        y += height * rng.uniform(1.0, 1.3)
    return image


def _gradient(rng: np.random.Generator, size: int) -> Image.Image:
    """Colours that run into one another between the corners."""
    corners = np.array([colour(rng) for _ in range(4)], np.uint8).reshape(2, 2, 3)
    return Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)


_KINDS: tuple[Callable[[np.random.Generator, int], Image.Image], ...] = (
    _noise,
    _noise,
    _waves,
    _shapes,
    _writing,
    _gradient,
)


def texture(rng: np.random.Generator, size: int) -> Image.Image:
    """A (size, size) RGB picture without a face; some are two kinds, blended."""
    image = _KINDS[rng.integers(len(_KINDS))](rng, size)
    if rng.random() < 0.3:
        other = _KINDS[rng.integers(len(_KINDS))](rng, size)
        image = Image.blend(image, other, float(rng.uniform(0.2, 0.8)))
    return image
