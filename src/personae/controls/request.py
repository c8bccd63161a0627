"""What a control knows of a request, and the plan that it returns.

controls = registry.controls_of({"fast": 4, "expression": {"smile": 0.8}})
plan = registry.plan_for(model, Request(controls=controls, ...))
plan.hooks, plan.defaults, plan.settings
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from personae.shapes import Bool

if TYPE_CHECKING:
    from torch import Tensor

    from personae.conditioning.types import UNetHook
    from personae.sampling.fast.mode_table import Mode
    from personae.sampling.guidance import Predict
    from personae.sampling.mask_blend import MaskBlend
    from personae.sampling.multidiffusion import MultiDiffusion
    from personae.sampling.text_guidance import GuidanceInputs
    from personae.types import Identity

    # (a prediction, the scheduler of the call) -> the prediction to use instead.
    PredictionWrapper = Callable[[Predict, Any], Predict]

C = TypeVar("C")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The people and the options of a call, before any option has acted.

    faces: P faces, identities or rows of an array, as the caller passed them. people: their P identities, in the
    model's space.
    person_index: (N,) for each image, which of the P people it shows. grid: (h, w) of the latents.
    controls: one of each class of `registry.CONTROLS`, with the options of this request.
    regions: (P, h, w) bool, where each person is, if every picture shows all of them. windows: of multidiffusion, if
    the picture is sampled in windows; N and `grid` then count and measure the windows.
    """

    faces: Sequence[Any]
    people: Sequence[Identity]
    person_index: Sequence[int]
    grid: tuple[int, int]
    controls: Sequence[Any] = ()  # of `control.Control`, which knows this class
    regions: Bool[Tensor, "P h w"] | None = None
    windows: MultiDiffusion | None = None

    def control(self, kind: type[C]) -> C:
        """The control of one class, whether or not the request sets any of its options."""
        return find(self.controls, kind)


def find(controls: Sequence[object], kind: type[C]) -> C:
    """The control of one class, whether or not it is among `controls`."""
    return next((one for one in controls if isinstance(one, kind)), None) or kind()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a request is carried out.

    hooks: on the UNet, to engage in order. around: laid around the guided prediction, in order. defaults: of
    `num_inference_steps`, `guidance_scale` and `scheduler`, where the caller gave none. settings: the options as plain
    JSON values, enough to request the same again. mode: what is given up for time; None: nothing. guidance: what
    guidance leads to; None: the identity prompt. mask_blend: the pictures of which a part is preserved; None: the whole
    picture is new.
    """

    hooks: list[UNetHook] = field(default_factory=list)
    around: list[PredictionWrapper] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    mode: Mode | None = None
    guidance: GuidanceInputs | None = None
    mask_blend: MaskBlend | None = None

    def wrapped(self, predict: Predict, scheduler: Any) -> Predict:
        """A prediction with all that is laid around it, for a call with this scheduler."""
        for wrap in self.around:
            predict = wrap(predict, scheduler)
        return predict


def per_person(value: Any) -> bool:
    """Whether an option's value is a list with one for each person, rather than one for all: a list of numbers is a
    single pose or expression, a list of poses, objects or lists one for each."""
    from personae.types import Pose  # late: it brings numpy

    return isinstance(value, list | tuple) and any(isinstance(one, Pose | Mapping | list | tuple) for one in value)


def for_each_person(value: Any, people: int) -> list[Any]:
    """The value of each person: a list with one for each as it is, one for all repeated."""
    return list(value) if per_person(value) else [value] * people
