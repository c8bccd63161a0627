"""Recipe `nano-fast`: a LoRA with which four unguided Euler steps go where twelve guided ones went.

Distillation in the sense of Salimans and Ho 2022 (arXiv 2202.00512) with the guidance taken in, as Meng et al. 2023
(arXiv 2210.03142): from each of four points on the frozen base's own path from pure noise, the student learns the
straight line to the next. Both ends are exact, so nothing is averaged, and no photo is needed, only its identity.
The student sees the teacher's points, not its own: errors of one step are not mended by the next.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from personae.conditioning.types import Conditioning
from personae.io import atomic
from personae.sampling import codec, schedulers
from personae.sampling.few_steps import CONFIG
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training.loop import Metrics
from personae.training.lora import EVERYWHERE, LoraTask
from personae.training.methods.base.network import IdentityToFace
from personae.types import Array

STEPS = 4
_WITHIN = 3  # steps of the teacher in one of the student
_GUIDANCE = 2.0  # of the teacher: nano's own
RANK = 2


class DistilTask(LoraTask):
    """See `training.loop.Trainable`."""

    def __init__(self, cache: Path, vae: Path, embedder: Path, *, start: Path) -> None:
        super().__init__(cache, vae, embedder, start=start, targets=EVERYWHERE, rank=RANK)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        drawn = super().batch(rng, size)
        return {name: drawn[name] for name in ("tokens", "vectors")}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        tokens, vectors = batch["tokens"], batch["vectors"]
        shape = (len(tokens), *self.data.latents.shape[2:])
        noise = torch.randn(shape, generator=generator, device=tokens.device)
        noise = noise.contiguous(memory_format=torch.channels_last)  # or every step is slow
        points = self.path(tokens, vectors, noise)
        times = torch.linspace(1, 0, STEPS + 1, device=tokens.device)[:-1].repeat_interleave(len(tokens))
        made = model(points[:-1].flatten(0, 1), times, tokens.repeat(STEPS, 1), vectors.repeat(STEPS, 1)).float()
        wanted = ((points[:-1] - points[1:]) * STEPS).flatten(0, 1)
        loss = (made - wanted).pow(2).mean()
        return loss, {"distilled": loss.detach()}

    @torch.no_grad()
    def path(self, tokens: Tensor, vectors: Tensor, noise: Tensor) -> Tensor:
        """(STEPS + 1, N, c, h, w): the guided base's way from `noise` to a face, at the student's times."""
        home = noise.device
        frozen = self.frozen.to(home)
        told, untold = frozen.condition(tokens, vectors), frozen.condition(self.prompts(1, home, ""), vectors[:1])
        points = [noise]

        def on_step(step: int, t: Tensor, latents: Tensor) -> Tensor:
            if (step + 1) % _WITHIN == 0:
                points.append(latents)
            return latents

        predict = guided(frozen.unet, told, untold, _GUIDANCE, batch_size=len(noise))
        denoise(predict, noise, _even(STEPS * _WITHIN, home), on_step=on_step)
        return torch.stack(points)

    def report(self, model: nn.Module) -> dict[str, float]:
        """On 64 held-out people: how far the faces (as latents) lie from the teacher's, the student's and the base's
        own four unguided steps, as shares of the teacher's spread; and the likeness of all three."""
        assert isinstance(model, IdentityToFace)
        home = model.unet.device
        vectors = torch.from_numpy(self.test_vectors[:64]).to(home)
        tokens = self.prompts(len(vectors), home)
        shape = (len(vectors), *self.data.latents.shape[2:])
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(home)
        wanted = self.path(tokens, vectors, noise)[-1]
        told = model.condition(tokens, vectors)
        report = {"likeness_teacher": self._likeness(wanted, vectors)}
        for name, unet in (("base", self.frozen.unet), ("student", model.unet)):
            made = _four_steps(unet, told, noise)
            report[f"distance_{name}"] = float((made - wanted).pow(2).mean().sqrt() / wanted.std())
            report[f"likeness_{name}"] = self._likeness(made, vectors)
        self.last_images = codec.decode(self.vae, made).cpu()
        return report

    def _likeness(self, latents: Tensor, vectors: Tensor) -> float:
        return float((self.embedder(codec.decode(self.vae, latents)) * vectors).sum(-1).mean())

    def export(self, model: nn.Module, folder: Path) -> None:
        """`lcm/` and `samples.png`."""
        self.save(model, folder / "lcm")
        atomic.write_json(folder / "lcm" / CONFIG, {"scheduler": "flow-euler"})


def _even(steps: int, device: torch.device) -> FlowMatchEulerDiscreteScheduler:
    return schedulers.fresh("flow-euler", like=FlowMatchEulerDiscreteScheduler(), steps=steps, device=device)


def _four_steps(unet: nn.Module, told: Conditioning, noise: Tensor) -> Tensor:
    untold = told.rows(torch.zeros(1, dtype=torch.long))  # not computed at guidance 1
    return denoise(guided(unet, told, untold, 1.0, batch_size=len(noise)), noise, _even(STEPS, noise.device))
