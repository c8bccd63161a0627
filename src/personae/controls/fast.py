"""`fast`: a few steps without guidance, by the model's LoRA for that (`lcm/`).

pipe(face, fast=4)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.controls.request import Plan, Request
from personae.controls.steps import StepsControl
from personae.errors import BadOption
from personae.io.json_kinds import Whole

if TYPE_CHECKING:
    from personae.model import Model


@dataclass(frozen=True, kw_only=True)
class FastControl(Control):
    """Latent consistency sampling (Luo et al. 2023). Guidance is built in: the student has learnt what its guided
    teacher predicts; guided again, it burns out."""

    group: ClassVar[str] = "Speed"
    component: ClassVar[str | None] = "lcm"

    fast: int | None = option(
        Whole(low=2, high=8),
        unit="steps",
        default_text="off",
        help="Steps of the model's distilled sampler, 2-8.",
    )

    def plan(self, model: Model, request: Request) -> Plan | None:
        """Raises `BadOption` for settings that contradict it; `WeightsMissing`, `WeightsCorrupt`."""
        if self.fast is None:
            return None
        student = model.component("lcm")
        own = {"num_inference_steps": self.fast, "guidance_scale": 1.0, "scheduler": student.scheduler}
        for name, value in request.control(StepsControl).chosen.items():
            if value != own[name]:
                raise BadOption(f"fast={self.fast} needs {name} {own[name]}, got {value}: leave {name} out")
        return Plan(hooks=[student.lora.at(1.0)], defaults=own, settings={"fast": self.fast})
