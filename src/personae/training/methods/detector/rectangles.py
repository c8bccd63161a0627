"""Rectangles (4,), left, top, right, bottom, under (2, 3) matrices."""

import numpy as np

from personae.reading import align
from personae.shapes import Float, Float64, Num
from personae.types import Array


def corners(rect: Num[Array, " 4"]) -> Float64[Array, "4 2"]:
    left, top, right, bottom = rect
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)], np.float64)


def bounds(points: Num[Array, "N 2"]) -> Num[Array, " 4"]:
    return np.concatenate([points.min(0), points.max(0)])


def area(rect: Num[Array, " 4"]) -> float:
    return float(np.prod(np.maximum(rect[2:] - rect[:2], 0)))


def overlap(a: Num[Array, " 4"], b: Num[Array, " 4"]) -> float:
    """The area that two rectangles share."""
    return area(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])]))


def turned(matrix: Float[Array, "2 3"], box: Num[Array, " 4"]) -> Float[Array, " 4"]:
    """The upright box of a face whose upright box was `box`, under `matrix`: the box of the ellipse within, since
    the corners of a face's box are empty."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    reach = np.sqrt(((matrix[:, :2] * half) ** 2).sum(1))
    middle = align.apply(matrix, centre)
    return np.concatenate([middle - reach, middle + reach])


def fit(source: Num[Array, " 4"], goal: Num[Array, " 4"]) -> Float[Array, "2 3"]:
    """The (2, 3) matrix that stretches rectangle `source` onto rectangle `goal`."""
    scale = (goal[2:] - goal[:2]) / (source[2:] - source[:2])
    return np.column_stack([np.diag(scale), goal[:2] - scale * source[:2]])


def swing(matrix: Float[Array, "2 3"], centre: Num[Array, " 2"], degrees: float, mirror: bool) -> Float[Array, "2 3"]:
    """`matrix`, followed by a turn about `centre` and, before it, mirroring about `centre`."""
    a = np.radians(degrees)
    linear = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    after = np.column_stack([linear, centre - linear @ centre])
    return np.column_stack([after[:, :2] @ matrix[:, :2], align.apply(after, matrix[:, 2])])
