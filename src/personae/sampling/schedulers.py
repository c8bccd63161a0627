"""Schedulers by name (`scheduler_table`), each made fresh for a request from the model's own noise schedule.

    scheduler = fresh("dpm++", like=pipe.scheduler, steps=25)

A model is trained either on a noise schedule (epsilon or v prediction) or as a flow (velocity, rectified flow). A
scheduler of the other kind would produce noise, so it is refused.
"""

import inspect
from typing import Any

import diffusers
import numpy as np
import torch

from personae.errors import BadOption, unknown_name
from personae.sampling.scheduler_table import SCHEDULERS

# What a model was trained on: no scheduler's default takes its place.
_NOISE_SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
)


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
    # A consistency sampler knows no more steps than the model that it was distilled from was sampled in.
    most = scheduler.config.get("original_inference_steps") or scheduler.config.num_train_timesteps
    if not 1 <= steps <= most:
        raise BadOption(f"the number of steps{f' of {name}' if name else ''} lies between 1 and {most}, got {steps}")
    if isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        # By itself it ends at t = 1/1000 and spends its last step on nothing; even steps end at 1/steps.
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps).tolist(), device=device)
    else:
        scheduler.set_timesteps(steps, device=device)
    return scheduler


def fitting(like: Any) -> list[str]:
    """The names of those that can sample what the model's own scheduler `like` can."""
    flow = is_flow(like)
    return [name for name, entry in SCHEDULERS.items() if (entry.flow if flow else entry.noise)]


def _named(name: str, like: Any) -> Any:
    if name not in SCHEDULERS:
        raise unknown_name("scheduler", name, SCHEDULERS)
    entry, flow, cls = SCHEDULERS[name], is_flow(like), getattr(diffusers, SCHEDULERS[name].cls)
    if name not in (right := fitting(like)):
        kind = "a flow" if flow else "a noise schedule"
        raise BadOption(f"scheduler {name!r} cannot sample a model trained on {kind}: choose one of {', '.join(right)}")
    if not flow:
        return cls.from_config(_chosen(like), **entry.options)
    # The two families of classes name the same things differently, so nothing but these carries over.
    shift = like.config.get("shift", like.config.get("flow_shift", 1.0))
    options = entry.options | {"num_train_timesteps": like.config.num_train_timesteps}
    if entry.cls.startswith("FlowMatch"):
        return cls(shift=shift, **options)
    return cls(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift, **options)


def _chosen(like: Any) -> dict[str, Any]:
    """The noise schedule of a scheduler, and its other settings that differ from the defaults of its class. Of these
    diffusers leaves to another class what nobody has set, such as `timestep_spacing`; a scheduler that was saved no
    longer knows what that is."""
    defaults = {name: one.default for name, one in inspect.signature(type(like).__init__).parameters.items()}
    return {
        name: value
        for name, value in like.config.items()
        if name in _NOISE_SCHEDULE or name not in defaults or not _equal(value, defaults[name])
    } | {"_use_default_values": []}


def _equal(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
