"""Pictures made for judging a reader: ones without any face, and ones with a known number of faces.

All pictures are RGB uint8 (H, W, 3) and follow from a generator alone. Nothing is fetched: the faceless
photographs are those that scikit-image ships in its wheel.
"""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageFilter
from skimage import data, transform
from skimage.util import img_as_ubyte

from personae.shapes import Float, UInt8
from personae.types import Array

# Samples in scikit-image's wheel that show no face; `astronaut` and `camera` (a man) and `lfw_subset` do.
_FACELESS_SAMPLES = (
    "brick",
    "cell",
    "chelsea",
    "clock",
    "coffee",
    "coins",
    "colorwheel",
    "grass",
    "gravel",
    "horse",
    "hubble_deep_field",
    "immunohistochemistry",
    "logo",
    "microaneurysms",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
)


def faceless(photos: Sequence[tuple[Array, Array]], count: int, rng: np.random.Generator) -> list[tuple[str, Array]]:
    """(kind, picture) x `count` without a face, a fifth of each kind: textures, noise and shapes, sample
    photographs, and photos whose face was painted over, blurred or in negative.

    photos: (pixels, box (4,)) of real photos with one face each, for the last two kinds.
    """
    makers: list[tuple[str, Callable[[], Array]]] = [
        ("texture", lambda: texture(rng)),
        ("shapes", lambda: _shapes(rng)),
        ("sample photograph", lambda: _sample(rng)),
        ("painted over, blurred", lambda: _blurred(_painted(photos, rng), rng)),
        ("painted over, negative", lambda: 255 - _painted(photos, rng)),
    ]
    return [(name, make()) for name, make in (makers[i % len(makers)] for i in range(count))]


def compose(
    photos: Sequence[UInt8[Array, "_ _ 3"]], rng: np.random.Generator, *, side: int = 640
) -> UInt8[Array, "S S 3"]:
    """A `side` x `side` picture with each of up to nine photos (one face in each) somewhere of its own, 0.6-1 of
    the room a cell gives, on a texture."""
    cells = int(np.ceil(np.sqrt(len(photos))))
    room = side // cells
    canvas = texture(rng, side)
    places = rng.permutation(cells * cells)[: len(photos)]
    for place, photo in zip(places, photos, strict=True):
        size = int(room * rng.uniform(0.6, 1))
        left = place % cells * room + rng.integers(0, room - size + 1)
        top = place // cells * room + rng.integers(0, room - size + 1)
        small = Image.fromarray(photo).resize((size, size), Image.Resampling.LANCZOS)
        canvas[top : top + size, left : left + size] = np.asarray(small)
    return canvas


def tight(
    pixels: UInt8[Array, "H W 3"], box: Float[Array, " 4"], rng: np.random.Generator
) -> tuple[UInt8[Array, "h w 3"], Float[Array, " 4"]]:
    """The photo cut to its face box, give or take a tenth on every side -> (picture, box in it)."""
    left, top, right, bottom = box
    slack = rng.uniform(-0.05, 0.1, 4) * np.array([right - left, bottom - top] * 2) * (-1, -1, 1, 1)
    edges = np.round(box + slack).astype(int)
    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = np.clip(edges, 0, (width, height, width, height))
    return np.ascontiguousarray(pixels[y0:y1, x0:x1]), box - np.array((x0, y0, x0, y0), np.float32)


def texture(rng: np.random.Generator, side: int = 320) -> UInt8[Array, "S S 3"]:
    """Coloured noise of a random roughness, from clouds to gravel."""
    spectrum = np.fft.rfftfreq(side)[None, :] ** 2 + np.fft.fftfreq(side)[:, None] ** 2
    fall = np.maximum(spectrum, 1 / side**2) ** (-rng.uniform(0.2, 1.1))
    white = np.fft.rfft2(rng.standard_normal((3, side, side)))
    field = np.fft.irfft2(white * fall, s=(side, side))
    field = np.einsum("ij,jhw->hwi", rng.standard_normal((3, 3)), field)
    return np.clip(rng.uniform(70, 180, 3) + field / field.std() * rng.uniform(15, 50), 0, 255).astype(np.uint8)


def _shapes(rng: np.random.Generator, side: int = 320) -> Array:
    """Discs and bars in flat colours: round things that are no heads."""
    canvas = np.full((side, side, 3), rng.integers(0, 256, 3), np.uint8)
    y, x = np.mgrid[:side, :side]
    for _ in range(int(rng.integers(6, 25))):
        cx, cy, a, b = *rng.uniform(0, side, 2), *rng.uniform(8, side / 4, 2)
        angle = rng.uniform(0, np.pi)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
        disc = rng.random() < 0.6
        inside = (u / a) ** 2 + (v / b) ** 2 < 1 if disc else (np.abs(u) < a) & (np.abs(v) < b)
        canvas[inside] = rng.integers(0, 256, 3)
    return canvas


def _sample(rng: np.random.Generator, side: int = 320) -> Array:
    """A random square of a random sample photograph, at least half as wide as it is."""
    image = getattr(data, str(rng.choice(_FACELESS_SAMPLES)))()
    image = np.asarray(Image.fromarray(img_as_ubyte(image)).convert("RGB"))
    short = min(image.shape[:2])
    size = int(short * rng.uniform(0.5, 1))
    top, left = (int(rng.integers(0, extent - size + 1)) for extent in image.shape[:2])
    cut = Image.fromarray(image[top : top + size, left : left + size])
    return np.asarray(cut.resize((side, side), Image.Resampling.BICUBIC))


def _painted(photos: Sequence[tuple[Array, Array]], rng: np.random.Generator) -> Array:
    """A photo with its face, half a box more on every side, filled smoothly from the rim of the hole."""
    pixels, box = photos[int(rng.integers(len(photos)))]
    height, width = pixels.shape[:2]
    grow = 0.5 * (box[2:] - box[:2])
    x0, y0 = np.clip(np.floor(box[:2] - grow).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(box[2:] + grow).astype(int), 1, (width, height))
    painted = pixels.copy()
    outside = np.ones((height, width), bool)
    outside[y0:y1, x0:x1] = False
    # Nothing may be left outside of the hole where the face fills the picture: then a plain grey must do.
    around = pixels[outside] if outside.any() else np.full((1, 3), 127, np.uint8)
    coarse = around[rng.integers(0, len(around), 9)].reshape(3, 3, 3).astype(np.float64)
    fill = transform.resize(coarse, (y1 - y0, x1 - x0), order=1, preserve_range=True)
    painted[y0:y1, x0:x1] = fill.astype(np.uint8)
    return painted


def _blurred(pixels: Array, rng: np.random.Generator) -> Array:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 4)))))
