"""Which landmark, and which blendshape, takes each one's place when a face is mirrored."""

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]

from personae.types import BLENDSHAPES, Array


def mirrored_landmarks(mean: Array) -> Array:
    """(K,) int: the landmark that takes each one's place in a mirror.

    mean: (K, 3), the mean shape of many faces and of as many poses. The pairing is the one that brings the mirrored
    shape closest to the shape itself; it is its own inverse.
    """
    middle = np.median(mean[:, 0])
    flipped = mean * (-1, 1, 1) + (2 * middle, 0, 0)
    cost = ((flipped[:, None] - mean[None]) ** 2).sum(-1)
    cost = cost + cost.T
    return np.asarray(linear_sum_assignment(cost)[1])


def mirrored_blendshapes() -> Array:
    """(52,) int: the blendshape that takes each one's place in a mirror; Left and Right change names."""
    swap = {"Left": "Right", "Right": "Left"}
    sides = [next((side for side in swap if name.endswith(side)), "") for name in BLENDSHAPES]
    names = [n.removesuffix(s) + swap.get(s, "") for n, s in zip(BLENDSHAPES, sides, strict=True)]
    return np.array([BLENDSHAPES.index(name) for name in names])
