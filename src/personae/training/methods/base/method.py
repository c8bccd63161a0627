"""Recipe `nano-base`: text encoder and UNet together, as in Arc2Face; identity, and now and then words, to faces.

Rectified flow (Liu et al. 2022) with logit-normal times (Esser et al. 2024) on the autoencoder's latents. Of the
prompts, most are `photo of a id person`; some add words that hold, some are words alone, some are empty (for
guidance). An identity loss on faces sampled in a few steps from pure noise (as in PuLID and DreamID) can be switched
on: what the noised photo itself gives away of a person, the loss of a photo's own prediction does not have to learn.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personae.shapes import Float, Int, Shaped
from personae.training.compilation import compile_blocks
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.evaluator import BaseEvaluator
from personae.training.methods.base.export import export_base
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.prompts import PromptMix
from personae.training.methods.base.setting import Setting, draw_rows_and_tokens
from personae.training.rollout import Rolled, ends_and_scales, roll
from personae.types import Array


class BaseTask:
    """See `training.loop.Trainable`."""

    def __init__(
        self,
        files: BaseFiles,
        *,
        mix: PromptMix | None = None,
        identity_weight: float = 0.0,
        identity_images: int = 8,
    ) -> None:
        """files: `start` is an export to go on from, if any. mix: of the prompts. identity_weight: of the identity
        loss, 0 for none, on `identity_images` sampled faces in each step."""
        self.setting = Setting.open(files)
        self.mix = mix or PromptMix()
        self.identity_weight, self.identity_images = identity_weight, identity_images
        self.model = self.setting.base
        self.evaluator = BaseEvaluator(self.setting)

    def compile(self) -> None:
        """The UNet's blocks."""
        compile_blocks(self.model.unet)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """Photos (`LatentFaces.photos`) with `tokens` (N, L)."""
        sides, rows, tokens = draw_rows_and_tokens(self.setting, self.mix, rng, size)
        return {**self.setting.faces.photos(rng, sides, rows), "tokens": tokens}

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The flow loss of photos; and of sampled faces, how little they look like their person."""
        drawn = noised(batch, generator)
        noisy, times = drawn.noisy, drawn.times
        tokens, vectors = batch["tokens"], batch["vectors"]
        rolled = None
        if self.identity_weight:
            rolled, rows = self.rolled(tokens, vectors, generator)
            people = vectors[rows]
            noisy, times = torch.cat([noisy, rolled.noisy]), torch.cat([times, rolled.times])
            tokens, vectors = torch.cat([tokens, tokens[rows]]), torch.cat([vectors, people])
        prediction = model(noisy, times, tokens, vectors).float()
        photos = len(drawn.times)
        loss = drawn.loss(prediction[:photos])
        figures: Metrics = {"flow": loss.detach()}
        if rolled is not None:
            images = self.setting.networks.for_judges(rolled.clean(prediction[photos:]))
            alike = self.setting.networks.likeness(images, people, generator).mean()
            loss = loss + self.identity_weight * (1 - alike)
            figures["identity"] = alike.detach()
        return loss, figures

    @torch.no_grad()
    def rolled(
        self, tokens: Int[Tensor, "N L"], vectors: Float[Tensor, "N D"], generator: torch.Generator
    ) -> tuple[Rolled, Int[Tensor, " R"]]:
        """Some of the batch's people on their way from pure noise, and which: rows (R,). The last step has gradients
        and runs with the rest of the batch."""
        device, model = tokens.device, self.model
        lot = torch.rand(len(tokens), generator=generator, device=device)
        rows = torch.where(model.has_person(tokens), lot, 2.0).argsort()[: self.identity_images]
        course = ends_and_scales(len(rows), generator)
        noise = torch.randn(len(rows), *self.setting.faces.shape, generator=generator, device=device)
        conditional = model.condition(tokens[rows], vectors[rows])
        unconditional = model.condition(self.setting.tokens_of("", 1, device), torch.zeros_like(vectors[:1]))
        unconditional = unconditional.rows(torch.zeros(len(rows), dtype=torch.long))
        rolled = roll(
            lambda noisy, times: model.predict(noisy, times, conditional),
            lambda noisy, times: model.predict(noisy, times, unconditional),
            noise,
            course,
        )
        return rolled, rows

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `BaseEvaluator`."""
        assert isinstance(model, IdentityToFace)
        return self.evaluator.report(model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`unet/`, `text_encoder/`, `tokenizer/`, and `samples.png`: held-out people, real above generated."""
        export_base(self.model, self.setting.prompts, folder)
        self.evaluator.sheet().save(folder / "samples.png")
