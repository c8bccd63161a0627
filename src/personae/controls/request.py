"""A request's options beside people and words, what a control knows of the request, and the plan that it returns.

plan = registry.plan_for(pipe, request, {"fast": 4, "expression": {"smile": 0.8}})
plan.hooks, plan.defaults, plan.settings
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from torch import Tensor

from personae.conditioning.facex.assembly import Assembly
from personae.conditioning.regional_attention import Region
from personae.conditioning.types import Conditioning, UNetHook
from personae.reading.photo import PhotoSource
from personae.sampling.fast.modes import Mode
from personae.sampling.guidance import GuidanceTerm, Predict
from personae.sampling.guidance_weights import GuidanceWeights
from personae.sampling.mask_blend import MaskBlend
from personae.sampling.multidiffusion import MultiDiffusion
from personae.types import Face, Identity, Pose


class Steering(TypedDict, total=False):
    """The options of a request beside people and words. Absent or None: not steered.

    fast: steps of a consistency model (2-8) instead of the ordinary sampler.
    pose: of the head: a photo of someone who holds it (and makes that expression), or (yaw, pitch, roll) in degrees of
    a face at rest, or these by name together with blendshapes; a list of such: one per person. pose_map: a normal map
    of one's own instead, square, RGB uint8 or a path. pose_scale: its strength, 0-2.
    expression: a photo of someone who makes it, or blendshapes by name, 0-1; for an adapter of FLAME's, 55 numbers; or
    a .npy or .json file of either; a list of blendshapes by name: one per person. expression_scale: its strength, 0-1.
    image: a picture of the size of those to be made, of which a part is kept, or a list: one for each person or image
    (`controls.inpaint`). mask_image: white where it is made anew, of its size, or a list. strength: the share of the
    steps that is made, 0-1: below 1 the picture shines through, without a mask everywhere.
    assembly: pieces of faces to be told (`conditioning.facex.assembly`), or a list: one for each person.
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
    shares of the steps, 0-1, between which it does. Of a prompt without `{person}` (`controls.text`): text_weight,
    face_weight, both_weight: how much the words alone, the face alone and both together count (0, 0 and 1; negative:
    away from it; one is always 0). text_interval,
    face_interval, both_interval: (first, last) shares of the steps, 0-1, between which each does. look: instead of
    weights, "photo", "stylised" or "painting" (`weights.LOOKS`).
    regions: all the people in every picture, where (`controls.regions`): for each a box (x0, y0, x1, y1) in shares of
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
    """The people and the words of a call, before any option has acted.

    faces: P faces or identities, as the caller passed them. people: their P identities, in the model's space.
    person_index: (N,) for each image, which of the P people it shows. grid: (h, w) of the latents.
    settings: `num_inference_steps`, `guidance_scale`, `scheduler`, `height` and `width` of the call; None where the
    caller left one out. regions: (P, h, w) bool, where each person is, if every picture shows all of them. windows:
    of multidiffusion, if the picture is sampled in windows; N and `grid` then count and measure the windows.
    """

    faces: Sequence[Face | Identity]
    people: Sequence[Identity]
    person_index: Sequence[int]
    grid: tuple[int, int]
    prompt: str | None = None
    negative_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    regions: Tensor | None = None
    windows: MultiDiffusion | None = None


@dataclass(frozen=True, kw_only=True)
class GuidanceInputs:
    """What guidance leads to in place of the identity prompt.

    conditionings: N rows each, by the names of `guidance_weights.NAMES`. weights: of these. negative: one row.
    regions: (P, h, w) bool, where each person is, if all of them are in every picture.
    """

    conditionings: Mapping[str, Conditioning]
    weights: GuidanceWeights
    negative: Conditioning
    regions: Tensor | None = None

    def terms(self, timesteps: Tensor) -> list[GuidanceTerm]:
        """What guidance leads to over a scheduler's `timesteps` (S,). Raises `BadOption` as `GuidanceWeights.over`."""
        return [
            GuidanceTerm(conditioning=self.conditionings[name], weight=weight, interval=interval)
            for name, (weight, interval) in self.weights.over(timesteps).items()
        ]


# (a prediction, the scheduler of the call) -> the prediction to use instead.
PredictionWrapper = Callable[[Predict, Any], Predict]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a request is carried out.

    hooks: on the UNet, to engage in order. around: laid around the guided prediction, in order. defaults: of
    `num_inference_steps`, `guidance_scale` and `scheduler`, where the caller gave none. settings: the options as plain
    JSON values, enough to request the same again. mode: what is given up for time; None: nothing. guidance: what
    guidance leads to; None: the identity prompt. mask_blend: the pictures of which a part is preserved; None: all is
    made anew.
    """

    hooks: list[UNetHook] = field(default_factory=list)
    around: list[PredictionWrapper] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mode: Mode | None = None
    guidance: GuidanceInputs | None = None
    mask_blend: MaskBlend | None = None


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
