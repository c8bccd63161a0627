"""The options with which the model is called for an edit: by `facex/` if the model has it, else by what else it has.

    options = call_options(pipe, task, scene, edit_mask, crops, tokens)

Without `facex/` the identity prompt says who, the mask what stays, a ControlNet (`controlnet/`) which pose and
expression to hold, an expression adapter (`exp_adapter/`) the expression, a reference adapter (`ref_adapter/`) the
look.
"""

import dataclasses
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from personae.conditioning import blendshapes as expressions
from personae.conditioning.facex.assembly import Assembly
from personae.controls.likeness import LikenessControl
from personae.controls.wanted_motion import motion_reader
from personae.editing.masks import REFERENCES
from personae.editing.scene import Scene
from personae.editing.tasks import Task
from personae.errors import WeightsMissing
from personae.model import Model
from personae.models.limits import Limits
from personae.shapes import Bool, UInt8
from personae.types import BLENDSHAPES, Array, Photo

_TURN_STRENGTH = 0.8  # with which a head turns about as far as from pure noise, in the photo's colours
_UNAIDED = ("identity", "pose", "expression", "gaze")  # what another photo can give without `facex/`


def call_options(
    pipe: Model,
    task: Task,
    scene: Scene,
    edit_mask: Bool[Array, "S S"],
    crops: Sequence[UInt8[Array, "S S 3"]],
    tokens: Collection[str],
) -> dict[str, Any]:
    """The options of the call that follow from the scene, for each image.

    edit_mask: (S, S) bool, what the model paints. crops: N x (S, S, 3), the canvas of each image. tokens: those that
    the caller gives photos for.
    """
    if pipe.has_component("facex"):
        return with_facex(task, scene, edit_mask, crops)
    return without_facex(pipe, task, scene, tokens)


def with_facex(
    task: Task, scene: Scene, edit_mask: Bool[Array, "S S"], crops: Sequence[UInt8[Array, "S S 3"]]
) -> dict[str, Any]:
    """An assembly for each image, whose canvas is one of `crops` (S, S, 3)."""
    return {
        "assembly": [_assembly(task, scene, edit_mask, crop, image) for image, crop in enumerate(crops)],
        "strength": 1.0 if turns(scene) else task.facex_strength,
    }


def turns(scene: Scene) -> bool:
    """Whether the head is to hold another pose than in the photo."""
    return scene.source_face("pose").pose != scene.place.pose


def _assembly(
    task: Task, scene: Scene, edit_mask: Bool[Array, "S S"], crop: UInt8[Array, "S S 3"], image: int
) -> Assembly:
    """The assembly of one image. Faces in the canvas's own crop are shown as that image has them by now."""
    faces, refs = {}, {}
    for ref, face in scene.faces.items():
        in_canvas = ref == scene.canvas or (scene.upright is None and scene.is_own(ref))
        refs[ref] = replace(ref, image=image) if in_canvas else ref
        faces[refs[ref]] = replace(face, crop=crop) if in_canvas else face
    sources = {token: refs[ref] for token, ref in scene.sources.items()}
    current = Scene(canvas=refs[scene.canvas], sources=sources, faces=faces)
    return Assembly(
        sources=sources,
        faces={ref: faces[ref] for ref in sources.values()},
        reference=REFERENCES[task.reference](current, edit_mask),
        edit_mask=edit_mask,
    )


def without_facex(pipe: Model, task: Task, scene: Scene, tokens: Collection[str]) -> dict[str, Any]:
    """The options that come nearest. tokens: those that the caller gives photos for.

    Raises `WeightsMissing` for what only `facex/` can carry over, and for another's pose without `controlnet/`; warns
    of a task of which only a part is possible.
    """
    _require(pipe, task, scene, tokens)
    options: dict[str, Any] = {"strength": max(task.strength, _TURN_STRENGTH) if turns(scene) else task.strength}
    shapes = scene.source_face("expression").blendshapes.copy()
    shapes[expressions.GAZE] = scene.source_face("gaze").blendshapes[expressions.GAZE]
    named = {name: round(float(v), 3) for name, v in zip(BLENDSHAPES[1:], shapes[1:].clip(0, 1), strict=True)}
    expression = {name: value for name, value in named.items() if value >= 0.01}
    if pipe.has_component("controlnet"):
        pose = dataclasses.asdict(scene.source_face("pose").pose)
        limits = Limits.of(pipe.folder).most
        angles = {name: round(min(max(pose[name], -most), most), 2) for name, most in limits.items()}
        options["pose"] = angles | expression
    if pipe.has_component("exp_adapter") and pipe.component("exp_adapter").space == "blendshapes":
        options["expression"] = expression
    if pipe.has_component("ref_adapter"):
        options["reference"] = Photo(pixels=scene.place.crop)
    return options


def _require(pipe: Model, task: Task, scene: Scene, tokens: Collection[str]) -> None:
    where = pipe.name or "this model"
    for token in tokens:
        if token not in _UNAIDED:
            raise WeightsMissing(
                f"{where} has no facex/, without which another photo gives identity, pose, expression and gaze, but no "
                f"{token}: leave it out, or use a model that has it"
            )
    if turns(scene) and not pipe.has_component("controlnet"):
        raise WeightsMissing(
            f"{where} has neither facex/ nor controlnet/, one of which {task.name} needs to hold another pose: add "
            "that folder to the model's, or use a model that has it (personae models)"
        )
    if not all(scene.is_own(scene.source(token)) for token in ("hair", "surroundings")):
        warnings.warn(
            f"{where} has no facex/, which carries hair over: {task.name} lets the model make up its own",
            stacklevel=4,
        )


def guidance_of(pipe: Model, task: Task) -> dict[str, Any]:
    """The task's guidance by the model's reader: towards the person where its recogniser has a gradient, towards the
    motion where its motion reader has one and FaceX says what to look for."""
    options = {}
    if task.likeness and LikenessControl.works_with(pipe):
        options["likeness_guidance"] = task.likeness
    if task.motion and pipe.has_component("facex") and motion_reader(pipe) is not None:
        options["motion_guidance"] = task.motion
    return options
