"""`num_inference_steps`, `guidance_scale` and `scheduler`: how noise becomes a picture.

pipe(face, num_inference_steps=12, guidance_scale=3.0, scheduler="dpm++")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from personae.controls.control import Control
from personae.controls.option import option
from personae.io.json_kinds import NOTHING, Choice, Number, Whole, either
from personae.sampling.scheduler_table import SCHEDULERS

if TYPE_CHECKING:
    from personae.model import Model

_SCHEDULER = Choice(of=tuple(SCHEDULERS))
_OF_THE_MODEL = "the model's"


@dataclass(frozen=True, kw_only=True)
class StepsControl(Control):
    """The loop of a call. What the request leaves out is another control's default (`Plan.defaults`), or the model's
    own."""

    group: ClassVar[str] = "Sampling"

    num_inference_steps: int | None = option(
        Whole(low=1, high=1000),
        title="Steps",
        soft=(1, 50),
        default_text=_OF_THE_MODEL,
        flag="--steps",
        help="Sampling steps; more is slower and finer.",
    )
    guidance_scale: float | None = option(
        Number(low=-1000, high=1000),
        title="Guidance",
        soft=(1, 10),
        step=0.1,
        default_text=_OF_THE_MODEL,
        flag="--guidance",
        help="How strictly to follow the identity.",
    )
    scheduler: str | None = option(
        _SCHEDULER,
        default_text=_OF_THE_MODEL,
        recipe=either(NOTHING, _SCHEDULER),
        help="How to sample, e.g. dpm++.",
    )

    @property
    def chosen(self) -> dict[str, Any]:
        """What the request sets."""
        return {name: getattr(self, name) for name in self.options() if name in self.explicit}

    def settings(self, model: Model, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """What is in effect: the model's own, over it `defaults` of the plan, over them what the request sets."""
        own = {
            "num_inference_steps": model.config.steps,
            "guidance_scale": model.config.guidance_scale,
            "scheduler": None,
        }
        return own | dict(defaults) | self.chosen

    @classmethod
    def of_model(cls, model: Model) -> Mapping[str, Mapping[str, Any]]:
        """The model's own steps and guidance, and the schedulers that can sample it."""
        from personae.sampling.schedulers import fitting  # late: it brings torch

        return {
            "num_inference_steps": {"default": model.config.steps},
            "guidance_scale": {"default": model.config.guidance_scale},
            "scheduler": {"choices": fitting(model.scheduler)},
        }
