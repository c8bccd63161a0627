"""Contact sheets: what a training makes of held-out people, for the eye."""

import numpy as np
from PIL import Image

from personae.shapes import UInt8
from personae.types import Array


def in_rows(*rows: Array) -> Image.Image:
    """One row of pictures for each (N, S, S, 3) uint8, below one another."""
    return Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows]))


def in_pairs(upper: UInt8[Array, "N S S 3"], lower: UInt8[Array, "N S S 3"]) -> Image.Image:
    """Pictures (N, S, S, 3) uint8 in pairs, one above the other, up to 12 pairs beside each other."""
    columns = min(12, len(lower))
    pairs = np.stack([upper, lower], 1)[: len(lower) // columns * columns]
    pairs = pairs.reshape(-1, columns, *pairs.shape[1:])
    return Image.fromarray(pairs.transpose(0, 2, 3, 1, 4, 5).reshape(-1, columns * lower.shape[2], 3))
