"""Recipe `portrait`: the identity in one picture of a person -> another picture of them, a head of 192 px.

Rectified flow (Liu et al. 2022), in which a face's cells count more than others (`Frame.focus`), with the contrastive
term of Stoica et al. 2025 (arXiv 2506.05350): a prediction is drawn to its own velocity and pushed a little away from
another picture's. Whom a face shows is judged on faces sampled from pure noise, among thousands of others (InfoNCE):
since the identity comes from *another* picture, copying pose and light does not help. Views of one person come from
`personae prepare people`, or are drawn here; a photo, which is alone, stands for both.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.data.people_stream import PeopleStream
from personae.sampling.fast import modes
from personae.shapes import Float, Float32
from personae.training import captions
from personae.training.compilation import compile_blocks
from personae.training.export import save_half
from personae.training.frame import HEAD, latent_channels
from personae.training.jitter import jitter
from personae.training.loop import Metrics
from personae.training.losses import noised
from personae.training.methods.base.data import BaseFiles, LatentFaces, TrainingFaces
from personae.training.methods.base.frozen import FrozenNetworks
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.prompts import PromptMix, Prompts
from personae.training.methods.base.setting import sample
from personae.training.methods.portrait.data import of_stream
from personae.training.methods.portrait.evaluator import Evaluator
from personae.training.rollout import Rolled, ends_and_scales, roll

_CONTRAST = 0.05  # lambda of the contrastive term
_BANK = 4096  # identities among which a face's own is to be found
_TEMPERATURE = 0.1
_ALONE = captions.IDENTITY_PROMPT
_ALIKE = 0.6  # cosine from which another picture's identity counts as the same person's


class PortraitTask:
    """See `training.loop.Trainable`.

    files: what it stands on; `start`: a base to go on from; of one for other latents, what fits is taken over, and
    there are other words. stream, drawn: people drawn here instead of or beside the caches, and how many.
    identity_weight, identity_images: of the InfoNCE term, and the faces of a batch that are sampled for it.
    identity_share: of the batches in which any are: they take nearly as long again as all the rest. tokenizer: the
    folder in which the words of captions and their numbers are kept, which a training that goes on reads again.
    """

    def __init__(
        self,
        files: BaseFiles,
        *,
        stream: PeopleStream | None = None,
        drawn: int = 0,
        mix: PromptMix | None = None,
        identity_weight: float = 0.2,
        identity_images: int = 8,
        identity_share: float = 0.35,
        tokenizer: Path | None = None,
    ) -> None:
        home = modes.device_for(None)
        self.mix = mix or PromptMix()
        self.identity_weight, self.identity_images = identity_weight, identity_images
        self.identity_share = identity_share
        self.networks = networks = FrozenNetworks(files.vae, files.embedder, HEAD.template, files.small)
        self.embedder = networks.embedder.to(home)
        networks.vae.to(home)
        parts = [LatentFaces.of(TrainingFaces.of(files.caches, HEAD), networks)] if files.caches else []
        if stream is not None and drawn:
            parts.append(of_stream(stream.to(home), networks, people=drawn))
        self.data = LatentFaces.joined(parts)
        self.evaluator = Evaluator.of(files.caches, networks, self.data)
        self.focus = HEAD.focus().astype(np.float32)
        start, channels = files.start, self.data.latents.shape[2]
        goes_on = start if start is not None and latent_channels(start) == channels else None
        self.prompts = Prompts.of_export(goes_on) if goes_on else Prompts.trained(tokenizer, self.data.measures[0])
        self.model = IdentityToFace.of(self.prompts.tokenizer, start, channels=channels, cells=HEAD.cells)

    def compile(self) -> None:
        compile_blocks(self.model.unet)

    # ------------------------------------------------------------------ a step

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """Pictures to learn, each with an identity out of another picture of the same person; and whether faces are
        sampled and `judged`."""
        rows, sides = self.data.kinds.rows(rng, size), rng.integers(2, size=size)
        bank = rng.integers(len(self.data), size=_BANK)
        photos = self.data.photos(rng, sides, rows)
        return {
            **photos,
            "inside": photos["inside"] * self.focus,
            "bank": self.data.vectors[0, bank, 0],
            "own": self.data.person[rows][:, None] == self.data.person[bank],
            "judged": bool(self.identity_weight and rng.random() < self.identity_share),
            "tokens": self.prompts.tokens(
                [self.mix.draw(self.data.measures[side][row], rng) for row, side in zip(rows, sides, strict=True)]
            ),
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        drawn = noised(batch, generator)
        noisy, times, tokens, vectors = drawn.noisy, drawn.times, batch["tokens"], batch["vectors"]
        count, rolled, rows = len(times), None, None
        if batch["judged"]:
            rolled, rows = self._from_noise(tokens, vectors, generator)
            noisy, times = torch.cat([noisy, rolled.noisy]), torch.cat([times, rolled.times])
            tokens, vectors = torch.cat([tokens, tokens[rows]]), torch.cat([vectors, vectors[rows]])
        velocity = model(noisy, times, tokens, vectors).float()
        flow = drawn.loss(velocity[:count])
        apart = drawn.apart(velocity[:count])
        loss = flow - _CONTRAST * apart
        figures: Metrics = {"flow": flow.detach(), "apart": apart.detach()}
        if rolled is not None:
            contrast, cosine = self._recognised(
                rolled.clean(velocity[count:]), vectors[count:], batch["bank"], batch["own"][rows], generator
            )
            loss = loss + self.identity_weight * contrast
            figures |= {"identity": cosine, "among": contrast.detach()}
        return loss, figures

    @torch.no_grad()
    def _from_noise(self, tokens: Tensor, vectors: Tensor, generator: torch.Generator) -> tuple[Rolled, Tensor]:
        """Some of the batch's people on their way from pure noise, and which: rows (R,)."""
        device = tokens.device
        lot = torch.rand(len(tokens), generator=generator, device=device)
        rows = torch.where(self.model.has_person(tokens), lot, 2.0).argsort()[: self.identity_images]
        noise = torch.randn(len(rows), *self.data.latents.shape[2:], generator=generator, device=device)
        conditional = self.model.condition(tokens[rows], vectors[rows])
        nobody = torch.from_numpy(self.prompts.tokens([""])).to(device)
        unconditional = self.model.condition(nobody, torch.zeros_like(vectors[:1]))
        unconditional = unconditional.rows(torch.zeros(len(rows), dtype=torch.long))
        rolled = roll(
            lambda noisy, times: self.model.predict(noisy, times, conditional),
            lambda noisy, times: self.model.predict(noisy, times, unconditional),
            noise,
            ends_and_scales(len(rows), generator),
        )
        return rolled, rows

    def _recognised(
        self, clean: Tensor, vectors: Tensor, bank: Tensor, own: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """(InfoNCE against the bank, mean cosine) of the faces in latents (R, c, h, w) and their people (R, D). own:
        (R, B) bool, which of the bank (B, D) are of the same person."""
        images = self.networks.for_judges(clean)
        found = self.embedder(images, jitter(len(images), generator))
        cosine = (found * vectors).sum(-1, keepdim=True)
        others = (found @ bank.T).masked_fill(own | (vectors @ bank.T > _ALIKE), float("-inf"))
        logits = torch.cat([cosine, others], 1) / _TEMPERATURE
        first = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
        return F.cross_entropy(logits, first), cosine.detach().mean()

    # ------------------------------------------------------------------ what comes of it

    def decoded(self, latents: Float[Tensor, "N c h w"]) -> Float32[Tensor, "N 3 H W"]:
        """Images (N, 3, S, S) float32 of latents, with a gradient and not clamped."""
        return self.networks.decode(latents)

    def sample(
        self, model: IdentityToFace, vectors: Float[Tensor, "N D"], noise: Float[Tensor, "N c h w"]
    ) -> Float32[Tensor, "N 3 H W"]:
        """Images (N, 3, S, S) of identities (N, D) and noise, by the package's own loop."""
        conditional, unconditional = (
            model.condition(torch.from_numpy(self.prompts.tokens([prompt] * len(rows))).to(rows.device), rows)
            for prompt, rows in ((_ALONE, vectors), ("", vectors[:1]))
        )
        return self.decoded(sample(model, conditional, unconditional, noise))

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `Evaluator.figures`."""
        assert isinstance(model, IdentityToFace)
        return self.evaluator.figures(self, model)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`unet/`, `text_encoder/`, `tokenizer/`, and `samples.png`: held-out people, the picture above two samples."""
        self.prompts.save(folder / "tokenizer")
        for name, part in (("unet", self.model.unet), ("text_encoder", self.model.text_encoder)):
            save_half(part, folder / name)
        self.evaluator.save_sheet(folder / "samples.png")
