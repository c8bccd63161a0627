"""Photos of one colour, grey or toned (sepia, cyanotype), stay so, whatever is painted into them.

tone = tone_of(place.widened(margin))               # None: the photo is in colour around this face
photo = toned(edited, photo, tone)                  # what differs from the photo gets the colour of its brightness
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d  # type: ignore[import-untyped]

from personae.reading.aligned import Aligned
from personae.shapes import Float32, UInt8
from personae.types import Array

_LUMA = np.array((0.299, 0.587, 0.114), np.float32)  # ITU-R BT.601
_MEAN, _MOST = 3.0, 11.0  # grey levels off the tone: of all pixels on average, of 99 in 100
_NONE = 0.1  # grey levels
_SMOOTH = 4  # levels of brightness over which a tone changes


def tone_of(place: Aligned) -> Float32[Array, "256 3"] | None:
    """(256, 3) float32: what each channel has beyond the brightness, by brightness; None for a photo in colour. place:
    a face and its surroundings, of which what the photo shows is looked at: a grey face in a coloured frame is grey."""
    pixels = place.crop[place.coverage].astype(np.float32)
    if not len(pixels):
        return None
    bright = np.round(pixels @ _LUMA).astype(int)
    beyond = pixels - (pixels @ _LUMA)[:, None]
    counts = np.bincount(bright, minlength=256)
    levels = np.flatnonzero(counts)
    sums = np.stack([np.bincount(bright, beyond[:, channel], 256) for channel in range(3)], 1)
    means = sums[levels] / counts[levels, None]
    tone = np.stack([np.interp(np.arange(256), levels, column) for column in means.T], 1)
    tone = gaussian_filter1d(tone, _SMOOTH, axis=0, mode="nearest").astype(np.float32)
    tone[np.abs(tone) < _NONE] = 0  # greys are exactly so
    off = np.abs(beyond - tone[bright]).max(1)
    return tone if off.mean() <= _MEAN and np.quantile(off, 0.99) <= _MOST else None


def toned(
    edited: UInt8[Array, "H W 3"], photo: UInt8[Array, "H W 3"], tone: Float32[Array, "256 3"] | None
) -> UInt8[Array, "H W 3"]:
    """`edited` (H, W, 3), what differs from `photo` (H, W, 3) in its tone; None: as it is."""
    if tone is None:
        return edited
    changed = (edited != photo).any(-1)
    result = edited.copy()
    bright = edited[changed] @ _LUMA
    result[changed] = np.round(bright[:, None] + tone[np.round(bright).astype(int)]).clip(0, 255)
    return result
