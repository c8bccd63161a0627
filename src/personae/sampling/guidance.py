"""Classifier-free guidance (Ho and Salimans 2022) around a diffusers UNet, towards one thing or several, weighed.

predict = guided(unet, positive, negative, scale=3.0)
predict = guided(unet, [Side(told=both, weight=0.6), Side(told=words, weight=0.4)], negative, scale=7.5)
velocity_or_noise = predict(latents, t)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from personae.conditioning.id_prompt import Conditioning
from personae.errors import BadOption
from personae.sampling.controls import Control, Rows, arguments, stacked

Predict = Callable[[Tensor, Tensor], Tensor]
Interval = tuple[float, float]  # of times t, lowest and highest, both within


@dataclass(frozen=True, kw_only=True)
class Side:
    """One thing that guidance leads to: `told` N rows; its `weight` among the others; `interval`: the times at which it
    acts, None: all."""

    told: Conditioning
    weight: float = 1.0
    interval: Interval | None = None


def combine(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """Equation 6 in the form all samplers use: scale 1 is the conditional prediction, 0 the unconditional."""
    return unconditional + scale * (conditional - unconditional)


def shares(weights: Sequence[float]) -> list[float]:
    """Weights as shares of their sum. Raises `BadOption` if there is none, or their sum is not above 0."""
    total = sum(weights)
    if not total > 0:
        raise BadOption(f"weights of what is asked for must sum to more than 0, got {list(weights)}")
    return [weight / total for weight in weights]


def acts(interval: Interval | None, t: Tensor | float) -> bool:
    """Whether the time t lies in an interval."""
    return interval is None or interval[0] <= float(t) <= interval[1]


def guided(
    unet: Any,
    positive: Conditioning | Sequence[Side],
    negative: Conditioning,
    scale: float,
    *,
    controls: Sequence[Control] = (),
    interval: Interval | None = None,
    batch_size: int = 16,
    pad: bool = False,
) -> Predict:
    """A function (latents (N, c, h, w) float32, t scalar, best on the CPU) -> prediction of the same shape, float32.

    positive: N rows, or sides of N rows each, whose predictions are averaged by their weights (Face0, section 3.4):
    w (a eps(1) + b eps(2)) + (1 - w) eps(negative), a + b = 1, at every time those that act. negative: one row, shared.
    At scale 1 the unconditional side is not computed; a side of weight 0 never is. controls: engaged by the caller.
    interval: the times at which guidance acts; at others the scale is 1 (Kynkäänniemi et al., NeurIPS 2024). The UNet
    sees at most `batch_size` images (a row for each side of an image) at a time, which changes no result; pad: a
    smaller last batch is filled up, for a UNet compiled for one size.
    """
    if not scale >= 0 or scale == float("inf"):
        raise BadOption(f"guidance must be a number >= 0, got {scale}")
    sides = [Side(told=positive)] if isinstance(positive, Conditioning) else [side for side in positive if side.weight]
    shares([side.weight for side in sides])
    count = len(sides[0].told)
    sides = [replace(side, told=side.told.to(unet.dtype)) for side in sides]
    negative = negative.to(unet.dtype)

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        batches = torch.arange(len(latents)).split(batch_size)
        return torch.cat([some(latents, t, filled(batch))[: len(batch)] for batch in batches])

    def filled(batch: Tensor) -> Tensor:
        missing = min(batch_size, count) - len(batch) if pad else 0
        return torch.cat([batch, batch[-1:].expand(missing)])

    def some(latents: Tensor, t: Tensor, index: Tensor) -> Tensor:
        x = latents[index.to(latents.device)]
        acting = [number for number, side in enumerate(sides) if acts(side.interval, t)]
        weights = shares([sides[number].weight for number in acting])
        led = scale != 1 and acts(interval, t)
        told = [negative.rows(torch.zeros_like(index))] if led else []
        told += [sides[number].told.rows(index) for number in acting]
        rows = stacked(index, [None, *acting] if led else acting)
        found = call(unet, torch.cat([x] * len(told)), t, join(*told), rows, controls).chunk(len(told))
        asked = torch.stack([w * one for w, one in zip(weights, found[-len(weights) :], strict=True)]).sum(0)
        return combine(asked, found[0], scale) if led else asked

    return predict


def call(
    unet: Any, latents: Tensor, t: Tensor, told: Conditioning, rows: Rows, controls: Sequence[Control] = ()
) -> Tensor:
    """One UNet evaluation in the UNet's own precision; latents and prediction float32. A UNet with a class
    embedding is told the pooled text as well."""
    labels = told.pooled if unet.config.class_embed_type is not None else None
    x = latents.to(unet.dtype)
    extra = arguments(controls, x, t, told, rows)
    t = t.to(x.device)
    return unet(x, t, encoder_hidden_states=told.tokens, class_labels=labels, return_dict=False, **extra)[0].float()


def join(*told: Conditioning) -> Conditioning:
    """The rows of all, one after the other."""
    pooled = [one.pooled for one in told if one.pooled is not None]
    return Conditioning(
        tokens=torch.cat([one.tokens for one in told]), pooled=torch.cat(pooled) if len(pooled) == len(told) else None
    )
