"""The schedulers there are, by name: a class of diffusers each, and what it can sample. Brings no torch.

`schedulers.fresh` makes one of them for a request; command line, completion and schemas read the names.
"""

from dataclasses import dataclass, field
from typing import Any


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
