"""`expression=` and `expression_scale=`: what the faces of a request do.

pipe(face, expression={"smile": 0.8, "jawOpen": 0.2})       # names and amounts, see conditioning.expression
pipe(face, expression="laughing.jpg", expression_scale=0.7)  # as the largest face of a photo does
pipe(face, expression="smirk.npy")                           # numbers, for adapters that read FLAME's
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from personae.conditioning.blendshapes import (
    FLAME_WIDTH,
    VECTOR_FILES,
    blendshape_vector,
    finite_vector,
    flame_vector,
    read_file,
    sliders,
)
from personae.conditioning.expression_adapter import ExpressionAdapter, ExpressionControl
from personae.controls.request import Plan, Request, several
from personae.errors import BadOption, NoFaceFound
from personae.model import Model
from personae.types import BLENDSHAPES, Array

_DIGITS = 4  # that a photo's blendshapes are kept to: a replay from the recipe asks for exactly the same


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption`, `BadImage`, `NoFaceFound`; `WeightsMissing` for
    a model without `exp_adapter/`."""
    asked, scale = options.get("expression"), options.get("expression_scale")
    if asked is None:
        if scale is not None:
            raise BadOption("expression_scale has nothing to act on: give expression= with it")
        return None
    scale = 1.0 if scale is None else scale
    if not 0 <= scale <= 1:
        raise BadOption(f"expression_scale lies between 0 and 1, got {scale}")
    adapter: ExpressionAdapter = pipe.component("exp_adapter")
    resolve = {"blendshapes": _blendshapes, "flame55": _flame}[adapter.space]
    each = several(asked)
    found = [resolve(pipe, one) for one in asked] if each else [resolve(pipe, asked)] * len(request.people)
    if len(found) != len(request.people):
        raise BadOption(f"{len(found)} expressions for {len(request.people)} people: give one of each, or one for all")
    vectors = torch.from_numpy(np.stack([found[person][0] for person in request.person_index]))
    plain = [told for _, told in found] if each else found[0][1]
    control = ExpressionControl(adapter=adapter, vectors=vectors, scale=float(scale))
    # At scale 0 nothing is engaged, so that the images are bit for bit those without an adapter.
    return Plan(
        hooks=[control] if scale > 0 else [],
        settings={"expression": plain, "expression_scale": float(scale)},
    )


def _blendshapes(pipe: Model, asked: Any) -> tuple[Array, dict[str, float]]:
    """The vector, and the blendshapes above 0 by name."""
    shapes = named(pipe, asked)
    return blendshape_vector(shapes), shapes


def named(pipe: Model, asked: Any) -> dict[str, float]:
    """The option as blendshapes by name: those above 0 of numbers or of a photo. Raises as `steer`."""
    asked = _from_file(asked)
    if isinstance(asked, Mapping):
        return sliders(asked)
    if _is_vector(asked):
        return _named(finite_vector(asked, len(BLENDSHAPES), "blendshapes in MediaPipe's order"))
    return _of_photo(pipe, asked)


def _flame(_pipe: Model, asked: Any) -> tuple[Array, list[float]]:
    """The vector, and the same as a list."""
    asked = _from_file(asked)
    if isinstance(asked, Mapping) or not _is_vector(asked):
        raise BadOption(
            f"this model's expression adapter reads {FLAME_WIDTH} FLAME numbers, which neither names nor photos give "
            "without a SMIRK checkpoint (reading one comes later): give a .npy or .json file with 50 expression, "
            "2 eyelid and 3 jaw numbers, as SMIRK's encoder predicts them"
        )
    vector = flame_vector(asked)
    return vector, vector.tolist()


def _of_photo(pipe: Model, source: Any) -> dict[str, float]:
    """The blendshapes of the largest face of a photo."""
    faces = pipe.read(source)
    if not faces or faces[0].motion is None:
        shown = source if isinstance(source, str | os.PathLike) else "the photo"
        raise NoFaceFound(f"{shown} shows no face whose expression could be taken: give a photo with one, or names")
    return _named(faces[0].motion.blendshapes.astype(np.float64).clip(0, 1).round(_DIGITS))


def _named(numbers: Array) -> dict[str, float]:
    """(52,) as a dict of the blendshapes above 0, without `_neutral`."""
    return sliders(dict(zip(BLENDSHAPES[1:], numbers[1:].tolist(), strict=True)))


def _from_file(asked: Any) -> Any:
    """The content, if `asked` is the path of a file of numbers; else `asked`."""
    if isinstance(asked, str | os.PathLike) and Path(asked).suffix.lower() in VECTOR_FILES:
        return read_file(asked)
    return asked


def _is_vector(asked: Any) -> bool:
    """Numbers, rather than a photo: no picture has a single axis, or a single row."""
    if isinstance(asked, np.ndarray):
        return asked.ndim < 2 or asked.shape[0] == 1
    return isinstance(asked, Sequence) and not isinstance(asked, str | bytes | bytearray)
