"""The watermark's place in an image: all of what was generated, and of an edited photo only what was changed.

    why_not(image, area)                            # None, or why it gets no watermark
    with_mark(image, message_of(recipe), area)      # the same image, in its own mode, with one in its pixels

area: (H, W) bool, what an edit changed; None: the whole image was generated.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from PIL import Image
from scipy import ndimage  # type: ignore[import-untyped]

from personae.errors import BadOption
from personae.provenance import watermark
from personae.provenance.message import Message, message_of
from personae.shapes import Bool
from personae.types import Array

Mark = Callable[[Array, Message], Array]  # pixels (h, w, 3) RGB uint8 and what they are to say -> the same, marked


class Found(Protocol):
    """What was found in pixels: whether they bear the mark, by how far it stands out (`score`) against the `threshold`
    that the false-positive rate belongs to, and what it says."""

    @property
    def present(self) -> bool:
        """Whether they bear the mark."""

    @property
    def score(self) -> float:
        """How far it stands out."""

    @property
    def threshold(self) -> float:
        """Of the score."""

    @property
    def message(self) -> Message | None:
        """What it says; None: not present."""


def _detect(pictures: Sequence[Array]) -> Found:
    if len(pictures) == 1:
        return watermark.detect(pictures[0], thorough=True)
    return watermark.detect_together(pictures)


# Pictures (h, w, 3) RGB uint8 that bear the same mark in the same place, if any: one, or frames of a video.
Detect = Callable[[Sequence[Array]], Found]

MARK: Mark = watermark.mark
DETECT: Detect = _detect
# At the threshold, as docs/figures/watermark.json has it: tests/test_watermark.py compares.
FALSE_POSITIVES: str | None = "0 of 4,532 unmarked pictures: below 0.07 % at 95 % confidence"
# Modes whose pixels can be changed by a residual, and those that lose nothing by becoming one of them.
MODES = ("RGB", "RGBA", "L", "LA", "I;16")
_LOSSLESS = {"1": "L", "P": "RGB"}


def why_not(image: Image.Image, area: Bool[Array, "H W"] | None) -> str | None:
    """Why an image gets no watermark, None: it gets one. Of an edit with several changed regions, those are marked that
    are large enough."""
    if MARK is watermark.mark and not watermark.available():
        return "this version has none"
    least, parts = _least(image), _parts(image, area)
    if any(_shorter(window) >= least for window, _ in parts):
        return None
    rows, columns = max((window for window, _ in parts), key=_shorter, default=np.s_[0:0, 0:0])
    sides = f"{columns.stop - columns.start} x {rows.stop - rows.start}"
    return f"the changed region is {sides} pixels, it needs {least} a side"


def can_detect() -> bool:
    """Whether this version has what finds a watermark."""
    return DETECT is not _detect or watermark.available()


def with_mark(image: Image.Image, message: Message, area: Bool[Array, "H W"] | None) -> Image.Image:
    """A copy whose pixels in `area` carry the watermark, each region of it by itself; all others, and alpha, stay as
    they are: in the image's own mode, or, of a palette or of one bit, in one that has all of its colours. Only for an
    image to which `why_not` has nothing to say. Raises `BadOption` for modes beside `MODES` and these."""
    image = _markable(image)
    values, message = np.array(image), replace(message, part=area is not None)
    least = 0 if area is None else _least(image)
    for window, inside in _parts(image, area):
        if _shorter(window) < least:
            continue
        pixels = _rgb(values[window])
        residual = np.subtract(MARK(pixels, message), pixels, dtype=np.int16)
        values[window] = _plus(values[window], residual * inside[..., None])
    marked = Image.fromarray(values)
    assert marked.mode == image.mode
    marked.info |= image.info
    return marked


def _least(image: Image.Image) -> int:
    """Pixels a side that a region needs to be marked."""
    return watermark.least_part(image.height, image.width)


def _shorter(window: tuple[slice, slice]) -> int:
    return min(side.stop - side.start for side in window)


def _parts(image: Image.Image, area: Array | None) -> list[tuple[tuple[slice, slice], Array]]:
    """The regions of an image that hang together: the rows and columns (h, w) that each lies in, and which of these
    pixels (h, w) bool are its own."""
    if area is None:
        return [((slice(0, image.height), slice(0, image.width)), np.ones((image.height, image.width), bool))]
    numbers, _ = ndimage.label(area, np.ones((3, 3)))
    windows = ndimage.find_objects(numbers)
    return [(window, numbers[window] == number) for number, window in enumerate(windows, 1)]


def _markable(image: Image.Image) -> Image.Image:
    """The image, or the same colours in one of `MODES`."""
    if image.mode in MODES:
        return image
    if image.mode not in _LOSSLESS:
        raise BadOption(
            f"a watermark is for images of the modes {', '.join((*MODES, *_LOSSLESS))}, got {image.mode}: convert it, "
            'e.g. image.convert("RGB")'
        )
    after = image.convert("RGBA" if "transparency" in image.info else _LOSSLESS[image.mode])
    after.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return after


def mark(image: Image.Image, recipe: Mapping[str, Any]) -> Image.Image:
    """A copy of an image, in its own mode (`with_mark`), whose pixels carry the watermark of a recipe
    (`writer.recipe_of`), for those who hand images on by a way of their own.

    Raises `BadOption` for an image that can bear none (a side below 128 pixels, another mode), `WeightsMissing` where
    this version has no networks for it.
    """
    return with_mark(image, message_of(recipe), None)


def _rgb(values: Array) -> Array:
    """(h, w, 3) uint8 of the values of a mode: grey or colours of 8 bits, with or without alpha; grey of 16."""
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
    grey = values if values.ndim == 2 else values[..., 0]
    colours = values[..., :3] if values.ndim == 3 and values.shape[2] >= 3 else np.repeat(grey[..., None], 3, axis=2)
    return np.ascontiguousarray(colours)


def _plus(values: Array, residual: Array) -> Array:
    """The values of a mode, changed by a residual (h, w, 3) in steps of 8 bits; grey by its mean."""
    step, most = (257, 65_535) if values.dtype == np.uint16 else (1, 255)
    out = values.copy()
    if values.ndim == 3 and values.shape[2] >= 3:
        out[..., :3] = np.clip(np.add(values[..., :3], residual, dtype=np.int16), 0, most)
        return out
    grey = out if out.ndim == 2 else out[..., 0]
    change = np.rint(residual.mean(axis=2) * step).astype(np.int32)
    grey[...] = np.clip(grey.astype(np.int32) + change, 0, most)
    return out
