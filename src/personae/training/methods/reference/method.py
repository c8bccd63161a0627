"""Recipe `nano-reference`: a LoRA that makes use of a reference's keys and values in self-attention.

The published adapter (arXiv 2510.04706) learns from videos: another frame of the same scene is the reference. Of people
who were drawn it is another view of the same person. Of a photo, which is alone, it is the photo itself or, as often,
its mirror image, whichever side the target shows: that teaches to take light, colour, hair and background from wherever
the reference shows them, but not to keep that look under another expression, or at a pose other than the two in the
photo. Of these it then tells too much, and a smaller scale is the only remedy.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personae.conditioning.reference_attention import ReferenceAttention, record_self_attention
from personae.conditioning.types import Rows
from personae.shapes import Float, Shaped
from personae.training import captions
from personae.training.compilation import compile_blocks
from personae.training.loop import Metrics
from personae.training.lora import ATTENTION, Adapted, export_lora, sheet
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.setting import Setting
from personae.training.methods.reference.evaluator import ReferenceEvaluator
from personae.types import Array

RANK = 4
_OTHERS = 0.8  # the share of the references that are another view, of people who have some


class ReferenceTask:
    """See `training.loop.Trainable`."""

    def __init__(self, files: BaseFiles, *, dropout: float = 0.1) -> None:
        """files: of the base. dropout: the share of rows with neither identity nor reference, for guidance."""
        self.setting, self.dropout = Setting.open(files), dropout
        adapted = Adapted.of(self.setting.base, ATTENTION, RANK)
        self.model, self.frozen = adapted.model, adapted.frozen
        self.evaluator = ReferenceEvaluator(self.setting, self.frozen, self.reference)

    def compile(self) -> None:
        """The UNet's blocks."""
        compile_blocks(self.model.unet)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """Photos (`LatentFaces.photos`), with `references`, the latents of other views or of the same photos on either
        side, `tokens` (N, L), and `conditional` (N,) bool: which rows have identity and reference."""
        faces = self.setting.faces
        rows = faces.kinds.rows(rng, size)
        sides, reference_sides = rng.integers(2, size=(2, size))
        conditional = rng.random(size) >= self.dropout
        return {
            **faces.photos(rng, sides, rows),
            "references": faces.latents[reference_sides, faces.others.draw(rng, rows, _OTHERS)],
            "tokens": self.setting.prompts.tokens(
                [
                    captions.identity_prompt(faces.measures[0][row]) if one else ""
                    for row, one in zip(rows, conditional, strict=True)
                ]
            ),
            "conditional": conditional,
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The flow loss of photos beside their references."""
        drawn = noised(batch, generator)
        hook = self.reference(batch["references"].float(), batch["vectors"], batch["conditional"])
        with hook.engaged(self.model.unet):
            prediction = model(drawn.noisy, drawn.times, batch["tokens"], batch["vectors"])
        loss = drawn.loss(prediction)
        return loss, {"flow": loss.detach()}

    @torch.no_grad()
    def reference(
        self, latents: Float[Tensor, "N c h w"], vectors: Float[Tensor, "N D"], conditional: Shaped[Tensor, " N"]
    ) -> ReferenceAttention:
        """The hook for a call of N rows, row n looking at latents n (N, c, h, w) where `conditional` (N,)."""
        home, count = latents.device, len(latents)
        frozen = self.frozen.to(home)
        with record_self_attention(frozen.unet) as features:
            frozen(latents, torch.zeros(count, device=home), self.setting.identity_tokens(count, home), vectors)
        hook = ReferenceAttention(features, range(count))
        one = frozen.condition(self.setting.identity_tokens(1, home), vectors[:1])
        rows = Rows(images=torch.arange(count), conditional=conditional.bool().cpu())
        hook.arguments(latents, torch.zeros(()), one, rows)
        return hook

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `ReferenceEvaluator`."""
        assert isinstance(model, IdentityToFace)
        return self.evaluator.report(model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`ref_adapter/` and `samples.png`."""
        assert isinstance(model, IdentityToFace)
        export_lora(model.unet, folder / "ref_adapter")
        sheet(self.setting.held_out.table.crops, self.evaluator.images).save(folder / "samples.png")
