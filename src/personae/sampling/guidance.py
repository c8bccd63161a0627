"""Classifier-free guidance (Ho and Salimans 2022) around a diffusers UNet, towards one conditioning or several.

predict = guided(unet, positive, negative, scale=3.0)
predict = guided(unet, [GuidanceTerm(conditioning=both, weight=0.6), GuidanceTerm(conditioning=text)], negative, 7.5)
velocity_or_noise = predict(latents, t)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from personae.conditioning.types import Conditioning, Rows, UNetHook
from personae.errors import BadOption
from personae.sampling.unet_hooks import arguments, stacked
from personae.shapes import Float, Float32, Num

Predict = Callable[[Tensor, Tensor], Tensor]
Interval = tuple[float, float]  # of times t, lowest and highest, both within


@dataclass(frozen=True, kw_only=True)
class GuidanceTerm:
    """One conditioning that guidance leads to.

    Attributes:
        conditioning: N rows, one for each image.
        weight: its share beside the other terms; only proportions count.
        interval: the timesteps at which it acts; None: all.
    """

    conditioning: Conditioning
    weight: float = 1.0
    interval: Interval | None = None


def combine(
    conditional: Float[Tensor, " *shape"], unconditional: Float[Tensor, " *shape"], scale: float | Float[Tensor, " ..."]
) -> Float[Tensor, " *shape"]:
    """The guided prediction (equation 6, in the form all samplers use), of two predictions of one shape.

    scale: 0 is the unconditional prediction, 1 the conditional one, more goes beyond it.
    """
    return unconditional + scale * (conditional - unconditional)


def shares(weights: Sequence[float]) -> list[float]:
    """Weights divided by their sum. Raises `BadOption` if there is none, or their sum is not above 0."""
    total = sum(weights)
    if not total > 0:
        raise BadOption(f"weights of what guidance leads to must sum to more than 0, got {list(weights)}")
    return [weight / total for weight in weights]


def acts(interval: Interval | None, t: Num[Tensor, ""] | float) -> bool:
    """Whether timestep t lies in an interval; None: every timestep does."""
    return interval is None or interval[0] <= float(t) <= interval[1]


def guided(
    unet: Any,
    positive: Conditioning | Sequence[GuidanceTerm],
    negative: Conditioning,
    scale: float,
    *,
    hooks: Sequence[UNetHook] = (),
    interval: Interval | None = None,
    batch_size: int = 16,
    pad: bool = False,
    weaker: Any = None,
) -> Predict:
    """The prediction function of a sampler.

    Arguments:
        unet: of diffusers.
        positive: N rows, or terms of N rows each, whose predictions are averaged by their weights (Face0, section 3.4):
            w (a eps(1) + b eps(2)) + (1 - w) eps(negative), a + b = 1, at every timestep over the terms that act. A
            term of weight 0 is never computed.
        negative: one row, shared by all images.
        scale: w, at least 0. At 1 the unconditional prediction is not computed.
        hooks: engaged by the caller (`unet_hooks.engaged`).
        interval: the timesteps at which guidance acts; at others the scale is 1 (Kynkäänniemi et al., NeurIPS 2024).
        batch_size: the most images in one call of the UNet, each with a row for each term; changes no result.
        pad: fill up a smaller last batch, for a UNet that was compiled for one size.
        weaker: a UNet that computes the unconditional prediction, without hooks (`sampling.autoguidance`); None: the
            same one does.

    Returns a function of latents (N, c, h, w) float32 and a timestep (a scalar, best on the CPU), whose prediction has
    the same shape, float32.
    Raises `BadOption` for a scale that is negative or infinite, and as `shares`.
    """
    if not scale >= 0 or scale == float("inf"):
        raise BadOption(f"guidance must be a number >= 0, got {scale}")
    terms = [GuidanceTerm(conditioning=positive)] if isinstance(positive, Conditioning) else positive
    terms = [term for term in terms if term.weight]
    shares([term.weight for term in terms])
    count = len(terms[0].conditioning)
    terms = [replace(term, conditioning=term.conditioning.to(unet.dtype)) for term in terms]
    negative = negative.to(unet.dtype if weaker is None else weaker.dtype)

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        batches = torch.arange(len(latents)).split(batch_size)
        return torch.cat([some(latents, t, filled(batch))[: len(batch)] for batch in batches])

    def filled(batch: Tensor) -> Tensor:
        missing = min(batch_size, count) - len(batch) if pad else 0
        return torch.cat([batch, batch[-1:].expand(missing)])

    def some(latents: Tensor, t: Tensor, index: Tensor) -> Tensor:
        x = latents[index.to(latents.device)]
        acting = [number for number, term in enumerate(terms) if acts(term.interval, t)]
        weights = shares([terms[number].weight for number in acting])
        led = scale != 1 and acts(interval, t)
        away = negative.rows(torch.zeros_like(index))
        parts = [terms[number].conditioning.rows(index) for number in acting]
        together = led and weaker is None
        if together:
            parts.insert(0, away)
        rows = stacked(index, [None, *acting] if together else acting)
        found = call(unet, torch.cat([x] * len(parts)), t, join(*parts), rows, hooks).chunk(len(parts))
        conditional = torch.stack([w * one for w, one in zip(weights, found[-len(weights) :], strict=True)]).sum(0)
        if not led:
            return conditional
        return combine(conditional, found[0] if together else call(weaker, x, t, away, stacked(index, [None])), scale)

    return predict


def call(
    unet: Any,
    latents: Float32[Tensor, "M c h w"],
    t: Num[Tensor, ""],
    conditioning: Conditioning,
    rows: Rows,
    hooks: Sequence[UNetHook] = (),
) -> Float32[Tensor, "M c h w"]:
    """One UNet evaluation in the UNet's own precision; latents and prediction float32. A UNet with a class
    embedding also takes the pooled text."""
    labels = conditioning.pooled if unet.config.class_embed_type is not None else None
    x = latents.to(unet.dtype)
    extra = arguments(hooks, x, t, conditioning, rows)
    t = t.to(x.device)
    tokens = conditioning.tokens
    return unet(x, t, encoder_hidden_states=tokens, class_labels=labels, return_dict=False, **extra)[0].float()


def join(*parts: Conditioning) -> Conditioning:
    """The rows of all, one after the other."""
    tokens, pooled = [one.tokens for one in parts], [one.pooled for one in parts if one.pooled is not None]
    return Conditioning(tokens=torch.cat(tokens), pooled=torch.cat(pooled) if len(pooled) == len(parts) else None)
