"""`fast`: a few steps without guidance, by the model's LoRA for that (`lcm/`)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from personae.errors import BadOption
from personae.steering import Plan, Request

if TYPE_CHECKING:
    from personae.pipeline import FacePipeline

FEWEST, MOST = 2, 8


def steer(pipe: "FacePipeline", request: Request, options: Mapping[str, Any]) -> Plan | None:
    """See `personae.steering.Steer`. Raises `BadOption` for another number of steps, or, when sampling begins, for
    guidance other than 1; `WeightsMissing`, `WeightsCorrupt`."""
    steps = options.get("fast")
    if steps is None:
        return None
    if not isinstance(steps, int) or isinstance(steps, bool) or not FEWEST <= steps <= MOST:
        raise BadOption(f"fast takes {FEWEST} to {MOST} steps, got {steps!r}: leave it out for ordinary sampling")
    student = pipe.extra("lcm")
    return Plan(
        controls=student.controls(),
        defaults={"num_inference_steps": steps, "guidance_scale": 1.0, "scheduler": student.scheduler},
        settings={"fast": steps},
    )
