"""Recipes `portrait-autoencoder` and `portrait-decoder`: heads of 192 px <-> (16, 12, 12) latents, as photographs look.

The first learns to keep what a picture shows; the second leaves encoder and latents as they are and teaches the decoder
to draw what no error in pixels asks for, skin and hair: a discriminator on frozen features (Sauer et al. 2021,
"Projected GANs Converge Faster"), which also gets the latents. So a base may train on the latents meanwhile; once there
is one, the decoder learns to make photographs of what it draws, too (`redrawn`).

Legend: N pictures; x, y (N, 3, S, S) in [-1, 1] the picture and what is made of it; z (N, 16, S / 16, S / 16).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from diffusers import AutoencoderDC
from torch import Tensor, nn

from personae.data.people_stream import PeopleStream
from personae.evaluation import appearance
from personae.reading.differentiable import AlignedRecogniser
from personae.shapes import Float
from personae.training.duel import Duel, balanced, directed
from personae.training.export import export_scaled, save_half
from personae.training.images import psnr, to_pixels, to_tensor
from personae.training.loop import Metrics
from personae.training.losses import unevenness
from personae.training.methods.autoencoder.noisy_codec import NoisyCodec
from personae.training.methods.portrait_autoencoder.data import DETAIL, SIDE, DrawnPictures, Pictures
from personae.training.methods.portrait_autoencoder.features import FrozenFeatures
from personae.training.methods.portrait_autoencoder.network import FACTOR, LATENTS, Discriminator, build_autoencoder
from personae.training.methods.portrait_autoencoder.redrawn import Redrawn

_HEADS_EVERY = 2  # steps: one of so many sees whole heads, the others as many pixels of details
_REDRAWN = 0.5  # the share of these in which the base draws them first
_HELD_OUT = 64  # pictures
_NOISE = 0.05  # of latents, which a generator never gets quite right
_TAPS = (1.0, 1.0, 1.0, 0.5, 0.25)  # how much each map of the features counts


class Likeness(nn.Module):
    """How far a picture is from the one that it should be: in pixels, at four scales, and in frozen features."""

    def __init__(self, features: FrozenFeatures) -> None:
        super().__init__()
        self.features = features

    def forward(
        self, y: Float[Tensor, "N 3 H W"], x: Float[Tensor, "N 3 H W"], shift: Sequence[int]
    ) -> tuple[Float[Tensor, ""], list[Float[Tensor, "N _ _ _"]], list[Float[Tensor, "N _ _ _"]]]:
        """The loss, and the maps of `y` and of `x`. shift: (down, right), 0 to 3 pixels, by which both are cut before
        their features are taken: a grid in step with the network's strides would go unpunished otherwise."""
        loss = F.l1_loss(y, x)
        for scale in (2, 4, 8):
            loss = loss + 0.5 / 3 * F.l1_loss(F.avg_pool2d(y, scale), F.avg_pool2d(x, scale))
        (down, right), side = shift, y.shape[-1] - 4
        y, x = (image[..., down : down + side, right : right + side] for image in (y, x))
        maps = self.features(y)
        with torch.no_grad():
            goals = self.features(x)
        parts = [weight * F.l1_loss(a, b) for weight, a, b in zip(_TAPS, maps, goals, strict=True)]
        return loss + 0.1 * torch.stack(parts).sum() / sum(_TAPS), maps, goals


def _mean(scores: Sequence[Tensor], direction: float, hinge: bool = False) -> Tensor:
    """The mean over heads of `direction` times their scores; hinge: of what they lack of one (Lim and Ye 2017)."""
    signed = (direction * score.float() for score in scores)
    return torch.stack([(F.relu(1 + one) if hinge else one).mean() for one in signed]).mean()


class _Portraits:
    """What both trainings share: pictures to learn from, pictures held out, and what these are compared by."""

    def __init__(
        self, caches: Sequence[Path], features: FrozenFeatures, recogniser: Path, stream: PeopleStream | None
    ) -> None:
        self.pictures: Pictures | DrawnPictures
        if stream is None:
            self.pictures = Pictures.load(caches)
            others = Pictures.load(caches, held_out=True, limit=_HELD_OUT)
            self.held_out = np.stack([others.head(row) for row in others.wide])
        else:
            self.pictures = DrawnPictures(stream)
            self.held_out = self.pictures.held_out(_HELD_OUT)
        features.calibrate(to_tensor(self.held_out[:12]))
        self.likeness = Likeness(features).eval()
        self.recogniser = AlignedRecogniser(recogniser, source="head").eval()

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """`size` details, or about as many pixels of whole heads."""
        whole = bool(rng.random() < 1 / _HEADS_EVERY)
        fewer = max(1, size * DETAIL**2 // SIDE**2)
        images = self.pictures.heads(rng, fewer) if whole else self.pictures.details(rng, size)
        return {"images": images, "whole": whole, "shift": rng.integers(0, 4, 2).tolist()}

    def to(self, device: torch.device) -> None:
        self.likeness.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recogniser.to(device)

    def alike(self, y: Tensor, x: Tensor) -> Tensor:
        """The recogniser's mean cosine of whole heads."""
        return (self.recogniser(y) * self.recogniser(x)).sum(-1).mean()

    @torch.no_grad()
    def measured(self, vae: AutoencoderDC) -> dict[str, float]:
        """PSNR (dB), cosine, sharpness (share of the originals', median), grid (of 8 pixels, of a cell, of 2), of
        held-out heads; latents' spread."""
        home = next(vae.parameters()).device
        self.to(home)
        real = to_tensor(self.held_out).to(home)
        latents = torch.cat([vae.encoder(part).float() for part in real.split(8)])
        decoded = torch.cat([vae.decoder(part).float() for part in latents.split(8)])
        drawn = to_pixels(decoded)
        share = appearance.sharpness(drawn) / appearance.sharpness(self.held_out)
        return {
            "held_out_psnr": float(psnr(decoded, real)),
            "held_out_cosine": float(self.alike(decoded, real)),
            "held_out_sharpness": float(np.median(share)),
            "held_out_grid": appearance.grid(drawn),
            "held_out_grid_of_cells": appearance.grid(drawn, FACTOR),
            "held_out_pixel_pairs": appearance.grid(drawn, 2),
            "spread": float(latents.std()),
        }

    def export(self, vae: AutoencoderDC, folder: Path) -> None:
        """`vae/`, in the diffusers layout, its scaling factor measured so that latents have unit spread."""
        with torch.no_grad():
            latents = torch.cat([vae.encoder(part) for part in to_tensor(self.held_out).to(vae.device).split(8)])
        export_scaled(vae, latents, folder)


def _noise_like(latents: Tensor, generator: torch.Generator) -> Tensor:
    return _NOISE * torch.randn(latents.shape, generator=generator, device=latents.device)


class PortraitAutoencoderTask:
    """See `training.loop.Trainable`: encoder and decoder, by likeness alone. stream: people drawn for every batch, on
    its device, instead of the pictures of the caches. start: weights to begin with, in diffusers' layout."""

    def __init__(
        self,
        caches: Sequence[Path],
        features: FrozenFeatures,
        recogniser: Path,
        *,
        stream: PeopleStream | None = None,
        identity_weight: float = 0.1,
        start: Path | None = None,
    ) -> None:
        self.portraits = _Portraits(caches, features, recogniser, stream)
        self.identity_weight = identity_weight
        self.model = NoisyCodec(build_autoencoder(start))
        self.batch = self.portraits.batch

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        x = to_tensor(batch["images"])
        self.portraits.to(x.device)
        shape = (len(x), LATENTS, x.shape[-2] // FACTOR, x.shape[-1] // FACTOR)
        y, latents = model(x, _noise_like(torch.empty(shape, device=x.device), generator))
        y, latents = y.float(), latents.float()
        with torch.autocast(x.device.type, enabled=False):  # depthwise convolutions are slower in bfloat16
            loss, *_ = self.portraits.likeness(y, x, batch["shift"])
            figures: Metrics = {"psnr": psnr(y.detach(), x)}
            if batch["whole"]:
                loss = loss + self.identity_weight * (1 - self.portraits.alike(y, x))
        return loss + 0.01 * unevenness(latents), figures

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `_Portraits.measured`."""
        return self.portraits.measured(self.model.vae)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`vae/`."""
        self.portraits.export(self.model.vae, folder)


class PortraitDecoderTask:
    """See `training.loop.Trainable`: the decoder alone, against a discriminator.

    What the discriminator asks for is as strong as the likeness's gradient times `gan_weight`, picture by picture,
    so that neither ever drowns the other; it comes in over `ramp` steps, after as many in which only the discriminator
    learns. redrawn: the base that draws some of the heads first. One process: the two are not wrapped for several.
    """

    def __init__(
        self,
        vae: Path,
        caches: Sequence[Path],
        features: FrozenFeatures,
        recogniser: Path,
        *,
        stream: PeopleStream | None = None,
        redrawn: Redrawn | None = None,
        gan_weight: float = 1.0,
        ramp: int = 100,
    ) -> None:
        self.portraits = _Portraits(caches, features, recogniser, stream)
        self.redrawn, self.gan_weight, self.ramp = redrawn, gan_weight, ramp
        self.vae = build_autoencoder(vae)
        self.vae.encoder.requires_grad_(False)
        self.model = Duel(self.vae, Discriminator())

    def batch(self, rng: np.random.Generator, size: int) -> dict[str, Any]:
        """`_Portraits.batch`, and whether the base draws its heads first."""
        batch = self.portraits.batch(rng, size)
        return batch | {"redrawn": self.redrawn is not None and batch["whole"] and bool(rng.random() < _REDRAWN)}

    def loss(
        self, model: nn.Module, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, ""], Metrics]:
        duel = self.model
        x = to_tensor(batch["images"])
        self.portraits.to(x.device)
        with torch.no_grad():
            z = self.vae.encoder(x).float()
            if self.redrawn is not None and batch["redrawn"]:
                self.redrawn.to(x.device)
                spread = self.vae.config.scaling_factor
                z = self.redrawn(z * spread, x, generator) / spread
        y = self.vae.decoder(z + _noise_like(z, generator)).float()
        with torch.autocast(x.device.type, enabled=False):
            wish, maps, likeness = self._wish(y.detach(), x, z, batch)
        judged = duel.judge(maps, torch.cat((z, z)))
        decoded, real = zip(*(score.float().chunk(2) for score in judged), strict=True)
        duelled = _mean(decoded, 1, hinge=True) + _mean(real, -1, hinge=True)
        duel.steps += 1
        loss = directed(y, wish) + likeness + duelled
        figures: Metrics = {"likeness": likeness, "judge": duelled.detach(), "psnr": psnr(y.detach(), x)}
        return loss, figures

    def _wish(self, y: Tensor, x: Tensor, z: Tensor, batch: dict[str, Any]) -> tuple[Tensor, list[Tensor], Tensor]:
        """The gradient that the picture `y` is to have; the maps of its features, and after them those of `x`, for
        the judge to learn from; and the likeness loss."""
        image = y.requires_grad_(True)
        loss, maps, goals = self.portraits.likeness(image, x, batch["shift"])
        both = [torch.cat((mine.detach(), goal)) for mine, goal in zip(maps, goals, strict=True)]
        if batch["whole"]:
            loss = loss + 0.1 * (1 - self.portraits.alike(image, x))
        share = self.model.share(self.ramp) * self.gan_weight
        (likeness,) = torch.autograd.grad(loss, image, retain_graph=share > 0)
        if share == 0:
            return likeness, both, loss.detach()
        (adversarial,) = torch.autograd.grad(_mean(self.model.judge(maps, z), -1), image)
        return balanced(likeness, adversarial, share), both, loss.detach()

    def report(self, model: nn.Module) -> dict[str, float]:
        """See `_Portraits.measured`."""
        return self.portraits.measured(self.vae)

    def export(self, model: nn.Module, folder: Path) -> None:
        """`vae/`, with the encoder and the scaling factor that it began with: bases stand on these latents."""
        save_half(self.vae, folder / "vae")
