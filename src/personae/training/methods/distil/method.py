"""Recipe `nano-fast`: a LoRA with which four unguided Euler steps go where twelve guided ones went, and look real.

From wherever the student is after none to three of its own steps, the frozen base goes on in small guided ones, and the
student learns the straight line to where that gets: distillation (Salimans and Ho 2022, arXiv 2202.00512) with
the guidance taken in (Meng et al. 2023, arXiv 2210.03142), on the student's own way, so that errors of one step are
mended by the next. Squared error alone averages what it is unsure of; so the picture that the student has in mind is
also held against a photo of the person, by a judge on the base's own features (`judge`).

Legend: N people; c, h, w of latents; L tokens of a prompt; D numbers of an identity.
"""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personae.conditioning.types import Conditioning
from personae.io import atomic
from personae.sampling.few_steps import CONFIG
from personae.shapes import Float, Int, Shaped
from personae.training.compilation import compile_blocks
from personae.training.duel import Duel, balanced, directed, relativistic
from personae.training.loop import Metrics
from personae.training.lora import EVERYWHERE, Adapted, export_lora, sheet
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.prompts import PromptMix
from personae.training.methods.base.setting import Setting, draw_rows_and_tokens
from personae.training.methods.distil.evaluator import STEPS, DistilEvaluator
from personae.training.methods.distil.judge import Judge, features_of
from personae.training.rollout import led, walk
from personae.types import Array

_WITHIN = 3  # steps of the teacher in one of the student
_GUIDANCE = 2.0  # of the teacher: nano's own
_CLEARER = -0.5  # the mean of the logits of the times at which the judge looks: below 0, nearer to the photo
RANK = 8


class DistilTask:
    """See `training.loop.Trainable`. One process: student and judge are not wrapped for several.

    files: of the base. judge_weight: of the judge's gradient, which is made as strong as the distillation's times
    this. ramp: steps in which the judge learns alone, and then steps over which it comes in.
    """

    def __init__(self, files: BaseFiles, *, judge_weight: float = 1.0, ramp: int = 100) -> None:
        self.setting, self.mix = Setting.open(files), PromptMix()
        self.judge_weight, self.ramp = judge_weight, ramp
        adapted = Adapted.of(self.setting.base, EVERYWHERE, RANK)
        self.student, self.frozen = adapted.model, adapted.frozen
        self.model = Duel(self.student, Judge(self.frozen))
        self.evaluator = DistilEvaluator(self.setting, self.frozen, self.taught)

    def compile(self) -> None:
        """The UNet's blocks."""
        compile_blocks(self.student.unet)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """`tokens` (N, L) and `vectors` (N, D) of people, and a photo of each: `latents` (N, c, h, w), `inside`
        (N, h, w)."""
        sides, rows, tokens = draw_rows_and_tokens(self.setting, self.mix, rng, size)
        return {**self.setting.faces.photos(rng, sides, rows), "tokens": tokens}

    # ------------------------------------------------------------------ a step

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The mean squared error of the velocity to where the teacher goes on from the student's own point, and what
        the judge has against the picture that the student has in mind there."""
        tokens, vectors = batch["tokens"], batch["vectors"]
        real = batch["latents"].float().contiguous(memory_format=torch.channels_last)  # or every step is slow
        conditioning = self.student.condition(tokens, vectors)  # as the base does: a LoRA changes the UNet alone
        noise = torch.randn(real.shape, generator=generator, device=real.device)
        taken = int(torch.randint(STEPS, (), generator=generator, device=real.device))
        time, after = 1 - taken / STEPS, 1 - (taken + 1) / STEPS
        own = walk(partial(self.student.predict, conditioning=conditioning), noise, 1, time, taken)
        goal = (own - self.taught(tokens, vectors, own, time, after, _WITHIN)) * STEPS
        velocity = self.student.predict(own, _times(own, time), conditioning).float()

        wanted = velocity.detach().requires_grad_(True)
        distilled = (wanted - goal).pow(2).mean()
        inside = batch["inside"].float()[:, None]
        clean = inside * (own - time * wanted) + (1 - inside) * real  # beyond a photo's edge nothing tells them apart
        photos, fakes = self._looked_at(real, clean, conditioning, generator)
        share = self.model.share(self.ramp) * self.judge_weight
        (wish,) = torch.autograd.grad(distilled, wanted)
        if share:
            fooled = self._above(fakes, photos, conditioning)
            wish = balanced(wish, torch.autograd.grad(fooled, wanted)[0], share)
        judged = self._above(photos, [one.detach() for one in fakes], conditioning)
        self.model.steps += 1
        figures = {"distilled": distilled.detach(), "judge": judged.detach()}
        return directed(velocity, wish) + distilled.detach() + judged, figures

    @torch.no_grad()
    def taught(
        self,
        tokens: Int[Tensor, "N L"],
        vectors: Float[Tensor, "N D"],
        noisy: Float[Tensor, "N c h w"],
        start: float = 1.0,
        end: float = 0.0,
        steps: int = STEPS * _WITHIN,
    ) -> Float[Tensor, "N c h w"]:
        """Where the guided base gets from `noisy` (N, c, h, w) at the time `start`, in Euler steps of equal length."""
        frozen = self.frozen.to(noisy.device)
        conditional = frozen.condition(tokens, vectors)
        nobody = frozen.condition(self.setting.tokens_of("", 1, noisy.device), vectors[:1])
        unconditional = nobody.rows(torch.zeros(len(noisy), dtype=torch.long))
        seeing, blind = (partial(frozen.predict, conditioning=one) for one in (conditional, unconditional))
        return walk(led(seeing, blind, _GUIDANCE), noisy, start, end, steps)

    def _looked_at(
        self, real: Tensor, clean: Tensor, conditioning: Conditioning, generator: torch.Generator
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The base's maps of photos and of fakes, both (N, c, h, w), noised alike."""
        noise = torch.randn(real.shape, generator=generator, device=real.device)
        times = torch.sigmoid(torch.randn(len(real), generator=generator, device=real.device) + _CLEARER)
        t = times[:, None, None, None]
        with torch.no_grad():
            photos = features_of(self.frozen, (1 - t) * real + t * noise, times, conditioning)
        return photos, features_of(self.frozen, (1 - t) * clean + t * noise, times, conditioning)

    def _above(self, better: list[Tensor], worse: list[Tensor], conditioning: Conditioning) -> Tensor:
        """How far the judge is from scoring the maps `better` above those of the same person that are `worse`."""
        assert conditioning.pooled is not None  # nano's text encoder has one
        pooled = conditioning.pooled.repeat(2, 1)
        # In one go: a spectral norm changes at every call.
        scores = self.model.judge([torch.cat(pair) for pair in zip(better, worse, strict=True)], pooled)
        return torch.stack([relativistic(*score.chunk(2)) for score in scores]).mean()

    # ------------------------------------------------------------------ what comes of it

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `DistilEvaluator`."""
        return self.evaluator.report(self.student)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`lcm/` and `samples.png`."""
        export_lora(self.student.unet, folder / "lcm")
        atomic.write_json(folder / "lcm" / CONFIG, {"scheduler": "flow-euler"})
        sheet(self.setting.held_out.table.crops, self.evaluator.images).save(folder / "samples.png")


def _times(latents: Tensor, time: float) -> Tensor:
    return torch.full((len(latents),), time, device=latents.device)
