"""Hooks on the UNet for the time of one request: how they are engaged, and what they add to a call.

    with engaged(hooks, unet):
        predict = guided(unet, positive, negative, 3.0, hooks=hooks)
        denoise(predict, noise, scheduler)

What a hook is: `personae.conditioning.types.UNetHook`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from personae.conditioning.types import Conditioning, Rows, UNetHook
from personae.errors import BadOption
from personae.shapes import Float, Int64, Num


@contextmanager
def engaged(hooks: Sequence[UNetHook], unet: Any) -> Iterator[None]:
    """All of them, in order; undone in reverse."""
    with ExitStack() as stack:
        for hook in hooks:
            stack.enter_context(hook.engaged(unet))
        yield


def arguments(
    hooks: Sequence[UNetHook],
    latents: Float[Tensor, "M c h w"],
    t: Num[Tensor, ""],
    conditioning: Conditioning,
    rows: Rows,
) -> dict[str, Any]:
    """The keyword arguments of all hooks. Raises `BadOption` if two of them set the same one."""
    merged: dict[str, Any] = {}
    for hook in hooks:
        added = hook.arguments(latents, t, conditioning, rows)
        if twice := merged.keys() & added.keys():
            raise BadOption(f"two controls set the UNet's {min(twice)}: use one of them at a time")
        merged |= added
    return merged


def stacked(images: Int64[Tensor, " M"], terms: Sequence[int | None]) -> Rows:
    """The rows of a call in which each of `images` (M,) stands once for every guidance term, one term after the other;
    None is the unconditional one."""
    each = torch.tensor([-1 if term is None else term for term in terms]).repeat_interleave(len(images))
    return Rows(images=images.repeat(len(terms)), conditional=each >= 0, terms=each.clamp(min=0))
