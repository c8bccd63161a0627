"""Losses that several methods share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from personae.shapes import Float


def unevenness(latents: Float[Tensor, "N c h w"]) -> Float[Tensor, ""]:
    """How far latents (N, c, h, w) are from unit variance and zero mean in every channel, which is what a diffusion
    model likes to find."""
    spread = latents.var(dim=(0, 2, 3))
    return (spread - 1).pow(2).mean() + latents.mean(dim=(0, 2, 3)).pow(2).mean()


@dataclass(frozen=True, kw_only=True)
class Noised:
    """Photos' latents on the straight line to noise, and where on it: rectified flow, logit-normal times."""

    noisy: Float[Tensor, "N c h w"]  # (N, c, h, w)
    times: Float[Tensor, " N"]  # (N,) 0 = clean, 1 = noise
    velocity: Float[Tensor, "N c h w"]  # (N, c, h, w) what is to be predicted
    inside: Float[Tensor, "N h w"]  # (N, h, w) how much a cell counts: 0 where it lies beyond the photo's edge

    def loss(self, prediction: Float[Tensor, "N c h w"]) -> Float[Tensor, ""]:
        """The mean squared error of a predicted velocity, each cell counted as much as `inside` says."""
        return self._apart(prediction, self.velocity)

    def apart(self, prediction: Float[Tensor, "N c h w"]) -> Float[Tensor, ""]:
        """How far a predicted velocity is from that of the next photo of the batch, in the cells that count for `loss`:
        in others nothing would hold a prediction that is rewarded for being far."""
        return self._apart(prediction, self.velocity.roll(1, 0))

    def _apart(self, prediction: Tensor, velocity: Tensor) -> Tensor:
        error = (prediction.float() - velocity).pow(2).mean(1)
        return (error * self.inside).sum() / self.inside.sum().clamp(min=1)


def noised(batch: dict[str, Tensor], generator: torch.Generator, early: float = 0.0) -> Noised:
    """A batch's `latents` with their `inside`, each at a time and with noise of its own. early: the mean of the times'
    logits; above 0 there is more noise, where layout is decided (pose, an open mouth)."""
    clean = batch["latents"].float().contiguous(memory_format=torch.channels_last)
    times = torch.sigmoid(torch.randn(len(clean), generator=generator, device=clean.device) + early)
    noise = torch.randn(clean.shape, generator=generator, device=clean.device)
    t = times[:, None, None, None]
    noisy = (1 - t) * clean + t * noise
    return Noised(noisy=noisy, times=times, velocity=noise - clean, inside=batch["inside"].float())
