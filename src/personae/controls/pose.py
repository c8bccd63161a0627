"""`pose`, `pose_map`, `pose_scale`: a normal map of the head, held by the model's ControlNet (`controlnet/`)."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.pose_map import place, render
from personae.controls.request import Plan, Request, several
from personae.errors import BadOption, NoFaceFound, WeightsMissing, unknown_name
from personae.model import Model
from personae.models.limits import GEOMETRY, Limits
from personae.reading import align
from personae.reading.photo import PhotoSource, load_photo, record_of
from personae.reading.rotation import image_turn, turn
from personae.sampling.controlnet import PoseControl, map_side, to_maps
from personae.types import BLENDSHAPES, Array, Face, Identity, Photo, Pose

LIMITS = GEOMETRY  # of any model; its own are in its folder
STRONGEST = 2.0


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption`, `BadImage`; `NoFaceFound` for a pose photo without one;
    `WeightsMissing`, `WeightsCorrupt`."""
    pose, own, scale = (options.get(name) for name in ("pose", "pose_map", "pose_scale"))
    if pose is None and own is None:
        if scale is not None:
            raise BadOption("pose_scale is the strength of a pose: give pose or pose_map with it")
        return None
    if pose is not None and own is not None:
        raise BadOption("give a pose or a pose map, not both: the map says the pose")
    strength = _strength(scale)
    network = pipe.component("controlnet")
    side = map_side(network, pipe.unet)
    told: dict[str, Any]
    if own is not None:
        drawing = load_photo(own)
        images, told = _own_map(drawing, side)[None], {"pose_map": record_of(drawing)}
    else:
        each = several(pose)
        asked: Sequence[Any] = pose if each else [pose]  # type: ignore[assignment]  # `several` says that it is one
        each_held = [held(pipe, one) for one in asked] * (1 if each else len(request.faces))
        if len(each_held) != len(request.faces):
            raise BadOption(f"{len(each_held)} poses for {len(request.faces)} people: give one of each, or one for all")
        template = pipe.config.crop_template
        drawn = [_drawn(_shape(one), how, template, side) for one, how in zip(request.faces, each_held, strict=True)]
        plain = [_plain(how) for how in each_held]
        images, told = np.stack(drawn)[list(request.person_index)], {"pose": plain if each else plain[0]}
    control = PoseControl(network=network, maps=to_maps(images), scale=strength)
    return Plan(hooks=[control], settings=told | {"pose_scale": strength})


Held = dict[str, float]  # yaw, pitch, roll in degrees; blendshapes by name that are not 0


def held(pipe: Model, pose: Any) -> Held:
    """What the option asks for, in numbers, within what the model can hold. Raises as `steer`."""
    limits = Limits.of(pipe.folder)
    numbers = _numbers(pose)
    if numbers is None:
        return limits.within(_of_photo(pipe, pose))
    limits.require(numbers)
    return numbers


def _numbers(pose: Any) -> Held | None:
    """None: it is a photo."""
    if isinstance(pose, Pose):
        return _checked(dataclasses.asdict(pose), pose)
    if isinstance(pose, Mapping):
        return _checked(pose, pose)
    if isinstance(pose, Sequence) and not isinstance(pose, str | bytes | bytearray | memoryview):
        if len(pose) != len(LIMITS):
            raise BadOption(f"a pose is three angles, yaw, pitch, roll in degrees, got {len(pose)}: {list(pose)}")
        return _checked(dict(zip(LIMITS, pose, strict=True)), pose)
    return None


def _checked(numbers: Mapping[str, Any], asked: Any) -> Held:
    for name in numbers:
        if name not in LIMITS and name not in BLENDSHAPES:
            raise unknown_name("part of a pose", name, [*LIMITS, *BLENDSHAPES])
    try:
        held = dict.fromkeys(LIMITS, 0.0) | {name: float(value) for name, value in numbers.items()}
    except (TypeError, ValueError) as error:
        raise BadOption(f"a pose is three angles, yaw, pitch, roll in degrees, got {asked!r}") from error
    for name, value in held.items():
        low, high = (-LIMITS[name], LIMITS[name]) if name in LIMITS else (0.0, 1.0)
        if not low <= value <= high:
            raise BadOption(f"{name} of a pose lies between {low:g} and {high:g}, got {value:g}")
    return held


def _of_photo(pipe: Model, photo: PhotoSource) -> Held:
    """Pose and expression of the largest face, upright: as its aligned crop shows it, which is what models are trained
    on; how the camera was tilted is not the head's."""
    faces = pipe.read(photo)
    if not faces:
        raise NoFaceFound(f"no face was found in the pose photo {_name(photo)}: give another, or yaw, pitch, roll")
    face = faces[0]
    if face.motion is None:
        raise WeightsMissing("this model's reader measures no pose: give yaw, pitch, roll, or a reader that does")
    matrix = align.similarity(face.detection.points, pipe.config.crop_template)
    angles = turn(np.array(dataclasses.astuple(face.motion.pose)), image_turn(matrix))
    # Rounded, so that the recipe's numbers ask for exactly this again.
    held = {name: round(float(angle), 2) for name, angle in zip(LIMITS, angles, strict=True)}
    shapes = zip(BLENDSHAPES, face.motion.blendshapes, strict=True)
    return _checked(held | {name: round(float(v), 3) for name, v in shapes if v >= 0.01}, photo)


def _plain(held: Held) -> list[float] | Held:
    """As short as it can be said again."""
    return [held[name] for name in LIMITS] if held.keys() == LIMITS.keys() else held


def _shape(one: Face | Identity) -> Array | None:
    """(K, 3) the neutral face of a person whose photo was read; None: the mean face."""
    motion = one.motion if isinstance(one, Face) else None
    return None if motion is None else FaceModel.bundled().shape_of(motion)


def _drawn(shape: Array | None, held: Held, template: str, side: int) -> Array:
    model = FaceModel.bundled()
    pose = Pose(**{name: held[name] for name in LIMITS})
    expression = np.array([held.get(name, 0.0) for name in BLENDSHAPES])
    return render(place(model.posed(shape, expression, pose), pose, template, side), model.triangles, side)


def _own_map(photo: Photo, side: int) -> Array:
    """(side, side, 3) RGB uint8."""
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    if height != width:
        raise BadOption(f"a pose map is square, like the picture it is for, got {width} x {height}: crop it first")
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS))


def _name(source: PhotoSource) -> str:
    """A path as it was given, for an error."""
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "(given as a picture, not as a file)"


def _strength(scale: Any) -> float:
    if scale is None:
        return 1.0
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale <= STRONGEST:
        raise BadOption(f"pose_scale lies between 0 and {STRONGEST:g}, got {scale!r}")
    return float(scale)
