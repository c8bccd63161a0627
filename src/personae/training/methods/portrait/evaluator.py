"""Held-out people, generated from one of their pictures and compared with it and with another.

Likeness here is the conditioning encoder's own view, so it flatters: what counts is `personae evaluate`, by a
recogniser that took no part. Sharpness, variety and how much closer a face is to its source than to another picture are
not flattered.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from personae.errors import BadData
from personae.evaluation import appearance
from personae.io import atomic
from personae.shapes import Bool, Float
from personae.training import captions
from personae.training.frame import HEAD
from personae.training.images import to_pixels
from personae.training.methods.base.data import LatentFaces, TrainingFaces, other_pictures
from personae.training.methods.base.frozen import FrozenNetworks

if TYPE_CHECKING:
    from personae.training.methods.base.network import IdentityToFace
    from personae.training.methods.base.prompts import Prompts

_PEOPLE = 32
_COLUMNS = 8


class Sampler(Protocol):
    """What the evaluator needs of the task."""

    embedder: Any
    prompts: "Prompts"

    def decoded(self, latents: Float[Tensor, "N c h w"]) -> Float[Tensor, "N 3 H W"]:
        """Images of latents."""

    def sample(
        self, model: "IdentityToFace", vectors: Float[Tensor, "N D"], noise: Float[Tensor, "N c h w"]
    ) -> Float[Tensor, "N 3 H W"]:
        """Images of identities and noise."""


@dataclass(kw_only=True)
class Evaluator:
    """latents: (N, c, h, w) of held-out pictures. source, other: (N, D) identities of each person's picture and of
    another of theirs (the same one, if there is none). paired: (N,) bool, whether there is another."""

    latents: Float[Tensor, "N c h w"]
    source: Float[Tensor, "N D"]
    other: Float[Tensor, "N D"]
    paired: Bool[Tensor, " N"]
    images: Float[Tensor, "N 3 H W"] | None = None

    @classmethod
    def of(cls, caches: Sequence[Path], networks: FrozenNetworks, fallback: LatentFaces) -> "Evaluator":
        """Of the held-out people of the caches, those with several pictures first; without any, of `fallback`."""
        found = []
        for cache in caches:
            with suppress(BadData):  # among the first few hundred people perhaps none is held out
                pictures = TrainingFaces.of([cache], HEAD, held_out=True, limit=4 * _PEOPLE)
                found.append(LatentFaces.of(pictures, networks, views=1))
        people = LatentFaces.joined(found) if found else fallback
        others = other_pictures(people.person)
        paired = np.array([others[row][0] != row for row in range(len(people))])
        firsts = np.unique(people.person, return_index=True)[1]
        rows = firsts[np.argsort(~paired[firsts], kind="stable")][:_PEOPLE]
        return cls(
            latents=torch.from_numpy(people.latents[0, rows]).float(),
            source=torch.from_numpy(people.vectors[0, rows, 0]),
            other=torch.from_numpy(people.vectors[0, [others[row][0] for row in rows], 0]),
            paired=torch.from_numpy(paired[rows]),
        )

    def figures(self, task: Sampler, model: "IdentityToFace") -> dict[str, float]:
        """held_out_flow at fixed noise; likeness to the picture that conditions and to another, and the difference;
        sharpness, as a share of the held-out pictures' through the same decoder; variety, the mean distance between two
        samples of one person in grey levels."""
        home = model.unet.device
        clean, source = self.latents.to(home), self.source.to(home)
        count = len(clean)
        generator = torch.Generator().manual_seed(0)
        first, second = (torch.randn(clean.shape, generator=generator).to(home) for _ in range(2))
        times = torch.linspace(0.02, 0.98, count, device=home)
        t = times[:, None, None, None]
        tokens = torch.from_numpy(task.prompts.tokens([captions.IDENTITY_PROMPT] * count)).to(home)
        velocity = model((1 - t) * clean + t * first, times, tokens, source).float()
        real, one, two = task.decoded(clean), task.sample(model, source, first), task.sample(model, source, second)
        self.images = torch.stack([real, one, two], 1).cpu()
        vectors = task.embedder(one)
        to_source, to_other = (vectors * source).sum(-1), (vectors * self.other.to(home)).sum(-1)
        paired = self.paired.to(home)
        figures = {
            "held_out_flow": float((velocity - (first - clean)).pow(2).mean()),
            "own_likeness": float(to_source.mean()),
            "sharpness": float((_sharpness(one) / _sharpness(real)).median()),
            "variety": float((one - two).abs().mean() * 127.5),
        }
        if paired.any():
            figures["own_likeness_other"] = float(to_other[paired].mean())
            figures["copied"] = float((to_source - to_other)[paired].mean())
        return figures

    def save_sheet(self, path: Path) -> None:
        """Held-out people, eight in a row: their picture through the decoder, and two samples below it."""
        if self.images is None:
            return
        pixels = to_pixels(self.images.flatten(0, 1)).reshape(len(self.images), 3, *self.images.shape[-2:], 3)
        columns = min(_COLUMNS, len(pixels))
        rows = pixels[: len(pixels) // columns * columns].reshape(-1, columns, *pixels.shape[1:])
        sheet = rows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, columns * pixels.shape[3], 3)
        with atomic.file(path, replace=True) as partial:
            Image.fromarray(sheet).save(partial, "PNG")


def _sharpness(images: Tensor) -> Tensor:
    return torch.from_numpy(appearance.sharpness(to_pixels(images)))
