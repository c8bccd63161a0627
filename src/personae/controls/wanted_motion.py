"""The pose and expression that a request wants each person to have, as numbers for the motion reader to compare.

wanted_motion(model, [(20, 0, 0)], [{"smile": 0.8}])        # (1, 3 + 52) float32, NaN: anything
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from personae.conditioning.blendshapes import GAZE
from personae.conditioning.facex.assembly import Assembly
from personae.controls import expression_values, pose_values
from personae.errors import BadOption, WeightsMissing
from personae.model import Model
from personae.models.limits import GEOMETRY
from personae.reading.face_motion import OnnxMotionReader
from personae.shapes import Float32
from personae.types import BLENDSHAPES, Array

ANGLES = len(GEOMETRY)
_COLUMNS = {name: index for index, name in enumerate([*GEOMETRY, *BLENDSHAPES])}


def motion_reader(model: Model) -> OnnxMotionReader | None:
    """The model's motion reader, if a network with a gradient can be made of it."""
    reader = None if model.reader is None else model.reader.motion
    return reader if isinstance(reader, OnnxMotionReader) else None


def required_reader(model: Model) -> OnnxMotionReader:
    """As `motion_reader`. Raises `WeightsMissing` if there is none."""
    reader = motion_reader(model)
    if reader is None:
        raise WeightsMissing("motion_guidance looks through the model's own motion reader, and this model has none")
    return reader


def wanted_motion(
    model: Model, poses: Sequence[Any] | None, expressions: Sequence[Any] | None
) -> Float32[Array, "P 55"]:
    """(P, 3 + 52) float32: pose in degrees and blendshapes, NaN where anything will do.

    poses, expressions: the options, one for each person; None: anything. Raises as the options themselves; `BadOption`
    for an expression of a model whose expressions are no blendshapes.
    """
    people = len(poses or expressions or ())
    wanted = np.full((people, ANGLES + len(BLENDSHAPES)), np.nan, np.float32)
    for values, read in ((poses, pose_values.values_of), (expressions, _shapes)):
        for row, value in zip(wanted, values or (), strict=False):
            for name, number in read(model, value).items():
                row[_COLUMNS[name]] = number
    return wanted


def assembled_motion(assemblies: Sequence[Assembly]) -> Float32[Array, "P 55"]:
    """The same of assemblies, one for each person: pose, expression and gaze of their source faces."""
    return np.stack([_of_assembly(one) for one in assemblies])


def _shapes(model: Model, value: Any) -> dict[str, float]:
    """The blendshapes that an expression wants."""
    if model.component("exp_adapter").space != "blendshapes":
        raise BadOption(
            "motion_guidance compares blendshapes, and the expressions of this model are FLAME numbers: leave "
            "motion_guidance out, or give it a pose alone"
        )
    return expression_values.named_blendshapes(model, value)


def _of_assembly(assembly: Assembly) -> Float32[Array, " 55"]:
    wanted = np.full(ANGLES + len(BLENDSHAPES), np.nan, np.float32)
    shapes = wanted[ANGLES:]
    head, mouth, eyes = (assembly.face(token) for token in ("pose", "expression", "gaze"))
    if head is not None:
        wanted[:ANGLES] = head.pose.yaw, head.pose.pitch, head.pose.roll
    if mouth is not None:
        shapes[1:] = mouth.blendshapes[1:]  # the first is how neutral the rest is
        shapes[GAZE] = np.nan
    if eyes is not None:
        shapes[GAZE] = eyes.blendshapes[GAZE]
    return wanted
