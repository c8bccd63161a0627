"""What a request asks for beside people and words, and the controls that carry it out.

    plan = plan_for(pipe, people, who, {"fast": 4, "expression": {"smile": 0.8}})
    plan.controls, plan.defaults, plan.settings

`Steering` lists the options; each row of `STEERS` turns some of them into a control, with what the model folder's
extra parts (`pipe.extra("controlnet")` ...) hold. A new way to steer is a new row.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict, get_type_hints

from torch import Tensor

from personae.conditioning.assembly import Assembly
from personae.conditioning.id_prompt import Conditioning
from personae.conditioning.regions import Region
from personae.errors import BadOption, unknown_name
from personae.reading.photo import PhotoSource
from personae.sampling.controls import Control
from personae.sampling.fusion import Fusion
from personae.sampling.guidance import Predict, Side
from personae.sampling.speed import Mode
from personae.sampling.weights import Weights
from personae.sampling.windows import Windows
from personae.types import Face, Identity, Pose

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline


class Steering(TypedDict, total=False):
    """The options of a request beside people and words. Absent or None: not steered.

    fast: steps of a consistency model (2-8) instead of the ordinary sampler.
    pose: of the head: a photo of someone who holds it (and makes that expression), or (yaw, pitch, roll) in degrees of
    a face at rest, or these by name together with blendshapes; a list of such: one per person. pose_map: a normal map
    of one's own instead, square, RGB uint8 or a path. pose_scale: its strength, 0-2.
    expression: a photo of someone who makes it, or blendshapes by name, 0-1; for an adapter of FLAME's, 55 numbers; or
    a .npy or .json file of either; a list of blendshapes by name: one per person. expression_scale: its strength, 0-1.
    image: a picture of the size of those to be made, of which a part is kept, or a list: one for each person or image
    (`steers.inpaint`). mask_image: white where it is made anew, of its size, or a list. strength: the share of the
    steps that is made, 0-1: below 1 the picture shines through, without a mask everywhere.
    assembly: pieces of faces to be told (`conditioning.assembly`), or a list: one for each person.
    lora: the safetensors file of a LoRA of the UNet, for another style. lora_scale: its strength, 0-2 (1).
    reference: a photo whose look (light, colour, hair, background) is kept. reference_scale: how strongly, 0-1.
    speed: "exact", "balanced" or "fast" (`speed.MODES`): what may change for time; exact unless asked. Of a mode's
    parts, where nothing is saved (no guidance, fewer than nine steps) none applies. Each by itself, which then always
    applies: guidance_interval: (first, last) shares of the steps, 0-1, between which guidance acts. cache_interval:
    deep features of the UNet in every n-th step. decoder: "full", or "tiny" (the model's `taesd/`).
    likeness_guidance: how strongly the model's own recogniser pulls towards the person, 0 (off) and up.
    likeness_interval: (first, last) shares of the steps, 0-1, between which it does.
    motion_guidance: how strongly the model's own motion reader pulls towards the pose and expression that are asked
    for, 0 (off) and up; None: the model's own if either is asked of one face, else 0. motion_interval: (first, last)
    shares of the steps, 0-1, between which it does.
    Of a prompt without `{person}` (`steers.text`): text_weight, face_weight, both_weight: how much the words alone, the
    face alone and both together count (0, 0 and 1; negative: away from it; one is always 0). text_interval,
    face_interval, both_interval: (first, last) shares of the steps, 0-1, between which each does. look: instead of
    weights, "photo", "stylised" or "painting" (`weights.LOOKS`).
    regions: all the people in every picture, where (`steers.together`): for each a box (x0, y0, x1, y1) in shares of
    the image, or a mask of its size, a path or an array.
    """

    fast: int | None
    pose: PhotoSource | Pose | Sequence[float] | Mapping[str, float] | Sequence[Pose | Mapping[str, float]] | None
    pose_map: PhotoSource | None
    pose_scale: float | None
    expression: PhotoSource | Mapping[str, float] | Sequence[float] | Sequence[Mapping[str, float]] | None
    expression_scale: float | None
    image: PhotoSource | Sequence[PhotoSource] | None
    mask_image: PhotoSource | Sequence[PhotoSource] | None
    strength: float | None
    assembly: Assembly | Sequence[Assembly] | None
    lora: str | os.PathLike[str] | None
    lora_scale: float | None
    reference: PhotoSource | None
    reference_scale: float | None
    speed: str | None
    guidance_interval: Sequence[float] | None
    cache_interval: int | None
    decoder: str | None
    likeness_guidance: float | None
    likeness_interval: Sequence[float] | None
    motion_guidance: float | None
    motion_interval: Sequence[float] | None
    text_weight: float | None
    face_weight: float | None
    both_weight: float | None
    text_interval: Sequence[float] | None
    face_interval: Sequence[float] | None
    both_interval: Sequence[float] | None
    look: str | None
    regions: Sequence[Region] | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who is asked for: `given` faces or identities of P people; `who` (N,) the person of each image. `grid`: (h, w) of
    the latents. `settings`: what the caller said of `num_inference_steps`, `guidance_scale`, `scheduler`, `height` and
    `width`, None: nothing. `regions`: (P, h, w) bool, where each person is, if all of them are in every picture;
    `windows`: through which these are seen, if they are: N and `grid` are the windows' then."""

    given: Sequence[Face | Identity]
    people: Sequence[Identity]
    who: Sequence[int]
    grid: tuple[int, int]
    prompt: str | None = None
    negative_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    regions: Tensor | None = None
    windows: Windows | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the UNet is told in place of the identity prompt. `asked`: N rows each, by the names of `weights`;
    `negative`: one row. `regions`: (P, h, w) bool, where each person is, if all of them are in every picture."""

    asked: Mapping[str, Conditioning]
    weights: Weights
    negative: Conditioning
    regions: Tensor | None = None

    def sides(self, timesteps: Tensor) -> list[Side]:
        """What guidance leads to over a scheduler's `timesteps` (S,). Raises `BadOption` as `Weights.over`."""
        over = self.weights.over(timesteps)
        return [Side(told=self.asked[name], weight=weight, interval=when) for name, (weight, when) in over.items()]


# (what predicts, the scheduler that will walk with it) -> what predicts instead.
Around = Callable[[Predict, Any], Predict]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`controls`: to engage, in order. `around`: laid around the guided prediction, in order. `defaults`: of
    `num_inference_steps`, `guidance_scale` and `scheduler`, where the caller says nothing. `settings`: the options as
    plain JSON values, enough to ask for the same again. `mode`: what is given up for time, None: nothing. `told`: None:
    the identity prompt. `fusion`: the pictures of which a part is kept, None: all is made anew."""

    controls: list[Control] = field(default_factory=list)
    around: list[Around] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mode: Mode | None = None
    told: Told | None = None
    fusion: Fusion | None = None


# Each answers with its own part of the plan, or None if the request does not ask for it.
Steer = Callable[["FacePipeline", Request, Mapping[str, Any]], Plan | None]


def _expression(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import expression

    return expression.steer(pipe, request, options)


def _facex(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import facex

    return facex.steer(pipe, request, options)


def _fast(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import fast

    return fast.steer(pipe, request, options)


def _inpaint(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import inpaint

    return inpaint.steer(pipe, request, options)


def _likeness(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import likeness

    return likeness.steer(pipe, request, options)


def _lora(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import lora

    return lora.steer(pipe, request, options)


def _motion(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import motion

    return motion.steer(pipe, request, options)


def _pose(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import pose

    return pose.steer(pipe, request, options)


def _reference(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import reference

    return reference.steer(pipe, request, options)


def _speed(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import speed

    return speed.steer(pipe, options)


def _text(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import text

    return text.steer(pipe, request, options)


STEERS: dict[str, Steer] = {
    "speed": _speed,
    "expression": _expression,
    "facex": _facex,
    "fast": _fast,
    "motion": _motion,
    "likeness": _likeness,
    "inpaint": _inpaint,
    "lora": _lora,
    "reference": _reference,
    "pose": _pose,
    "text": _text,  # the last: its regions lie around what others make of the UNet's attention
}

# What is made for pictures, or windows, of one face, aligned and as large as the model's own.
ONE_FACE = ("pose", "pose_map", "assembly", "reference", "likeness_guidance", "motion_guidance")

# What may be said of each person.
EACH = ("pose", "expression")

# What may be said of each person, or of each image.
PICTURES = ("image", "mask_image")


def several(asked: Any) -> bool:
    """Something of each person in a list, rather than one thing for all: numbers hold no poses, names or numbers."""
    return isinstance(asked, list | tuple) and any(isinstance(one, Pose | Mapping | list | tuple) for one in asked)


def settings_of(settings: Mapping[str, Any], person: int, image: int, images: int) -> dict[str, Any]:
    """What asks for image number `image` of `images` again, which shows that person, out of the settings of a request
    for several."""

    def own(name: str, value: Any) -> Any:
        if name in EACH and several(value):
            return value[person]
        if name in PICTURES and len(found := pictures(value)) > 1:
            return found[image if len(found) == images else person]
        return value

    return {name: own(name, value) for name, value in settings.items()}


def pictures(value: Any) -> list[Any]:
    """The pictures that a setting records: of files, an object each; of masks, rows of cells each."""
    if not isinstance(value, list):
        return [value]
    of_cells = isinstance(value[0], list) and not isinstance(value[0][0], list)
    return [value] if of_cells else value


def plan_for(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan:
    """The whole plan of a request. Raises `BadOption` for an unknown option; `WeightsMissing` for a part that the
    model does not have; whatever a row raises for its own."""
    known = get_type_hints(Steering)
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known)
    whole = Plan()
    if options.get("regions") is not None:
        from personae.steers import together

        request, setting = together.laid_out(pipe, request, options["regions"])
        whole.settings.update(setting)
    _require_one_face(request, options, pipe.unet.config.sample_size)
    for steer in STEERS.values():
        part = steer(pipe, request, options)
        if part is not None:
            whole.controls.extend(part.controls)
            whole.around.extend(part.around)
            whole.defaults.update(part.defaults)
            whole.settings.update(part.settings)
            whole = replace(
                whole,
                mode=part.mode or whole.mode,
                told=part.told or whole.told,
                fusion=part.fusion or whole.fusion,
            )
    if request.windows is not None:
        whole.around.append(request.windows)  # the last: what the others make is a prediction of windows
    return whole


def _require_one_face(request: Request, options: Mapping[str, Any], side: int) -> None:
    """Raise `BadOption` for options that need a face of its own in everything that the UNet makes."""
    people = request.who if request.windows is None else request.windows.people
    if request.grid == (side, side) and None not in people and (request.regions is None or request.windows is not None):
        return
    for name in ONE_FACE:
        if options.get(name) is not None:
            raise BadOption(
                f"{name} is for pictures of one face: leave it out, or regions, height and width; or give regions of "
                "a larger picture whose windows leave nothing out"
            )
