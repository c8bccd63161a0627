"""What steers the UNet beside its prompt, for the time of one request: pose maps, expressions, references, LoRAs.

    with engaged(controls, unet):
        predict = guided(unet, positive, negative, 3.0, controls=controls)
        denoise(predict, noise, scheduler)

A control belongs to one request: it holds what that request asked for, row by row, and leaves no trace on the network
that it shares with others.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from personae.conditioning.id_prompt import Conditioning
from personae.errors import BadOption


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the M rows of one network call stand for: `images` (M,) int64, numbers among the request's images; `asked`
    (M,) bool, false where guidance is told of nothing; `sides` (M,) int64, which of the things it weighs is asked for
    (None: there is one). All on the CPU."""

    images: Tensor
    asked: Tensor
    sides: Tensor | None = None

    def names(self) -> list[tuple[int, bool, int]]:
        """What tells each row from all others of a step."""
        sides = [0] * len(self.images) if self.sides is None else self.sides.tolist()
        return list(zip(self.images.tolist(), self.asked.tolist(), sides, strict=True))


class Control(Protocol):
    """One thing that steers."""

    def engaged(self, unet: Any) -> AbstractContextManager[None]:
        """Attached to `unet` inside the block; afterwards the UNet is exactly as before, whatever happened."""

    def arguments(self, latents: Tensor, t: Tensor, told: Conditioning, rows: Rows) -> dict[str, Any]:
        """Keyword arguments of the UNet for one call: latents (M, c, h, w) in the UNet's dtype, t scalar, told M
        rows. {} if all was said when engaging."""


@contextmanager
def engaged(controls: Sequence[Control], unet: Any) -> Iterator[None]:
    """All of them, in order; undone in reverse."""
    with ExitStack() as stack:
        for control in controls:
            stack.enter_context(control.engaged(unet))
        yield


def arguments(
    controls: Sequence[Control], latents: Tensor, t: Tensor, told: Conditioning, rows: Rows
) -> dict[str, Any]:
    """The keyword arguments of all controls. Raises `BadOption` if two of them want to set the same one."""
    merged: dict[str, Any] = {}
    for control in controls:
        given = control.arguments(latents, t, told, rows)
        if twice := merged.keys() & given.keys():
            raise BadOption(f"two controls set the UNet's {min(twice)}: use one of them at a time")
        merged |= given
    return merged


def stacked(images: Tensor, sides: Sequence[int | None]) -> Rows:
    """The rows of a call in which each of `images` (M,) stands once for every side, one side after the other; None is
    the unconditional one."""
    each = torch.tensor([-1 if side is None else side for side in sides]).repeat_interleave(len(images))
    return Rows(images=images.repeat(len(sides)), asked=each >= 0, sides=each.clamp(min=0))


def halves(images: Tensor) -> Rows:
    """The rows of a guided call: first the unconditional, then the conditional half of `images` (M,)."""
    return stacked(images, [None, 0])
