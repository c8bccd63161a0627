"""What every training on nano's latents stands on: frozen networks, faces, prompts, the base."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from personae.conditioning.types import Conditioning, UNetHook
from personae.sampling import schedulers
from personae.sampling.guidance import guided
from personae.sampling.loop import denoise
from personae.shapes import Float, Int
from personae.training import captions
from personae.training.frame import Frame
from personae.training.methods.base.data import BaseFiles, HeldOut, LatentFaces, TrainingFaces
from personae.training.methods.base.frozen import FrozenNetworks
from personae.training.methods.base.network import IdentityToFace
from personae.training.methods.base.prompts import PromptMix, Prompts
from personae.types import Array

_STEPS, _GUIDANCE = 12, 2.5  # of the samples in reports


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A method takes the parts that it needs."""

    frame: Frame
    networks: FrozenNetworks
    faces: LatentFaces
    held_out: HeldOut
    prompts: Prompts
    base: IdentityToFace

    @classmethod
    def open(cls, files: BaseFiles, pictures: TrainingFaces | None = None) -> "Setting":
        """pictures: of `files`, if its caller has them already."""
        networks = FrozenNetworks(files.vae, files.embedder, files.frame.template, files.small)
        faces = LatentFaces.of(pictures or TrainingFaces.of(files.caches, files.frame), networks)
        prompts = (
            Prompts.of_export(files.start)
            if files.start
            else Prompts.trained(files.cache / "tokenizer", faces.measures[0])
        )
        base = IdentityToFace.of(prompts.tokenizer, files.start, channels=faces.shape[0], cells=files.frame.cells)
        held_out = HeldOut.of(files, networks)
        return cls(frame=files.frame, networks=networks, faces=faces, held_out=held_out, prompts=prompts, base=base)

    def tokens_of(self, prompt: str, count: int, home: torch.device) -> Tensor:
        """(count, L) tokens of one prompt."""
        return torch.from_numpy(self.prompts.tokens([prompt] * count)).to(home)

    def identity_tokens(self, count: int, home: torch.device) -> Tensor:
        """(count, L) tokens of the identity prompt."""
        return self.tokens_of(captions.IDENTITY_PROMPT, count, home)

    def conditions(self, model: IdentityToFace, vectors: Tensor) -> tuple[Conditioning, Conditioning]:
        """Of the identity prompt with vectors (N, D), and of the empty prompt, one row."""
        home = vectors.device
        return (
            model.condition(self.identity_tokens(len(vectors), home), vectors),
            model.condition(self.tokens_of("", 1, home), vectors[:1]),
        )


def sample(
    model: IdentityToFace,
    conditional: Conditioning,
    unconditional: Conditioning,
    noise: Float[Tensor, "N c h w"],
    hooks: tuple[UNetHook, ...] = (),
) -> Float[Tensor, "N c h w"]:
    """Latents (N, c, h, w) from noise by the package's own loop: 12 Euler steps at guidance 2.5."""
    scheduler = schedulers.fresh(None, like=FlowMatchEulerDiscreteScheduler(), steps=_STEPS, device=noise.device)
    return denoise(guided(model.unet, conditional, unconditional, _GUIDANCE, hooks=hooks), noise, scheduler)


def draw_rows_and_tokens(
    setting: Setting, mix: PromptMix, rng: np.random.Generator, size: int
) -> tuple[Int[Array, " M"], Int[Array, " M"], Int[Array, "M L"]]:
    """Sides and rows of pictures, as `LatentFaces.photos` takes them, of each kind its share (`picture_kinds`); and the
    tokens (size, L) of a prompt that `mix` draws for each."""
    faces = setting.faces
    rows, sides = faces.kinds.rows(rng, size), rng.integers(2, size=size)
    prompts = [mix.draw(faces.measures[side][row], rng) for side, row in zip(sides, rows, strict=True)]
    return sides, rows, setting.prompts.tokens(prompts)
