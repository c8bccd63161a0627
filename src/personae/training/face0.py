"""Recipe `face0-nano`: the projector that lets a face stand beside words, on the frozen base.

Face0 (arXiv 2306.06638) trains projector and UNet together and drops the face only. Here UNet and text encoder stay as
they are, so that everything else that was fitted to them stays, too, and *both* are dropped: some photos are shown
without words, some without their face, some without either. Three terms:

- the flow loss of the photo, told its caption and its face;
- *agreement* with the base told the same in its own way, `id person` and the caption's phrases: no noise in the target;
- the identity of faces sampled from noise, as in `nano-longer`.
"""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from personae.conditioning.face_tokens import SIZES, FaceTokens, Sizes
from personae.conditioning.id_prompt import Conditioning, encode_tokens
from personae.sampling import schedulers
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.training import captions
from personae.training.base import BaseTask, IdentityToFace, noised
from personae.training.loop import Metrics
from personae.types import Array

_SHOWN = 64  # held-out people in the report


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """Shares of the photos shown without something; the rest is told both."""

    words: float = 0.15
    face: float = 0.1
    both: float = 0.1

    def drawn(self, rng: np.random.Generator, count: int) -> tuple[Array, Array]:
        """Which photos are shown their words, and which their face: (count,) bool both."""
        lot = rng.random(count)
        worded = lot >= self.words + self.both
        faced = (lot < self.words) | (lot >= self.words + self.both + self.face)
        return worded, faced


class FacedText(IdentityToFace):
    """The frozen base with face tokens: words and identities to the UNet's prediction. A row whose vector is zero has
    no face."""

    def __init__(self, base: IdentityToFace, projector: FaceTokens) -> None:
        super().__init__(base.text_encoder, base.unet, base.placeholder)
        self.requires_grad_(requires_grad=False)
        self.projector = projector

    def condition(self, tokens: Tensor, vectors: Tensor) -> Conditioning:
        text = encode_tokens(self.text_encoder, tokens)
        faced = self.asked(tokens, vectors)
        alone, beside = self.projector.told(text), self.projector.told(text, vectors)
        pooled = None
        if beside.pooled is not None and alone.pooled is not None:
            pooled = torch.where(faced[:, None], beside.pooled, alone.pooled)
        return Conditioning(tokens=torch.where(faced[:, None, None], beside.tokens, alone.tokens), pooled=pooled)

    def asked(self, tokens: Tensor, vectors: Tensor) -> Tensor:
        return vectors.any(-1)


class Face0Task(BaseTask):
    """See `training.loop.Trainable`. `start`: the folder of the base; `space`: of the embedder's identities."""

    def __init__(
        self,
        cache: Path,
        vae: Path,
        embedder: Path,
        *,
        start: Path,
        space: str,
        sizes: Sizes = SIZES["face0-nano"],
        dropped: Dropped | None = None,
        identity_weight: float = 0.2,
    ) -> None:
        super().__init__(cache, vae, embedder, start=start, identity_weight=identity_weight)
        self.dropped = dropped or Dropped()
        self.reserved = sizes.tokens
        self.frozen: IdentityToFace = deepcopy(self.model).eval().requires_grad_(requires_grad=False)
        self.model: FacedText = FacedText(self.model, FaceTokens(sizes, space))

    def compile(self) -> None:
        super().compile()
        self.frozen.unet.compile(dynamic=False)

    def _words(self, prompts: list[str]) -> Array:
        """(N, L) tokens, the last of which hold no word; what is too long is cut."""
        words = self.tokenizer(prompts, truncation=True, max_length=captions.MAX_TOKENS - self.reserved)
        padded = self.tokenizer.pad(words, padding="max_length", max_length=captions.MAX_TOKENS)
        return np.array(padded["input_ids"], np.int64)

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """Each photo, what it is told, and `named`: the same said in the base's way."""
        rows = rng.integers(self.data.latents.shape[1], size=size)
        sides, views = rng.integers(2, size=size), rng.integers(self.data.vectors.shape[2], size=size)
        said = [captions.parts(self.measures[side][row], rng) for side, row in zip(sides, rows, strict=True)]
        worded, faced = self.dropped.drawn(rng, size)
        vectors = self.data.vectors[sides, rows, views]
        return {
            "latents": self.data.latents[sides, rows],
            "inside": self.data.inside[sides, rows],
            "vectors": vectors * faced[:, None].astype(np.float32),
            "tokens": self._words([one.caption() if told else "" for one, told in zip(said, worded, strict=True)]),
            "named": self._tokens(
                [
                    one.about(captions.IDENTITY_PROMPT, worded=told) if face else one.caption() if told else ""
                    for one, told, face in zip(said, worded, faced, strict=True)
                ]
            ),
        }

    def loss(self, model: nn.Module, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        assert isinstance(self.model, FacedText)
        drawn = noised(batch, generator)
        noisy, times, tokens, vectors = drawn.noisy, drawn.times, batch["tokens"], batch["vectors"]
        frozen = self.frozen.to(noisy.device)
        with torch.no_grad():
            wanted = frozen(noisy, times, batch["named"], vectors).float()
        rolled, rows = self._from_noise(tokens, vectors, generator)
        made = model(
            torch.cat([noisy, rolled.noisy]),
            torch.cat([times, rolled.times]),
            torch.cat([tokens, tokens[rows]]),
            torch.cat([vectors, vectors[rows]]),
        ).float()
        photos = len(times)
        flow, agreement = drawn.loss(made[:photos]), (made[:photos] - wanted).pow(2).mean()
        alike = self._alike(rolled.clean(made[photos:]), vectors[rows], generator)
        figures = {"flow": flow.detach(), "agreement": agreement.detach(), "identity": alike.detach()}
        return flow + agreement + self.identity_weight * (1 - alike), figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """Held-out people. Flow loss at fixed noise, told words and face, and the base's own way; likeness (the
        conditioning encoder's view) of samples told the face, both, and the words alone."""
        assert isinstance(model, FacedText)
        home = model.unet.device
        rng = np.random.default_rng(0)
        said = [captions.parts(one, rng) for one in captions.measure(self.test)]
        clean = torch.from_numpy(self.test_latents).float().to(home)
        vectors = torch.from_numpy(self.test_vectors).to(home)
        words = torch.from_numpy(self._words([one.caption() for one in said])).to(home)
        named = [one.about(captions.IDENTITY_PROMPT, worded=True) for one in said]
        times = torch.linspace(0.02, 0.98, len(clean), device=home)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(home)
        t = times[:, None, None, None]
        noisy, report = (1 - t) * clean + t * noise, {}
        for name, network, tokens in (
            ("held_out_flow", model, words),
            ("held_out_flow_base", self.frozen.to(home), torch.from_numpy(self._tokens(named)).to(home)),
        ):
            made = network(noisy, times, tokens, vectors).float()
            report[name] = float((made - (noise - clean)).pow(2).mean())
        nothing = torch.from_numpy(self._words([""] * len(clean))).to(home)
        nobody = torch.zeros_like(vectors)
        for name, tokens, who in (("face", nothing, vectors), ("both", words, vectors), ("text", words, nobody)):
            images = self._told(model, tokens[:_SHOWN], who[:_SHOWN], noise[:_SHOWN])
            report[f"own_likeness_{name}"] = float((self.embedder(images) * vectors[:_SHOWN]).sum(-1).mean())
            if name == "both":
                self.last_images = images.cpu()
        return report

    def _told(self, model: FacedText, tokens: Tensor, vectors: Tensor, noise: Tensor) -> Tensor:
        """Faces (N, 3, 128, 128) by the package's own loop: 12 Euler steps at guidance 2.5."""
        nothing = torch.from_numpy(self._words([""])).to(tokens.device)
        asked, free = model.condition(tokens, vectors), model.condition(nothing, torch.zeros_like(vectors[:1]))
        scheduler = schedulers.fresh(None, like=FlowMatchEulerDiscreteScheduler(), steps=12, device=noise.device)
        latents = denoise(guided(model.unet, asked, free, 2.5), noise, scheduler)
        return self.vae.decoder(latents / self.vae.config.scaling_factor).float()

    def export(self, model: nn.Module, folder: Path) -> None:
        """`face_tokens/`, and `samples.png`: held-out people, real above made with words of their own photo."""
        assert isinstance(model, FacedText)
        model.projector.save(folder / "face_tokens")
        self.save_samples(folder)
