"""What a request asks for beside people and words, and the controls that carry it out.

    plan = plan_for(pipe, people, who, {"fast": 4, "expression": {"smile": 0.8}})
    plan.controls, plan.defaults, plan.settings

`Steering` lists the options; each row of `STEERS` turns some of them into a control, with what the model folder's
extra parts (`pipe.extra("controlnet")` ...) hold. A new way to steer is a new row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypedDict, get_type_hints

from personae.errors import unknown_name
from personae.reading.photo import PhotoSource
from personae.sampling.controls import Control
from personae.sampling.guidance import Predict
from personae.sampling.speed import Mode
from personae.types import Face, Identity, Pose

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline


class Steering(TypedDict, total=False):
    """The options of a request beside people and words. Absent or None: not steered.

    fast: steps of a consistency model (2-8) instead of the ordinary sampler.
    pose: of the head: a photo of someone who holds it (and makes that expression), or (yaw, pitch, roll) in degrees of
    a face at rest, or these by name together with blendshapes. pose_map: a normal map of one's own instead, square, RGB
    uint8 or a path. pose_scale: its strength, 0-2.
    expression: a photo of someone who makes it, or blendshapes by name, 0-1; for an adapter of FLAME's, 55 numbers; or
    a .npy or .json file of either. expression_scale: its strength, 0-1.
    reference: a photo whose look (light, colour, hair, background) is kept. reference_scale: how strongly, 0-1.
    speed: "exact", "balanced" or "fast" (`speed.MODES`): what may change for time; exact unless asked. Of a mode's
    parts, where nothing is saved (no guidance, fewer than nine steps) none applies. Each by itself, which then always
    applies: guidance_interval: (first, last) shares of the steps, 0-1, between which guidance acts. cache_interval:
    deep features of the UNet in every n-th step. decoder: "full", or "tiny" (the model's `taesd/`).
    likeness_guidance: how strongly the model's own recogniser pulls towards the person, 0 (off) and up.
    likeness_interval: (first, last) shares of the steps, 0-1, between which it does.
    """

    fast: int | None
    pose: PhotoSource | Pose | Sequence[float] | Mapping[str, float] | None
    pose_map: PhotoSource | None
    pose_scale: float | None
    expression: PhotoSource | Mapping[str, float] | Sequence[float] | None
    expression_scale: float | None
    reference: PhotoSource | None
    reference_scale: float | None
    speed: str | None
    guidance_interval: Sequence[float] | None
    cache_interval: int | None
    decoder: str | None
    likeness_guidance: float | None
    likeness_interval: Sequence[float] | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """Who is asked for: `given` faces or identities of P people; `who` (N,) the person of each image. `settings`: what
    the caller said of `num_inference_steps`, `guidance_scale` and `scheduler`, None: nothing."""

    given: Sequence[Face | Identity]
    people: Sequence[Identity]
    who: Sequence[int]
    settings: Mapping[str, Any] = field(default_factory=dict)


# (what predicts, the scheduler that will walk with it) -> what predicts instead.
Around = Callable[[Predict, Any], Predict]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`controls`: to engage, in order. `around`: laid around the guided prediction, in order. `defaults`: of
    `num_inference_steps`, `guidance_scale` and `scheduler`, where the caller says nothing. `settings`: the options as
    plain JSON values, enough to ask for the same again. `mode`: what is given up for time, None: nothing."""

    controls: list[Control] = field(default_factory=list)
    around: list[Around] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mode: Mode | None = None


# Each answers with its own part of the plan, or None if the request does not ask for it.
Steer = Callable[["FacePipeline", Request, Mapping[str, Any]], Plan | None]


def _expression(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import expression

    return expression.steer(pipe, request, options)


def _fast(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import fast

    return fast.steer(pipe, request, options)


def _likeness(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import likeness

    return likeness.steer(pipe, request, options)


def _pose(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import pose

    return pose.steer(pipe, request, options)


def _reference(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import reference

    return reference.steer(pipe, request, options)


def _speed(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    from personae.steers import speed

    return speed.steer(pipe, options)


STEERS: dict[str, Steer] = {
    "speed": _speed,
    "expression": _expression,
    "fast": _fast,
    "likeness": _likeness,
    "reference": _reference,
    "pose": _pose,
}


def plan_for(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan:
    """The whole plan of a request. Raises `BadOption` for an unknown option; `WeightsMissing` for a part that the
    model does not have; whatever a row raises for its own."""
    known = get_type_hints(Steering)
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known)
    whole = Plan()
    for steer in STEERS.values():
        part = steer(pipe, request, options)
        if part is not None:
            whole.controls.extend(part.controls)
            whole.around.extend(part.around)
            whole.defaults.update(part.defaults)
            whole.settings.update(part.settings)
            whole = replace(whole, mode=part.mode or whole.mode)
    return whole
