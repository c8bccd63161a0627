"""Guidance by a recogniser: what the network means to make is moved, step by step, towards the person asked for.

    towards = LikenessGuidance(vae=vae, recogniser=recogniser, wanted=vectors, strength=0.1, interval=(0.2, 0.8))
    denoise(towards(predict, scheduler), noise, scheduler)

Face0 (arXiv 2306.06638) proposes it as future work. Each prediction is read as the clean latents it means, these are
decoded and recognised, and they move along the gradient of the cosine to the wanted identity. The gradient goes
through decoder and recogniser only, not through the UNet: shifting the clean estimate itself, as in MPGD (He et al.,
ICLR 2024), needs no backward pass through the largest network (FreeDoM, Yu et al., ICCV 2023, takes one).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from personae.reading.differentiable import AlignedRecogniser
from personae.sampling import codec, parameterisation
from personae.sampling.guidance import Predict
from personae.sampling.speed import decoded_at_once, guided_times

_BACKWARD = 4  # times the memory of decoding alone that decoding with a gradient takes, roughly


@dataclass(frozen=True, kw_only=True)
class LikenessGuidance:
    """vae, recogniser: on the sampler's device; the recogniser looks where the model's images have their faces.
    wanted: (N, D) unit vectors in the recogniser's space, one per image.

    strength: how far each step moves the clean latents, as a root mean square; they themselves have about 1.
    interval: (first, last) shares of the steps, 0-1, between which it acts.
    """

    vae: Any
    recogniser: AlignedRecogniser
    wanted: Tensor
    strength: float
    interval: tuple[float, float]

    def __call__(self, predict: Predict, scheduler: Any) -> Predict:
        """`predict`, guided; `scheduler`: the one that will walk with it."""
        earliest, latest = guided_times(scheduler.timesteps, self.interval)

        def steered(x: Tensor, t: Tensor) -> Tensor:
            prediction = predict(x, t)
            if not earliest <= float(t) <= latest:
                return prediction
            form = parameterisation.at(scheduler, t)
            clean = form.to_clean(prediction, x)
            return form.from_clean(clean + self.strength * self.direction(clean), x)

        return steered

    def direction(self, clean: Tensor) -> Tensor:
        """The way (N, c, h, w) in which each of the clean latents comes to look more like its person: the gradient of
        the cosine, its root mean square 1 (0 where there is no gradient)."""
        at_once = max(1, decoded_at_once(self.vae, clean) // _BACKWARD)
        batches = torch.arange(len(clean), device=clean.device).split(at_once)
        uphill = torch.cat([self._gradient(clean[batch], self.wanted[batch]) for batch in batches])
        return uphill / uphill.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)

    def _gradient(self, clean: Tensor, wanted: Tensor) -> Tensor:
        with torch.enable_grad():
            moved = clean.detach().requires_grad_()
            seen = self.recogniser(codec.decode(self.vae, moved, batch_size=len(moved)))
            # Each image has a cosine of its own: the gradient of their sum is each one's gradient.
            (gradient,) = torch.autograd.grad((seen * wanted).sum(), moved)
        return gradient
