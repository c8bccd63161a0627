"""FACE0.cut(pixels (H, W, 3) RGB uint8, box (4,)) -> (160, 160, 3): a square cut around a box, with margins.

Where `align` puts five points in their places, this keeps a face as it is held: what an encoder needs that is to see
pose and expression too. Legend: a box is left, top, right, bottom in pixels of the photo, centres at integers.
"""

from dataclasses import dataclass

import numpy as np

from personae.errors import BadData, BadOption
from personae.reading import align
from personae.shapes import Float, Float64, UInt8
from personae.types import Array


@dataclass(frozen=True, kw_only=True)
class BoxCrop:
    """How to cut: pixels of the crop left free on each side of the box, and the crop's side."""

    size: int
    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    def __post_init__(self) -> None:
        margins = (self.left, self.top, self.right, self.bottom)
        if min(margins) < 0 or max(self.left + self.right, self.top + self.bottom) >= self.size:
            raise BadOption(f"margins {margins} must be >= 0 and leave room for a face in {self.size} pixels")

    def matrix(self, box: Float[Array, " 4"]) -> Float64[Array, "2 3"]:
        """The (2, 3) float64 matrix, scale and shift, that takes photo pixels to the crop's.

        Box and margins fill the crop in one direction and lie in its middle in the other, where the photo's own
        surroundings fill the rest: nothing is stretched. Raises `BadData` for a box without extent.
        """
        start, end = np.asarray(box, dtype=np.float64).reshape(2, 2)
        sides = end - start
        if not np.isfinite(sides).all() or sides.min() <= 0:
            raise BadData(f"a face's box is left, top, right, bottom, got {np.asarray(box).tolist()}")
        before, after = np.array((self.left, self.top)), np.array((self.right, self.bottom))
        scale = ((self.size - before - after) / sides).min()
        shift = (self.size - 1 + before - after) / 2 - scale * (start + end) / 2
        return np.array([(scale, 0, shift[0]), (0, scale, shift[1])])

    def cut(self, pixels: UInt8[Array, "H W 3"], box: Float[Array, " 4"]) -> UInt8[Array, "S S 3"]:
        """The (size, size, 3) uint8 crop of a photo (H, W, 3); what lies outside it repeats the edge."""
        return align.crop(pixels, self.matrix(box), self.size)


# Face0, section 3: a detector's box with margins of 10 px left and right, 33 above, 15 below, 160 px in all. That the
# margins are pixels of the crop, not of the photo, is our reading: faces from 20 px on share one framing only so.
FACE0 = BoxCrop(size=160, left=10, top=33, right=10, bottom=15)
# By the name that an embedder gives as its template.
BOX_CROPS = {"face0": FACE0}


def square_with(pixels: UInt8[Array, "H W 3"], box: Float[Array, " 4"], size: int) -> UInt8[Array, "S S 3"]:
    """The photo's largest square, as near to its middle as the face in `box` allows, as (size, size, 3) uint8."""
    height, width = pixels.shape[:2]
    side = min(width, height)
    corners = np.asarray(box, dtype=np.float64).reshape(2, 2)
    free = np.array((width, height)) - side
    # Moved no further than it takes to have the whole face inside, or its middle if the face is larger than that.
    middle, reach = corners.mean(0), np.maximum(side - np.ptp(corners, axis=0), 0) / 2
    centre = np.clip(np.array((width - 1, height - 1)) / 2, middle - reach, middle + reach)
    start = np.round(np.clip(centre - (side - 1) / 2, 0, free))
    scale = size / side
    shift = (scale - 1) / 2 - scale * start
    return align.crop(pixels, np.array([(scale, 0, shift[0]), (0, scale, shift[1])]), size)
