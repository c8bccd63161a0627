"""Classifier-free guidance (Ho and Salimans 2022) around a diffusers UNet.

predict = guided(unet, positive, negative, scale=3.0)
velocity_or_noise = predict(latents, t)
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from personae.conditioning.id_prompt import Conditioning
from personae.errors import BadOption
from personae.sampling.controls import Control, Rows, arguments, halves

Predict = Callable[[Tensor, Tensor], Tensor]


def combine(conditional: Tensor, unconditional: Tensor, scale: float | Tensor) -> Tensor:
    """Equation 6 in the form all samplers use: scale 1 is the conditional prediction, 0 the unconditional."""
    return unconditional + scale * (conditional - unconditional)


def guided(
    unet: Any,
    positive: Conditioning,
    negative: Conditioning,
    scale: float,
    *,
    controls: Sequence[Control] = (),
    interval: tuple[float, float] | None = None,
    batch_size: int = 16,
    pad: bool = False,
) -> Predict:
    """A function (latents (N, c, h, w) float32, t scalar, best on the CPU) -> prediction of the same shape, float32.

    positive: N rows; negative: one row, shared. At scale 1 the unguided half is not computed. controls: engaged by
    the caller. interval: of times t, lowest and highest, in which guidance acts; outside it the scale is 1
    (Kynkäänniemi et al., NeurIPS 2024). The UNet sees at most `batch_size` images (twice as many rows when guided) at a
    time, which changes no result; pad: a smaller last batch is filled up, for a UNet compiled for one size.
    """
    if not scale >= 0 or scale == float("inf"):
        raise BadOption(f"guidance must be a number >= 0, got {scale}")
    positive, negative = (side.to(unet.dtype) for side in (positive, negative))

    def predict(latents: Tensor, t: Tensor) -> Tensor:
        batches = torch.arange(len(latents)).split(batch_size)
        return torch.cat([some(latents, t, filled(batch))[: len(batch)] for batch in batches])

    def filled(batch: Tensor) -> Tensor:
        missing = min(batch_size, len(positive)) - len(batch) if pad else 0
        return torch.cat([batch, batch[-1:].expand(missing)])

    def some(latents: Tensor, t: Tensor, index: Tensor) -> Tensor:
        x, told = latents[index.to(latents.device)], positive.rows(index)
        if scale == 1 or not (interval is None or interval[0] <= float(t) <= interval[1]):
            return call(unet, x, t, told, Rows(images=index, asked=torch.ones_like(index).bool()), controls)
        untold = negative.rows(torch.zeros_like(index))
        both = join(untold, told)
        unconditional, conditional = call(unet, torch.cat([x, x]), t, both, halves(index), controls).chunk(2)
        return combine(conditional, unconditional, scale)

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


def join(first: Conditioning, second: Conditioning) -> Conditioning:
    """The rows of both, one after the other."""
    pooled = None if first.pooled is None or second.pooled is None else torch.cat([first.pooled, second.pooled])
    return Conditioning(tokens=torch.cat([first.tokens, second.tokens]), pooled=pooled)
