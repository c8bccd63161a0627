"""A head's pose, however a caller expresses it, as numbers; and its normal map for a ControlNet.

values = values_of(model, "photo.jpg")               # {"yaw": 12.3, "pitch": -4.0, "roll": 0.2, "jawOpen": 0.31}
maps = drawn_maps([face], [values], "portrait", 64)  # (1, 64, 64, 3) RGB uint8
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place, render
from personae.errors import BadOption, NoFaceFound, WeightsMissing, unknown_name
from personae.model import Model
from personae.models.limits import GEOMETRY, Limits
from personae.reading import align
from personae.reading.photo import PhotoSource
from personae.reading.rotation import image_turn, turn
from personae.shapes import Float, UInt8
from personae.types import BLENDSHAPES, Array, Face, Photo, Pose

Values = dict[str, float]  # yaw, pitch, roll in degrees; blendshapes by name that are not 0


def values_of(model: Model, pose: Any) -> Values:
    """A pose (a photo, a `Pose`, three angles, or angles and blendshapes by name) in numbers, within what the model can
    hold. Raises `BadOption`, `BadImage`, `NoFaceFound`, `WeightsMissing`."""
    limits = Limits.of(model.folder)
    numbers = _numbers(pose)
    if numbers is None:
        return limits.within(_of_photo(model, pose))
    limits.require(numbers)
    return numbers


def plain(values: Values) -> list[float] | Values:
    """As a recipe holds them: three angles, unless there are blendshapes, too."""
    return [values[name] for name in GEOMETRY] if values.keys() == GEOMETRY.keys() else values


def drawn_maps(faces: Sequence[Any], poses: Sequence[Values], template: str, side: int) -> UInt8[Array, "P S S 3"]:
    """The normal map of each person's head.

    Arguments:
        faces: P of them, as `Request.faces`; a `Face` with its motion has the shape of that face, all else the mean's.
        poses: P of them.
        template: of the crop that a map is for.
        side: of a map, in pixels.

    Returns (P, side, side, 3) RGB uint8.
    """
    drawn = [_drawn(_shape(face), values, template, side) for face, values in zip(faces, poses, strict=True)]
    return np.stack(drawn)


def own_map(photo: Photo, side: int) -> UInt8[Array, "S S 3"]:
    """(side, side, 3) RGB uint8 of a map that the caller drew. Raises `BadOption` unless it is square."""
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    if height != width:
        raise BadOption(f"a pose map is square, like the picture it is for, got {width} x {height}: crop it first")
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def _numbers(pose: Any) -> Values | None:
    """None: it is a photo."""
    if isinstance(pose, Pose):
        return _checked(dataclasses.asdict(pose), pose)
    if isinstance(pose, Mapping):
        return _checked(pose, pose)
    if isinstance(pose, Sequence) and not isinstance(pose, str | bytes | bytearray | memoryview):
        if len(pose) != len(GEOMETRY):
            raise BadOption(f"a pose is three angles, yaw, pitch, roll in degrees, got {len(pose)}: {list(pose)}")
        return _checked(dict(zip(GEOMETRY, pose, strict=True)), pose)
    return None


def _checked(numbers: Mapping[str, Any], pose: Any) -> Values:
    for name in numbers:
        if name not in GEOMETRY and name not in BLENDSHAPES:
            raise unknown_name("part of a pose", name, [*GEOMETRY, *BLENDSHAPES])
    try:
        values = dict.fromkeys(GEOMETRY, 0.0) | {name: float(value) for name, value in numbers.items()}
    except (TypeError, ValueError) as error:
        raise BadOption(f"a pose is three angles, yaw, pitch, roll in degrees, got {pose!r}") from error
    for name, value in values.items():
        low, high = (-GEOMETRY[name], GEOMETRY[name]) if name in GEOMETRY else (0.0, 1.0)
        if not low <= value <= high:
            raise BadOption(f"{name} of a pose lies between {low:g} and {high:g}, got {value:g}")
    return values


def _of_photo(model: Model, photo: PhotoSource) -> Values:
    """Pose and expression of the largest face, upright: as its aligned crop shows it, which is what models are trained
    on; how the camera was tilted is not the head's."""
    faces = model.read(photo)
    if not faces:
        raise NoFaceFound(f"no face was found in the pose photo {_name(photo)}: give another, or yaw, pitch, roll")
    face = faces[0]
    if face.motion is None:
        raise WeightsMissing("this model's reader measures no pose: give yaw, pitch, roll, or a reader that does")
    matrix = align.similarity(face.detection.points, model.config.crop_template)
    angles = turn(np.array(dataclasses.astuple(face.motion.pose)), image_turn(matrix))
    # Rounded, so that the recipe's numbers request exactly this again.
    values = {name: round(float(angle), 2) for name, angle in zip(GEOMETRY, angles, strict=True)}
    shapes = zip(BLENDSHAPES, face.motion.blendshapes, strict=True)
    return _checked(values | {name: round(float(v), 3) for name, v in shapes if v >= 0.01}, photo)


def _shape(one: Any) -> Float[Array, "K 3"] | None:
    """(K, 3) the neutral face of a person whose photo was read; None: the mean face."""
    motion = one.motion if isinstance(one, Face) else None
    return None if motion is None else FaceModel.bundled().shape_of(motion)


def _drawn(shape: Float[Array, "K 3"] | None, values: Values, template: str, side: int) -> UInt8[Array, "S S 3"]:
    model = FaceModel.bundled()
    pose = Pose(**{name: values[name] for name in GEOMETRY})
    expression = np.array([values.get(name, 0.0) for name in BLENDSHAPES])
    return render(place(model.posed(shape, expression, pose), pose, template, side), model.triangles, side)


def _name(source: PhotoSource) -> str:
    """A path as the caller wrote it, for an error."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "(a picture, not a file)"
