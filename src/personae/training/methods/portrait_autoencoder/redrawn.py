"""redrawn = Redrawn.of(runs / "portrait" / "export", embedder)
latents = redrawn(z, x, generator)      # z as the base would have drawn it

A decoder that has only seen latents of pictures keeps every fault of latents out of noise: eyes that disagree, teeth
that run together. Here pictures are noised part of the way, and the base finds back, knowing the person: latents with
its faults, of a picture that is at hand as it should be (as GFPGAN, Wang et al. 2021, learns from pictures that were
spoilt on purpose).
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from personae.reading.differentiable import AlignedRecogniser
from personae.shapes import Float
from personae.training import captions
from personae.training.frame import HEAD, latent_channels
from personae.training.methods.base.frozen import Identities
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.prompts import Prompts
from personae.training.rollout import led, walk

_FROM, _TO = 0.3, 0.7  # how far pictures go towards noise: further on, the base draws another one
_STEPS, _GUIDANCE = 3, 2.0


class Redrawn:
    """A base of heads and the identity encoder that it is conditioned on, both frozen."""

    def __init__(self, base: IdentityToFace, prompts: Prompts, identities: Identities) -> None:
        frozen = base.requires_grad_(False).eval()
        self.base: IdentityToFace = frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.identities = identities
        self._tokens = torch.from_numpy(prompts.tokens([captions.IDENTITY_PROMPT, ""]))

    @classmethod
    def of(cls, export: Path, embedder: Path) -> "Redrawn":
        """The base that a training exported. embedder: an `embedder.onnx`."""
        prompts, channels = Prompts.of_export(export), latent_channels(export)
        base = IdentityToFace.of(prompts.tokenizer, export, channels=channels, cells=HEAD.cells)
        recogniser = AlignedRecogniser(embedder, source=HEAD.template).eval()
        return cls(base, prompts, Identities(recogniser, embedder))

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self.base.to(device)
        self.identities.to(device)

    @torch.no_grad()
    def __call__(
        self, latents: Float[Tensor, "N c h w"], images: Float[Tensor, "N 3 H W"], generator: torch.Generator
    ) -> Float[Tensor, "N c h w"]:
        """The latents (N, c, h, w), of unit spread, of heads (N, 3, S, S) in [-1, 1] as the base draws them again."""
        home, count = latents.device, len(latents)
        person, nobody = self._tokens.to(home).split(1)
        vectors = self.identities(images)
        conditional = self.base.condition(person.expand(count, -1), vectors)
        unconditional = self.base.condition(nobody.expand(count, -1), vectors)
        first = _FROM + (_TO - _FROM) * torch.rand(count, 1, 1, 1, generator=generator, device=home)
        noise = torch.randn(latents.shape, generator=generator, device=home)
        noisy = (1 - first) * latents + first * noise
        seeing, blind = (partial(self.base.predict, conditioning=one) for one in (conditional, unconditional))
        return walk(led(seeing, blind, _GUIDANCE), noisy, first, 0.0, _STEPS)
