"""What a network predicts (noise, v, velocity) and the clean latents it means by it, one from the other.

    form = at(scheduler, t)
    clean = form.to_clean(prediction, x)             # x: what the network was given at time t
    prediction = form.from_clean(clean + change, x)  # what it would have predicted to mean the changed ones
    signal, noise = signal_and_noise(scheduler, t)   # of the latents themselves, as the scheduler stores them

For every scheduler of `schedulers.SCHEDULERS`: the levels are the scheduler's own, at the step that it is about to
make.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from personae.sampling.schedulers import is_flow
from personae.shapes import Float, Num


@dataclass(frozen=True, kw_only=True)
class Form:
    """At one time, x = `signal` clean + `noise` e with e standard normal; `predicts`: "epsilon", "v_prediction",
    "sample" or "flow_prediction", diffusers' names. Levels are numbers, or tensors that broadcast with x."""

    predicts: str
    signal: float | Float[Tensor, " ..."]
    noise: float | Float[Tensor, " ..."]

    def to_clean(self, prediction: Float[Tensor, " *shape"], x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
        """The clean latents (N, c, h, w) that a prediction about x means."""
        if self.predicts == "epsilon":
            return (x - self.noise * prediction) / self.signal
        if self.predicts == "v_prediction":  # v = signal e - noise clean (Salimans and Ho 2022)
            return self.signal * x - self.noise * prediction
        if self.predicts == "flow_prediction":  # e - clean, and signal + noise = 1
            return x - self.noise * prediction
        return prediction

    def from_clean(self, clean: Float[Tensor, " *shape"], x: Float[Tensor, " *shape"]) -> Float[Tensor, " *shape"]:
        """The prediction about x that means `clean`: `to_clean` backwards."""
        if self.predicts == "epsilon":
            return (x - self.signal * clean) / self.noise
        if self.predicts == "v_prediction":
            return (self.signal * x - clean) / self.noise
        if self.predicts == "flow_prediction":
            return (x - clean) / self.noise
        return clean


def at(scheduler: Any, t: Num[Tensor, ""]) -> Form:
    """Of the step that `scheduler` is about to make, at its timestep `t`; x as `scale_model_input` leaves it."""
    if is_flow(scheduler):
        noise = _sigma(scheduler)
        return Form(predicts="flow_prediction", signal=1 - noise, noise=noise)
    predicts = scheduler.config.prediction_type
    if hasattr(scheduler, "sigmas"):  # noise over signal, both of unit power together
        sigma = _sigma(scheduler)
        signal = (1 + sigma**2) ** -0.5
        return Form(predicts=predicts, signal=signal, noise=sigma * signal)
    share = float(scheduler.alphas_cumprod[int(t)])
    return Form(predicts=predicts, signal=share**0.5, noise=(1 - share) ** 0.5)


def signal_and_noise(scheduler: Any, t: Num[Tensor, ""]) -> tuple[float, float]:
    """How much signal and how much noise the latents hold before the step that `scheduler` is about to make.

    t: its timestep. Of the latents that the scheduler stores, before `scale_model_input` scales them to the x of `at`
    (Euler's and Heun's have signal 1).
    """
    form = at(scheduler, t)
    if is_flow(scheduler):
        return float(form.signal), float(form.noise)
    scale = float(scheduler.scale_model_input(torch.ones((), dtype=torch.float64), t))
    return float(form.signal) / scale, float(form.noise) / scale


def _sigma(scheduler: Any) -> float:
    """By step, not by time: rounded timesteps may fall together. Before the first step it is the one to begin with."""
    step = scheduler.step_index
    return float(scheduler.sigmas[(scheduler.begin_index or 0) if step is None else step])
