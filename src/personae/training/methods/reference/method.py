"""Recipe `nano-reference`: a LoRA that makes use of a reference's keys and values in self-attention.

The published adapter (arXiv 2510.04706) learns from videos: another frame of the same scene is the reference. There is
one photo per person here, so the reference is the photo itself or, as often, its mirror image, whichever side the
target shows. It teaches to take light, colour, hair and background from what the reference shows, wherever in the
image that is. It cannot teach to keep that look under another expression, or at a pose other than the two seen: of
these the reference tells too much, and a smaller scale is the only remedy.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from personae.conditioning.reference_attention import ReferenceAttention, record_self_attention
from personae.conditioning.types import Rows
from personae.sampling import codec
from personae.training import captions
from personae.training.loop import Metrics
from personae.training.lora import ATTENTION, LoraTask
from personae.training.losses import noised
from personae.training.methods.base.network import IdentityToFace
from personae.types import Array

RANK = 4


class ReferenceTask(LoraTask):
    """See `training.loop.Trainable`. `untold`: the share of rows with neither identity nor reference, for guidance."""

    def __init__(self, cache: Path, vae: Path, embedder: Path, *, start: Path, untold: float = 0.1) -> None:
        super().__init__(cache, vae, embedder, start=start, targets=ATTENTION, rank=RANK)
        self.untold = untold

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        rows = rng.integers(self.data.latents.shape[1], size=size)
        sides, shown = rng.integers(2, size=(2, size))
        views = rng.integers(self.data.vectors.shape[2], size=size)
        asked = rng.random(size) >= self.untold
        return {
            "latents": self.data.latents[sides, rows],
            "references": self.data.latents[shown, rows],
            "vectors": self.data.vectors[sides, rows, views],
            "inside": self.data.inside[sides, rows],
            "tokens": self.tokens([captions.IDENTITY_PROMPT if one else "" for one in asked]),
            "asked": asked,
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        drawn = noised(batch, generator)
        control = self._reference(batch["references"].float(), batch["vectors"], batch["asked"])
        with control.engaged(self.model.unet):
            made = model(drawn.noisy, drawn.times, batch["tokens"], batch["vectors"])
        loss = drawn.loss(made)
        return loss, {"flow": loss.detach()}

    @torch.no_grad()
    def _reference(self, latents: Tensor, vectors: Tensor, asked: Tensor) -> ReferenceAttention:
        """The control for a call of N rows, row n looking at latents n (N, c, h, w) where `asked` (N,)."""
        home, count = latents.device, len(latents)
        frozen = self.frozen.to(home)
        with record_self_attention(frozen.unet) as seen:
            frozen(latents, torch.zeros(count, device=home), self.prompts(count, home), vectors)
        control = ReferenceAttention(seen, range(count))
        told = frozen.condition(self.prompts(1, home), vectors[:1])
        control.arguments(
            latents, torch.zeros(()), told, Rows(images=torch.arange(count), conditional=asked.bool().cpu())
        )
        return control

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out flow loss at fixed noise: looking at another person's mirrored photo, at one's own, at none; and
        the base's. What the reference is worth is `own` against `base`."""
        assert isinstance(model, IdentityToFace)
        home = model.unet.device
        clean, vectors = (torch.from_numpy(part).float().to(home) for part in (self.test_latents, self.test_vectors))
        mirrored = codec.encode(self.vae, codec.to_tensor(self.test.crops[:, :, ::-1]).to(home))
        every = torch.ones(len(clean)).bool()
        own = self._reference(mirrored, vectors, every)
        other = self._reference(mirrored.roll(1, 0), vectors, every)
        report = {}
        for name, network, control in (
            ("other", model, other),
            ("own", model, own),
            ("none", model, None),
            ("base", self.frozen, None),
        ):
            report[f"held_out_{name}"] = self._held_out(network, clean, vectors, control)
        return report

    def _held_out(
        self, network: IdentityToFace, clean: Tensor, vectors: Tensor, control: ReferenceAttention | None
    ) -> float:
        home = clean.device
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        noisy, tokens = (1 - t) * clean + t * noise, self.prompts(len(clean), home)
        if control is None:
            made = network(noisy, times, tokens, vectors).float()
        else:
            with control.engaged(network.unet):
                made = network(noisy, times, tokens, vectors).float()
            # The face in one step, blurred where the noise was strong; `own` comes last and is kept.
            self.last_images = codec.decode(self.vae, noisy - t * made).cpu()
        return float((made - (noise - clean)).pow(2).mean())

    def export(self, model: nn.Module, folder: Path) -> None:
        """`ref_adapter/` and `samples.png`."""
        self.save(model, folder / "ref_adapter")
