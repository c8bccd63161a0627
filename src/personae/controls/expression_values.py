"""An expression, however a caller expresses it, as the numbers that an adapter reads.

vector, setting = blendshapes_of(model, {"smile": 0.8})     # (52,) float32, {"mouthSmileLeft": 0.8, ...}
shapes = named_blendshapes(model, "laughing.jpg")           # {"jawOpen": 0.41, ...}: the largest face's
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from personae.conditioning.blendshapes import (
    FLAME_WIDTH,
    VECTOR_FILES,
    blendshape_vector,
    finite_vector,
    flame_vector,
    read_file,
    sliders,
)
from personae.errors import BadOption, NoFaceFound
from personae.model import Model
from personae.shapes import Float, Float32
from personae.types import BLENDSHAPES, Array

_DIGITS = 4  # of a photo's blendshapes: a replay from the recipe requests exactly the same


def blendshapes_of(model: Model, value: Any) -> tuple[Float32[Array, " 52"], dict[str, float]]:
    """The vector (52,), and the setting: the requested blendshapes by name, 0 included."""
    shapes = named_blendshapes(model, value)
    return blendshape_vector(shapes), shapes


def named_blendshapes(model: Model, value: Any) -> dict[str, float]:
    """The requested blendshapes by name, 0 included: those that are named, by the caller or in a file; all of a vector
    and of a photo. Raises `BadOption`, `BadImage`, `NoFaceFound`."""
    value = _from_file(value)
    if isinstance(value, Mapping):
        return sliders(value)
    if _is_vector(value):
        return _named(finite_vector(value, len(BLENDSHAPES), "blendshapes in MediaPipe's order"))
    return _of_photo(model, value)


def flame_of(_model: Model, value: Any) -> tuple[Float32[Array, " 55"], list[float]]:
    """The vector (55,), and the setting: the same as a list. Raises `BadOption`."""
    value = _from_file(value)
    if isinstance(value, Mapping) or not _is_vector(value):
        raise BadOption(
            f"this model's expression adapter reads {FLAME_WIDTH} FLAME numbers, which neither names nor photos give "
            "without a SMIRK checkpoint (reading one comes later): give a .npy or .json file with 50 expression, "
            "2 eyelid and 3 jaw numbers, as SMIRK's encoder predicts them"
        )
    vector = flame_vector(value)
    return vector, vector.tolist()


# By the space that an adapter reads: (model, value) -> its vector, and the setting that requests the same again.
RESOLVE: dict[str, Callable[[Model, Any], tuple[Array, Any]]] = {"blendshapes": blendshapes_of, "flame55": flame_of}


def _of_photo(model: Model, source: Any) -> dict[str, float]:
    """The blendshapes of the largest face of a photo."""
    faces = model.read(source)
    if not faces or faces[0].motion is None:
        name = source if isinstance(source, str | os.PathLike) else "the photo"
        raise NoFaceFound(f"{name} shows no face whose expression could be taken: give a photo with one, or names")
    return _named(faces[0].motion.blendshapes.astype(np.float64).clip(0, 1).round(_DIGITS))


def _named(numbers: Float[Array, " 52"]) -> dict[str, float]:
    """(52,) as a dict of the blendshapes, without `_neutral`."""
    return sliders(dict(zip(BLENDSHAPES[1:], numbers[1:].tolist(), strict=True)))


def _from_file(value: Any) -> Any:
    """The content, if `value` is the path of a file of numbers; else `value`."""
    if isinstance(value, str | os.PathLike) and Path(value).suffix.lower() in VECTOR_FILES:
        return read_file(value)
    return value


def _is_vector(value: Any) -> bool:
    """Numbers, rather than a photo: no picture has a single axis, or a single row."""
    if isinstance(value, np.ndarray):
        return value.ndim < 2 or value.shape[0] == 1
    return isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray)
