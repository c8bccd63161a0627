"""`fast`: a few steps without guidance, by the model's LoRA for that (`lcm/`)."""

from collections.abc import Mapping
from typing import Any

from personae.controls.request import Plan, Request
from personae.errors import BadOption
from personae.model import Model

FEWEST, MOST = 2, 8


def steer(pipe: Model, request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `registry.Control`. Raises `BadOption` for another number of steps, or settings that contradict it;
    `WeightsMissing`, `WeightsCorrupt`."""
    steps = options.get("fast")
    if steps is None:
        return None
    if not isinstance(steps, int) or isinstance(steps, bool) or not FEWEST <= steps <= MOST:
        raise BadOption(f"fast takes {FEWEST} to {MOST} steps, got {steps!r}: leave it out for ordinary sampling")
    student = pipe.component("lcm")
    # Guidance is built in: the student has learnt what its guided teacher says; guided again, it burns out.
    own = {"num_inference_steps": steps, "guidance_scale": 1.0, "scheduler": student.scheduler}
    for name, value in own.items():
        if request.settings.get(name) not in (None, value):
            raise BadOption(f"fast={steps} needs {name} {value}, got {request.settings[name]}: leave {name} out")
    return Plan(hooks=[student.lora.at(1.0)], defaults=own, settings={"fast": steps})
