"""Recipe `portrait-small-decoder`: through what trainings see the faces that they judge.

A base and its adapters sample faces inside a step, and recogniser and motion network look at them. What both see
has 112 or 128 pixels a side and is soft on purpose, so a decoder of 96 is enough: a whole one took most of a step. It
learns from the latents that are stored for the base (some noise on them, as on a generator's), to draw the picture and
to show the person.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from personae.sampling.fast import modes
from personae.shapes import Float, Shaped
from personae.training import sheets
from personae.training.images import psnr, to_pixels, to_tensor
from personae.training.loop import Metrics
from personae.training.methods.base.data import BaseFiles, HeldOut, LatentFaces, TrainingFaces
from personae.training.methods.base.frozen import FrozenNetworks
from personae.training.small_decoder import SmallDecoder
from personae.types import Array

_NOISE = 0.3  # of latents, at most
_SHEET = 16  # people


class SmallDecoderTask:
    """See `training.loop.Trainable`. files: of the base that the faces are of.

    identity_weight: of the recogniser's cosine, of `identity_images` of each batch.
    """

    def __init__(self, files: BaseFiles, *, identity_weight: float = 0.3, identity_images: int = 4) -> None:
        self.networks = FrozenNetworks(files.vae, files.embedder, files.frame.template)
        pictures = TrainingFaces.of(files.caches, files.frame)
        self.faces = LatentFaces.of(pictures, self.networks)
        self.crops = pictures.table.crops
        self.held_out = HeldOut.of(files, self.networks)
        self.identity_weight, self.identity_images = identity_weight, identity_images
        self.networks.embedder.to(modes.device_for(None))
        self.model = SmallDecoder(self.faces.shape[0], self.networks.encoder_key)

    def compile(self) -> None:
        """Not: it is too small to gain."""

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Array]:
        """`latents` (N, c, h, w), the `crops` (N, S, S, 3) that they are of, their `vectors` (N, D)."""
        rows, sides = self.faces.kinds.rows(rng, size), rng.integers(2, size=size)
        crops = [self.crops[row, :, ::-1] if side else self.crops[row] for side, row in zip(sides, rows, strict=True)]
        return {
            "latents": self.faces.latents[sides, rows],
            "crops": np.stack(crops),
            "vectors": self.faces.vectors[sides, rows, 0],
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Shaped[Tensor, " ..."]], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        """The mean absolute error at three scales, and how far some are from the person."""
        latents = batch["latents"].float().contiguous(memory_format=torch.channels_last)
        amount = _NOISE * torch.rand(len(latents), 1, 1, 1, generator=generator, device=latents.device)
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        images = model(latents + amount * noise)
        drawn, goal = (F.avg_pool2d(part, 2) for part in (images, to_tensor(batch["crops"])))
        loss = F.l1_loss(drawn, goal)
        for scale in (2, 4):
            loss = loss + 0.5 * F.l1_loss(F.avg_pool2d(drawn, scale), F.avg_pool2d(goal, scale))
        few = slice(self.identity_images)
        alike = self.networks.likeness(images[few], batch["vectors"][few], generator).mean()
        loss = loss + self.identity_weight * (1 - alike)
        return loss, {"psnr": psnr(drawn.detach(), goal), "alike": alike.detach()}

    @torch.no_grad()
    def report(self, model: nn.Module) -> dict[str, float]:
        """On held-out people, without noise: PSNR at half the size (dB), and the recogniser's cosine to the picture."""
        home = next(model.parameters()).device
        images = model(torch.from_numpy(self.held_out.latents).float().to(home))
        goal = F.avg_pool2d(to_tensor(np.asarray(self.held_out.table.crops)).to(home), 2)
        alike = self.networks.likeness(images, torch.from_numpy(self.held_out.vectors).to(home))
        return {"held_out_psnr": float(psnr(F.avg_pool2d(images, 2), goal)), "held_out_alike": float(alike.mean())}

    @torch.no_grad()
    def export(self, model: nn.Module, folder: Path) -> None:
        """`decoder/`, and `samples.png`: held-out people above what it draws of them."""
        self.model.save(folder / "decoder")
        latents = torch.from_numpy(self.held_out.latents[:_SHEET]).float().to(next(model.parameters()).device)
        sheets.in_rows(self.held_out.table.crops[:_SHEET], to_pixels(model(latents))).save(folder / "samples.png")
