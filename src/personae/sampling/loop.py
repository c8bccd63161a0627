"""The sampling loop: any prediction function, any diffusers scheduler.

    scheduler = schedulers.fresh("dpm++", like=pipe.scheduler, steps=25)
    noise = draw_noise((8, 16, 16), generators)
    latents = denoise(predict, noise, scheduler, generators=generators)

The loop knows no model: conditioning and guidance are inside `predict`.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from personae.errors import BadOption
from personae.sampling.guidance import Predict
from personae.sampling.mask_blend import MaskBlend
from personae.shapes import Float, Float32

# (step, t, latents) -> latents to go on with, or None to stop here.
OnStep = Callable[[int, Tensor, Tensor], Tensor | None]


def generators_for(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per image: its noise depends on its seed alone, not on device, batch or order."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def draw_noise(shape: tuple[int, int, int], generators: Sequence[torch.Generator]) -> Float32[Tensor, "N c h w"]:
    """Standard normal (N, *shape) float32 on the CPU, row n from generator n."""
    return torch.stack([torch.randn(shape, generator=g, device=g.device).cpu() for g in generators])


def denoise(
    predict: Predict,
    noise: Float32[Tensor, "N c h w"],
    scheduler: Any,
    *,
    generators: Sequence[torch.Generator] | None = None,
    on_step: OnStep | None = None,
    mask_blend: MaskBlend | None = None,
) -> Float[Tensor, "N c h w"]:
    """From noise to clean latents.

    Arguments:
        predict: (latents, t) -> what the scheduler was configured for (noise, v, velocity).
        noise: (N, c, h, w) float32, standard normal.
        scheduler: any of diffusers', its timesteps set; used up by this call, so give a fresh one (`schedulers.fresh`).
        generators: one per row, for schedulers that add noise; None: torch's own.
        on_step: called after each step with its number, t and the latents; returns the latents to go on with, or None
            to end the loop.
        mask_blend: the known latents, which stay outside its mask.

    Returns latents (N, c, h, w). Raises `BadOption` for another number of generators than of images.
    """
    if generators is not None and len(generators) != len(noise):
        raise BadOption(f"{len(noise)} images need as many generators, got {len(generators)}")
    # Flow schedulers start at unit noise and know neither of the two.
    latents = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    scale = getattr(scheduler, "scale_model_input", lambda x, t: x)
    extra = {"generator": list(generators)} if generators and _takes_generator(scheduler) else {}
    first = 0
    if mask_blend is not None:
        first = mask_blend.first_step(scheduler)
        latents = mask_blend.begin(latents, noise, scheduler, first)
    for step, t in enumerate(scheduler.timesteps[first:], start=first):
        prediction = predict(scale(latents, t), t)
        latents = scheduler.step(prediction, t, latents, return_dict=False, **extra)[0]
        if mask_blend is not None:
            latents = mask_blend.after_step(step, latents, noise, scheduler)
        if on_step is not None:
            changed = on_step(step, t, latents)
            if changed is None:
                break
            latents = changed
    return latents if mask_blend is None else mask_blend.finish(latents)


def _takes_generator(scheduler: Any) -> bool:
    return "generator" in inspect.signature(scheduler.step).parameters
