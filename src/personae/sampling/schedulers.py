"""Schedulers by name, each made fresh for a request from the model's own noise schedule.

    scheduler = fresh("dpm++", like=pipe.scheduler, steps=25)

A model is trained either on a noise schedule (epsilon or v prediction) or as a flow (velocity, rectified flow). A
scheduler of the other kind would produce noise, so it is refused.
"""

from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
import torch

from personae.errors import BadOption, unknown_name


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name. `noise`, `flow`: which models it can sample from; `options` for the diffusers class `cls`."""

    cls: str
    noise: bool = False
    flow: bool = False
    options: dict[str, Any] = field(default_factory=dict)


SCHEDULERS = {
    "ddim": Entry(cls="DDIMScheduler", noise=True, options={"clip_sample": False, "set_alpha_to_one": False}),
    "ddpm": Entry(cls="DDPMScheduler", noise=True, options={"clip_sample": False}),
    "deis": Entry(cls="DEISMultistepScheduler", noise=True, flow=True),
    "dpm++": Entry(cls="DPMSolverMultistepScheduler", noise=True, flow=True),
    "dpm++-karras": Entry(cls="DPMSolverMultistepScheduler", noise=True, options={"use_karras_sigmas": True}),
    "dpm++-sde": Entry(
        cls="DPMSolverMultistepScheduler", noise=True, flow=True, options={"algorithm_type": "sde-dpmsolver++"}
    ),
    "euler": Entry(cls="EulerDiscreteScheduler", noise=True),
    "euler-a": Entry(cls="EulerAncestralDiscreteScheduler", noise=True),
    "flow-euler": Entry(cls="FlowMatchEulerDiscreteScheduler", flow=True),
    "flow-heun": Entry(cls="FlowMatchHeunDiscreteScheduler", flow=True),
    "heun": Entry(cls="HeunDiscreteScheduler", noise=True),
    "lcm": Entry(cls="LCMScheduler", noise=True),
    "unipc": Entry(cls="UniPCMultistepScheduler", noise=True, flow=True),
}


def is_flow(scheduler: Any) -> bool:
    """Whether a scheduler walks a flow (t from 1 to 0, velocity) rather than a noise schedule."""
    config = scheduler.config
    return type(scheduler).__name__.startswith("FlowMatch") or config.get("prediction_type") == "flow_prediction"


def fresh(name: str | None, *, like: Any, steps: int, device: torch.device | str = "cpu") -> Any:
    """A new scheduler for one request, its `steps` laid: `name` from the table, or None for the model's own kind.

    like: the model's own scheduler, whose noise schedule is inherited; it is not touched.
    Raises `BadOption` for an unknown name, one of the other kind, or an impossible number of steps.
    """
    scheduler = type(like).from_config(like.config) if name is None else _named(name, like)
    most = scheduler.config.num_train_timesteps
    if not 1 <= steps <= most:
        raise BadOption(f"the number of steps lies between 1 and {most}, got {steps}")
    if isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        # By itself it ends at t = 1/1000 and spends its last step on nothing; even steps end at 1/steps.
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=device)
    else:
        scheduler.set_timesteps(steps, device=device)
    return scheduler


def _named(name: str, like: Any) -> Any:
    if name not in SCHEDULERS:
        raise unknown_name("scheduler", name, SCHEDULERS)
    entry, flow, cls = SCHEDULERS[name], is_flow(like), getattr(diffusers, SCHEDULERS[name].cls)
    if not (entry.flow if flow else entry.noise):
        kind = "a flow" if flow else "a noise schedule"
        fitting = ", ".join(n for n, e in SCHEDULERS.items() if (e.flow if flow else e.noise))
        raise BadOption(f"scheduler {name!r} cannot sample a model trained on {kind}: choose one of {fitting}")
    if not flow:
        return cls.from_config(like.config, **entry.options)
    # The two families of classes name the same things differently, so nothing but these carries over.
    shift = like.config.get("shift", like.config.get("flow_shift", 1.0))
    options = entry.options | {"num_train_timesteps": like.config.num_train_timesteps}
    if entry.cls.startswith("FlowMatch"):
        return cls(shift=shift, **options)
    return cls(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, **options)
