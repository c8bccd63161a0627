"""Any base as a flow, whatever it was trained to predict: so one walk from noise, `roll`, serves all of them.

    path = Straight(pipe.scheduler)
    noisy = path.between(clean, noise, times)                    # (1 - t) clean + t noise
    prediction = unet(path.scaled(noisy, times), path.steps(times), words)
    path.wanted(clean, noise, times)                             # what `prediction` should be, as the base predicts
    path.velocity(prediction, noisy, times)                            # noise - clean, of what it has been

A noise schedule shows the network x = a clean + b noise with a^2 + b^2 = 1. Divided by a + b, that lies on the straight
line at time t = b / (a + b), and there a DDIM step (Song et al., ICLR 2021) is an Euler step.

Legend: N pictures; times (N,) between 0, clean, and 1, noise.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from personae.errors import BadData
from personae.sampling.parameterisation import Form
from personae.sampling.schedulers import is_flow
from personae.shapes import Float, Float32

_STEPS = 1000  # what UNets of these families call the time of pure noise
_PREDICTED = ("epsilon", "v_prediction")


class Straight:
    """The schedule of `scheduler`, one of diffusers', straightened. `last`: the latest time it knows, below 1 where
    even its noisiest pictures still hold some signal.

    Raises `BadData` for a schedule of another length, or one that predicts something else than noise, v or a velocity.
    """

    def __init__(self, scheduler: Any) -> None:
        config = scheduler.config
        if config.num_train_timesteps != _STEPS:
            raise BadData(f"a schedule of {_STEPS} steps is needed, the base's has {config.num_train_timesteps}")
        self.flow = is_flow(scheduler)
        self._predicts = "flow_prediction" if self.flow else str(config.prediction_type)
        if not self.flow and self._predicts not in _PREDICTED:
            raise BadData(f"the base predicts {self._predicts!r}, and what can be trained predicts noise or v")
        if self.flow:
            self._times = np.linspace(0, 1, _STEPS + 1)
        else:
            signal = scheduler.alphas_cumprod.double().numpy() ** 0.5
            noise = (1 - signal**2) ** 0.5
            self._times = noise / (signal + noise)
        self.last = float(self._times[-1])

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) times to train at: of a noise schedule, one of its own; of a flow, logit-normal."""
        if self.flow:
            return torch.sigmoid(torch.randn(count, generator=generator, device=generator.device))
        return self.at(torch.randint(_STEPS, (count,), generator=generator, device=generator.device))

    def at(self, steps: Tensor) -> Tensor:
        """(N,) times of a noise schedule's steps (N,) int64."""
        return torch.from_numpy(self._times).to(steps.device)[steps].float()

    def steps(self, times: Float[Tensor, " N"]) -> Float32[Tensor, " N"]:
        """(N,) float32: the timesteps of times, as the network takes them."""
        found = np.interp(times.double().cpu().numpy(), self._times, np.arange(len(self._times)))
        return torch.from_numpy(found).to(times.device, torch.float32)

    def between(
        self, clean: Float[Tensor, "N c h w"], noise: Float[Tensor, "N c h w"], times: Float[Tensor, " N"]
    ) -> Float[Tensor, "N c h w"]:
        """(N, c, h, w)"""
        t = times[:, None, None, None]
        return (1 - t) * clean + t * noise

    def begun(self, noise: Float[Tensor, "N c h w"]) -> Float[Tensor, "N c h w"]:
        """Standard normal noise as where the line begins, at `last`."""
        return noise if self.flow else noise * float(_length(torch.tensor(self.last)))

    def scaled(self, noisy: Float[Tensor, "N c h w"], times: Float[Tensor, " N"]) -> Float[Tensor, "N c h w"]:
        """Pictures on the line (N, c, h, w), scaled as the network takes them."""
        return noisy if self.flow else noisy / _length(times)[:, None, None, None]

    def wanted(
        self, clean: Float[Tensor, "N c h w"], noise: Float[Tensor, "N c h w"], times: Float[Tensor, " N"]
    ) -> Float[Tensor, "N c h w"]:
        """What the network is to predict."""
        return self._form(times).from_clean(clean, self.scaled(self.between(clean, noise, times), times))

    def velocity(
        self, prediction: Float[Tensor, "N c h w"], noisy: Float[Tensor, "N c h w"], times: Float[Tensor, " N"]
    ) -> Float[Tensor, "N c h w"]:
        """noise - clean, of a prediction about `scaled` pictures."""
        clean = self._form(times).to_clean(prediction, self.scaled(noisy, times))
        return (noisy - clean) / times[:, None, None, None]

    def _form(self, times: Tensor) -> Form:
        t = times[:, None, None, None]
        length = 1.0 if self.flow else _length(t)
        return Form(predicts=self._predicts, signal=(1 - t) / length, noise=t / length)


def _length(times: Tensor) -> Tensor:
    """1 / (a + b) at t = b / (a + b)."""
    return ((1 - times) ** 2 + times**2) ** 0.5
