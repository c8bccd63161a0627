"""Recipe `nano-fast`: a LoRA with which four unguided Euler steps go where twelve guided ones went.

Distillation in the sense of Salimans and Ho 2022 (arXiv 2202.00512) with the guidance taken in, as Meng et al. 2023
(arXiv 2210.03142): from each of four points on the frozen base's own path from pure noise, the student learns the
straight line to the next. Both ends are exact, so nothing is averaged, and no photo is needed, only its identity.
The student sees the teacher's points, not its own: errors of one step are not mended by the next.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personae.io import atomic
from personae.sampling.few_steps import CONFIG
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.shapes import Float, Int, Shaped
from personae.training.compilation import compile_blocks
from personae.training.loop import Metrics
from personae.training.lora import EVERYWHERE, Adapted, export_lora, sheet
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.prompts import PromptMix
from personae.training.methods.base.setting import Setting, draw_rows_and_tokens
from personae.training.methods.distil.evaluator import STEPS, DistilEvaluator, even_steps
from personae.types import Array

_WITHIN = 3  # steps of the teacher in one of the student
_GUIDANCE = 2.0  # of the teacher: nano's own
RANK = 2


class DistilTask:
    """See `training.loop.Trainable`."""

    def __init__(self, files: BaseFiles) -> None:
        """files: of the base."""
        self.setting, self.mix = Setting.open(files), PromptMix()
        adapted = Adapted.of(self.setting.base, EVERYWHERE, RANK)
        self.model, self.frozen = adapted.model, adapted.frozen
        self.evaluator = DistilEvaluator(self.setting, self.frozen, self.path)

    def compile(self) -> None:
        """The UNet's blocks."""
        compile_blocks(self.model.unet)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """`tokens` (N, L) and `vectors` (N, D) of photos, which themselves are not needed."""
        _, rows, tokens = draw_rows_and_tokens(self.setting, self.mix, rng, size)
        return {"tokens": tokens, "vectors": self.setting.faces.identities(rng, rows)}

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The mean squared error of the velocity from each of the teacher's points to the next."""
        tokens, vectors = batch["tokens"], batch["vectors"]
        shape = (len(tokens), *self.setting.faces.shape)
        noise = torch.randn(shape, generator=generator, device=tokens.device)
        noise = noise.contiguous(memory_format=torch.channels_last)  # or every step is slow
        points = self.path(tokens, vectors, noise)
        times = torch.linspace(1, 0, STEPS + 1, device=tokens.device)[:-1].repeat_interleave(len(tokens))
        tokens, vectors = tokens.repeat(STEPS, 1), vectors.repeat(STEPS, 1)
        prediction = model(points[:-1].flatten(0, 1), times, tokens, vectors).float()
        goal = ((points[:-1] - points[1:]) * STEPS).flatten(0, 1)
        loss = (prediction - goal).pow(2).mean()
        return loss, {"distilled": loss.detach()}

    @torch.no_grad()
    def path(
        self, tokens: Int[Tensor, "N L"], vectors: Float[Tensor, "N D"], noise: Float[Tensor, "N c h w"]
    ) -> Float[Tensor, "P N c h w"]:
        """(STEPS + 1, N, c, h, w): the guided base's way from `noise` to a face, at the student's times."""
        home = noise.device
        frozen = self.frozen.to(home)
        conditional = frozen.condition(tokens, vectors)
        unconditional = frozen.condition(self.setting.tokens_of("", 1, home), vectors[:1])
        points = [noise]

        def on_step(step: int, t: Tensor, latents: Tensor) -> Tensor:
            if (step + 1) % _WITHIN == 0:
                points.append(latents)
            return latents

        predict = guided(frozen.unet, conditional, unconditional, _GUIDANCE, batch_size=len(noise))
        denoise(predict, noise, even_steps(STEPS * _WITHIN, home), on_step=on_step)
        return torch.stack(points)

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `DistilEvaluator`."""
        assert isinstance(model, IdentityToFace)
        return self.evaluator.report(model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`lcm/` and `samples.png`."""
        assert isinstance(model, IdentityToFace)
        export_lora(model.unet, folder / "lcm")
        atomic.write_json(folder / "lcm" / CONFIG, {"scheduler": "flow-euler"})
        sheet(self.setting.held_out.table.crops, self.evaluator.images).save(folder / "samples.png")
