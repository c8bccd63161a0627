"""Faces sampled from pure noise inside a training step, so that a loss can judge what a model makes of noise alone.

    latents = walk(led(conditional, unconditional, 2.0), noise, 1.0, 0.0, steps=12)     # no gradient
    rolled = roll(conditional, unconditional, noise, ends_and_scales(12, generator))   # nor here
    clean = rolled.clean(conditional(rolled.noisy, rolled.times))     # with it, through the last step only

What a noised photo still shows of a person, the loss of the photo's own prediction does not have to learn (see PuLID,
Guo et al. 2024, and DreamID, Ye et al. 2025, which judge few-step predictions so).

Legend: R faces.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from personae.sampling.guidance import combine
from personae.shapes import Float

STEPS = 3  # without gradient, before the one that is judged
_ENDS, _SCALES = (0.15, 0.6), (1.0, 2.5)
Velocity = Callable[[Tensor, Tensor], Tensor]  # (R, c, h, w) at times (R,) -> velocity
Fuse = Callable[[Tensor, Tensor], Tensor]  # (R, c, h, w) at times (R, 1, 1, 1) -> the same, part of it replaced


@dataclass(frozen=True, kw_only=True)
class Course:
    """For each face, the time at which it is judged and the guidance on the way: (R, 1, 1, 1) both."""

    end: Float[Tensor, "R 1 1 1"]
    scale: Float[Tensor, "R 1 1 1"]


@dataclass(frozen=True, kw_only=True)
class Rolled:
    """R faces on their way from pure noise, one step before they are judged."""

    noisy: Float[Tensor, "R c h w"]  # (R, c, h, w)
    unconditional: Float[Tensor, "R c h w"]  # (R, c, h, w) the velocity without conditions
    course: Course

    @property
    def times(self) -> Tensor:
        """(R,)"""
        return self.course.end.flatten()

    def clean(self, conditional: Tensor) -> Tensor:
        """The finished latents (R, c, h, w) after the last guided step. conditional: (R, c, h, w), with all
        conditions."""
        return self.noisy - self.course.end * combine(conditional, self.unconditional, self.course.scale)


def ends_and_scales(count: int, generator: torch.Generator) -> Course:
    """Drawn for each face."""
    end, scale = (
        low + (high - low) * torch.rand(count, 1, 1, 1, generator=generator, device=generator.device)
        for low, high in (_ENDS, _SCALES)
    )
    return Course(end=end, scale=scale)


def led(conditional: Velocity, unconditional: Velocity, scale: float | Float[Tensor, "R 1 1 1"]) -> Velocity:
    """Both, guided by `scale`."""
    return lambda noisy, times: combine(conditional(noisy, times).float(), unconditional(noisy, times).float(), scale)


@torch.no_grad()
def walk(
    velocity: Velocity,
    noisy: Float[Tensor, "R c h w"],
    start: float | Float[Tensor, "R 1 1 1"],
    end: float | Float[Tensor, "R 1 1 1"],
    steps: int,
    fuse: Fuse | None = None,
) -> Float[Tensor, "R c h w"]:
    """(R, c, h, w): Euler steps of equal length from the time `start` to `end`, of all or of each (R, 1, 1, 1). fuse:
    applied after each."""
    noisy = noisy.contiguous(memory_format=torch.channels_last)  # or everything is slow
    first, last = (noisy.new_zeros(len(noisy), 1, 1, 1) + time for time in (start, end))
    length = (first - last) / max(1, steps)
    for step in range(steps):
        noisy = noisy - length * velocity(noisy, (first - length * step).flatten()).float()
        if fuse is not None:
            noisy = fuse(noisy, first - length * (step + 1))
    return noisy


@torch.no_grad()
def roll(
    conditional: Velocity,
    unconditional_velocity: Velocity,
    noise: Tensor,
    course: Course,
    *,
    steps: int = STEPS,
    fuse: Fuse | None = None,
) -> Rolled:
    """Guided Euler steps of equal length from `noise` (R, c, h, w) to the course's end. fuse: applied after each."""
    noisy = walk(led(conditional, unconditional_velocity, course.scale), noise, 1.0, course.end, steps, fuse)
    return Rolled(noisy=noisy, unconditional=unconditional_velocity(noisy, course.end.flatten()).float(), course=course)
