"""The controls there are, and the whole plan of a request.

    plan = plan_for(pipe, request, {"fast": 4, "expression": {"smile": 0.8}})

Each row of `CONTROLS` turns some of the options into its part of the plan. A new way to steer is a file and a row.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from personae.controls import (
    expression,
    facex,
    fast,
    inpaint,
    likeness,
    lora,
    motion,
    pose,
    reference,
    speed,
    text,
)
from personae.controls.request import Plan, Request, Steering
from personae.errors import BadOption, unknown_name
from personae.model import Model

# Each answers with its own part of the plan, or None if the request does not ask for it.
Control = Callable[[Model, Request, Mapping[str, Any]], Plan | None]

CONTROLS: dict[str, Control] = {
    "speed": speed.steer,
    "expression": expression.steer,
    "facex": facex.steer,
    "fast": fast.steer,
    "motion": motion.steer,
    "likeness": likeness.steer,
    "inpaint": inpaint.steer,
    "lora": lora.steer,
    "reference": reference.steer,
    "pose": pose.steer,
    "text": text.steer,  # the last: its regions lie around what others make of the UNet's attention
}

# What is made for pictures, or windows, of one face, aligned and as large as the model's own.
ONE_FACE = ("pose", "pose_map", "assembly", "reference", "likeness_guidance", "motion_guidance")


def plan_for(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan:
    """The whole plan of a request. Raises `BadOption` for an unknown option; `WeightsMissing` for a part that the
    model does not have; whatever a row raises for its own."""
    known = get_type_hints(Steering)
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known)
    whole = Plan()
    if options.get("regions") is not None:
        from personae.controls import regions as together

        request, setting = together.laid_out(pipe, request, options["regions"])
        whole.settings.update(setting)
    _require_one_face(request, options, pipe.unet.config.sample_size)
    for control in CONTROLS.values():
        part = control(pipe, request, options)
        if part is not None:
            whole.hooks.extend(part.hooks)
            whole.around.extend(part.around)
            whole.defaults.update(part.defaults)
            whole.settings.update(part.settings)
            whole = replace(
                whole,
                mode=part.mode or whole.mode,
                guidance=part.guidance or whole.guidance,
                mask_blend=part.mask_blend or whole.mask_blend,
            )
    if request.windows is not None:
        whole.around.append(request.windows)  # the last: what the others make is a prediction of windows
    return whole


def _require_one_face(request: Request, options: Mapping[str, Any], side: int) -> None:
    """Raise `BadOption` for options that need a face of its own in everything that the UNet makes."""
    people = request.person_index if request.windows is None else request.windows.people
    if request.grid == (side, side) and None not in people and (request.regions is None or request.windows is not None):
        return
    for name in ONE_FACE:
        if options.get(name) is not None:
            raise BadOption(
                f"{name} is for pictures of one face: leave it out, or regions, height and width; or give regions of "
                "a larger picture whose windows leave nothing out"
            )
