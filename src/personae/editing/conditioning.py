"""What the model is told of an edit: whose pieces, by `facex/` if the model has it, else by what else it has.

    givers = changed(givers, canvas, pose={"yaw": 20}, expression={"smile": 0.8})
    options = steered(pipe, task, scene, free, crops, asked)

Without `facex/` the identity prompt says who, the mask what stays, a ControlNet (`controlnet/`) which pose and
expression is held, an expression adapter (`exp_adapter/`) the expression, a reference adapter (`ref_adapter/`) the
look.
"""

import dataclasses
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from personae.conditioning import blendshapes as expressions
from personae.conditioning.facex.assembly import Assembly
from personae.conditioning.head_mesh import FaceModel
from personae.conditioning.retarget import retarget
from personae.controls.motion import guides
from personae.controls.pose import LIMITS
from personae.editing.masks import REFERENCES, Scene
from personae.editing.tasks import Task
from personae.errors import BadOption, WeightsMissing, unknown_name
from personae.model import Model
from personae.models.limits import Limits
from personae.reading.aligned import Aligned
from personae.reading.embed import OnnxEmbedder
from personae.types import BLENDSHAPES, Array, Photo, Pose

_TURNED = 0.8  # the strength with which a head turns about as far as it does from pure noise, in the photo's colours
_UNAIDED = ("identity", "pose", "expression", "gaze")  # what can be had from another photo without `facex/`


def changed(
    givers: Mapping[str, Aligned], canvas: Aligned, pose: Any, expression: Mapping[str, float] | None
) -> dict[str, Aligned]:
    """Who gives pose and expression (the canvas, if nobody else does), moved as asked: angles and blendshapes that are
    named change, the others stay.

    pose: some of yaw, pitch, roll in degrees, by name, or all three. expression: as the option of that name, 0-1.
    Raises `BadOption` for unknown names and impossible amounts.
    """
    result = dict(givers)
    if pose is not None:
        giver = result.get("pose", canvas)
        angles = dataclasses.asdict(giver.pose) | named_angles(pose)
        result["pose"] = retarget(giver, FaceModel.bundled(), pose=Pose(**angles))
    if expression is not None:
        if not isinstance(expression, Mapping):
            raise BadOption(
                f"an expression is amounts by name, got {expression!r}: a photo's is tokens={{'expression': ...}}"
            )
        giver = result.get("expression", canvas)
        made = expressions.with_sliders(giver.blendshapes, expression)
        result["expression"] = retarget(giver, FaceModel.bundled(), blendshapes=made)
    return result


def named_angles(pose: Any) -> dict[str, float]:
    """Yaw, pitch and roll by name, those that are asked for. Raises `BadOption`."""
    if isinstance(pose, Pose):
        pose = dataclasses.asdict(pose)
    if not isinstance(pose, Mapping):
        if not isinstance(pose, Sequence) or isinstance(pose, str | bytes) or len(pose) != len(LIMITS):
            raise BadOption(f"a pose is yaw, pitch, roll in degrees, got {pose!r}: a photo's is tokens={{'pose': ...}}")
        pose = dict(zip(LIMITS, pose, strict=True))
    for name, value in pose.items():
        if name not in LIMITS:
            raise unknown_name("angle of a pose", str(name), LIMITS)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LIMITS[name]:
            raise BadOption(f"{name} of a pose lies within {LIMITS[name]:g} degrees, got {value!r}")
    return {name: float(value) for name, value in pose.items()}


def steered(
    pipe: Model, task: Task, scene: Scene, free: Array, crops: Sequence[Array], asked: Collection[str]
) -> dict[str, Any]:
    """The options of the call, as far as they follow from the scene: of `with_facex`, or of `without_facex`."""
    if pipe.has_component("facex"):
        return with_facex(task, scene, free, crops)
    return without_facex(pipe, task, scene, asked)


def with_facex(task: Task, scene: Scene, free: Array, crops: Sequence[Array]) -> dict[str, Any]:
    """An assembly for each image, whose canvas is one of `crops` (S, S, 3)."""
    return {
        "assembly": [_assembly(task, scene, free, crop) for crop in crops],
        "strength": 1.0 if turned(scene) else task.told_strength,
    }


def turned(scene: Scene) -> bool:
    """Whether the head that is edited is to be held otherwise than the photo shows it."""
    return scene.giver("pose").pose != scene.canvas.pose


def _assembly(task: Task, scene: Scene, free: Array, crop: Array) -> Assembly:
    own = {id(scene.canvas): replace(scene.canvas, crop=crop)}
    givers = {}
    for token, giver in scene.faces.items():
        if giver.crop is scene.canvas.crop and id(giver) not in own:  # moved, but the same face
            own[id(giver)] = replace(giver, crop=crop)
        givers[token] = own.get(id(giver), giver)
    shown = Scene(canvas=own[id(scene.canvas)], faces=givers)
    return Assembly(givers=givers, reference=REFERENCES[task.reference](shown, free), free=free)


def without_facex(pipe: Model, task: Task, scene: Scene, asked: Collection[str]) -> dict[str, Any]:
    """The options that come nearest. `asked`: the tokens that the caller gave photos for.

    Raises `WeightsMissing` for what only `facex/` can carry over, and for another's pose without `controlnet/`; warns
    of a task that can be had in part only.
    """
    _require(pipe, task, scene, asked)
    options: dict[str, Any] = {"strength": max(task.strength, _TURNED) if turned(scene) else task.strength}
    shapes = scene.giver("expression").blendshapes.copy()
    shapes[expressions.GAZE] = scene.giver("gaze").blendshapes[expressions.GAZE]
    named = {name: round(float(v), 3) for name, v in zip(BLENDSHAPES[1:], shapes[1:].clip(0, 1), strict=True)}
    said = {name: value for name, value in named.items() if value >= 0.01}
    if pipe.has_component("controlnet"):
        held = dataclasses.asdict(scene.giver("pose").pose)
        able = Limits.of(pipe.folder).most
        options["pose"] = {name: round(min(max(held[name], -most), most), 2) for name, most in able.items()} | said
    if pipe.has_component("exp_adapter") and pipe.component("exp_adapter").space == "blendshapes":
        options["expression"] = said
    if pipe.has_component("ref_adapter"):
        options["reference"] = Photo(pixels=scene.canvas.crop)
    return options


def _require(pipe: Model, task: Task, scene: Scene, asked: Collection[str]) -> None:
    where = pipe.name or "this model"
    for token in asked:
        if token not in _UNAIDED:
            raise WeightsMissing(
                f"{where} has no facex/, without which another photo gives identity, pose, expression and gaze, but no "
                f"{token}: leave it out, or use a model that has it"
            )
    if turned(scene) and not pipe.has_component("controlnet"):
        raise WeightsMissing(
            f"{where} has neither facex/ nor controlnet/, one of which {task.name} needs to hold another pose: add "
            "that folder to the model's, or use a model that has it (personae models)"
        )
    if not all(scene.own(scene.giver(token)) for token in ("hair", "surroundings")):
        warnings.warn(
            f"{where} has no facex/, which carries hair over: {task.name} lets the model make up its own",
            stacklevel=4,
        )


def guidance_of(pipe: Model, task: Task) -> dict[str, Any]:
    """The task's guidance by the model's reader, as far as that has a gradient and FaceX says what to look for."""
    options = {}
    if task.likeness and pipe.reader is not None and isinstance(pipe.reader.embedder, OnnxEmbedder):
        options["likeness_guidance"] = task.likeness
    if task.motion and pipe.has_component("facex") and guides(pipe):
        options["motion_guidance"] = task.motion
    return options
